"""A machine that has vanished, as the other end of a connection to it sees that."""

import ctypes
import socket
import struct

_SO_ATTACH_FILTER = 26
_RETURN_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K: of each packet no byte is taken


def deafen(connection: socket.socket) -> None:
    """Whatever comes is dropped without a word: nothing is acknowledged any more."""
    program = ctypes.create_string_buffer(_RETURN_NOTHING)
    connection.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program))
    )

"""How a connection learns that its other end has vanished: no power, no network, and nobody left to say so.

Linux asks a silent end for a sign of life after two hours, if at all, and goes on sending for a quarter of an
hour what is not acknowledged. An end that is there and reads nothing (its window is closed) is taken for one
that is gone.
"""

import socket


def limit_silence(connection: socket.socket, seconds: int) -> None:
    """It ends with an error once its other end has acknowledged nothing for so long, be it that it is there.
    Of a listener: each connection that it accepts."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, seconds // 3))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 6))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * seconds)

"""The listening socket, taken before anything slow: a port that is taken is known at once.

A client that connects while the model loads waits in the backlog and is answered when the server is ready.
"""

import errno
import socket

from octavo.core.errors import StartError
from octavo.http.silence import limit_silence

CLIENT_SILENCE_SECONDS = 90  # longer than ConnectionLimits let an answer be left unread
_BACKLOG = 2048


def listen(host: str, port: int, flag: str = "--port") -> socket.socket:
    """Raises StartError: the port is taken or not allowed, the host is no address of this machine.

    flag: the option that says another port.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(f"--host {host} cannot be resolved: {error.strerror}.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        limit_silence(listener, CLIENT_SILENCE_SECONDS)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(_explain(error, host, port, flag)) from None
    listener.setblocking(False)
    return listener


def _explain(error: OSError, host: str, port: int, flag: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"Port {port} on {host} is taken; choose another with {flag}, or {flag} 0 for a free one."
        case errno.EACCES:
            return f"This user may not listen on port {port}; choose one above 1023 with {flag}."
        case errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine; choose another with --host."
    return f"Cannot listen on {host}, port {port}: {error.strerror}."


def url_of(listener: socket.socket, *, is_tls: bool = False, path: str = "/v1") -> str:
    """Where clients find the API, or what else is at path."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if is_tls else "http"
    return f"{scheme}://[{host}]:{port}{path}" if ":" in host else f"{scheme}://{host}:{port}{path}"

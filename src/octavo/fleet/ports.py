"""A port that is kept for a process not yet started, and for its successors.

The socket here is bound and does not listen: nobody else is given the port, a process that also sets
SO_REUSEADDR may listen on it, and while none does, connections are refused at once.
"""

import socket

from octavo.http.listener import listen


class ReservedPort:
    def __init__(self, host: str, port: int) -> None:
        """port 0: a free one. Raises StartError: it is taken, or cannot be had."""
        with listen(host, port) as listener:
            self.host, self.number = listener.getsockname()[:2]
            family = listener.family
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((self.host, self.number))

    @property
    def url(self) -> str:
        return (
            f"http://[{self.host}]:{self.number}" if ":" in self.host else f"http://{self.host}:{self.number}"
        )

    def release(self) -> None:
        self._socket.close()

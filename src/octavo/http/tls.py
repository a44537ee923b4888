"""The certificate a server shows, read before anything slow so that a bad one is known at once."""

import dataclasses
import pathlib
import ssl

from octavo.core.errors import StartError


@dataclasses.dataclass(frozen=True, slots=True)
class Tls:
    certfile: pathlib.Path  # PEM, with the chain
    keyfile: pathlib.Path | None = None  # PEM; None: it is in certfile

    @classmethod
    def of(cls, certfile: pathlib.Path | None, keyfile: pathlib.Path | None) -> "Tls | None":
        """None: plain HTTP. Raises StartError for files that are no certificate and its key."""
        if certfile is None:
            if keyfile is not None:
                raise StartError("--ssl-keyfile needs --ssl-certfile.")
            return None
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile, lambda: "")
        except ssl.SSLError as error:
            reason = (error.reason or "not PEM").replace("_", " ").lower()
            raise StartError(
                f"--ssl-certfile {certfile} cannot be used with its key: {reason}; the key must not be "
                "encrypted."
            ) from None
        except OSError as error:
            raise StartError(f"--ssl-certfile or --ssl-keyfile: {error.strerror}.") from None
        return cls(certfile, keyfile)

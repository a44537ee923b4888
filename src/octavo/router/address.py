"""Where an endpoint is, by its URL."""

import dataclasses
import urllib.parse


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int
    is_tls: bool = False
    path: str = ""  # before every request's own

    @classmethod
    def parse(cls, url: str) -> "Address":
        """http://host:port[/path]; a final /v1 is dropped, since requests name it. Raises ValueError."""
        parts = urllib.parse.urlsplit(url)
        is_plain = not (parts.query or parts.fragment or parts.username or parts.port == 0)
        if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain:
            raise ValueError(f"{url!r} is not a URL like http://host:port")
        is_tls = parts.scheme == "https"
        path = parts.path.rstrip("/").removesuffix("/v1")
        return cls(parts.hostname, parts.port or (443 if is_tls else 80), is_tls, path)

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

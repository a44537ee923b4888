"""Keys of the API as they are kept: an id, a salted hash, and what whoever holds the key may use.

A key is random and long, so one salted SHA-256 is enough: there is nothing to guess from. A line of a key
file stands for itself; lines written by `octavo keys add` into one file share a salt, so that checking a key
takes one hash.
"""

import dataclasses
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence

from octavo.core.errors import StartError

MAX_KEYS = 1000  # in one file: every one is compared at each request
MIN_KEY_CHARACTERS = 20
_SALT_BYTES = 16
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HASH = re.compile(r"sha256:([0-9a-f]{32}):([0-9a-f]{64})")
_COUNT = re.compile(r"[1-9][0-9]{0,11}")


@dataclasses.dataclass(frozen=True, slots=True)
class KeyLimits:
    """None: no limit. Requests are those that ask for work: every POST."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None  # of prompts and answers
    concurrency: int | None = None  # requests at the same time


NO_LIMITS = KeyLimits()


@dataclasses.dataclass(frozen=True, slots=True)
class ApiKey:
    """id names who holds it: in the log, in the queue, in the prefix cache. Several keys may have one id."""

    id: str
    salt: bytes
    digest: bytes
    limits: KeyLimits = NO_LIMITS

    @classmethod
    def of(
        cls, key: str, id: str, limits: KeyLimits = NO_LIMITS, *, known: Sequence["ApiKey"] = ()
    ) -> "ApiKey":
        """known: the keys it will stand beside, whose salt it shares. Raises StartError for a bad id."""
        if not _ID.fullmatch(id):
            raise StartError(
                f"{id[:80]!r} is no name for a key; allowed: 1 to 64 of A-Z a-z 0-9 _ . -, not _ . - first."
            )
        salt = known[-1].salt if known else secrets.token_bytes(_SALT_BYTES)
        return cls(id, salt, digest(key.encode(), salt), limits)

    @property
    def line(self) -> str:
        """As it stands in a key file."""
        limits = dataclasses.asdict(self.limits).items()
        counts = [f"{name.replace('_', '-')}={count}" for name, count in limits if count is not None]
        return " ".join((self.id, f"sha256:{self.salt.hex()}:{self.digest.hex()}", *counts))


def new_key() -> str:
    """256 random bits."""
    return f"sk-octavo-{secrets.token_urlsafe(32)}"


def digest(key: bytes, salt: bytes) -> bytes:
    return hashlib.sha256(salt + key).digest()


def find_key(keys: Sequence[ApiKey], given: bytes) -> ApiKey | None:
    """Whose key this is. Every one is compared, in a time that does not tell where they differ."""
    digests = {salt: digest(given, salt) for salt in {key.salt for key in keys}}
    found = None
    for key in keys:
        if hmac.compare_digest(digests[key.salt], key.digest):
            found = key
    return found


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """A key file: one key a line, # begins a comment. Raises StartError, naming the line."""
    keys: list[ApiKey] = []
    limits_of: dict[str, KeyLimits] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        key = _parse_line(fields, number)
        if limits_of.setdefault(key.id, key.limits) != key.limits:
            raise StartError(f"line {number}: {key.id} has other limits in a line before.")
        keys.append(key)
    if len(keys) > MAX_KEYS:
        raise StartError(f"{len(keys)} keys; allowed: {MAX_KEYS}.")
    return tuple(keys)


def _parse_line(fields: list[str], number: int) -> ApiKey:
    hashed = _HASH.fullmatch(fields[1]) if len(fields) > 1 else None
    if not _ID.fullmatch(fields[0]) or hashed is None:
        raise StartError(
            f"line {number} is not `NAME sha256:SALT:HASH [limits]`; `octavo keys add NAME` makes one."
        )
    names = {field.name.replace("_", "-"): field.name for field in dataclasses.fields(KeyLimits)}
    counts: dict[str, int] = {}
    for field in fields[2:]:
        name, _, count = field.partition("=")
        if name not in names or not _COUNT.fullmatch(count) or names[name] in counts:
            raise StartError(
                f"line {number}: {field[:80]!r} is no limit; allowed, once each: {'=N, '.join(names)}=N."
            )
        counts[names[name]] = int(count)
    return ApiKey(fields[0], bytes.fromhex(hashed[1]), bytes.fromhex(hashed[2]), KeyLimits(**counts))

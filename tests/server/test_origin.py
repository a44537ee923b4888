from octavo.core.relay import IDENTITY_HEADER, SECRET_HEADER, Identity
from octavo.server.origin import Origin, is_trusted

IDENTITY = Identity.new(5.0)


def scope(secret: bytes, identity: bytes = IDENTITY.header) -> dict[str, object]:
    return {"type": "http", "headers": [(SECRET_HEADER, secret), (IDENTITY_HEADER, identity)]}


def test_only_the_secret_makes_an_identity_count() -> None:
    assert Origin.of(scope(b"s"), "s", 7.0) == Origin(IDENTITY, is_relayed=True)
    for secret, identity, ours in ((b"x", IDENTITY.header, "s"), (b"s", b"odd", "s"), (b"s", b"", None)):
        origin = Origin.of(scope(secret, identity), ours, 7.0)
        assert origin.identity != IDENTITY and origin.identity.created == 7 and not origin.is_relayed


def test_no_secret_trusts_nobody() -> None:
    assert not is_trusted(scope(b""), None) and not is_trusted(scope(b"None"), None)
    assert not is_trusted(scope("ü".encode()), "s") and is_trusted(scope(b"s"), "s")


def test_what_is_attached_comes_first() -> None:
    origin = Origin(IDENTITY, is_relayed=True)
    assert Origin.of(origin.attached(scope(b"x")), None, 0.0) is origin

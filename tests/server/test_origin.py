import dataclasses
import itertools

from octavo.core.relay import IDENTITY_HEADER, SECRET_HEADER, TENANT_HEADER, Identity
from octavo.http.request_log import RequestRecord
from octavo.server.origin import Origin, is_trusted

IDENTITY = Identity.new(5.0)


def scope(
    secret: bytes, identity: bytes = IDENTITY.header, *, tenant: bytes = b"", key_id: str | None = None
) -> dict[str, object]:
    headers = [(SECRET_HEADER, secret), (IDENTITY_HEADER, identity), (TENANT_HEADER, tenant)]
    scope = {"type": "http", "http_version": "1.1", "headers": headers}
    RequestRecord("id", "POST", "/", 0.0, key_id=key_id).attach(scope)
    return scope


def test_only_the_secret_makes_an_identity_count() -> None:
    assert Origin.of(scope(b"s"), "s", 7.0) == Origin(IDENTITY, is_relayed=True)
    for secret, identity, ours in ((b"x", IDENTITY.header, "s"), (b"s", b"odd", "s"), (b"s", b"", None)):
        origin = Origin.of(scope(secret, identity), ours, 7.0)
        assert origin.identity != IDENTITY and origin.identity.created == 7 and not origin.is_relayed


def test_no_secret_trusts_nobody() -> None:
    assert not is_trusted(scope(b""), None) and not is_trusted(scope(b"None"), None)
    assert not is_trusted(scope("ü".encode()), "s") and is_trusted(scope(b"s"), "s")


def test_a_secret_may_have_any_letters() -> None:
    assert is_trusted(scope("geheim-ü".encode()), "geheim-ü")
    assert not is_trusted(scope("geheim-ü".encode("latin-1")), "geheim-ü")


def test_what_is_attached_comes_first() -> None:
    origin = Origin(IDENTITY, is_relayed=True)
    assert Origin.of(origin.attached(scope(b"x")), None, 0.0) == origin
    attached = origin.attached(scope(b"s", tenant=b"a"))
    assert Origin.of(attached, "s", 0.0) == dataclasses.replace(origin, tenant="a")


def test_a_request_is_of_who_holds_the_key_unless_a_trusted_router_knows_better() -> None:
    for secret, said, key_id, tenant in (
        (b"s", b"a", None, "a"),
        (b"s", b"a", "b", "a"),
        (b"s", b"", "b", "b"),
        (b"x", b"a", "b", "b"),
        (b"x", b"a", None, ""),
    ):
        given = scope(secret, tenant=said, key_id=key_id)
        assert Origin.of(given, "s", 0.0).tenant == tenant
        assert RequestRecord.of(given).key_id == (tenant or None)


def test_no_two_parties_share_a_cache_salt() -> None:
    parties = list(itertools.product(("", "a", "1", "1:a"), (None, "x", "1:a:x", "a:x", ":", "0::x")))
    salts = {Origin(IDENTITY, tenant=tenant).cache_salt(given, is_shared=False) for tenant, given in parties}
    assert len(salts) == len(parties) and "" in salts
    shared = {Origin(IDENTITY, tenant=tenant).cache_salt("x", is_shared=True) for tenant in ("", "a", "b")}
    assert len(shared) == 1

"""Keys as lines of a file: what is written is read, and what is wrong is named."""

import hypothesis
import hypothesis.strategies as st
import pytest

from octavo.core.errors import StartError
from octavo.http.api_keys import MAX_KEYS, ApiKey, KeyLimits, find_key, new_key, parse_keys

LIMITS = KeyLimits(requests_per_minute=60, tokens_per_minute=100_000, concurrency=4)


def test_a_line_is_read_as_it_was_written() -> None:
    key = ApiKey.of("secret", "team-a", LIMITS)
    assert parse_keys(f"# ours\n\n  {key.line}  # since May\n") == (key,)
    assert "secret" not in key.line


def test_keys_of_one_file_share_a_salt_and_files_do_not() -> None:
    first = ApiKey.of("a", "a")
    assert ApiKey.of("b", "b", known=(first,)).salt == first.salt
    assert ApiKey.of("b", "b").salt != first.salt


def test_the_right_key_is_found_among_several_salts() -> None:
    keys = tuple(ApiKey.of(f"secret-{number}", f"id-{number}") for number in range(5))
    for number, key in enumerate(keys):
        assert find_key(keys, f"secret-{number}".encode()) is key
    for wrong in (b"", b"secret-", b"secret-5", b"\x00", b"\xff\xfe", b"x" * 100_000, keys[0].digest):
        assert find_key(keys, wrong) is None


@hypothesis.given(st.binary(max_size=64))
def test_nothing_else_opens(given: bytes) -> None:
    assert find_key((ApiKey.of("secret", "a"),), given) is None


def test_new_keys_are_long_and_never_the_same() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert len(new_key()) > 50


HASH = ApiKey.of("k", "a").line.split()[1]


@pytest.mark.parametrize(
    ("line", "complaint"),
    (
        ("a", "line 2 is not `NAME sha256:SALT:HASH"),
        (f"a {HASH[:-1]}", "line 2 is not"),
        (f"a {HASH.replace('sha256', 'md5')}", "line 2 is not"),
        (f"a/b {HASH}", "line 2 is not"),
        (f"{'a' * 65} {HASH}", "line 2 is not"),
        (f"a {HASH} speed=1", "line 2: 'speed=1' is no limit; allowed, once each: requests-per-minute=N,"),
        *((f"a {HASH} concurrency{rest}", "is no limit") for rest in ("", "=", "=0", "=-1", "=1.5", "=x")),
        (f"a {HASH} concurrency=1 concurrency=1", "is no limit"),
        (f"a {HASH} concurrency={10**12}", "is no limit"),
        (f"a {HASH}\na {HASH} concurrency=1", "line 3: a has other limits in a line before"),
    ),
)
def test_a_faulty_line_is_named(line: str, complaint: str) -> None:
    with pytest.raises(StartError, match=complaint.split("(")[0]) as raised:
        parse_keys(f"# first\n{line}")
    assert complaint in str(raised.value)


def test_a_file_holds_so_many_keys_and_no_more() -> None:
    assert len(parse_keys("\n".join([f"a {HASH}"] * MAX_KEYS))) == MAX_KEYS
    with pytest.raises(StartError, match="1001 keys; allowed: 1000"):
        parse_keys("\n".join([f"a {HASH}"] * (MAX_KEYS + 1)))


@pytest.mark.parametrize("name", ("", "a b", "-a", "a\n", "é", "x" * 65))
def test_a_name_is_plain(name: str) -> None:
    with pytest.raises(StartError, match="is no name for a key"):
        ApiKey.of("secret", name)

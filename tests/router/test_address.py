import pytest

from octavo.router.address import Address


@pytest.mark.parametrize(
    ("url", "address"),
    (
        ("http://h:81", Address("h", 81)),
        ("http://h:81/v1", Address("h", 81)),
        ("http://h", Address("h", 80)),
        ("https://h/base/v1/", Address("h", 443, True, "/base")),
        ("http://[::1]:9", Address("::1", 9)),
    ),
)
def test_a_url_is_an_address(url: str, address: Address) -> None:
    assert Address.parse(url) == address


@pytest.mark.parametrize(
    "url", ("h:81", "ftp://h", "http://", "http://h/?a=b", "http://h:port", "http://h:0", "http://me:key@h")
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        Address.parse(url)

"""Which endpoints an operator may list, and which addresses are nobody's store."""

from ipaddress import ip_address

import pytest
from pydantic import ValidationError

from core.config import S3Storage, Settings, s3_origin
from core.storage.addresses import is_nobodys_store


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://s3.eu-central-1.amazonaws.com", "https://s3.eu-central-1.amazonaws.com"),
        ("HTTPS://Store.Example/", "https://store.example"),
        ("https://store.example:443", "https://store.example"),
        ("http://store.example:80/", "http://store.example"),
        ("https://store.example:80", "https://store.example:80"),
        ("http://storage:9000", "http://storage:9000"),
        ("http://storage:09000", "http://storage:9000"),
        ("http://10.0.0.7:9000", "http://10.0.0.7:9000"),
        ("http://[0:0:0:0::1]:9000", "http://[::1]:9000"),
        ("https://[FD00::A]", "https://[fd00::a]"),
    ],
)
def test_an_endpoint_has_one_spelling(url: str, origin: str) -> None:
    assert s3_origin(url) == s3_origin(origin) == origin
    assert Settings(s3_endpoints=(url,)).s3_endpoints == (origin,)
    assert S3Storage(bucket="b", public_url=url).public_url == origin


@pytest.mark.parametrize(
    "url",
    [
        "", "store.example", "//store.example", "ftp://store.example", "file:///x", "https://",
        "https://user@store.example", "https://user:word@store.example", "https://store.example/x",
        "https://store.example?x", "https://store.example#x", "https://store.example//",
        "https://store.example:0", "https://store.example:65536", "https://store.example:",
        "https://store.example:a", "https://store example", "https://store.example\n",
        "https://store.example\\x", "https://-store", "https://[::1", "https://[::g]",
        "https://[fe80::1%25lo]", "https://störe.example", "https://store.example%2f",
        "https://\u212aafka.example", "https://*.example", "https://store.example,https://other.example",
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_no_endpoint(url: str) -> None:
    with pytest.raises(ValueError, match=r"https://HOST|[Aa]t least|address|[Oo]nly hex"):
        s3_origin(url)
    with pytest.raises(ValidationError):
        Settings(s3_endpoints=(url,))


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "169.254.0.1", "0.0.0.0", "224.0.0.1", "100.100.100.200",
        "168.63.129.16", "fe80::1", "fe80::1%1", "::", "ff02::1", "fd00:ec2::254",
        "fd20:ce::254", "::ffff:169.254.169.254", "::169.254.169.254",
        "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1", "2001:0:a9fe:a9fe::1",
        "::ffff:0.0.0.0",
    ],
)  # fmt: skip
def test_nobodys_stores(address: str) -> None:
    assert is_nobodys_store(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.7", "192.168.1.1", "52.219.169.254", "100.100.100.201", "::1",
        "fd00::1", "2600:1f60::1", "::ffff:10.0.0.7", "64:ff9b::52.219.0.1",
    ],
)  # fmt: skip
def test_what_an_operator_may_mean(address: str) -> None:
    """Private addresses too: where they are listed, they are meant."""
    assert not is_nobodys_store(ip_address(address))

"""Which URLs may be given for webhooks, and which addresses anything is sent to."""

import asyncio
from ipaddress import ip_address

import pytest
from pydantic import ValidationError

from core.config import Settings, WebhookSettings
from core.errors import InvalidInput
from core.execution.reach import NotAllowed, Reach
from tests.fixtures.hosts import Names

EVERYWHERE = Reach(private=True, loopback=True)
PUBLIC = ["93.184.216.34", "2606:4700::1111", "64:ff9b::93.184.216.34", "2002:5db8:d822::1"]
PRIVATE = ["10.0.0.7", "192.168.1.1", "172.16.0.1", "100.64.0.1", "fd00::1", "64:ff9b::10.0.0.1"]
LOOPBACK = ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
NOBODYS = [
    "169.254.169.254", "100.100.100.200", "168.63.129.16", "0.0.0.0", "224.0.0.1", "fe80::1", "::",
    "ff02::1", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1", "2001:0:a9fe:a9fe::1", "::169.254.169.254",
]  # fmt: skip
NOT_PUBLIC = [
    *PRIVATE, *LOOPBACK, *NOBODYS, "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1",
    "2001:db8::1", "fec0::1", "64:ff9b:1::1", "2002:0a00:0001::1", "::ffff:10.0.0.1", "5f00::1",
    "2001:0:0a00:0001::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_the_internet_is_reached_by_https_alone(address: str) -> None:
    assert Reach().admits(ip_address(address), "https")
    assert not EVERYWHERE.admits(ip_address(address), "http")


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_nothing_else_is_reached(address: str) -> None:
    assert not Reach().admits(ip_address(address), "https")


def test_the_operators_own_network_is_reached_if_that_is_said() -> None:
    for each in PRIVATE:
        assert Reach(private=True).admits(ip_address(each), "https")
        assert not EVERYWHERE.admits(ip_address(each), "http")
    for each in LOOPBACK:
        assert not Reach(private=True).admits(ip_address(each), "https")
        assert EVERYWHERE.admits(ip_address(each), "http")
    for each in NOBODYS:
        assert not EVERYWHERE.admits(ip_address(each), "https")


@pytest.mark.parametrize(
    ("url", "spelled"),
    [
        ("https://hooks.example", "https://hooks.example/"),
        ("HTTPS://Hooks.Example:443/In?a=B&c", "https://hooks.example/In?a=B&c"),
        ("https://hooks.example?x=1", "https://hooks.example/?x=1"),
        ("https://hooks.example:8443//a/%2e%2e/b", "https://hooks.example:8443//a/%2e%2e/b"),
        ("https://[2606:4700::1]/x", "https://[2606:4700::1]/x"),
    ],
)
def test_a_url_has_one_spelling(url: str, spelled: str) -> None:
    assert Reach().checked(url) == Reach().checked(spelled) == spelled


@pytest.mark.parametrize(
    "url",
    [
        "", "hooks.example", "//hooks.example/x", "ftp://hooks.example", "file:///etc/passwd",
        "https://", "https:///x", "https://user@hooks.example", "https://user:word@hooks.example/x",
        "https://hooks.example/x#y", "https://hooks.example\\@evil.example/", "https://a b/",
        "https://hooks.example/a b", "https://hooks.example/\n", "https://hooks.example/\\x",
        "https://hooks.example:0/", "https://hooks.example:99999/", "https://h\u00f6ks.example/",
        "https://hooks.example/\u00e4", "https://[fe80::1%25lo]/",
        f"https://hooks.example/{'x' * 2_048}",
        "http://hooks.example/", "http://localhost/", "http://127.0.0.1/", "https://127.0.0.1/",
        "https://10.0.0.1/", "https://169.254.169.254/latest", "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
    ],
)  # fmt: skip
def test_what_else_a_url_may_be_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"^url: ") as refused:
        Reach().checked(url)
    assert refused.value.stable_code == "url_not_allowed"


def test_this_machine_needs_no_certificate() -> None:
    for url in ("http://127.0.0.1:9000/x", "http://localhost:9000/x", "https://[::1]/"):
        assert EVERYWHERE.checked(url) == url
        with pytest.raises(InvalidInput):
            Reach(private=True).checked(url)
    for url in ("http://hooks.example/", "http://10.0.0.1/", "https://169.254.169.254/"):
        with pytest.raises(InvalidInput):
            EVERYWHERE.checked(url)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "017700000001"])
def test_a_number_is_judged_by_where_it_leads(host: str) -> None:
    url = Reach().checked(f"https://{host}/")
    with pytest.raises((NotAllowed, OSError)):
        asyncio.run(Reach().pinned(url))


def test_one_bad_address_of_a_name_spoils_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, "93.184.216.34", "10.0.0.1", name="hooks.example")
    assert asyncio.run(Reach().pinned("https://hooks.example/")) == ("93.184.216.34",)
    with pytest.raises(NotAllowed):
        asyncio.run(Reach().pinned("https://hooks.example/"))


def test_what_the_operator_allows() -> None:
    private = Settings(webhooks=WebhookSettings(allow_private=True))
    assert Reach.of(Settings()) == Reach()
    assert Reach.of(private) == EVERYWHERE
    strangers = private.model_copy(update={"auth": "keys"})
    assert Reach.of(strangers) == Reach(private=True)


def test_webhooks_need_a_key_that_is_long() -> None:
    on = WebhookSettings(enabled=True)
    for key in (None, "", "k" * 31, f"{'k' * 32},short"):
        with pytest.raises(ValidationError, match=r"HEADSTART_SECRET_KEY|32 characters"):
            Settings(webhooks=on, secret_key=key)
    assert Settings(webhooks=on, secret_key=f"{'k' * 32}, {'o' * 32}").webhooks.enabled
    assert Settings(secret_key="").secret_key is None

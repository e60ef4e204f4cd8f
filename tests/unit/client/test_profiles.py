"""Which server is asked by which key."""

import stat
from pathlib import Path

import pytest

import headstart
from headstart import profiles
from headstart.profiles import Target

KEPT = {
    "default": Target("https://main.example", "hs_main"),
    "lab": Target("https://lab.example", "hs_lab"),
}


@pytest.fixture
def kept(alone: None) -> Path:
    return profiles.write(KEPT)


def chosen(**options: str) -> tuple[str, str | None]:
    target = profiles.chosen(**options)
    return target.url, target.key


def test_this_machine_unless_told_otherwise() -> None:
    assert chosen() == ("http://127.0.0.1:8765", None)


@pytest.mark.usefixtures("kept")
def test_arguments_then_environment_then_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen() == ("https://main.example", "hs_main")
    assert chosen(profile="lab") == ("https://lab.example", "hs_lab")
    monkeypatch.setenv("HEADSTART_PROFILE", "lab")
    assert chosen() == ("https://lab.example", "hs_lab")
    monkeypatch.setenv("HEADSTART_URL", "https://env.example/")
    monkeypatch.setenv("HEADSTART_KEY", "hs_env")
    assert chosen() == ("https://env.example", "hs_env")
    assert chosen(profile="default") == ("https://main.example", "hs_main")
    assert chosen(url="https://arg.example", key="hs_arg") == ("https://arg.example", "hs_arg")


@pytest.mark.usefixtures("kept")
def test_a_profiles_key_is_for_its_own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(url="https://elsewhere.example") == ("https://elsewhere.example", None)
    assert chosen(url="https://lab.example", profile="lab") == ("https://lab.example", "hs_lab")
    assert chosen(url="https://x.example", profile="lab") == ("https://x.example", None)
    monkeypatch.setenv("HEADSTART_URL", "https://elsewhere.example")
    assert chosen() == ("https://elsewhere.example", None)


def test_the_key_of_the_environment_is_for_its_own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_KEY", "hs_env")
    assert chosen() == ("http://127.0.0.1:8765", "hs_env")
    assert chosen(url="https://x.example") == ("https://x.example", None)
    profiles.write(KEPT)
    assert chosen() == ("https://main.example", "hs_env")
    assert chosen(url="https://main.example") == ("https://main.example", "hs_main")
    monkeypatch.setenv("HEADSTART_URL", "https://env.example/")
    assert chosen() == ("https://env.example", "hs_env")
    assert chosen(url="https://env.example") == ("https://env.example", "hs_env")
    assert chosen(url="https://x.example") == ("https://x.example", None)


def test_who_says_server_and_key_needs_no_file(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.write_text("no profiles")
    monkeypatch.setenv("HEADSTART_PROFILE", "x")
    assert chosen(url="https://x.example/", key="hs_x") == ("https://x.example", "hs_x")
    with pytest.raises(headstart.Problem):
        chosen(url="https://x.example", key="hs_x", profile="lab")


def test_who_has_no_home_has_no_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(Path, "home", nobody)
    assert chosen() == ("http://127.0.0.1:8765", None)
    for work in (lambda: profiles.write(KEPT), lambda: chosen(profile="lab")):
        with pytest.raises(headstart.Problem, match="XDG_CONFIG_HOME"):
            work()


def test_the_file_is_its_owners(kept: Path) -> None:
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert profiles.read() == KEPT
    assert "hs_" not in repr(profiles.read())
    assert [each.name for each in kept.parent.iterdir()] == ["config.toml"]
    kept.chmod(0o644)
    with pytest.raises(headstart.Problem, match="chmod 600"):
        chosen()


@pytest.mark.parametrize(
    "text", ["[profiles.a]\nkey='hs_canary'", "hs_canary", "profiles=1", "[profiles]\na='x'"]
)
def test_a_file_that_is_none_is_said_without_what_is_in_it(kept: Path, text: str) -> None:
    kept.write_text(text)
    with pytest.raises(headstart.Problem) as refused:
        chosen()
    assert refused.value.code == "bad_profiles"
    assert "canary" not in str(refused.value)


@pytest.mark.usefixtures("kept")
def test_a_profile_that_is_not_there_is_said_with_those_that_are() -> None:
    with pytest.raises(headstart.Problem, match=r"it has: default, lab.*headstart login --as x"):
        headstart.Client(profile="x")


@pytest.mark.parametrize(
    "url", ["ftp://x", "nonsense", "https://", "https://key@x.example", "https://x.example?k=1"]
)
def test_an_address_is_an_address(url: str) -> None:
    with pytest.raises(headstart.Problem) as refused:
        headstart.Client(url)
    assert refused.value.code == "bad_url"


@pytest.mark.parametrize("name", ["a.b", 'quo"te', "ünï", "new\nline"])
def test_whatever_a_profile_is_called(name: str) -> None:
    profiles.write({name: Target("https://x.example", 'hs_"\\')})
    assert profiles.read() == {name: Target("https://x.example", 'hs_"\\')}

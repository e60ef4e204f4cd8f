"""Projects, keys and the audit log at the command line of whoever has the database."""

import json
import re
import shutil
from pathlib import Path

import pytest

from api import serving
from core.config import Settings
from core.db.sessions import Sessions
from core.domain.identity import Scope
from core.services import api_keys
from tests.unit.api.conftest import Say, said

KEY = re.compile(r"hs_\w{8}_\w{43}_\w{6}")


@pytest.fixture
def operate(
    migrated_sqlite: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Say:
    """An operator beside a fresh database; nothing serves."""
    shutil.copy(migrated_sqlite, tmp_path / "headstart.db")
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path))
    return lambda *typed: said(monkeypatch, capsys, *typed)


def listed(operate: Say, *words: str) -> list[dict[str, object]]:
    status, _, text = operate(*words, "--json").partition("\n")
    assert status in {"0", "None"}
    items: list[dict[str, object]] = json.loads(text)["items"]
    return items


def test_from_a_project_to_a_revoked_key(operate: Say, tmp_path: Path) -> None:
    operate("projects", "create", "vision", "--active-jobs", "3")
    made = operate("keys", "create", "--project", "vision", "--name", "ci", "--scope", "read",
                   "--expires", "90d")  # fmt: skip
    (text,) = KEY.findall(made)
    opened = Sessions(f"sqlite:///{tmp_path / 'headstart.db'}")
    with opened.read() as session:
        identity = api_keys.identify(session, text)
    opened.dispose()
    assert identity.scope is Scope.READ
    key_id = text.split("_")[1]
    (key,) = listed(operate, "keys", "list")
    assert (key["id"], key["project"], key["name"], key["revoked_at"]) == (
        key_id, "vision", "ci", None,
    )  # fmt: skip
    assert "is revoked" in operate("keys", "revoke", key_id)
    assert listed(operate, "keys", "list", "--project", "vision")[0]["revoked_at"] is not None
    assert listed(operate, "keys", "list", "--project", "default") == []

    done = listed(operate, "audit", "--project", "vision")
    assert [each["action"] for each in done] == ["keys revoke", "keys create", "projects create"]
    assert {each["actor"] for each in done} == {"operator"}
    shown = operate("keys", "list") + operate("audit") + json.dumps(done)
    assert key_id in shown
    assert text.split("_")[2] not in shown


def test_limits_are_said_anew(operate: Say) -> None:
    operate("projects", "create", "vision", "--active-jobs", "3")
    operate("projects", "limit", "vision", "--gpu-seconds", "7.5")
    (vision,) = [each for each in listed(operate, "projects", "list") if each["name"] == "vision"]
    assert (vision["active_jobs"], vision["gpu_seconds"]) == (None, 7.5)
    assert "7.5" in operate("projects", "list")


def test_others_are_let_in_only_where_somebody_asks_who_they_are(tmp_path: Path) -> None:
    closed = Settings(home=tmp_path)
    for host in ("127.0.0.1", "localhost", "::1"):
        serving.check_address(host, closed)
    for host in ("0.0.0.0", "10.0.0.7", "example.com", "::"):
        with pytest.raises(ValueError, match="HEADSTART_AUTH=keys"):
            serving.check_address(host, closed)
        serving.check_address(host, Settings(home=tmp_path, auth="keys"))
        serving.check_address(host, Settings(home=tmp_path, allow_unauthenticated_network=True))


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("keys", "create", "--project", "nobody"), "1", "There is no project called nobody"),
        (("keys", "create", "--project", "public"), "1", "has no keys"),
        (("keys", "create", "--expires", "soon"), "2", "say 90d"),
        (("keys", "revoke", "nobody00"), "1", "There is no key"),
        (("projects", "create", "Vision!"), "1", "small letters"),
        (("projects", "create", "default"), "1", "already"),
    ],
)
def test_refusals_are_sentences(
    operate: Say, words: tuple[str, ...], status: str, sentence: str
) -> None:
    answer = operate(*words)
    assert answer.startswith(status)
    assert sentence in " ".join(answer.split())

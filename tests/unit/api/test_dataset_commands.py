"""`headstart datasets` against a service, and the pages that do the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.bootstrap import Container
from tests.unit.api import scenes
from tests.unit.api.archives import class_folders, png, zipped
from tests.unit.api.conftest import Say
from tests.unit.api.test_versions import idle, uploaded

Two = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture
def two(client: httpx.Client, container: Container) -> Two:
    """A dataset and its next version, which no job needs."""
    first = class_folders()
    second = {**first, "emu/1.png": png(201), "emu/2.png": png(202)}
    second["dog/was-cat.png"] = second.pop("cat/0.png")
    made = uploaded(client, first, name="first", licence="CC0-1.0")
    later = uploaded(client, second, name="second", parent_id=made["id"], source="https://x.org/")
    idle(container)
    return made, later


def test_versions_and_what_changed(say: Say, two: Two) -> None:
    first, second = two
    listed = say("datasets", "list")
    assert listed.startswith("0\n")
    assert all(word in listed for word in (first["id"], second["id"], "CC0-1.0"))
    shown = [line.split() for line in say("datasets", "versions", "first").splitlines()[2:4]]
    assert shown == [
        [first["id"], "1", "first", "12"],
        [second["id"], "2", "1", "second", "14"],
    ]
    told = say("datasets", "diff", "second")
    assert told == say("datasets", "diff", "second", "--against", first["id"][:8])
    assert "in another class: dog/was-cat.png (cat, " in told
    assert "added: emu/1.png (emu, " in told
    body = json.loads(say("datasets", "diff", "second", "--json").removeprefix("0\n"))
    assert (body["dataset_id"], body["against"]) == (second["id"], first["id"])
    assert "first_version" in say("datasets", "diff", "first")


def test_rm_asks_first(
    say: Say, two: Two, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = f"/v1/datasets/{two[0]['id']}"

    def answering(answer: bool) -> Callable[[str], bool]:
        def confirm(asked: str) -> bool:
            assert "'first'" in asked
            assert "12 images" in asked
            return answer

        return confirm

    monkeypatch.setattr("typer.confirm", answering(False))
    assert say("datasets", "rm", "first").startswith("1\n")
    assert client.get(at).status_code == 200
    monkeypatch.setattr("typer.confirm", answering(True))
    assert say("datasets", "rm", "first") == "0\ndeleted\n"
    assert client.get(at).status_code == 410
    assert say("datasets", "rm", two[1]["id"], "--yes") == "0\ndeleted\n"
    assert "not_found" in say("datasets", "rm", "first", "--yes")
    assert "dataset_deleted" in say("datasets", "rm", two[0]["id"], "--yes")


def test_a_page_lists_versions_and_leads_to_what_changed(browser: httpx.Client, two: Two) -> None:
    first, second = two
    page = browser.get(f"/datasets/{second['id']}").text
    address = f"/datasets/{second['id']}/diff?against={first['id']}"
    assert f'href="{address}"' in page
    assert "+2 images" in page
    assert 'href="https://x.org/" rel="noreferrer"' in page
    assert "CC0-1.0" in browser.get(f"/datasets/{first['id']}").text
    changes = browser.get(address)
    assert changes.status_code == 200
    for words in ("Added (2)", "In another class (1)", "emu/1.png", "dog/was-cat.png"):
        assert words in changes.text
    assert "Removed (" not in changes.text
    same = browser.get(f"/datasets/{first['id']}/diff?against={first['id']}").text
    assert "The same images" in same


def test_a_version_of_nothing_is_not_sent(say: Say, container: Container, tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(zipped(class_folders()))
    assert "not_found" in say("upload", str(archive), "--version-of", "nothing")
    gone = scenes.dataset(container, "gone")
    assert say("datasets", "rm", str(gone.id), "--yes") == "0\ndeleted\n"
    assert "dataset_deleted" in say("upload", str(archive), "--version-of", str(gone.id))
    assert list(container.store.listing("")) == []


@pytest.mark.parametrize("source", ["javascript:alert(1)", '"><script>alert(1)</script>'])
def test_a_source_is_text_unless_it_is_an_address(
    client: httpx.Client, browser: httpx.Client, source: str
) -> None:
    made = uploaded(client, source=source)
    page = browser.get(f"/datasets/{made['id']}").text
    assert 'href="javascript' not in page
    assert "<script>alert" not in page


def test_a_page_asks_before_it_deletes(
    browser: httpx.Client, container: Container, two: Two
) -> None:
    first, second = two
    asked = browser.get(f"/datasets/{first['id']}/delete")
    assert (asked.status_code, "12 images" in asked.text) == (200, True)
    assert f'action="/datasets/{first["id"]}/delete" method="post"' in asked.text
    assert browser.get(f"/datasets/{first['id']}").status_code == 200
    answer = browser.post(f"/datasets/{first['id']}/delete")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    for address in ("", "/delete", f"/diff?against={second['id']}"):
        assert browser.get(f"/datasets/{first['id']}{address}").status_code == 410
    page = browser.get(f"/datasets/{second['id']}").text
    assert "(deleted)" in page
    assert "/diff?against" not in page
    target = scenes.dataset(container, "busy")
    job = scenes.queued(container, target)
    busy = browser.get(f"/datasets/{target.id}/delete").text
    assert f'href="/jobs/{job.id}"' in busy
    assert 'method="post"' not in busy
    assert browser.post(f"/datasets/{target.id}/delete").status_code == 409

"""Archives sent in pieces by the command line: one after the other, and none left behind."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api import sending
from api.remote import Refused, Remote
from core.bootstrap import Container
from core.services import uploads

AT_MOST = 16  # archives of one dataset; half as many uploads may be under way


def archives(folder: Path, count: int) -> list[Path]:
    made = [folder / f"{number}.zip" for number in range(count)]
    for path in made:
        path.write_bytes(path.name.encode() * 100)
    return made


def send(client: httpx.Client, paths: list[Path], **options: Any) -> Any:
    heard: list[int] = []
    terms: dict[str, Any] = {"name": "many", "options": options, "sent": heard.append}
    job = sending.upload(Remote(client), paths, **terms)
    assert sum(heard) == sum(path.stat().st_size for path in paths)
    return job


def used(container: Container) -> int:
    with container.sessions.read() as session:
        return uploads.used_bytes(session)


def test_more_archives_than_may_be_under_way_are_one_dataset(
    client: httpx.Client, container: Container, tmp_path: Path
) -> None:
    assert container.settings.uploads.open_uploads < AT_MOST
    job = send(client, archives(tmp_path, AT_MOST))
    assert (job["kind"], len(job["spec"]["uploads"])) == ("ingest", AT_MOST)


def test_nothing_stays_of_what_no_job_will_read(
    client: httpx.Client, container: Container, tmp_path: Path
) -> None:
    with pytest.raises(Refused) as caught:
        send(client, archives(tmp_path, 3), parent_id=str(uuid4()))
    assert caught.value.code == "not_found"
    assert used(container) == 0
    assert list(container.store.listing("uploads")) == []


def test_nothing_stays_of_what_was_broken_off(
    client: httpx.Client, container: Container, tmp_path: Path
) -> None:
    def stopped(_: object) -> None:
        raise KeyboardInterrupt

    paths = archives(tmp_path, 2)
    terms: dict[str, Any] = {"name": "many", "options": {}}
    with pytest.raises(KeyboardInterrupt):
        sending.upload(Remote(client), paths, sent=stopped, **terms)
    assert used(container) == 0


def test_what_a_job_has_stays_though_its_answer_is_lost(
    client: httpx.Client, container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = archives(tmp_path, 2)
    ask = Remote.post

    def lost(self: Remote, path: str, body: Any) -> Any:
        ask(self, path, body)
        raise Refused("The connection broke.", code="unreachable")

    monkeypatch.setattr(Remote, "post", lost)
    with pytest.raises(Refused):
        send(client, paths)
    assert used(container) == sum(path.stat().st_size for path in paths)

"""Archives sent in pieces by the client: one after the other, and none left behind."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import headstart
from core.bootstrap import Container
from core.services import uploads

AT_MOST = 16  # archives of one dataset; half as many uploads may be under way


def archives(folder: Path, count: int) -> list[Path]:
    made = [folder / f"{number}.zip" for number in range(count)]
    for path in made:
        path.write_bytes(path.name.encode() * 100)
    return made


def send(program: headstart.Client, paths: list[Path], **options: Any) -> Any:
    heard: list[tuple[int, int]] = []
    job = program.datasets.send(
        paths, name="many", progress=lambda done, total: heard.append((done, total)), **options
    )
    total = sum(path.stat().st_size for path in paths)
    assert heard[-1] == (total, total)
    return job.view


def used(container: Container) -> int:
    with container.sessions.read() as session:
        return uploads.used_bytes(session)


def test_more_archives_than_may_be_under_way_are_one_dataset(
    program: headstart.Client, container: Container, tmp_path: Path
) -> None:
    assert container.settings.uploads.open_uploads < AT_MOST
    job = send(program, archives(tmp_path, AT_MOST))
    assert (job["kind"], len(job["spec"]["uploads"])) == ("ingest", AT_MOST)


def test_nothing_stays_of_what_no_job_will_read(
    program: headstart.Client, container: Container, tmp_path: Path
) -> None:
    with pytest.raises(headstart.NotFound) as caught:
        send(program, archives(tmp_path, 3), parent_id=str(uuid4()))
    assert caught.value.code == "not_found"
    assert used(container) == 0
    assert list(container.store.listing("uploads")) == []


def test_nothing_stays_of_what_was_broken_off(
    program: headstart.Client, container: Container, tmp_path: Path
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        program.datasets.send(archives(tmp_path, 2), name="many", progress=stopped)
    assert used(container) == 0


def test_what_a_job_has_stays_though_its_answer_is_lost(
    program: headstart.Client,
    container: Container,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = archives(tmp_path, 2)
    ingest = type(program.datasets).ingest

    def lost(*arguments: Any, **options: Any) -> Any:
        ingest(*arguments, **options)
        raise headstart.Unreachable("The connection broke.")

    monkeypatch.setattr(type(program.datasets), "ingest", lost)
    with pytest.raises(headstart.Unreachable):
        send(program, paths)
    assert used(container) == sum(path.stat().st_size for path in paths)

"""The operator's page: the whole installation to whoever operates it, to others their own."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from core.bootstrap import Container
from core.db.clock import now
from core.db.job_tables import JobRow
from core.domain.jobs import JobKind
from core.services import jobs
from tests.unit.api import scenes
from tests.unit.api.keyed import Keyed, keyed

PAGE = {"Accept": "text/html"}
SEEN = re.compile(r'hx-get="(/operations/live\?seen=\w+)"')


@pytest.fixture(scope="module")
def service(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    yield from keyed(migrated_sqlite, tmp_path_factory.mktemp("keyed"))


def row(page: str, name: str) -> list[str]:
    """The cells of the table row that begins with these words."""
    for found in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL):
        cells = [" ".join(re.sub("<[^>]+>", " ", each).split()) for each in found.split("</td>")]
        if cells[0].startswith(name):
            return cells
    raise AssertionError(f"no row {name}")


def test_queues_workers_and_failures(browser: httpx.Client, container: Container) -> None:
    quiet = browser.get("/operations").text
    for said in ("Nothing waits", "Nobody computes", "None.", "database: ok", "queue: ok"):
        assert said in quiet
    target = scenes.dataset(container)
    failed = scenes.failed(container, target, "diverged", "It went away.")
    lost = scenes.running(container, target)
    with container.sessions.begin() as session:
        again = jobs.claim(session, queue=lost.queue, owner="x", lease_seconds=600)
        assert again is None
        past = {"lease_until": now(-5.0), "heartbeat_at": now(-90.0)}
        session.execute(update(JobRow).where(JobRow.id == lost.id).values(past))
    scenes.queued(container, target)
    scenes.queued(container, target, JobKind.PRETRAIN)
    page = browser.get("/operations").text
    assert row(page, "Architecture search")[1:5] == ["gpu", "1", "0", "1"]
    assert row(page, "Supernet pretraining")[1:5] == ["gpu", "1", "0", "0"]
    assert row(page, "lost")[0] == "lost test gpu queue"
    assert row(page, "diverged")[1] == "1"
    assert f'<a href="/jobs/{failed.id}">' in page
    assert f'<a href="/jobs/{lost.id}">' in page
    assert row(page, "default")[1] == "3 of no limit"


def test_a_lost_attempt_is_told_while_the_job_goes_on(
    browser: httpx.Client, container: Container
) -> None:
    job = scenes.running(container, scenes.dataset(container))
    with container.sessions.begin() as session:
        session.execute(update(JobRow).where(JobRow.id == job.id).values(lease_until=now(-5.0)))
        jobs.reap(session, retry_delays=(600.0,))
    page = browser.get("/operations").text
    assert f'1 for <code>worker_lost</code>: <a href="/jobs/{job.id}">' in page
    assert row(page, "Architecture search")[2:5] == ["0", "1", "0"]


def test_nothing_is_sent_again_that_was_seen(browser: httpx.Client, container: Container) -> None:
    (again,) = SEEN.findall(browser.get("/operations").text)
    assert browser.get(again).status_code == 204
    scenes.queued(container, scenes.dataset(container))
    changed = browser.get(again)
    assert changed.status_code == 200
    assert "<html" not in changed.text
    assert SEEN.findall(changed.text) != [again]


def test_other_projects_are_the_operators_business_alone(service: Keyed) -> None:
    mine = service.mine
    theirs = replace(mine, sessions=service.container.sessions.within(service.other))
    own = scenes.failed(mine, scenes.dataset(mine, "mine"), "diverged", "Mine.")
    foreign = scenes.failed(theirs, scenes.dataset(theirs, "theirs"), "out_of_memory", "Theirs.")
    scenes.running(theirs, scenes.dataset(theirs, "more of theirs"))
    everything = service.ask("GET", "/operations", "admin", headers=PAGE).text
    assert {"default", "other"} <= {row(everything, each)[0] for each in ("default", "other")}
    assert row(everything, "out_of_memory")[1] == "1"
    assert "of other" in everything
    assert str(foreign.id) not in everything  # this key could not open it
    for by, told, untold in (
        ("write", (own.id, "diverged", "default"), ("out_of_memory", "other", foreign.id)),
        ("other", (foreign.id, "out_of_memory"), ("diverged", "default<", own.id)),
    ):
        page = service.ask("GET", "/operations", by, headers=PAGE).text
        live = page[page.index('id="live"') :]
        for each in told:
            assert str(each) in live, by
        for each in untold:
            assert f">{each}" not in live, by
            assert f"/{each}" not in live, by
        assert "Software" not in page

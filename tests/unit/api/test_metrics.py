"""Counters add up to the rows, gauges are the rows, and labels are few."""

import random
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

import httpx
import pytest
from prometheus_client import generate_latest
from sqlalchemy import event, func, select, update
from sqlalchemy.orm import Session

from api import problems
from core.bootstrap import Container
from core.db.job_tables import JobEventRow, JobRow
from core.db.sessions import Sessions
from core.domain.jobs import TERMINAL, Job, JobKind, JobState, QueueName
from core.errors import AppError
from core.execution import metrics
from core.services import idempotency, jobs
from tests.unit.api import scenes
from tests.unit.services.samples import expire, queued

SAMPLE = re.compile(r"(?m)^(headstart_\w+?)(?:\{([^}]*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="([^"]*)"')
ZIP = {"Content-Type": "application/zip"}
KEY = re.compile(r"[0-9a-f]{8}|[0-9]{4}")
Samples = Counter[tuple[str, frozenset[tuple[str, str]]]]


def samples(text: str) -> Samples:
    """Every value, by name and labels."""
    found: Samples = Counter()
    for name, labels, value in SAMPLE.findall(text):
        found[name, frozenset(LABEL.findall(labels))] = float(value)  # type: ignore[assignment]
    return found


def told(name: str, now: Samples, before: Samples) -> dict[frozenset[tuple[str, str]], int]:
    """By how much the samples of this name have grown, where they have."""
    grown = {
        labels: now[each, labels] - before[each, labels] for each, labels in now if each == name
    }
    return {labels: round(value) for labels, value in grown.items() if value}


def counted() -> Samples:
    return samples(generate_latest(metrics.REGISTRY).decode())


def scraped(client: httpx.Client) -> Samples:
    return samples(client.get("/metrics").text)


class Walk:
    """Everything that can happen to jobs, in some order; some of it undone again."""

    def __init__(self, sessions: Sessions, seed: int) -> None:
        self.chance = random.Random(seed)
        self.held: list[Job] = []
        acts = [
            self.submit,
            self.submit,
            self.claim,
            self.claim,
            self.end,
            self.give_back,
            self.cancel,
        ]
        for _ in range(250):
            undone = self.chance.random() < 0.1
            with suppress(AppError), sessions.begin() as session:
                self.chance.choice(acts)(session)
                if undone:
                    raise AppError("changed our mind")
        with sessions.begin() as session:  # ids are drawn anew each time: none may wait by now
            queued(session)

    def submit(self, session: Session) -> None:
        kind = self.chance.choice([JobKind.EMBED, JobKind.RANK, JobKind.GROUP])
        made = queued(session, kind=kind, max_attempts=self.chance.choice([1, 3]))
        if kind is JobKind.GROUP:
            for _ in range(self.chance.randint(1, 3)):
                queued(session, parent_id=made.id)

    def claim(self, session: Session) -> None:
        job = jobs.claim(session, queue=QueueName.CPU, owner="w", lease_seconds=60)
        if job is not None:
            self.held.append(job)

    def end(self, session: Session) -> None:
        if self.held:
            job = self.held.pop(self.chance.randrange(len(self.held)))
            code = self.chance.choice(["out_of_memory", "diverged", ""])
            if code:
                jobs.fail(session, job.id, job.fence, code, "words")
            else:
                jobs.finish(session, job.id, job.fence, {})

    def give_back(self, session: Session) -> None:
        if self.held and self.chance.random() < 0.5:
            job = self.held.pop()
            terms: dict[str, Any] = {"reason": "drained", "charge": self.chance.random() < 0.5}
            jobs.release(session, job.id, job.fence, delay_seconds=0, **terms)
        elif self.held and jobs.get(session, self.held[0].id).state is JobState.RUNNING:
            expire(session, self.held[0].id)
            jobs.reap(session, retry_delays=(0.0,))

    def cancel(self, session: Session) -> None:
        ids = session.scalars(select(JobRow.id).where(JobRow.state.not_in(TERMINAL))).all()
        if ids:
            jobs.cancel(session, self.chance.choice(sorted(ids)))


def labels(**of: str) -> frozenset[tuple[str, str]]:
    return frozenset(of.items())


@pytest.mark.parametrize("seed", range(4))
def test_counters_add_up_to_the_rows(container: Container, seed: int) -> None:
    container.sessions.follow(metrics.count)
    container.sessions.follow(metrics.count)  # said twice, counted once
    before = counted()
    Walk(container.sessions, seed)
    after = counted()
    with container.sessions.read() as session:
        rows = session.execute(select(JobRow.kind, JobRow.state, JobRow.error_code)).all()
        gone_back = (JobEventRow.from_state == JobState.RUNNING) & (
            JobEventRow.to_state == JobState.QUEUED
        )
        moves = select(JobRow.kind, JobEventRow.reason).join(JobRow).where(gone_back)
        back = Counter(tuple(each) for each in session.execute(moves))
        claims = select(func.count()).where(JobEventRow.reason == "claimed")
        claimed = session.scalar(claims)
    assert {row.state for row in rows} == set(JobState)
    made = Counter(row.kind for row in rows)
    assert told("headstart_jobs_created_total", after, before) == {
        labels(kind=kind): number for kind, number in made.items()
    }
    ended = Counter(tuple(row) for row in rows if row.state in TERMINAL)
    assert told("headstart_jobs_finished_total", after, before) == {
        labels(kind=kind, state=state, code=code or ""): number
        for (kind, state, code), number in ended.items()
    }
    assert told("headstart_jobs_requeued_total", after, before) == {
        labels(kind=kind, reason=reason): number for (kind, reason), number in back.items()
    }
    waited = told("headstart_job_wait_seconds_count", after, before)
    assert waited == {labels(queue="cpu"): claimed}


def test_who_was_second_under_a_key_made_no_job(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job was made, and undone alone: the transaction went on."""
    container.sessions.follow(metrics.count)
    key, known = str(uuid4()), idempotency._known
    before = counted()

    def submit() -> bool:
        with container.sessions.begin() as session:
            return idempotency.once(session, key, asked=1, make=lambda: queued(session))[1]

    assert not submit()
    answers = iter([lambda *_: None, known])
    monkeypatch.setattr(idempotency, "_known", lambda *given: next(answers)(*given))
    assert submit()
    assert told("headstart_jobs_created_total", counted(), before) == {labels(kind="embed"): 1}


def test_a_claim_is_counted_with_its_wait(container: Container) -> None:
    container.sessions.follow(metrics.count)
    before = counted()
    with container.sessions.begin() as session:
        job = queued(session)
        past = {"not_before": job.created_at - timedelta(seconds=100)}
        session.execute(update(JobRow).values(past))
    with container.sessions.begin() as session:
        jobs.claim(session, queue=QueueName.CPU, owner="w", lease_seconds=60)
    after = counted()
    waits = told("headstart_job_wait_seconds_sum", after, before)
    assert waits[labels(queue="cpu")] == pytest.approx(100, abs=5)
    assert (labels(queue="cpu", le="300.0")) in told(
        "headstart_job_wait_seconds_bucket", after, before
    )


def test_gauges_are_the_rows(client: httpx.Client, container: Container) -> None:
    target = scenes.dataset(container)
    for _ in range(3):
        scenes.queued(container, target)
    scenes.running(container, target, JobKind.PRETRAIN)
    with container.sessions.begin() as session:
        queued(session, kind=JobKind.GROUP)
        old = update(JobRow).where(JobRow.state == JobState.QUEUED)
        session.execute(old.values(not_before=target.created_at - timedelta(hours=1)))
    found = scraped(client)
    assert found["headstart_queue_depth", labels(queue="gpu")] == 3
    assert found["headstart_queue_depth", labels(queue="cpu")] == 0
    assert found["headstart_jobs_running", labels(queue="gpu")] == 1
    oldest = found["headstart_queue_oldest_seconds", labels(queue="gpu")]
    assert 3_600 <= oldest < 3_700
    assert found["headstart_queue_oldest_seconds", labels(queue="cpu")] == 0
    assert found["headstart_database_up", labels()] == 1


def test_the_database_is_asked_once_however_many_scrape(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    engine = container.sessions._engine
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    everything = metrics.Everything(container.sessions, seconds=60)
    first = generate_latest(everything)
    once = len([each for each in asked if "FROM jobs" in each])
    assert once == 1
    assert b"headstart_queue_depth" in first
    for _ in range(20):
        assert b"headstart_queue_depth" in generate_latest(everything)
    assert len([each for each in asked if "FROM jobs" in each]) == 1
    monkeypatch.setattr(everything, "_seconds", 0.0)
    generate_latest(everything)
    assert len([each for each in asked if "FROM jobs" in each]) == 2


def test_without_a_database_the_counters_are_told_all_the_same(
    client: httpx.Client, container: Container
) -> None:
    (container.settings.home / "headstart.db").write_bytes(b"no database at all, but bytes" * 99)
    answer = client.get("/metrics")
    found = samples(answer.text)
    assert answer.status_code == 200
    assert found["headstart_database_up", labels()] == 0
    assert "headstart_queue_depth" not in answer.text
    assert "headstart_jobs_created_total" in answer.text


def test_a_database_that_falls_silent_holds_no_scrape_for_long(container: Container) -> None:
    speaks = threading.Event()

    class Silent:
        @contextmanager
        def read(self) -> Iterator[Session]:
            speaks.wait()
            with container.sessions.read() as session:
                yield session

    everything = metrics.Everything(cast(Sessions, Silent()), patience=0.01)
    for _ in range(3):
        assert (
            samples(generate_latest(everything).decode())["headstart_database_up", labels()] == 0
        )
    speaks.set()
    everything._patience = 60
    assert samples(generate_latest(everything).decode())["headstart_database_up", labels()] == 1


def test_labels_hold_no_ids_and_are_few(client: httpx.Client, container: Container) -> None:
    target = scenes.dataset(container)
    job = scenes.failed(container, target, "diverged", "words")
    _, model = scenes.finished(container, target)
    addresses = [
        f"/v1/jobs/{job.id}",
        f"/v1/datasets/{target.id}",
        f"/v1/models/{model.id}/files/model.onnx",
        f"/jobs/{job.id}",
        f"/datasets/{target.id}",
        f"/static/{uuid4()}.css",
        f"/{uuid4()}",
        f"/v1/{uuid4()}",
        "/openapi.json",
        "/metrics",
    ]
    for address in addresses:
        client.get(address, headers={"X-Request-Id": str(uuid4())})
    client.request("FROB", f"/v1/jobs/{job.id}")
    client.request(f"X{uuid4().hex}", "/v1/jobs")
    client.delete(f"/v1/jobs/{job.id}")
    text = client.get("/metrics").text
    for name, given, _ in SAMPLE.findall(text):
        for label, value in LABEL.findall(given):
            if label not in {"le", "status"}:
                assert not KEY.search(value), (name, label, value)
    found = samples(text)
    counts = {
        dict(of)["operation"] for name, of in found if name == "headstart_http_requests_total"
    }
    assert {"jobs_get", "job_pages.show", "staticfiles", "none", "openapi", "metrics"} <= counts
    methods = {dict(of)["method"] for name, of in found if name == "headstart_http_requests_total"}
    assert methods <= {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "other"}


def test_a_scrape_answers_only_where_the_service_does(client: httpx.Client) -> None:
    answer = client.get("/metrics", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_host")
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    fine = client.get("/metrics")
    assert fine.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "/metrics" not in client.get("/openapi.json").json()["paths"]


def test_requests_are_counted_by_operation(client: httpx.Client, container: Container) -> None:
    before = scraped(client)
    for _ in range(3):
        assert client.get("/v1/jobs").status_code == 200
    assert client.get(f"/v1/jobs/{uuid4()}").status_code == 404
    assert client.get(f"/v1/jobs/{uuid4()}", headers={"Prefer": "wait=1"}).status_code == 404
    after = scraped(client)
    requests = told("headstart_http_requests_total", after, before)
    assert requests[labels(operation="jobs_list", method="GET", status="200")] == 3
    assert requests[labels(operation="jobs_get", method="GET", status="404")] == 2
    timed = told("headstart_http_request_seconds_count", after, before)
    assert timed[labels(operation="jobs_list")] == 3
    assert timed[labels(operation="jobs_get")] == 1  # who waits for news is not slow


def test_bytes_of_files_are_counted_and_no_others(client: httpx.Client) -> None:
    before = scraped(client)
    body = b"no archive at all" * 100
    answer = client.put("/v1/datasets", params={"name": "x"}, content=body, headers=ZIP)
    assert answer.json()["code"] == "unsupported_archive"
    client.post("/v1/searches", json={"dataset_id": str(uuid4())})
    after = scraped(client)
    assert told("headstart_upload_bytes_total", after, before) == {labels(): len(body)}

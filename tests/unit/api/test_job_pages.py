"""A job's page: a search beside its control, its guard, and asking for the same once more."""

import html
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest

from api.web import guard_rows, job_pages
from core.bootstrap import Container
from core.domain.datasets import Dataset
from core.domain.jobs import Job, JobKind, JobRecord, JobState, Progress, QueueName
from core.domain.searches import SearchSpec, SpaceSpec, StartPolicy, Training
from core.services import controls, datasets, jobs, searches
from tests.unit.api import scenes
from tests.unit.api.conftest import Bell

CONTROL = "from nothing (control)"


def search(container: Container, target: Dataset, **about: Any) -> Job:
    """A search that runs."""
    with container.sessions.begin() as session:
        spec = SearchSpec(target.id, scenes.EMBEDDER, **about)
        return searches.submit_search(session, spec)[1]


def claimed(container: Container) -> Job:
    with container.sessions.begin() as session:
        job = jobs.claim(session, queue=QueueName.GPU, owner="test", lease_seconds=600)
    assert job is not None
    return job


def course(container: Container, job: Job, accuracies: Sequence[float], *, each: float) -> None:
    lines = [
        JobRecord("search:0", epoch, {"valid_accuracy": found, "elapsed": each * epoch})
        for epoch, found in enumerate(accuracies)
    ]
    with container.sessions.begin() as session:
        jobs.add_records(session, job.id, job.fence, lines)


def ended(container: Container, job: Job, state: JobState) -> None:
    with container.sessions.begin() as session:
        if state is JobState.FAILED:
            jobs.fail(session, job.id, job.fence, "diverged", "The loss diverged.")
        elif state is JobState.SUCCEEDED:
            jobs.finish(session, job.id, job.fence, {})
        else:
            jobs.cancel(session, job.id)
            if job.state is JobState.RUNNING:
                jobs.mark_cancelled(session, job.id, job.fence)


def test_a_search_is_drawn_beside_its_control(browser: httpx.Client, container: Container) -> None:
    target = scenes.dataset(container)
    search(container, target, policy=StartPolicy.COLD)
    control = claimed(container)
    course(container, control, [0.3, 0.6, 0.75], each=10.0)
    warm = search(container, target)
    page = browser.get(f"/jobs/{warm.id}").text
    assert page.count(f">{CONTROL}</text>") == 1  # losses were not recorded
    assert f'<a href="/jobs/{control.id}">its job</a>, running' in page
    assert "The head start has measured nothing yet." in page
    assert "Run the control" not in page
    warm = claimed(container)
    course(container, warm, [0.7, 0.75], each=12.0)
    best = "the control&#39;s best so far (75.0 % after epoch 2, 20 s of searching)"
    said = f"The head start has not passed {best} yet; 75.0 % is its best."
    assert said in browser.get(f"/jobs/{warm.id}").text
    course(container, warm, [0.7, 0.75, 0.8], each=12.0)
    said = f"The head start passed {best} after epoch 2, 24 s of searching."
    assert said in browser.get(f"/jobs/{warm.id}").text
    page = browser.get(f"/jobs/{control.id}").text
    assert ">with a head start</text>" in page
    assert said in page
    assert f'href="/jobs/{warm.id}"' in page


def test_what_was_asked_otherwise_is_no_control(
    browser: httpx.Client, container: Container
) -> None:
    target = scenes.dataset(container)
    others: tuple[dict[str, Any], ...] = (
        {"training": Training(epochs=7)},
        {"training": Training(seed=1)},
        {"space": SpaceSpec(channels=16)},
        {"retrain_epochs": 3},
    )
    for about in others:
        search(container, target, policy=StartPolicy.COLD, **about)
    ended(container, search(container, target, policy=StartPolicy.COLD), JobState.CANCELLED)
    warm = search(container, target)
    page = browser.get(f"/jobs/{warm.id}").text
    assert "its job</a>" not in page
    assert "Run the control" in page


def test_a_control_is_asked_for_by_a_button(
    browser: httpx.Client, container: Container, bell: Bell
) -> None:
    target = scenes.dataset(container)
    warm = search(container, target, training=Training(epochs=9), contribute=True)
    answer = browser.post(f"/jobs/{warm.id}/control")
    assert answer.headers["location"] == f"/jobs/{warm.id}"
    page = browser.get(f"/jobs/{warm.id}").text
    assert "Run the control" not in page
    with container.sessions.read() as session:
        control = jobs.listing(session, limit=1)[0][0]
    assert (control.spec["policy"], control.spec["contribute"]) == ("cold", False)
    assert control.spec["training"] == warm.spec["training"]
    assert [each for each, _ in bell.rung] == [control.id]
    assert f'<a href="/jobs/{control.id}">its job</a>, queued' in page
    assert "Run the control" not in browser.get(f"/jobs/{control.id}").text  # it is one


def test_a_job_without_a_search_has_no_control(
    browser: httpx.Client, container: Container
) -> None:
    job = scenes.running(container, scenes.dataset(container), JobKind.PRETRAIN)
    assert browser.post(f"/jobs/{job.id}/control").status_code == 404


def test_the_guard_says_what_it_saw(browser: httpx.Client, container: Container) -> None:
    search(container, scenes.dataset(container), training=Training(epochs=40))
    job = claimed(container)
    rows = [
        {"epoch": epoch, "entropy_normal": 1.5, "entropy_reduction": 1.4, "skip_count": epoch,
         "decided_skips": 1, "eigenvalue": None if epoch else 0.25}
        for epoch in range(3)
    ]  # fmt: skip
    with container.sessions.begin() as session:
        lines = [JobRecord("search:0", int(row["epoch"] or 0), row) for row in rows]
        jobs.add_records(session, job.id, job.fence, lines)
    page = browser.get(f"/jobs/{job.id}").text
    for said in (
        ">Entropy of the alphas<", ">reduction cell<", ">that lead their edges<",
        ">most that may lead<", "more than 2 for 3 epochs in a row", "From 40 % of the epochs on",
        "more than 2-fold growth in 5 epochs",
        "After epoch 2: 1 of at most 2 lead, curvature 0.25. It has not stepped in.",
    ):  # fmt: skip
        assert said in page, said


@pytest.mark.parametrize(
    ("stopped", "said"),
    [
        ("collapsed: 5 skip connections lead their edges, for 3 epochs", "set the alphas back"),
        ("converged: the same cells for 10 epochs, and decided", "It ended the search, which"),
        ("converged: no better validation accuracy for 2 epochs", "It did not step in; the"),
        (None, "It has not stepped in."),
    ],
)
def test_what_the_guard_did(stopped: str | None, said: str) -> None:
    guard = guard_rows.config({"training": {"epochs": 5, "max_skips": 2}})
    assert said in guard_rows.verdict(guard, [{"epoch": 3, "stopped": stopped}])
    assert "curvature" not in guard_rows.rule(guard)  # too few epochs to judge it
    off = guard_rows.config({"training": {"guard": False}})
    assert guard_rows.verdict(off, [{"epoch": 3}]) == ""
    assert "off" in guard_rows.rule(off)


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (JobKind.SEARCH, JobState.FAILED),
        (JobKind.SEARCH, JobState.SUCCEEDED),
        (JobKind.PRETRAIN, JobState.CANCELLED),
    ],
)
def test_what_has_ended_is_asked_for_again(
    browser: httpx.Client, container: Container, bell: Bell, kind: JobKind, state: JobState
) -> None:
    job = scenes.running(container, scenes.dataset(container), kind)
    assert browser.post(f"/jobs/{job.id}/repeat").status_code == 409
    assert "Run again" not in browser.get(f"/jobs/{job.id}").text
    ended(container, job, state)
    page = browser.get(f"/jobs/{job.id}").text
    assert f'action="/jobs/{job.id}/repeat"' in page
    assert (f"/search?like={job.id}" in page) is (kind is JobKind.SEARCH)
    answer = browser.post(f"/jobs/{job.id}/repeat")
    with container.sessions.read() as session:
        made = jobs.get(session, bell.rung[-1][0])
    assert answer.headers["location"] == f"/jobs/{made.id}"
    assert made.id != job.id
    assert (made.kind, made.spec, made.state) == (kind, job.spec, JobState.QUEUED)


def test_a_ranking_and_an_embedding_are_asked_for_again(
    browser: httpx.Client, container: Container
) -> None:
    target = scenes.dataset(container)
    for path in (f"/v1/datasets/{target.id}:rank", f"/v1/datasets/{target.id}:embed"):
        job = jobs_made(browser, path)
        browser.post(f"/jobs/{job}/cancel")
        address = browser.post(f"/jobs/{job}/repeat").headers["location"]
        again, before = (browser.get(f"/v1/jobs/{each}").json() for each in (address[6:], job))
        assert (again["kind"], again["dataset_id"]) == (before["kind"], before["dataset_id"])


def jobs_made(browser: httpx.Client, path: str) -> str:
    return str(browser.post(path, json={}).json()["id"])


def test_what_it_read_has_to_be_here_yet(browser: httpx.Client, container: Container) -> None:
    target = scenes.dataset(container)
    job = scenes.failed(container, target, "diverged", "The loss diverged.")
    with container.sessions.begin() as session:
        datasets.delete(session, target.id)
    assert "Run again" not in browser.get(f"/jobs/{job.id}").text
    assert browser.post(f"/jobs/{job.id}/repeat").status_code == 410


def test_of_a_deleted_dataset_no_control_is_offered(
    browser: httpx.Client, container: Container
) -> None:
    target = scenes.dataset(container)
    job = scenes.running(container, target)
    scenes.recorded(container, job)
    ended(container, job, JobState.SUCCEEDED)
    assert "Run the control" in browser.get(f"/jobs/{job.id}").text
    with container.sessions.begin() as session:
        datasets.delete(session, target.id)
    page = browser.get(f"/jobs/{job.id}").text
    assert "Searching</h3>" in page
    assert "Run the control" not in page


def test_a_control_searches_the_space_that_its_search_had(container: Container) -> None:
    spec = SearchSpec(scenes.dataset(container).id, "x", StartPolicy.NEAREST, contribute=True)
    start = {"space": {"channels": 4, "layers": 3, "nodes": 2, "cells": "s2"}, "resolution": 16}
    found = controls.of(spec, start)
    assert found.space == SpaceSpec(4, 3, 2, 16, "s2")
    assert found == replace(
        spec, policy=StartPolicy.COLD, contribute=False, space=SpaceSpec(4, 3, 2, 16, "s2")
    )
    assert controls.of(spec).space == spec.space


def test_the_list_of_jobs_is_filtered_and_paged(
    browser: httpx.Client, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_pages, "PAGE", 2)
    target = scenes.dataset(container)
    trained = scenes.running(container, target, JobKind.PRETRAIN)
    waiting = {str(scenes.queued(container, target).id) for _ in range(3)}
    first = browser.get("/jobs?kind=search&state=queued").text
    (older,) = re.findall(r'<a href="(/jobs\?[^"]+)">Older jobs', first)
    assert "kind=search" in older
    second = browser.get(html.unescape(older)).text
    assert set(re.findall(r'href="/jobs/([0-9a-f-]{36})"', first + second)) == waiting
    assert "Older jobs" not in second
    assert '<option value="queued" selected>' in first
    assert str(trained.id) in browser.get("/jobs?kind=pretrain&state=").text
    none = browser.get("/jobs?kind=rank").text
    assert "There is none like that." in none
    assert browser.get("/jobs?kind=dance").status_code == 422


def test_the_title_says_how_far_a_job_is(browser: httpx.Client, container: Container) -> None:
    job = scenes.running(container, scenes.dataset(container))
    told = Progress("search:0", 0.427)
    with container.sessions.begin() as session:
        jobs.beat(session, job.id, job.fence, lease_seconds=600, cost_seconds=1.0, progress=told)
    title = "<title>42 % · Architecture search · Headstart</title>"
    assert browser.get(f"/jobs/{job.id}").text.count(title) == 1
    assert browser.get(f"/jobs/{job.id}/live").text.startswith(title)
    ended(container, job, JobState.SUCCEEDED)
    assert "<title>Succeeded · Architecture search" in browser.get(f"/jobs/{job.id}").text


def test_nothing_moves_when_a_search_begins_to_measure(
    browser: httpx.Client, container: Container
) -> None:
    job = scenes.running(container, scenes.dataset(container))
    headings = re.compile(r"<h3>([^<]+)</h3>|<dt>([^<]+)</dt>")
    before = headings.findall(browser.get(f"/jobs/{job.id}/live").text)
    pictures = browser.get(f"/jobs/{job.id}/live").text.count("<svg")
    scenes.recorded(container, job)
    after = browser.get(f"/jobs/{job.id}/live").text
    assert headings.findall(after) == before
    assert after.count("<svg") == pictures == 6

"""Jobs over HTTP: how they stand, their history, and stopping them."""

from uuid import uuid4

import httpx

import headstart
from core.bootstrap import Container
from core.domain.jobs import Job, LogLevel, LogLine
from core.services import job_logs, jobs
from tests.unit.api import scenes
from tests.unit.api.conftest import Say


def test_a_running_job_says_when_to_look_again(client: httpx.Client, container: Container) -> None:
    job = scenes.running(container, scenes.dataset(container))
    shown = client.get(f"/v1/jobs/{job.id}").json()
    assert shown["state"] == "running"
    assert shown["attempt"] == 1
    assert shown["poll_after_ms"] > 0
    assert "lease_owner" not in shown


def test_an_ended_job_says_not_to(client: httpx.Client, container: Container) -> None:
    job = scenes.failed(container, scenes.dataset(container), "diverged", "The loss diverged.")
    shown = client.get(f"/v1/jobs/{job.id}").json()
    assert shown["poll_after_ms"] is None
    assert (shown["error_code"], shown["error_message"]) == ("diverged", "The loss diverged.")


def test_an_unchanged_job_costs_no_body(client: httpx.Client, container: Container) -> None:
    job = scenes.queued(container, scenes.dataset(container))
    first = client.get(f"/v1/jobs/{job.id}")
    etag = {"If-None-Match": first.headers["etag"]}
    same = client.get(f"/v1/jobs/{job.id}", headers=etag)
    assert (same.status_code, same.content) == (304, b"")
    with container.sessions.begin() as session:
        jobs.cancel(session, job.id)
    changed = client.get(f"/v1/jobs/{job.id}", headers=etag)
    assert changed.status_code == 200
    assert changed.json()["state"] == "cancelled"


def test_history_and_moves(client: httpx.Client, container: Container) -> None:
    job = scenes.running(container, scenes.dataset(container))
    scenes.recorded(container, job)
    records = client.get(f"/v1/jobs/{job.id}/records").json()["items"]
    assert [record["step"] for record in records] == list(range(6))
    assert records[0]["values"]["valid_accuracy"] == 0.4
    other = client.get(f"/v1/jobs/{job.id}/records?stage=retrain").json()["items"]
    assert other == []
    events = client.get(f"/v1/jobs/{job.id}/events").json()["items"]
    assert [event["to_state"] for event in events] == ["queued", "running"]


def logged(container: Container, job: Job, *said: str) -> None:
    lines = [
        LogLine(job.fence, number, job.created_at, LogLevel.WARNING, each)
        for number, each in enumerate(said, start=1)
    ]
    with container.sessions.begin() as session:
        job_logs.add(session, job.id, job.fence, lines)


def test_what_workers_said_comes_in_pages(
    client: httpx.Client, browser: httpx.Client, container: Container
) -> None:
    job = scenes.running(container, scenes.dataset(container))
    path = f"/v1/jobs/{job.id}/logs"
    assert client.get(path).json()["items"] == []
    assert "Nothing was said yet." in browser.get(f"/jobs/{job.id}").text
    logged(container, job, "first", "<b>second</b>", "third")
    page = client.get(path, params={"page_size": 2}).json()
    rest = client.get(path, params={"page_size": 2, "page_token": page["next_page_token"]}).json()
    lines = page["items"] + rest["items"]
    assert [each["message"] for each in lines] == ["first", "<b>second</b>", "third"]
    assert lines[0].items() >= {"fence": job.fence, "number": 1, "level": "warning"}.items()
    assert rest["next_page_token"] is None
    newest = client.get(path, params={"order": "newest", "page_size": 1}).json()["items"]
    assert [each["number"] for each in newest] == [3]
    shown = browser.get(f"/jobs/{job.id}/live").text
    assert "<td>&lt;b&gt;second&lt;/b&gt;</td>" in shown
    assert shown.index("third") < shown.index("first")  # the newest first
    assert client.get(f"/v1/jobs/{uuid4()}/logs").status_code == 404


def test_the_command_prints_what_workers_said(
    say: Say, container: Container, program: headstart.Client
) -> None:
    job = scenes.running(container, scenes.dataset(container))
    logged(container, job, "slow [b]on[/b] this machine")
    assert "warning  slow [b]on[/b] this machine" in say("jobs", str(job.id), "--logs")
    assert '"number": 1' in say("jobs", str(job.id), "--logs", "--json")
    assert "name the job" in say("jobs", "--logs")
    assert [each["level"] for each in program.jobs.logs(str(job.id))] == ["warning"]


def test_cancelling(client: httpx.Client, container: Container) -> None:
    target = scenes.dataset(container)
    waiting = scenes.queued(container, target)
    answer = client.post(f"/v1/jobs/{waiting.id}:cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    working = scenes.running(container, target)
    asked = client.post(f"/v1/jobs/{working.id}:cancel").json()
    assert (asked["state"], asked["cancel_requested"]) == ("running", True)
    again = client.post(f"/v1/jobs/{waiting.id}:cancel")
    assert (again.status_code, again.json()) == (200, answer.json())


def test_lists_are_filtered_and_paged(client: httpx.Client, container: Container) -> None:
    target, other = scenes.dataset(container), scenes.dataset(container, "other")
    made = [str(scenes.queued(container, target).id) for _ in range(5)]
    scenes.queued(container, other)
    path = f"/v1/jobs?dataset_id={target.id}&kind=search&state=queued&page_size=2"
    seen, token = [], ""
    while token is not None:
        page = client.get(path + (f"&page_token={token}" if token else "")).json()
        seen += [job["id"] for job in page["items"]]
        token = page["next_page_token"]
    assert sorted(seen) == sorted(made)
    assert client.get("/v1/jobs?state=running").json() == {"items": [], "next_page_token": None}


def test_an_unknown_job(client: httpx.Client) -> None:
    for path in (
        f"/v1/jobs/{uuid4()}",
        f"/v1/jobs/{uuid4()}/records",
        f"/v1/jobs/{uuid4()}/events",
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

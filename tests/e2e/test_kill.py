"""kill -9 in the middle of real work: nothing is lost, and the answer is the same."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e import shapes
from tests.e2e.conftest import Service
from tests.e2e.test_http import SPACE, ended, uploaded
from tests.unit.execution.bench import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEARCH = {
    "policy": "nearest",
    "space": SPACE,
    "training": {"epochs": 3, "batch_size": 16, "seed": 5},
    "learning_rates": [0.05],
    "retrain_epochs": 2,
}


def children(service: Service) -> list[int]:
    """Process ids of the service's computing children."""
    port = service.url.rsplit(":", 1)[1]
    processes = {int(p.name): p for p in Path("/proc").iterdir() if p.name.isdigit()}
    lines = {pid: _read(path / "cmdline").split("\0") for pid, path in processes.items()}
    (server,) = [pid for pid, words in lines.items() if words[-3:-1] == ["--port", port]]
    return [
        pid
        for pid, words in lines.items()
        if "core.execution.child" in words and _parent(processes[pid]) == server
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # gone meanwhile
        return ""


def _parent(process: Path) -> int:
    fields = _read(process / "stat").rpartition(")")[2].split()
    return int(fields[1]) if fields else -1


def records(http: httpx.Client, job: dict[str, Any], stage: str) -> list[dict[str, Any]]:
    answer = http.get(f"/v1/jobs/{job['id']}/records", params={"stage": stage})
    found: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return found


def test_a_search_killed_twice_ends_with_the_genotype_of_an_undisturbed_one(
    service: Service, http: httpx.Client, tmp_path: Path
) -> None:
    source = uploaded(
        http, shapes.archive(tmp_path / "source.zip", images=30, seed=12), "to start from"
    )
    asked = {
        "dataset_id": source["id"],
        "name": "start",
        "space": SEARCH["space"],
        "training": {"epochs": 1, "batch_size": 16},
    }
    ended(http, http.post("/v1/supernets", json=asked).raise_for_status().json())
    archive = shapes.archive(tmp_path / "kill.zip", images=40, seed=11)
    dataset = uploaded(http, archive, "to be killed")
    ended(http, dataset["embed_job"])
    quiet(http)
    body = {"dataset_id": dataset["id"], **SEARCH}
    models = []
    for kills in (0, 2):
        submitted = http.post("/v1/searches", json=body).raise_for_status().json()
        for stage, count in (("search:0", 2), ("retrain", 2))[:kills]:
            _kill_once(service, http, submitted["job"], stage=stage, count=count)
        job = ended(http, submitted["job"])
        assert job["attempt"] == kills + 1
        search = http.get(f"/v1/searches/{submitted['id']}").json()
        assert search["start"]["supernet_id"] is not None
        models.append(http.get(f"/v1/models/{search['model_id']}").json())
        resumed = records(http, job, "resume")
        assert [line["values"]["reason"] for line in resumed] == ["newest"] * kills
    undisturbed, killed = models
    assert killed["genotype"] == undisturbed["genotype"]
    for accuracy in ("supernet", "discretised", "retrained"):
        assert killed["metrics"][accuracy]["test_accuracy"] == pytest.approx(
            undisturbed["metrics"][accuracy]["test_accuracy"]
        )


def quiet(http: httpx.Client) -> None:
    """Wait until nothing is computed that a test before has left to itself."""
    unended = "/v1/jobs?state=queued&state=running"
    eventually(lambda: http.get(unended).raise_for_status().json()["items"] == [], seconds=120)


def _kill_once(
    service: Service, http: httpx.Client, job: dict[str, Any], *, stage: str, count: int
) -> None:
    deadline = time.monotonic() + 300
    while len(records(http, job, stage)) < count:
        assert time.monotonic() < deadline, "the search got nowhere"
        time.sleep(0.05)
    (pid,) = children(service)
    os.kill(pid, signal.SIGKILL)


def readers() -> list[int]:
    """Process ids of confined readers of uploads, and of what they forked."""
    processes = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [pid for pid in processes if "core.data.child" in _read(Path(f"/proc/{pid}/cmdline"))]


def test_an_intake_that_is_killed_begins_again_and_ends_the_same(
    service: Service, http: httpx.Client, tmp_path: Path
) -> None:
    """At whatever moment: while it gathers, reads, decodes or writes."""
    data = shapes.archive(tmp_path / "many.zip", images=700, seed=13).read_bytes()
    quiet(http)
    query = {"name": "many", "seed": 1}
    headers = {"Content-Type": "application/zip", "Prefer": "respond-async"}
    kills, found = 0, set()
    for delay in (0.0, 0.4, 0.8, 1.2):
        answer = http.post("/v1/datasets", params=query, content=data, headers=headers)
        job = answer.raise_for_status().json()
        kills += sum(_kill_soon(service, http, job, delay) for _ in range(2))
        job = ended(http, job)
        found.add((job["result"]["dataset_id"], job["kind"]))
        assert http.get(f"/v1/uploads/{job['spec']['uploads'][0]}").status_code == 404
    assert kills >= 2
    assert len(found) == 1
    eventually(lambda: readers() == [])


def _kill_soon(service: Service, http: httpx.Client, job: dict[str, Any], delay: float) -> bool:
    """Kill the process that computes the job, so long after it began, if that is not over."""

    def over() -> bool:
        return http.get(f"/v1/jobs/{job['id']}").json()["finished_at"] is not None

    eventually(lambda: children(service) != [] or over())
    found = children(service)
    time.sleep(delay)
    if not found or found[0] not in children(service):
        return False
    os.kill(found[0], signal.SIGKILL)
    eventually(lambda: found[0] not in children(service))
    return True

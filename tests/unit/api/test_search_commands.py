"""`headstart estimate`, `clone`, `replay`, and the terms of `headstart search`."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from core.bootstrap import Container
from core.domain.jobs import Job
from core.services import jobs, searches
from tests.unit.api import scenes
from tests.unit.api.conftest import Served, said

Run = Callable[..., str]


@pytest.fixture
def run(
    client: httpx.Client,
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    assert client.base_url
    monkeypatch.setenv("HEADSTART_URL", served.url)
    return lambda *words: said(monkeypatch, capsys, *words)


def newest(container: Container) -> Job:
    with container.sessions.read() as session:
        return jobs.listing(session, limit=1)[0][0]


def test_an_estimate_says_on_what_it_rests(run: Run, container: Container) -> None:
    scenes.dataset(container)
    shown = run("estimate", "animals", "--epochs", "3")
    assert shown.startswith("0\n")
    for words in ("computing", "least budget", "starts: cold start", "one reference machine"):
        assert words in shown
    assert "GPU" not in shown
    found = json.loads(run("estimate", "animals", "--budget", "epochs=5", "--json")[2:])
    assert (found["trial"]["epochs"], found["trial"]["retrain_epochs"]) == (1, 4)


def test_an_estimate_takes_what_changes_the_cost(run: Run, container: Container) -> None:
    scenes.dataset(container)

    def seconds(*words: str) -> float:
        found = json.loads(run("estimate", "animals", "--policy", "cold", "--json", *words)[2:])
        return float(found["seconds"]["expected"])

    plain = seconds()
    assert seconds("--learning-rate", "0.1") == plain
    assert seconds("--learning-rate", "0.1", "--learning-rate", "0.05") > plain
    assert seconds("--patience", "0") > plain
    assert seconds("--objective", "flops") > plain
    assert seconds("--at-most", "50000") == plain
    assert "at_most.parameters" in run("estimate", "animals", "--at-most", "0.5")
    refined = ("--objective", "flops", "--trade-offs", "refined")
    assert seconds(*refined) > seconds("--objective", "flops")
    assert "Name 'objectives'" in run("estimate", "animals", "--trade-offs", "refined")
    assert seconds("--selection", "best-of") > plain
    assert "too little" not in run("estimate", "animals", "--adapt")
    assert "budget_too_small" in run("estimate", "animals", "--deadline", "2020-01-01T00:00:00Z")


def test_a_search_on_terms_and_its_clone(run: Run, container: Container) -> None:
    scenes.dataset(container)
    words = "--budget 900 --budget epochs=30 --label team=forms --priority 7"
    words += " --deadline 2099-01-01T00:00:00Z --at-most 50000"
    assert run("search", "animals", *words.split()).startswith("0\n")
    job = newest(container)
    assert job.priority == 7
    assert job.spec["budget"] == {"seconds": 900.0, "gpu_seconds": None, "epochs": 30}
    assert job.spec["at_most"] == {"parameters": 50_000, "flops": None}
    assert job.spec["labels"] == {"team": "forms"}
    assert job.spec["deadline"] == "2099-01-01T00:00:00Z"
    with container.sessions.read() as session:
        search = searches.by_job(session, job.id)
    words = "--seed 5 --label round=2 --at-most 40000"
    shown = run("clone", str(search.id), *words.split())
    assert shown.startswith("0\nsearch ")
    other = newest(container)
    assert other.id != job.id
    assert (other.priority, other.spec["deadline"]) == (7, None)
    assert other.spec["training"] == {**job.spec["training"], "seed": 5}
    assert other.spec["labels"] == {"team": "forms", "round": "2"}
    assert other.spec["at_most"] == {"parameters": 40_000, "flops": None}
    assert run("clone", str(search.id), "--at-most", "flops=9000000").startswith("0\n")
    assert newest(container).spec["at_most"] == {"parameters": None, "flops": 9_000_000}
    assert run("search", "animals", "--label", "forms").startswith("2\n")
    for command in ("search", "estimate"):
        for wrong in ("many", "inf", "nan", "-inf"):
            assert run(command, "animals", "--budget", f"epochs={wrong}").startswith("2\n")
            assert run(command, "animals", f"--learning-rate={wrong}").startswith("2\n")
    assert run("clone", str(search.id), "--budget", "nan").startswith("2\n")
    assert "budget_too_small" in run("search", "animals", "--budget", "1")


def test_a_config_is_replayed(run: Run, container: Container, tmp_path: Path) -> None:
    target = scenes.dataset(container)
    scenes.queued(container, target)
    start = {"supernet_id": None, "learning_rates": [0.05]}
    config = tmp_path / "config.json"
    spec = dict(newest(container).spec)
    config.write_text(json.dumps({"dataset_sha256": target.sha256, "spec": spec, "start": start}))
    assert run("replay", str(config), "--label", "again=1").startswith("0\nsearch ")
    job = newest(container)
    assert (job.spec["policy"], job.spec["learning_rates"]) == ("cold", [0.05])
    assert job.spec["labels"] == {"again": "1"}
    config.write_text("{")
    assert run("replay", str(config)).startswith("2\n")
    assert run("search", "animals", "--genotype", str(config)).startswith("2\n")
    config.write_text(json.dumps(scenes.GENOTYPE))
    assert "starts: none" in run("estimate", "animals", "--genotype", str(config))
    assert run("search", "animals", "--genotype", str(config)).startswith("0\nsearch ")
    spec = newest(container).spec
    assert (spec["policy"], spec["genotype"]) == ("cold", scenes.GENOTYPE)

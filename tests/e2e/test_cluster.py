"""The compose file's cluster without Docker: a search through real servers, then nothing left."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.running import cluster
from tests.e2e import shapes
from tests.e2e.test_http import SPACE, TRAINING, ended, uploaded
from tests.unit.execution.bench import alive

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(600)]


def searched(http: httpx.Client, archive: Path) -> dict[str, Any]:
    """The model of a cold search on the archive."""
    dataset = uploaded(http, archive, "shapes in a cluster")
    ended(http, dataset["embed_job"])
    body = {"dataset_id": dataset["id"], "policy": "cold", "space": SPACE, "retrain_epochs": 1}
    asked = http.post("/v1/searches", json=body | {"training": TRAINING}).raise_for_status().json()
    assert ended(http, asked["job"])["attempt"] == 1
    search = http.get(f"/v1/searches/{asked['id']}").json()
    model: dict[str, Any] = http.get(f"/v1/models/{search['model_id']}").json()
    return model


def test_a_search_through_the_files_own_commands_finds_what_one_process_finds(
    tmp_path: Path, http: httpx.Client
) -> None:
    archive = shapes.archive(tmp_path / "s.zip", images=24, seed=31)
    embedded = searched(http, archive)
    with cluster(tmp_path, workers=2, threads=1, more={"HEADSTART_ZOO": "off"}) as made:
        with httpx.Client(base_url=made.url, timeout=60, trust_env=False) as served:
            model = searched(served, archive)
        made.check_health()
        pids = [process.pid for process in made.processes.values()]
        assert len(pids) == 3
        assert all(map(alive, pids))
    assert not any(map(alive, pids))
    assert model["genotype"] == embedded["genotype"]
    for network in ("supernet", "discretised", "retrained"):
        here, there = (each["metrics"][network]["test_accuracy"] for each in (model, embedded))
        assert here == there, network

"""The compose file's cluster without Docker: a search through real servers, then nothing left."""

from pathlib import Path

import httpx
import pytest

from tests.cluster.running import cluster
from tests.e2e import shapes
from tests.e2e.test_http import SPACE, TRAINING, ended, uploaded
from tests.unit.execution.bench import alive

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(600)]


def test_a_search_through_the_files_own_commands(tmp_path: Path) -> None:
    quick = {"HEADSTART_ZOO": "off"}
    with cluster(tmp_path, workers=2, threads=1, more=quick) as made:
        with httpx.Client(base_url=made.url, timeout=60, trust_env=False) as http:
            archive = shapes.archive(tmp_path / "s.zip", images=24, seed=1)
            dataset = uploaded(http, archive, "shapes")
            ended(http, dataset["embed_job"])
            body = {"dataset_id": dataset["id"], "policy": "cold", "space": SPACE}
            body |= {"training": TRAINING, "retrain_epochs": 1}
            asked = http.post("/v1/searches", json=body).raise_for_status().json()
            assert ended(http, asked["job"])["attempt"] == 1
            search = http.get(f"/v1/searches/{asked['id']}").json()
            model = http.get(f"/v1/models/{search['model_id']}").json()
            assert model["genotype"]["normal"]
        made.check_health()
        pids = [process.pid for process in made.processes.values()]
        assert len(pids) == 3
        assert all(map(alive, pids))
    assert not any(map(alive, pids))

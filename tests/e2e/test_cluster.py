"""The compose file's cluster without Docker: a search through real servers, then nothing left."""

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser

from tests.cluster.running import cluster
from tests.e2e.journeys import ASKED, digits, from_images_to_a_model, visited
from tests.e2e.test_browser import chromium
from tests.e2e.test_http import ended, uploaded
from tests.unit.execution.bench import alive

__all__ = ["chromium"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.services,
    pytest.mark.browser,
    pytest.mark.timeout(600),
]


def searched(http: httpx.Client, archive: Path) -> dict[str, Any]:
    """The model of the journey's search, asked for by a program."""
    dataset = uploaded(http, archive, "digits in one process")
    ended(http, dataset["embed_job"])
    asked = http.post("/v1/searches", json=ASKED | {"dataset_id": dataset["id"]})
    assert ended(http, asked.raise_for_status().json()["job"])["attempt"] == 1
    return newest(http)


def newest(http: httpx.Client) -> dict[str, Any]:
    """The model that was made last."""
    model: dict[str, Any] = http.get("/v1/models").json()["items"][0]
    return model


def test_whoever_looks_finds_through_the_files_own_commands_what_one_process_finds(
    tmp_path: Path, http: httpx.Client, chromium: Browser
) -> None:
    folder = digits(tmp_path / "digits in a cluster", train=11)  # no other journey's images
    with cluster(tmp_path, workers=2, threads=1, more={"HEADSTART_ZOO": "off"}) as made:
        complaints: list[str] = []
        with visited(chromium, made.url, complaints) as page:
            from_images_to_a_model(page, folder, complaints)
        with httpx.Client(base_url=made.url, timeout=60, trust_env=False) as served:
            model = newest(served)
        made.check_health()
        pids = [process.pid for process in made.processes.values()]
        assert len(pids) == 3
        assert all(map(alive, pids))
    assert not any(map(alive, pids))
    packed = shutil.make_archive(str(folder), "zip", root_dir=folder)
    embedded = searched(http, Path(packed))
    assert model["genotype"] == embedded["genotype"]
    for network in ("supernet", "discretised", "retrained"):
        here, there = (each["metrics"][network]["test_accuracy"] for each in (model, embedded))
        assert here == there, network

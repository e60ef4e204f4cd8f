"""The main job through HTTP and the command line, on a real service with real workers."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest

from core.data import bundle
from tests.e2e import shapes
from tests.e2e.canaries import nothing_leaks
from tests.e2e.conftest import Service

__all__ = ["nothing_leaks"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SPACE = {"channels": 4, "layers": 3, "nodes": 2, "resolution": 16}
TRAINING = {"epochs": 1, "batch_size": 16, "seed": 3}
JOB_SECONDS = 600


def ended(http: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + JOB_SECONDS
    while job["poll_after_ms"] is not None:
        assert time.monotonic() < deadline, job
        time.sleep(0.2)
        answer = http.get(f"/v1/jobs/{job['id']}")
        answer.raise_for_status()
        job = answer.json()
    assert job["state"] == "succeeded", (job["error_code"], job["error_message"])
    return job


def uploaded(http: httpx.Client, archive: Path, name: str) -> dict[str, Any]:
    answer = http.post(
        "/v1/datasets",
        params={"name": name},
        content=archive.read_bytes(),
        headers={"Content-Type": "application/zip"},
    )
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def headstart(service: Service, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "api.cli", *arguments],
        env={**os.environ, "HEADSTART_URL": service.url},
        capture_output=True,
        text=True,
        timeout=JOB_SECONDS,
        check=False,
    )


@pytest.mark.usefixtures("nothing_leaks")
def test_upload_pretrain_rank_search_download(
    http: httpx.Client, service: Service, tmp_path: Path
) -> None:
    source = uploaded(http, shapes.archive(tmp_path / "s.zip", images=24, seed=1), "shapes")
    target = uploaded(http, shapes.archive(tmp_path / "t.zip", images=24, seed=2), "more shapes")
    ended(http, source["embed_job"])

    body = {
        "dataset_id": source["id"],
        "name": "shapes supernet",
        "space": SPACE,
        "training": TRAINING,
    }
    submitted = http.post("/v1/supernets", json=body)
    assert submitted.status_code == 202, submitted.text
    pretrained = ended(http, submitted.json())
    supernet = http.get(f"/v1/supernets/{pretrained['result']['supernet_id']}").json()
    assert supernet["dataset_id"] == source["id"]

    # The service may know datasets of other tests by now.
    ranked = headstart(service, "rank", "more shapes", "-k", "100")
    assert ranked.returncode == 0, ranked.stderr
    assert "shapes" in ranked.stdout
    neighbours = http.get(f"/v1/datasets/{target['id']}/neighbours?k=100").json()["neighbours"]
    (known,) = [each for each in neighbours if each["dataset_id"] == source["id"]]
    assert known["distance"] > 0
    starts = [each["dataset_name"] for each in neighbours if each["supernet_id"]]
    known_supernets = http.get("/v1/supernets").json()["items"]

    submitted = http.post(
        "/v1/searches",
        json={"dataset_id": target["id"], "training": TRAINING, "retrain_epochs": 1},
    )
    assert submitted.status_code == 202, submitted.text
    job = ended(http, submitted.json()["job"])
    assert job["progress"] == 1.0
    assert job["cost_seconds"] > 0
    records = http.get(f"/v1/jobs/{job['id']}/records").json()["items"]
    assert any("valid_accuracy" in record["values"] for record in records)

    # Nobody agreed to leave the searched supernet to others.
    assert http.get("/v1/supernets").json()["items"] == known_supernets
    assert "supernet_id" not in job["result"]

    search = http.get(f"/v1/searches/{submitted.json()['id']}").json()
    race = search["start"]["race"]
    assert race["contestants"][0]["dataset_name"] == starts[0]
    (won,) = [each for each in race["contestants"] if each["name"] == race["winner"]]
    assert search["start"]["supernet_id"] == won["supernet_id"]
    assert race["overhead_fraction"] > 0
    model = http.get(f"/v1/models/{search['model_id']}").json()
    for kind in ("supernet", "discretised", "retrained"):
        assert 0 <= model["metrics"][kind]["test_accuracy"] <= 1

    downloaded = headstart(service, "models", model["id"], "--download", tmp_path / "model")
    assert downloaded.returncode == 0, downloaded.stderr
    for artifact in model["artifacts"]:
        data = (tmp_path / "model" / artifact["name"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == artifact["sha256"]
    genotype = next(each for each in model["artifacts"] if each["name"].startswith("genotype"))
    assert json.loads((tmp_path / "model" / genotype["name"]).read_text())


def test_a_known_network_is_made_smaller_by_what_another_dataset_says_of_it(
    http: httpx.Client, service: Service, tmp_path: Path
) -> None:
    for seed, name in ((26, "what decides"), (27, "what is learned")):
        uploaded(http, shapes.archive(tmp_path / f"{seed}.zip", images=16, seed=seed), name)
    options = ("--share", "0.25", "--epochs", "1", "--retrain-epochs", "1")
    named = ("what is learned", "--architecture", "mobilenet_v3_small", "--source", "what decides")
    asked = headstart(service, "prune", *named, *options, "--wait", "--json")
    assert asked.returncode == 0, asked.stderr
    made = json.loads(asked.stdout)
    figures = made["metrics"]
    assert 0.24 < figures["kept"] <= 0.25
    assert figures["kept"] == figures["parameters"] / figures["full"]["parameters"]
    got = headstart(service, "prunings", made["id"], "--download", tmp_path / "got")
    assert got.returncode == 0, got.stderr
    onnx = onnxruntime.InferenceSession(tmp_path / "got" / "model.onnx")
    logits, _ = onnx.run(None, {"images": np.zeros((2, 3, 32, 32), np.float32)})
    assert logits.shape == (2, len(shapes.SHAPES))
    assert f"/jobs/{made['job_id']}" in http.get(f"/prunings/{made['id']}").text


def test_a_search_leaves_its_supernet_to_others_where_that_was_agreed_to(
    http: httpx.Client, tmp_path: Path
) -> None:
    def searched(name: str, seed: int, **agreed: bool) -> dict[str, Any]:
        """A finished search on a new dataset, with its job's result."""
        archive = shapes.archive(tmp_path / f"{name}.zip", images=16, seed=seed)
        target = uploaded(http, archive, name)
        ended(http, target["embed_job"])
        body = {"dataset_id": target["id"], "space": SPACE, "training": TRAINING, **agreed}
        asked = http.post("/v1/searches", json=body | {"retrain_epochs": 1})
        assert asked.status_code == 202, asked.text
        job = ended(http, asked.json()["job"])
        found: dict[str, Any] = http.get(f"/v1/searches/{asked.json()['id']}").json()
        return found | {"result": job["result"]}

    def registered() -> set[str]:
        return {each["id"] for each in http.get("/v1/supernets?page_size=100").json()["items"]}

    before = registered()
    given = searched("given", 22, contribute=True)
    made = given["result"]["supernet_id"]
    assert registered() - before == {made}
    supernet = http.get(f"/v1/supernets/{made}").json()
    assert supernet["dataset_id"] == given["dataset_id"]
    assert supernet["lineage"]["kind"] == "search"
    assert supernet["lineage"]["training"]["search_id"] == given["id"]
    assert http.get(f"/v1/supernets/{made}/bundle").is_success

    following = searched("following", 23)
    ranked = [each["supernet_id"] for each in following["ranking"]["neighbours"]]
    assert made in ranked
    contestants = {each["supernet_id"] for each in following["start"]["race"]["contestants"]}
    assert set(ranked[:2]) <= contestants
    expected = following["start"]["expected"]
    assert not expected["proven"]
    assert expected["datasets"] < expected["datasets_needed"] == 12


def test_a_search_can_be_cancelled(http: httpx.Client, tmp_path: Path) -> None:
    target = uploaded(http, shapes.archive(tmp_path / "c.zip", images=24, seed=9), "cancelled")
    body = {
        "dataset_id": target["id"],
        "policy": "cold",
        "space": SPACE,
        "training": TRAINING | {"epochs": 10_000},
    }
    job = http.post("/v1/searches", json=body).json()["job"]
    assert http.post(f"/v1/jobs/{job['id']}:cancel").status_code == 202
    deadline = time.monotonic() + 120
    while (job := http.get(f"/v1/jobs/{job['id']}").json())["poll_after_ms"] is not None:
        assert time.monotonic() < deadline, job
        time.sleep(0.2)
    assert job["state"] == "cancelled"


def test_the_command_line_explains_itself(service: Service, tmp_path: Path) -> None:
    nobody = headstart(service, "rank", "no such dataset")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "There is no dataset called 'no such dataset'" in nobody.stderr
    assert "(not_found)" in nobody.stderr

    text = tmp_path / "notes.zip"
    text.write_text("not an archive")
    refused = headstart(service, "upload", text)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr

    wrong = headstart(service, "search")
    assert wrong.returncode == 2

    silent = subprocess.run(
        [sys.executable, "-m", "api.cli", "jobs"],
        env={**os.environ, "HEADSTART_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert silent.returncode == 1
    assert "No Headstart server answers at http://127.0.0.1:9" in silent.stderr


def test_it_refuses_to_listen_to_strangers(tmp_path: Path) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "api.cli", "serve", "--host", "0.0.0.0", "--port", "0"],
        env={**os.environ, "HEADSTART_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 2
    assert "reached from other machines" in " ".join(refused.stderr.replace("│", " ").split())
    assert not (tmp_path / "home").exists()


def test_what_the_service_writes_is_its_owners_alone(service: Service) -> None:
    written = [path for path in service.paths() if path.is_file()]
    assert service.home / "headstart.db" in written
    for path in written:
        with contextlib.suppress(FileNotFoundError):  # it works on
            assert path.stat().st_mode & 0o077 == 0, path


def test_a_zoo_is_built_from_a_folder_and_started_from(
    http: httpx.Client, service: Service, tmp_path: Path
) -> None:
    folder, out, about = tmp_path / "zoo", tmp_path / "made.safetensors", tmp_path / "about.json"
    folder.mkdir()
    for seed, name in enumerate(("first", "second"), start=31):
        shapes.archive(folder / f"{name}.zip", images=12, seed=seed)
    about.write_text('{"first": {"licence": "CC0", "source": "drawn here"}}')
    options = "--rounds 2 --steps 2 --paths 1 --channels 2 --layers 3 --resolution 16 --seed 3"
    command = ("zoo", "build", folder, "--out", out, "--name", "tiny", "--about", about)
    built = headstart(service, *command, *options.split())
    assert built.returncode == 0, built.stdout + built.stderr

    manifest = bundle.read(out).manifest
    assert manifest.lineage["kind"] == "multi-dataset"
    first, second = manifest.lineage["datasets"]
    assert (first["name"], first["licence"], first["source"]) == ("first", "CC0", "drawn here")
    assert "licence" not in second
    settings = manifest.lineage["training"]["settings"]
    assert (settings["epochs"], settings["steps"], settings["paths"]) == (2, 2, 1)
    assert set(manifest.metrics["valid_accuracies"]) == {"first", "second"}

    supernet = next(each for each in http.get("/v1/supernets").json()["items"])
    assert (supernet["name"], supernet["dataset_id"]) == ("tiny", None)
    target = uploaded(http, shapes.archive(tmp_path / "t.zip", images=24, seed=13), "zoo target")
    body = {
        "dataset_id": target["id"],
        "policy": "multi-dataset",
        "training": TRAINING,
        "retrain_epochs": 1,
    }
    search = http.post("/v1/searches", json=body).json()
    ended(http, search["job"])
    start = http.get(f"/v1/searches/{search['id']}").json()["start"]
    assert start["supernet_id"] == supernet["id"]

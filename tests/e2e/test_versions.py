"""Two versions from upload to deletion on a real service with real workers."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e import shapes
from tests.e2e.conftest import Service
from tests.e2e.test_http import SPACE, TRAINING, ended, headstart, uploaded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def left(service: Service, sha256: str) -> list[Path]:
    """Whatever has the checksum in its name, in the store and in the caches."""
    return [path for path in service.paths() if sha256 in path.name]


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_two_versions_and_the_end_of_one(
    http: httpx.Client, service: Service, tmp_path: Path
) -> None:
    archive = shapes.archive(tmp_path / "one.zip", images=16, seed=21)
    first = uploaded(http, archive, "one")
    second = next_version(http, service, shapes.archive(tmp_path / "t.zip", images=20, seed=21))
    diff = {"against": first["id"]}
    found = http.get(f"/v1/datasets/{second['id']}/diff", params=diff).json()
    kept = first["n_train"] + first["n_test"]
    changed = sum(found[kind]["total"] for kind in ("removed", "relabelled", "resplit"))
    assert found["unchanged"] + changed >= kept
    more = second["n_train"] + second["n_test"] - kept
    assert found["added"]["total"] - found["removed"]["total"] == more

    at, model_id = f"/v1/datasets/{first['id']}", searched(http, first["id"])
    ended(http, http.post(f"/v1/datasets/{second['id']}:rank", json={"k": 100}).json())
    assert near(http, second["id"], first["id"])["coupling"]
    assert http.get(f"{at}/examples/0.png").status_code == 200
    assert left(service, first["sha256"])

    removed = headstart(service, "datasets", "rm", first["id"], "--yes")
    assert (removed.returncode, removed.stdout) == (0, "deleted\n")
    assert left(service, first["sha256"]) == []
    for address in ("", "/report", "/examples/0.png", "/images/0.png", "/export", "/neighbours"):
        assert problem(http.get(f"{at}{address}")) == (410, "dataset_deleted")
    gone = near(http, second["id"], first["id"])
    assert (gone["dataset_name"], gone["deleted"]) == ("one", True)
    assert (gone["coupling"], gone["pairs"]) == ([], [])
    model = http.get(f"/v1/models/{model_id}").json()
    assert model["dataset_id"] == first["id"]
    assert all(http.get(each["href"]).status_code == 200 for each in model["artifacts"])
    ended(http, http.post(f"/v1/datasets/{second['id']}:rank", json={"k": 100}).json())
    assert first["id"] not in [each["dataset_id"] for each in neighbours(http, second["id"])]

    again = uploaded(http, archive, "one")
    assert (again["id"], again["sha256"]) == (first["id"], first["sha256"])
    ended(http, again["embed_job"])
    for address in ("examples/0.png", "export"):
        assert http.get(f"{at}/{address}").status_code == 200


def next_version(http: httpx.Client, service: Service, archive: Path) -> dict[str, Any]:
    """Of the dataset called "one", by command."""
    told = ("--name", "two", "--version-of", "one", "--licence", "CC0-1.0", "--source", "a pen")
    sent = headstart(service, "upload", archive, *told)
    assert sent.returncode == 0, sent.stderr
    listed = http.get("/v1/datasets").json()["items"]
    second: dict[str, Any] = next(each for each in listed if each["name"] == "two")
    said = second["version"], second["licence"], second["source"]
    assert said == (2, "CC0-1.0", "a pen")
    for job in http.get("/v1/jobs", params={"dataset_id": second["id"]}).json()["items"]:
        ended(http, job)
    return second


def searched(http: httpx.Client, dataset_id: str) -> str:
    """A model made of the dataset, which cannot be deleted meanwhile."""
    body = {"dataset_id": dataset_id, "training": TRAINING, "space": SPACE, "policy": "cold"}
    search = http.post("/v1/searches", json=body | {"retrain_epochs": 1}).json()
    assert problem(http.delete(f"/v1/datasets/{dataset_id}")) == (409, "dataset_in_use")
    ended(http, search["job"])
    model_id: str = http.get(f"/v1/searches/{search['id']}").json()["model_id"]
    return model_id


def neighbours(http: httpx.Client, dataset_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = http.get(f"/v1/datasets/{dataset_id}/neighbours?k=100").json()[
        "neighbours"
    ]
    return found


def near(http: httpx.Client, dataset_id: str, source_id: str) -> dict[str, Any]:
    (found,) = [each for each in neighbours(http, dataset_id) if each["dataset_id"] == source_id]
    return found

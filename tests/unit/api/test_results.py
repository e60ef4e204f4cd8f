"""Datasets, supernets, searches, models and health over HTTP."""

import math
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from api import downloads
from core.bootstrap import Container
from core.domain.searches import Model
from core.services import models
from tests.unit.api import scenes
from tests.unit.api.conftest import Bell


def test_a_dataset_with_its_report_and_neighbours(
    client: httpx.Client, container: Container
) -> None:
    target, source = scenes.dataset(container), scenes.dataset(container, "source")
    shown = client.get(f"/v1/datasets/{target.id}").json()
    assert shown["report"]["problems"][0]["code"] == "bad_image"
    assert client.get(f"/v1/datasets/{target.id}/report").json() == shown["report"]
    listed = client.get("/v1/datasets").json()["items"]
    assert {each["name"] for each in listed} == {"animals", "source"}
    assert "report" not in listed[0]

    before = client.get(f"/v1/datasets/{target.id}/neighbours")
    assert (before.status_code, before.json()["code"]) == (404, "not_ranked")
    supernet = scenes.supernet(container, source)
    scenes.ranking(container, target, source, supernet.id)
    (neighbour,) = client.get(f"/v1/datasets/{target.id}/neighbours").json()["neighbours"]
    assert neighbour["dataset_name"] == "source"
    assert neighbour["interval"] == [13.1, 15.3]
    assert neighbour["coupling"][0] == ["class 0", "a", 0.4]


def test_ranking_is_a_job(client: httpx.Client, container: Container, bell: Bell) -> None:
    target = scenes.dataset(container)
    answer = client.post(f"/v1/datasets/{target.id}:rank")
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    assert len(bell.rung) == 1
    assert client.post(f"/v1/datasets/{uuid4()}:rank").status_code == 404


def test_supernets(client: httpx.Client, container: Container) -> None:
    made = scenes.supernet(container, scenes.dataset(container))
    assert client.get(f"/v1/supernets/{made.id}").json()["seconds"] == 31.0
    assert [each["id"] for each in client.get("/v1/supernets").json()["items"]] == [str(made.id)]
    assert client.get(f"/v1/supernets/{uuid4()}").status_code == 404


def test_a_search_leads_to_its_model(client: httpx.Client, container: Container) -> None:
    target = scenes.dataset(container)
    search, model = scenes.finished(container, target)
    shown = client.get(f"/v1/searches/{search.id}").json()
    assert shown["model_id"] == str(model.id)
    listed = client.get(f"/v1/searches?dataset_id={target.id}").json()["items"]
    assert [each["id"] for each in listed] == [str(search.id)]
    assert client.get(f"/v1/searches?dataset_id={uuid4()}").json()["items"] == []


def test_a_model_and_its_files(client: httpx.Client, container: Container) -> None:
    _, model = scenes.finished(container, scenes.dataset(container))
    shown = client.get(f"/v1/models/{model.id}").json()
    assert shown["genotype"] == dict(scenes.GENOTYPE)
    onnx = next(each for each in shown["artifacts"] if each["name"] == "model.onnx")
    answer = client.get(onnx["href"])
    assert answer.content == b"onnx" * 1_000
    assert answer.headers["etag"] == f'"{onnx["sha256"]}"'
    assert answer.headers["content-disposition"] == 'attachment; filename="model.onnx"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-length"] == "4000"
    etag = {"If-None-Match": f'"another", W/{answer.headers["etag"]}'}  # through a proxy
    assert client.get(onnx["href"], headers=etag).status_code == 304
    missing = client.get(f"/v1/models/{model.id}/artifacts/passwd")
    assert missing.status_code == 404
    assert "model.onnx" in missing.json()["detail"]


def damage(container: Container, model: Model) -> None:
    (stored,) = (Path(container.settings.home) / "objects").rglob("model.onnx")
    stored.chmod(0o600)
    stored.write_bytes(b"evil" * 1_000)


def test_damaged_files_are_never_sent_whole(
    client: httpx.Client, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model = scenes.finished(container, scenes.dataset(container))
    damage(container, model)
    path = f"/v1/models/{model.id}/artifacts/model.onnx"
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (500, "corrupt_object")
    assert "objects" not in answer.text

    # Too large to check beforehand: the end is held back, so the client sees a broken transfer.
    monkeypatch.setattr(downloads, "CHECKED_FIRST", 100)
    monkeypatch.setattr(downloads, "CHUNK", 256)
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(path)


def test_numbers_that_json_cannot_hold_are_null(
    client: httpx.Client, container: Container
) -> None:
    metrics = {"retrained": {"test_accuracy": math.nan}, "loss": [math.inf, 1.0]}
    _, model = scenes.finished(container, scenes.dataset(container), metrics=metrics)
    answer = client.get(f"/v1/models/{model.id}")
    assert answer.status_code == 200
    assert answer.json()["metrics"] == {"retrained": {"test_accuracy": None}, "loss": [None, 1.0]}
    with container.sessions.read() as session:
        assert models.get(session, model.id).id == model.id


def test_health(client: httpx.Client, bell: Bell) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["database"]) == (200, "ok")
    bell.broken = True
    down = client.get("/readyz")
    assert down.status_code == 503
    assert down.json()["checks"]["queue"] == "The message broker does not answer."
    assert down.json()["checks"]["store"] == "ok"
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("DELETE", "/v1/datasets", 405, "method_not_allowed"),
        ("TRACE", "/v1/datasets", 405, "method_not_allowed"),
        ("GET", "//evil.example", 404, "not_found"),
    ],
)
def test_the_frameworks_refusals_are_problems_too(
    client: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, str(client.base_url).rstrip("/") + path)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    fields = {"type", "title", "status", "detail", "code", "errors", "instance"}
    assert set(problem) == fields
    if status == 405:
        assert "GET" in answer.headers["allow"]

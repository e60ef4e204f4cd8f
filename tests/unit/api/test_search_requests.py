"""Searches over HTTP: estimated, bounded, labelled, cloned and replayed."""

from typing import Any

import httpx
import pytest

from core.bootstrap import Container
from core.domain.datasets import Dataset, Embedding
from core.services import datasets
from tests.unit.api import scenes


@pytest.fixture
def body(container: Container) -> dict[str, Any]:
    return {"dataset_id": str(scenes.dataset(container).id)}


def embedding(of: Dataset, embedder: str) -> Embedding:
    return Embedding(of.id, embedder, "key", "0" * 64, 64, 7, 0.5)


def test_an_estimate_queues_nothing(
    client: httpx.Client, container: Container, body: dict[str, Any]
) -> None:
    source = scenes.dataset(container, "source")
    supernet = scenes.supernet(container, source)
    answer = client.post("/v1/searches:estimate", json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    for name in ("seconds", "host_bytes", "least_seconds"):
        assert 0 < found[name]["low"] < found[name]["expected"] < found[name]["high"]
    assert found["gpu_seconds"] == {"expected": 0, "low": 0, "high": 0}
    assert found["basis"] == {"searches": 0, "device": "cpu", "model": "reference machine"}
    # The target is not embedded yet: which source lies near nobody knows.
    assert [each["name"] for each in found["trial"]["starts"]] == ["cold start"]
    assert found["saving"] == {"races": 0, "won": 0, "points": None, "seconds": None}
    assert client.get("/v1/searches").json()["items"] == []

    with container.sessions.begin() as session:  # or none may start from it
        datasets.record_embedding(session, embedding(source, container.settings.embedder))
    named = {**body, "policy": "supernet", "supernet_id": str(supernet.id)}
    trial = client.post("/v1/searches:estimate", json=named).json()["trial"]
    assert [each["dataset_name"] for each in trial["starts"]] == ["source"]
    assert (trial["space"]["channels"], trial["resolution"]) == (4, 16)
    assert client.post("/v1/searches:estimate", json={**body, "training": {"epochs": 0}}).is_error


def test_an_estimate_is_refused_as_the_search_is(
    client: httpx.Client, container: Container, body: dict[str, Any]
) -> None:
    supernet = scenes.supernet(container, scenes.dataset(container, "source"))
    named = {"policy": "supernet", "supernet_id": str(supernet.id)}
    for more in (
        {"budget": {"epochs": 2}, "learning_rates": [0.1, 0.05]},
        {"budget": {"seconds": 1}},
        {"deadline": "2020-01-01T00:00:00Z"},
        named,  # a source that nobody has embedded
        {"policy": "supernet", "supernet_id": body["dataset_id"]},
        {"dataset_id": named["supernet_id"]},
    ):
        answers = [
            client.post(path, json={**body, **more})
            for path in ("/v1/searches", "/v1/searches:estimate")
        ]
        search, estimate = ((each.status_code, each.json()["code"]) for each in answers)
        assert search == estimate
        assert search[0] >= 400


def test_more_work_is_estimated_longer(client: httpx.Client, body: dict[str, Any]) -> None:
    def seconds(**changes: Any) -> float:
        answer = client.post("/v1/searches:estimate", json={**body, **changes})
        return float(answer.json()["seconds"]["expected"])

    plain = seconds()
    assert seconds(space={"channels": 32, "layers": 8}) > plain
    assert seconds(retrain_epochs=400) > plain
    assert seconds(budget={"epochs": 2}) < plain
    assert seconds(budget={"seconds": plain / 2}) == plain / 2


def test_a_budget_in_which_nothing_fits_is_refused(
    client: httpx.Client, body: dict[str, Any]
) -> None:
    answer = client.post("/v1/searches", json={**body, "budget": {"seconds": 1}})
    assert (answer.status_code, answer.json()["code"]) == (422, "budget_too_small")
    assert answer.json()["errors"][0]["place"] == "budget.seconds"
    least = client.post("/v1/searches:estimate", json=body).json()["least_seconds"]["expected"]
    assert f"about {least:.0f} seconds" in answer.json()["detail"]
    answer = client.post("/v1/searches", json={**body, "budget": {"seconds": 2 * least}})
    assert answer.status_code == 202
    assert answer.json()["spec"]["budget"] == {
        "seconds": 2 * least, "gpu_seconds": None, "epochs": None,
    }  # fmt: skip


def test_labels_and_priority(client: httpx.Client, body: dict[str, Any]) -> None:
    labels = {"team": "forms", "run": "7"}
    made = client.post("/v1/searches", json={**body, "labels": labels, "priority": 5}).json()
    client.post("/v1/searches", json={**body, "training": {"seed": 1}})
    assert made["job"]["priority"] == 5
    for path in ("/v1/searches", "/v1/jobs"):
        both = client.get(path, params={"label": ["team:forms", "run:7"]}).json()["items"]
        assert [each["spec"]["labels"] for each in both] == [labels]
        assert client.get(path, params={"label": "team:other"}).json()["items"] == []
        assert client.get(path, params={"label": "team"}).status_code == 422
        twice = client.get(path, params={"label": ["team:forms", "team:other"]})
        assert twice.status_code == 422
    for wrong in ({"a:b": "c"}, {"": "c"}, {"a": "c" * 64}, {"a": "\x07"}):
        assert client.post("/v1/searches", json={**body, "labels": wrong}).status_code == 422
    crowd = {str(number): "x" for number in range(17)}
    assert client.post("/v1/searches", json={**body, "labels": crowd}).status_code == 422


def test_a_clone_differs_in_what_is_said(client: httpx.Client, body: dict[str, Any]) -> None:
    asked = {
        **body, "training": {"epochs": 3, "seed": 4}, "labels": {"run": "7"}, "priority": 5,
        "patience": 2, "deadline": "2099-01-01T00:00:00Z", "objectives": ["flops"],
    }  # fmt: skip
    first = client.post("/v1/searches", json=asked).json()
    path = f"/v1/searches/{first['id']}:clone"
    same = client.post(path)
    assert same.status_code == 202, same.text
    assert same.json()["id"] != first["id"]
    assert same.json()["spec"] == {**first["spec"], "deadline": None}
    assert same.json()["job"]["priority"] == 5
    patch = {"training": {"seed": 5}, "patience": None, "labels": {"round": "2"}, "priority": 0}
    other = client.post(path, json=patch).json()["spec"]
    assert other["training"] == {**first["spec"]["training"], "seed": 5}
    assert other["labels"] == {"run": "7", "round": "2"}
    assert other["patience"] is None
    labels = {"run": None, "round": "3", "unknown": None}
    assert client.post(path, json={"labels": labels}).json()["spec"]["labels"] == {"round": "3"}
    assert client.post(path, json={"labels": {"run": 7}}).status_code == 422
    assert other["objectives"] == ["flops"]
    refused = client.post(path, json={"policy": "supernet"})
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_error")
    assert client.post(path, json={"epochs": 3}).status_code == 422
    assert client.post(f"/v1/searches/{first['job']['id']}:clone").status_code == 404


def test_an_architecture_is_given(client: httpx.Client, body: dict[str, Any]) -> None:
    given = {**body, "policy": "cold", "genotype": dict(scenes.GENOTYPE)}
    made = client.post("/v1/searches", json=given)
    assert made.status_code == 202, made.text
    spec = made.json()["spec"]
    clone = f"/v1/searches/{made.json()['id']}:clone"
    other = client.post(clone, json={"training": {"seed": 5}}).json()["spec"]
    assert other["genotype"] == spec["genotype"] == scenes.GENOTYPE
    searched = client.post(clone, json={"genotype": None}).json()["spec"]
    assert searched["genotype"] is None
    target = client.get(f"/v1/datasets/{body['dataset_id']}").json()
    start = {"supernet_id": None, "learning_rates": []}
    config = {"dataset_sha256": target["sha256"], "spec": spec, "start": start}
    again = client.post("/v1/searches:replay", json={"config": config})
    assert again.status_code == 202, again.text
    assert again.json()["spec"]["genotype"] == scenes.GENOTYPE
    for wrong, places in (
        ({"policy": "race", "contribute": True}, ["policy", "contribute"]),
        ({"space": {"nodes": 2}}, ["genotype"]),
        ({"genotype": {"normal": []}}, ["genotype"]),
    ):
        refused = client.post("/v1/searches", json={**given, **wrong})
        assert refused.status_code == 422
        assert [each["place"] for each in refused.json()["errors"]] == places


def test_a_model_can_be_made_again_from_its_config(
    client: httpx.Client, container: Container, body: dict[str, Any]
) -> None:
    source = scenes.dataset(container, "source")
    supernet = scenes.supernet(container, source)
    spec = client.post("/v1/searches", json={**body, "contribute": True}).json()["spec"]
    start = {
        "supernet_id": str(supernet.id), "supernet_sha256": supernet.sha256,
        "learning_rates": [0.1], "batch_size": 16,
    }  # fmt: skip
    target = client.get(f"/v1/datasets/{body['dataset_id']}").json()
    # Another registry has other ids: images and weights are known by their hashes.
    elsewhere = {**spec, "dataset_id": "0199c2a4-5d1e-7c3f-9a41-2f6d0b8c7e15"}
    config = {"dataset_sha256": target["sha256"], "spec": elsewhere, "start": start}
    with container.sessions.begin() as session:  # as a race would want it
        datasets.record_embedding(session, embedding(source, spec["embedder"]))
    answer = client.post("/v1/searches:replay", json={"config": config})
    assert answer.status_code == 202, answer.text
    again = answer.json()["spec"]
    assert (again["policy"], again["supernet_id"]) == ("supernet", str(supernet.id))
    assert (again["training"]["batch_size"], again["learning_rates"]) == (16, [0.1])
    assert again["dataset_id"] == body["dataset_id"]
    cold = {**config, "start": {"supernet_id": None, "learning_rates": [0.1]}}
    assert (
        client.post("/v1/searches:replay", json={"config": cold}).json()["spec"]["policy"]
        == "cold"
    )
    for wrong, place in (
        ({}, "config.dataset_sha256"),
        ({**config, "dataset_sha256": "0" * 64}, "config.dataset_sha256"),
        (
            {**config, "start": {**start, "supernet_sha256": "0" * 64}},
            "config.start.supernet_sha256",
        ),
    ):
        refused = client.post("/v1/searches:replay", json={"config": wrong})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["place"] == place

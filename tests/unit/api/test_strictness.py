"""Bodies: what is misspelled, absurd or of the wrong type is named, and nothing is queued."""

import json
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from core.bootstrap import Container
from core.domain.datasets import Hubness
from core.domain.jobs import JobKind, JobState
from core.domain.searches import RankSpec, SearchSpec
from core.services import jobs, wire
from tests.unit.api import scenes
from tests.unit.api.conftest import Bell

NOBODY = UUID("8c1f2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b")  # the same in every test process
JSON = {"Content-Type": "application/json"}

WRONG = [
    ({"epochs": 3}, "epochs"),
    ({"training": {"epoch": 3}}, "training.epoch"),
    ({"training": {"epochs": 0}}, "training.epochs"),
    ({"training": {"epochs": -1}}, "training.epochs"),
    ({"training": {"epochs": 10**6}}, "training.epochs"),
    ({"training": {"epochs": True}}, "training.epochs"),
    ({"training": {"epochs": "3"}}, "training.epochs"),
    ({"training": {"epochs": 3.5}}, "training.epochs"),
    ({"training": {"epochs": None}}, "training.epochs"),
    ({"training": {"seed": 2**63}}, "training.seed"),
    ({"training": {"seed": -1}}, "training.seed"),
    ({"training": {"batch_size": 1}}, "training.batch_size"),
    ({"training": {"alpha_learning_rate": float("nan")}}, "training.alpha_learning_rate"),
    ({"training": {"weight_decay": float("inf")}}, "training.weight_decay"),
    ({"training": {"weight_decay": -0.1}}, "training.weight_decay"),
    ({"training": {"weight_decay": True}}, "training.weight_decay"),
    ({"training": []}, "training"),
    ({"space": {"channels": 10**9}}, "space.channels"),
    ({"space": {"resolution": 4}}, "space.resolution"),
]
WRONG_SEARCH = [
    ({"learning_rates": []}, "learning_rates"),
    ({"learning_rates": [0.1] * 9}, "learning_rates"),
    ({"learning_rates": [0]}, "learning_rates.0"),
    ({"learning_rates": [0.1, float("nan")]}, "learning_rates.1"),
    ({"learning_rates": 0.1}, "learning_rates"),
    ({"policy": "farthest"}, "policy"),
    ({"policy": "supernet"}, "supernet_id"),
    ({"policy": "cold", "supernet_id": str(NOBODY)}, "supernet_id"),
    ({"policy": "supernet", "supernet_id": "../x"}, "supernet_id"),
    ({"head": "pretrained"}, "head"),
    ({"adapt": 1}, "adapt"),
    ({"contribute": 1}, "contribute"),
    ({"retraining": {"solve_head": 1}}, "retraining.solve_head"),
    ({"retrain_epochs": 0}, "retrain_epochs"),
    ({"patience": -1}, "patience"),
    ({"patience": True}, "patience"),
    ({"retrain_learning_rate": 1e999}, "retrain_learning_rate"),
    ({"dataset_id": "7"}, "dataset_id"),
    ({"dataset_id": None}, "dataset_id"),
]
WRONG_PRETRAIN = [
    ({"name": ""}, "name"),
    ({"name": 7}, "name"),
    ({"name": "a\x00b"}, "name"),
    ({"name": "a\ud800b"}, "name"),
    ({"name": "x" * 121}, "name"),
    ({"learning_rate": 11}, "learning_rate"),
]


def places(answer: Any) -> list[str]:
    return [each["place"] for each in answer.json()["errors"]]


@pytest.mark.parametrize(("change", "place"), WRONG + WRONG_SEARCH)
def test_a_search_body_is_strict(
    client: httpx.Client, container: Container, bell: Bell, change: dict[str, Any], place: str
) -> None:
    body = {"dataset_id": str(scenes.dataset(container).id)} | change
    answer = client.post("/v1/searches", content=json.dumps(body), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error"), answer.text
    assert place in places(answer) or place in answer.json()["detail"]
    assert bell.rung == []


def test_a_list_of_wrong_items_is_not_called_empty_too(
    client: httpx.Client, container: Container
) -> None:
    body = {"dataset_id": str(scenes.dataset(container).id), "learning_rates": [float("nan")]}
    answer = client.post("/v1/searches", content=json.dumps(body), headers=JSON)
    assert places(answer) == ["learning_rates.0"]


@pytest.mark.parametrize(("change", "place"), WRONG + WRONG_PRETRAIN)
def test_a_pretrain_body_is_strict(
    client: httpx.Client, container: Container, bell: Bell, change: dict[str, Any], place: str
) -> None:
    body = {"dataset_id": str(scenes.dataset(container).id), "name": "source"} | change
    answer = client.post("/v1/supernets", content=json.dumps(body), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error"), answer.text
    assert place in places(answer)
    assert bell.rung == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"k": 0}, "k"),
        ({"k": 101}, "k"),
        ({"k": "5"}, "k"),
        ({"k": True}, "k"),
        ({"k": None}, "k"),
        ({"supernets_only": 1}, "supernets_only"),
        ({"supernets_only": "yes"}, "supernets_only"),
        ({"hubness": "mutual"}, "hubness"),
        ({"hubness": None}, "hubness"),
        ({"nearest": 3}, "nearest"),
    ],
)
def test_a_rank_body_is_strict(
    client: httpx.Client, container: Container, bell: Bell, change: dict[str, Any], place: str
) -> None:
    target = scenes.dataset(container)
    answer = client.post(f"/v1/datasets/{target.id}:rank", json=change)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error"), answer.text
    assert places(answer) == [place]
    assert bell.rung == []


def test_a_rank_body_says_what_the_job_does(client: httpx.Client, container: Container) -> None:
    target, embedder = scenes.dataset(container), container.settings.embedder
    chosen = {"k": 7, "supernets_only": True, "hubness": "local_scaling"}
    expected = RankSpec(target.id, embedder, 7, True, Hubness.LOCAL_SCALING)
    for body, spec in (({}, RankSpec(target.id, embedder)), (chosen, expected)):
        answer = client.post(f"/v1/datasets/{target.id}:rank", json=body)
        assert answer.status_code == 202, answer.text
        with container.sessions.read() as session:
            newest = jobs.listing(session, limit=1)[0][0]
        assert wire.load(RankSpec, newest.spec) == spec


def test_every_wrong_field_is_listed_at_once(client: httpx.Client) -> None:
    body = {"dataset_id": "x", "training": {"epochs": 0, "seed": -1}, "surprise": 1}
    answer = client.post("/v1/searches", json=body)
    assert {"dataset_id", "training.epochs", "training.seed", "surprise"} == set(places(answer))


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[]", 422),
        (b"null", 422),
        (b"[" * 100_000 + b"]" * 100_000, 400),
        (b'{"dataset_id": ' + b"1" * 5_000 + b"}", 400),
        (b" " * (1024 * 1024 + 1), 413),
    ],
    ids=["empty", "cut", "binary", "list", "null", "deep", "huge number", "huge body"],
)
def test_what_is_hardly_json(client: httpx.Client, content: bytes, status: int) -> None:
    answer = client.post("/v1/searches", content=content, headers=JSON)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_huge_body_without_a_length_is_cut_off(client: httpx.Client) -> None:
    pieces = (b" " * 100_000 for _ in range(20))
    answer = client.post("/v1/searches", content=pieces, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_only_json_is_read_as_json(client: httpx.Client, media: str) -> None:
    answer = client.post("/v1/searches", content=b"{}", headers={"Content-Type": media})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_an_unknown_dataset_is_not_found(client: httpx.Client, bell: Bell) -> None:
    for path, extra in (("/v1/searches", {}), ("/v1/supernets", {"name": "x"})):
        answer = client.post(path, json={"dataset_id": str(uuid4())} | extra)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert bell.rung == []


def test_defaults_are_the_domains(client: httpx.Client, container: Container, bell: Bell) -> None:
    target = scenes.dataset(container)
    answer = client.post("/v1/searches", json={"dataset_id": str(target.id)})
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{made['job']['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    assert made["job_id"] == made["job"]["id"]
    assert [str(job_id) for job_id, _ in bell.rung] == [made["job_id"]]
    with container.sessions.read() as session:
        (job,) = jobs.listing(session, limit=5)[0]
    assert job.state is JobState.QUEUED
    assert job.kind is JobKind.SEARCH
    spec = wire.load(SearchSpec, job.spec)
    assert spec == SearchSpec(target.id, container.settings.embedder)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/datasets/7",
        "/v1/jobs/..%2f..%2fetc",
        "/v1/models/%00",
        "/v1/searches/" + "a" * 10_000,
        "/v1/jobs?page_size=0",
        "/v1/jobs?page_size=-1",
        "/v1/jobs?page_size=1000000000",
        "/v1/jobs?page_token=tampered",
        "/v1/jobs?kind=dance",
        "/v1/jobs?dataset_id=1%20or%201=1",
        "/v1/datasets?page_token=" + "A" * 300,
        f"/v1/datasets/{NOBODY}/neighbours?k=0",
        f"/v1/datasets/{NOBODY}/neighbours?k=101",
        f"/v1/datasets/{NOBODY}/neighbours?k=1e1",
        f"/v1/datasets/{NOBODY}/neighbours?supernets_only=maybe",
        f"/v1/datasets/{NOBODY}/neighbours/7",
        f"/v1/datasets/{NOBODY}/images/x.png",
        f"/v1/datasets/{NOBODY}/images/0.png",
    ],
)
def test_bad_ids_and_queries_are_the_callers_mistake(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"] == "application/problem+json"

"""Bodies: what is misspelled, absurd or of the wrong type is named, and nothing is queued."""

import json
import tracemalloc
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api import problems, strictness
from api.schemas import MOST_ITEMS
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


@pytest.mark.parametrize("part", ["[[]],", "{},", '"",'], ids=["lists", "objects", "texts"])
def test_a_body_of_too_many_parts_is_refused_before_it_is_read(
    client: httpx.Client, part: str
) -> None:
    content = '{"config": {"a": [' + part * (1_000_000 // len(part))  # and no end
    answer = client.post("/v1/searches:replay", content=content, headers=JSON)
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


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("/v1/jobs?stat=queued", "query.stat"),
        ("/v1/jobs?kind=search&kind=embed", "query.kind"),
        ("/v1/jobs?page_size=2&page_size=2", "query.page_size"),
        ("/v1/jobs?=1", "query."),
        ("/v1/datasets?Name=x", "query.Name"),
        (f"/v1/jobs/{NOBODY}?wait=3", "query.wait"),
        ("/healthz?verbose", "query.verbose"),
    ],
)
def test_a_parameter_that_is_not_taken_is_named(
    client: httpx.Client, address: str, place: str
) -> None:
    answer = client.get(address)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error"), answer.text
    assert places(answer) == [place]


def test_a_parameter_that_may_come_again_may(client: httpx.Client) -> None:
    assert client.get("/v1/jobs?state=queued&state=running").status_code == 200


def test_a_slip_in_a_query_costs_no_upload(client: httpx.Client, bell: Bell) -> None:
    answer = client.post("/v1/datasets?name=x&tset_share=0.5", content=b"x")
    assert (answer.status_code, places(answer)) == (422, ["query.tset_share"])
    assert bell.rung == []


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b'{"dataset_id": 1, "dataset_id": 2}', ["dataset_id"]),
        (b'{"training": {"epochs": 1, "epochs": 2, "seed": 0}}', ["training.epochs"]),
        (b'{"learning_rates": [{"a": 1, "a": 2}], "x": 1, "x": 1}', ["x", "learning_rates.0.a"]),
    ],
)
def test_a_field_that_stands_twice_is_named(
    client: httpx.Client, content: bytes, found: list[str]
) -> None:
    answer = client.post("/v1/searches", content=content, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert places(answer) == found


def test_looking_for_such_fields_takes_no_more_memory_than_reading() -> None:
    """A long name with much under it, beside a field that stands twice."""
    content = f'{{"{"k" * 100_000}": [{"[]," * 2_000}0], "a": 1, "a": 2}}'.encode()
    tracemalloc.start()
    try:
        assert [each.place for each in strictness._of_body(content)] == ["a"]
        assert tracemalloc.get_traced_memory()[1] < 20 * len(content)
    finally:
        tracemalloc.stop()


def test_of_many_mistakes_the_first_are_told(client: httpx.Client) -> None:
    body = {f"a{number}": 1 for number in range(1_000)}
    answer = client.post("/v1/searches", json=body)
    assert (answer.status_code, len(places(answer))) == (422, problems.MOST)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({f"a{number}": 1 for number in range(MOST_ITEMS + 1)}, "body"),
        ({"objectives": ["x"] * (MOST_ITEMS + 1)}, "body"),
        ({"space": {"operations": ["x"] * (MOST_ITEMS + 1)}, "dataset_id": str(NOBODY)}, "space"),
    ],
)
def test_far_too_much_is_one_mistake(
    client: httpx.Client, body: dict[str, Any], place: str
) -> None:
    answer = client.post("/v1/searches", json=body)
    assert (answer.status_code, places(answer)) == (422, [place])


def test_what_is_nested_beyond_reading_is_no_bug_of_ours(client: httpx.Client) -> None:
    content = b'{"config": ' + b'{"a": ' * 900 + b"1" + b"}" * 900 + b"}"
    answer = client.post("/v1/searches:replay", content=content, headers=JSON)
    assert (answer.status_code, places(answer)) == (422, ["config"])


def test_what_one_reader_can_just_read_is_no_bug_where_the_next_cannot(
    client: httpx.Client,
) -> None:
    for depth in range(930, 1_000, 3):
        content = b"[" * depth + b"]" * depth
        answer = client.post("/v1/searches", content=content, headers=JSON)
        assert answer.status_code in {400, 422}, depth


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "at character 1"),
        (b'{"name": "\xff"}', "not UTF-8, from byte 10"),
        ('{"name": "x"}'.encode("utf-16"), "not UTF-8"),
        (b"[" * 100_000 + b"]" * 100_000, "too deeply"),
        (b'{"dataset_id": ' + b"1" * 5_000 + b"}", "too long"),
    ],
    ids=["cut", "latin", "utf-16", "deep", "huge number"],
)
def test_what_is_wrong_with_a_body_is_told(
    client: httpx.Client, content: bytes, words: str
) -> None:
    answer = client.post("/v1/searches", content=content, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json"), answer.text
    assert words in answer.json()["detail"]
    assert places(answer) == ["body"]


def test_a_whole_number_may_have_a_point(client: httpx.Client, container: Container) -> None:
    target = scenes.dataset(container)
    answer = client.post(f"/v1/datasets/{target.id}:rank", content=b'{"k": 7.0}', headers=JSON)
    assert answer.status_code == 202
    assert answer.json()["spec"]["k"] == 7

"""Neighbours over HTTP: what is certain, what it rests on, and where the pictures of it are."""

import io
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
from PIL import Image

from core.bootstrap import Container
from core.domain.datasets import Dataset
from tests.unit.api import archives, scenes

NAMES = ("first", "second", "third", "fourth", "fifth")


@pytest.fixture
def target(container: Container) -> Dataset:
    return scenes.dataset(container)


@pytest.fixture
def sources(container: Container) -> list[Dataset]:
    return [scenes.dataset(container, name, classes=4) for name in NAMES]


def seen(client: httpx.Client, target: Dataset, query: str = "") -> Any:
    answer = client.get(f"/v1/datasets/{target.id}/neighbours{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(ranking: Any) -> list[str]:
    return [each["dataset_name"] for each in ranking["neighbours"]]


def test_a_list_says_how_much_of_it_is_certain(
    client: httpx.Client, container: Container, target: Dataset, sources: list[Dataset]
) -> None:
    scenes.evidence(container, target, sources, proven=3)
    whole = seen(client, target)
    assert names(whole) == list(NAMES)
    assert (whole["sources"], whole["ranked"]) == (15, 5)
    assert (whole["proven"], whole["exactness"]) == (3, "approximate")
    assert [each["proven"] for each in whole["neighbours"]] == [True] * 3 + [False] * 2
    for k, proven, exactness in ((1, 1, "exact"), (3, 3, "exact"), (4, 3, "approximate")):
        part = seen(client, target, f"?k={k}")
        assert names(part) == list(NAMES[:k])
        assert (part["proven"], part["exactness"]) == (proven, exactness)


@pytest.mark.parametrize(
    ("proven", "query", "expected"),
    [
        (3, "?supernets_only=true", (["second", "fifth"], 1, "approximate")),
        (3, "?supernets_only=true&k=1", (["second"], 1, "exact")),
        (5, "?supernets_only=true", (["second", "fifth"], 2, "exact")),
        (1, "?supernets_only=true", (["second", "fifth"], 0, "approximate")),
        (1, "?supernets_only=false&k=2", (["first", "second"], 1, "approximate")),
    ],
)
def test_those_with_a_supernet_stay_as_certain_as_they_were(
    client: httpx.Client,
    container: Container,
    target: Dataset,
    sources: list[Dataset],
    proven: int,
    query: str,
    expected: tuple[list[str], int, str],
) -> None:
    supernets = {sources[i].id: scenes.supernet(container, sources[i]).id for i in (1, 4)}
    scenes.evidence(container, target, sources, supernets=supernets, proven=proven)
    found = seen(client, target, query)
    assert (names(found), found["proven"], found["exactness"]) == expected


def test_a_ranking_from_before_there_was_evidence_claims_nothing(
    client: httpx.Client, container: Container, target: Dataset, sources: list[Dataset]
) -> None:
    scenes.ranking(container, target, sources[0], None)
    found = seen(client, target)
    assert (found["proven"], found["exactness"], found["verdict"]) == (0, "approximate", None)
    assert client.get(f"/v1/datasets/{target.id}/map").json()["code"] == "no_map"


def test_each_neighbour_says_what_it_rests_on(
    client: httpx.Client, container: Container, target: Dataset, sources: list[Dataset]
) -> None:
    scenes.evidence(container, target, sources)
    found = seen(client, target)
    assert found["verdict"] == {
        "nearness": "near", "nearest": 2.0, "threshold": 8.5, "share": 0.625, "references": 40,
    }  # fmt: skip
    first, _, third, fourth, _ = found["neighbours"]
    assert [each["measure"] for each in (first, third, fourth)] == [
        "samples", "classes", "estimate",
    ]  # fmt: skip
    assert (first["samples"], first["hub_share"], first["scaled"]) == ([30, 30], 0.31, 1.0)
    assert first["features_part"] + first["labels_part"] == pytest.approx(first["distance"] ** 2)
    (pair,) = first["pairs"]
    assert pair["target_href"] == f"/v1/datasets/{target.id}/images/0.png"
    assert pair["source_href"] == f"/v1/datasets/{sources[0].id}/images/3.png"
    assert third["pairs"] == []


def test_a_list_carries_the_heaviest_entries_and_one_neighbour_all(
    client: httpx.Client, container: Container
) -> None:
    target, source = (
        scenes.dataset(container, classes=4),
        scenes.dataset(container, "s", classes=5),
    )
    made = scenes.evidence(container, target, [source, scenes.dataset(container, "t")])
    listed = seen(client, target)["neighbours"][0]
    stored = made.neighbours[0].coupling
    assert [tuple(each) for each in listed["coupling"]] == list(stored[:10])
    assert listed["coupling_entries"] == len(stored) == 20
    whole = client.get(f"/v1/datasets/{target.id}/neighbours/{source.id}").json()
    coupling = whole["coupling"]
    assert coupling["target_classes"] == list(target.classes)
    assert coupling["source_classes"] == list(source.classes)
    mass = np.array(coupling["mass"])
    assert mass.shape == (4, 5)
    assert mass.sum() == pytest.approx(sum(value for _, _, value in stored))
    for row, column, value in stored:
        assert mass[target.classes.index(row), source.classes.index(column)] == value
    assert (whole["place"], whole["proven"], whole["embedder"]) == (1, True, scenes.EMBEDDER)
    assert whole["target_id"] == str(target.id)
    assert whole["pairs"] == listed["pairs"]


def test_what_is_not_there_is_named(
    client: httpx.Client, container: Container, target: Dataset, sources: list[Dataset]
) -> None:
    at = f"/v1/datasets/{target.id}"
    for path in ("neighbours", f"neighbours/{sources[0].id}", "map"):
        answer = client.get(f"{at}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_ranked")
    scenes.evidence(container, target, sources[:2], drawn=False)
    for other in (sources[4].id, target.id, uuid4()):
        answer = client.get(f"{at}/neighbours/{other}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_a_neighbour")
    answer = client.get(f"{at}/map")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_map")
    for path in ("neighbours", f"neighbours/{sources[0].id}", "map"):
        answer = client.get(f"/v1/datasets/{uuid4()}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_map_marks_its_target(
    client: httpx.Client, container: Container, target: Dataset, sources: list[Dataset]
) -> None:
    scenes.evidence(container, target, sources)
    found = client.get(f"/v1/datasets/{target.id}/map").json()
    assert (found["stress"], found["measure"]) == (0.08, "classes")
    assert [each["name"] for each in found["points"] if each["is_target"]] == ["animals"]
    assert {each["dataset_id"] for each in found["points"]} == {
        str(each.id) for each in [target, *sources]
    }
    assert found["points"][1] == {
        "dataset_id": str(sources[0].id), "name": "first", "x": 3.0, "y": 2.0, "is_target": False,
        "deleted": False,
    }  # fmt: skip


def test_a_search_shows_the_same_evidence(
    client: httpx.Client, container: Container, target: Dataset, sources: list[Dataset]
) -> None:
    made = scenes.evidence(container, target, sources)
    search, _ = scenes.finished(container, target, ranking=made)
    found = client.get(f"/v1/searches/{search.id}").json()["ranking"]
    assert found == seen(client, target)
    (listed,) = client.get("/v1/searches").json()["items"]
    assert listed["ranking"] == found


def uploaded(client: httpx.Client, name: str) -> Any:
    images = {
        f"{split}/{label}/{number}.png": archives.png(60 * index + 10 * number + shift)
        for shift, split in ((0, "train"), (5, "test"))
        for index, label in enumerate(("cat", "dog"))
        for number in range(3)
    }
    headers = {"Content-Type": "application/zip"}
    answer = client.post(
        "/v1/datasets", params={"name": name}, content=archives.zipped(images), headers=headers
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_one_image_by_its_place(client: httpx.Client) -> None:
    made = uploaded(client, "animals")
    path = f"/v1/datasets/{made['id']}/images/"
    assert made["n_train"] == 6
    values = []
    for index in range(6):
        answer = client.get(f"{path}{index}.png")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        image = Image.open(io.BytesIO(answer.content))
        assert image.size == (32, 32)
        values.append(round(float(np.median(np.asarray(image)))))
    assert sorted(values[:3]) == [0, 10, 20]  # class by class, as the packed file has them
    assert sorted(values[3:]) == [60, 70, 80]
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    again = client.get(f"{path}5.png", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"{path}4.png").headers["etag"] != answer.headers["etag"]
    shown = client.get(f"{path}5.png?split=test")
    image = Image.open(io.BytesIO(shown.content))
    assert np.median(np.asarray(image)) in {65, 75, 85}  # of the test split
    assert shown.headers["etag"] != client.get(f"{path}5.png").headers["etag"]
    assert client.get(f"{path}0.png?split=valid").status_code == 422
    for index in ("6", "-1", "9" * 30, "6?split=test"):
        place, _, query = index.partition("?")
        missing = client.get(f"{path}{place}.png?{query}")
        assert (missing.status_code, missing.json()["code"]) == (404, "unknown_image")


def test_a_dataset_whose_images_never_came_has_none(client: httpx.Client, target: Dataset) -> None:
    missing = client.get(f"/v1/datasets/{target.id}/images/0.png")
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_image")


def test_the_description_tells_the_bounds(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    listed = paths["/v1/datasets/{dataset_id}/neighbours"]["get"]
    bounds = {each["name"]: each["schema"] for each in listed["parameters"]}
    assert (bounds["k"]["minimum"], bounds["k"]["maximum"], bounds["k"]["default"]) == (1, 100, 10)
    assert bounds["supernets_only"]["default"] is False
    image = paths["/v1/datasets/{dataset_id}/images/{index}.png"]["get"]["responses"]["200"]
    assert list(image["content"]) == ["image/png"]

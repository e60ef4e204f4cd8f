"""Many pretrainings by one request, over HTTP: shown, listed, cancelled as one job."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from core.bootstrap import Container
from core.domain.jobs import QueueName
from core.services import jobs
from tests.unit.api import scenes
from tests.unit.api.conftest import Bell

ADDRESS = "/v1/supernets:pretrain"


def body(container: Container, *names: str, **more: Any) -> dict[str, Any]:
    ids = [str(scenes.dataset(container, name).id) for name in names]
    return {"dataset_ids": ids, **more}


def test_one_request_becomes_many_jobs(
    client: httpx.Client, container: Container, bell: Bell
) -> None:
    asked = body(container, "one", "two", "three", training={"epochs": 2}, learning_rate=0.2)
    answer = client.post(ADDRESS, json=asked)
    assert answer.status_code == 202
    made = answer.json()
    none = {"running": 0, "succeeded": 0, "failed": 0, "cancelled": 0}
    assert (made["kind"], made["state"], made["stage"]) == ("group", "running", "children")
    assert made["children"] == {"queued": 3, **none}
    assert answer.headers["location"] == f"/v1/jobs/{made['id']}"
    assert [str(each) for each, _ in bell.rung] == [made["id"]]
    listed = client.get("/v1/jobs", params={"parent_id": made["id"]}).json()["items"]
    assert {each["dataset_id"] for each in listed} == set(asked["dataset_ids"])
    assert {each["spec"]["name"] for each in listed} == {"one", "two", "three"}
    assert {each["spec"]["training"]["epochs"] for each in listed} == {2}
    assert {each["parent_id"] for each in listed} == {made["id"]}
    assert [each["children"] for each in listed] == [None] * 3


def test_a_group_shows_how_its_jobs_stand(client: httpx.Client, container: Container) -> None:
    made = client.post(ADDRESS, json=body(container, "one", "two")).json()
    address = f"/v1/jobs/{made['id']}"
    tag = {"If-None-Match": client.get(address).headers["etag"]}
    assert client.get(address, headers=tag).status_code == 304
    with container.sessions.begin() as session:
        job = jobs.claim(session, queue=QueueName.GPU, owner="test", lease_seconds=600)
        assert job is not None
        jobs.finish(session, job.id, job.fence, {})
    seen = client.get(address, headers=tag)
    assert seen.status_code == 200
    assert (seen.json()["progress"], seen.json()["children"]["succeeded"]) == (0.5, 1)
    (group,) = client.get("/v1/jobs", params={"kind": "group"}).json()["items"]
    assert group == seen.json()
    page = client.get(f"/jobs/{made['id']}", headers={"Accept": "text/html"}).text
    for shown in ("Group of jobs", "50.0 %", ">one</td>", ">two</td>", f"/jobs/{job.id}"):
        assert shown in page
    child = client.get(f"/jobs/{job.id}", headers={"Accept": "text/html"}).text
    assert f'one of a <a href="/jobs/{made["id"]}">group</a>' in child
    listed = client.get("/jobs", headers={"Accept": "text/html"}).text
    assert '<progress value="0.5"' in listed


def test_cancelling_a_group(client: httpx.Client, container: Container) -> None:
    made = client.post(ADDRESS, json=body(container, "one", "two")).json()
    ended = client.post(f"/v1/jobs/{made['id']}:cancel")
    assert (ended.status_code, ended.json()["state"]) == (202, "cancelled")
    assert ended.json()["children"]["cancelled"] == 2
    again = client.post(f"/v1/jobs/{made['id']}:cancel")
    assert (again.status_code, again.json()) == (200, ended.json())


def test_one_bad_dataset_queues_nothing(client: httpx.Client, container: Container) -> None:
    asked = body(container, "one")
    bare = str(scenes.dataset(container, "bare", statistics_only=True).id)
    for more, status in ((str(uuid4()), 404), (bare, 409)):
        answer = client.post(ADDRESS, json={"dataset_ids": [*asked["dataset_ids"], more]})
        assert answer.status_code == status
    assert client.get("/v1/jobs").json()["items"] == []


@pytest.mark.parametrize("ids", [[], ["x"], "twice", [str(uuid4()) for _ in range(501)]])
def test_what_is_no_list_of_datasets_is_refused(
    client: httpx.Client, container: Container, ids: Any
) -> None:
    if ids == "twice":
        ids = body(container, "one")["dataset_ids"] * 2
    answer = client.post(ADDRESS, json={"dataset_ids": ids})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert answer.json()["errors"][0]["place"].startswith("dataset_ids")

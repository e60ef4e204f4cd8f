"""Lists: filters, orders, pages whose tokens lead on in their own list alone, entity tags."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from core.bootstrap import Container
from core.domain.jobs import Job, JobKind, JobRecord
from core.services import datasets, jobs
from tests.unit.api import scenes

Json = dict[str, Any]


def items(client: httpx.Client, address: str, **query: Any) -> list[Json]:
    answer = client.get(address, params=query)
    assert answer.status_code == 200, answer.text
    found: list[Json] = answer.json()["items"]
    return found


def paged(client: httpx.Client, address: str, **query: Any) -> Iterator[Json]:
    """Every item, fetched page by page."""
    while True:
        page = client.get(address, params=query).json()
        yield from page["items"]
        if page["next_page_token"] is None:
            return
        query["page_token"] = page["next_page_token"]


def test_jobs_are_filtered(client: httpx.Client, container: Container) -> None:
    first, second = scenes.dataset(container), scenes.dataset(container, "other")
    running = scenes.running(container, first)
    failed = scenes.failed(container, second, "gpu_oom", "No room.")
    waiting = scenes.queued(container, second, JobKind.PRETRAIN)

    def found(**query: Any) -> set[str]:
        return {each["id"] for each in items(client, "/v1/jobs", **query)}

    assert found(state="running") == {str(running.id)}
    assert found(state=["running", "failed"]) == {str(running.id), str(failed.id)}
    assert found(kind="pretrain") == {str(waiting.id)}
    assert found(dataset_id=second.id, state=["failed", "running"]) == {str(failed.id)}
    assert found(created_after=running.created_at.isoformat()) == {
        str(each.id) for each in (running, failed, waiting)
    }
    assert found(created_before=running.created_at.isoformat()) == set()
    later = datetime.now(UTC) + timedelta(hours=1)
    assert found(created_after=later.isoformat()) == set()


@pytest.mark.parametrize(
    "moment", ["1769860800", "2026-01-31", "2026-01-31T12:00:00", "0001-01-01T00:00:00+14:00"]
)
def test_a_moment_is_spelled_as_rfc_3339_does(client: httpx.Client, moment: str) -> None:
    answer = client.get("/v1/jobs", params={"created_after": moment})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert answer.json()["errors"][0]["place"] == "query.created_after"


def test_datasets_by_name_and_those_that_were_deleted(
    client: httpx.Client, container: Container
) -> None:
    for name in ("birds", "ants", "cats"):
        scenes.dataset(container, name)
    assert [each["name"] for each in items(client, "/v1/datasets", order="name")] == [
        "ants", "birds", "cats"
    ]  # fmt: skip
    (ants,) = items(client, "/v1/datasets", name="ants")
    assert ants["name"] == "ants"
    with container.sessions.begin() as session:
        datasets.delete(session, UUID(ants["id"]))
    assert [each["name"] for each in items(client, "/v1/datasets", deleted=True)] == ["ants"]
    assert items(client, "/v1/datasets", name="ants") == []


def test_what_a_dataset_is_the_subject_of(client: httpx.Client, container: Container) -> None:
    target, other = scenes.dataset(container), scenes.dataset(container, "other")
    supernet = scenes.supernet(container, other)
    search, model = scenes.finished(container, target)
    scenes.queued(container, other)
    for address, dataset, found in (
        ("/v1/supernets", other, supernet.id),
        ("/v1/searches", target, search.id),
        ("/v1/models", target, model.id),
    ):
        assert [each["id"] for each in items(client, address, dataset_id=dataset.id)] == [
            str(found)
        ]
    assert items(client, "/v1/models", dataset_id=other.id) == []
    done = items(client, "/v1/searches", state="succeeded")
    assert [each["id"] for each in done] == [str(search.id)]
    assert len(items(client, "/v1/searches", state=["succeeded", "queued"])) == 2


def test_a_name_is_found_as_it_was_given_though_it_is_stored_composed(
    client: httpx.Client, container: Container
) -> None:
    scenes.dataset(container, "Caf\u00e9 au lait")
    for given in ("Caf\u00e9 au lait", "Cafe\u0301 au lait", " Cafe\u0301\u00a0au lait"):
        (found,) = items(client, "/v1/datasets", name=given)
        assert found["name"] == "Caf\u00e9 au lait"


@pytest.mark.parametrize("order", ["newest", "oldest", "name"])
def test_pages_put_together_are_the_list(
    client: httpx.Client, container: Container, order: str
) -> None:
    for name in ("b", "d", "a", "c", "e"):
        scenes.dataset(container, name)
    whole = items(client, "/v1/datasets", order=order)
    assert list(paged(client, "/v1/datasets", order=order, page_size=2)) == whole
    names = [each["name"] for each in whole]
    moments = [each["created_at"] for each in whole]
    if order == "name":
        assert names == ["a", "b", "c", "d", "e"]
    else:
        assert moments == sorted(moments, reverse=order == "newest")


def test_a_token_leads_on_in_its_own_list_alone(
    client: httpx.Client, container: Container
) -> None:
    target = scenes.dataset(container)
    for _ in range(3):
        scenes.queued(container, target)
    query: Json = {"state": "queued", "page_size": 1}
    token = client.get("/v1/jobs", params=query).json()["next_page_token"]
    assert token is not None
    same = {**query, "page_size": 2, "page_token": token}
    assert client.get("/v1/jobs", params=same).status_code == 200
    for address, other in (
        ("/v1/jobs", {"page_token": token}),
        ("/v1/jobs", {**query, "order": "oldest", "page_token": token}),
        ("/v1/jobs", {**query, "state": "running", "page_token": token}),
        ("/v1/searches", {**query, "page_token": token}),
        ("/v1/jobs", {**query, "page_token": token.partition(".")[0] + ".eyJ"}),
    ):
        answer = client.get(address, params=other)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), answer.text
        assert answer.json()["errors"][0]["place"] == "page_token"
        assert "next_page_token" in answer.json()["detail"]


def written(container: Container, job: Job, steps: range, value: float) -> None:
    with container.sessions.begin() as session:
        lines = [JobRecord("search:0", step, {"value": value}) for step in steps]
        jobs.add_records(session, job.id, job.fence, lines)


def test_no_line_is_missed_though_an_attempt_writes_it_again(
    client: httpx.Client, container: Container
) -> None:
    job = scenes.running(container, scenes.dataset(container))
    written(container, job, range(6), 1.0)
    address = f"/v1/jobs/{job.id}/records"
    first = client.get(address, params={"page_size": 3}).json()
    written(container, job, range(1, 8), 2.0)  # as who resumes after the first step
    rest = paged(client, address, page_size=3, page_token=first["next_page_token"])
    latest = {each["step"]: each["values"]["value"] for each in [*first["items"], *rest]}
    assert latest == {0: 1.0, **dict.fromkeys(range(1, 8), 2.0)}


def test_a_jobs_moves_come_in_pages(client: httpx.Client, container: Container) -> None:
    job = scenes.failed(container, scenes.dataset(container), "gpu_oom", "No room.")
    address = f"/v1/jobs/{job.id}/events"
    found = list(paged(client, address, page_size=1))
    assert [each["to_state"] for each in found] == ["queued", "running", "failed"]
    assert items(client, address, order="newest") == found[::-1]


@pytest.mark.parametrize("address", ["/v1/jobs", "/v1/datasets", "/v1/embedders", "/v1/uploads"])
def test_a_list_that_is_known_is_not_sent_again(
    client: httpx.Client, container: Container, address: str
) -> None:
    first = client.get(address)
    assert first.headers["cache-control"] == "no-cache"
    again = client.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    if address == "/v1/jobs":
        scenes.queued(container, scenes.dataset(container))
        other = client.get(address, headers={"If-None-Match": first.headers["etag"]})
        assert other.status_code == 200
        assert len(other.json()["items"]) == 1


def test_what_is_read_alone_has_a_tag_too(client: httpx.Client, container: Container) -> None:
    target, source = scenes.dataset(container), scenes.dataset(container, "source")
    search, model = scenes.finished(container, target)
    supernet = scenes.supernet(container, source)
    for address in (
        f"/v1/datasets/{target.id}",
        f"/v1/datasets/{target.id}/versions",
        f"/v1/searches/{search.id}",
        f"/v1/models/{model.id}",
        f"/v1/supernets/{supernet.id}",
        f"/v1/jobs/{search.job_id}/records",
    ):
        tag = client.get(address).headers["etag"]
        again = client.get(address, headers={"If-None-Match": f'"other", W/{tag}'})
        assert again.status_code == 304, address

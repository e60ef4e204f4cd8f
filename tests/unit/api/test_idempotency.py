"""A request made twice under one key is one request."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

import headstart
from api import problems
from core.bootstrap import Container
from core.domain.datasets import Dataset
from core.errors import Conflict
from core.services import jobs
from headstart import patience
from tests.unit.api import scenes
from tests.unit.api.conftest import Bell, Served

REPLAYED = "Idempotency-Replayed"
QUEUING = {
    "/v1/searches",
    "/v1/supernets",
    "/v1/supernets:pretrain",
    "/v1/datasets/{dataset_id}:embed",
    "/v1/datasets/{dataset_id}:rank",
}


@pytest.fixture
def target(container: Container) -> Dataset:
    return scenes.dataset(container)


def asked(path: str, target: Dataset) -> tuple[str, dict[str, Any]]:
    """The address and a body for it."""
    bodies: dict[str, dict[str, Any]] = {
        "/v1/searches": {"dataset_id": str(target.id), "training": {"seed": 3}},
        "/v1/supernets": {"dataset_id": str(target.id), "name": "source"},
        "/v1/supernets:pretrain": {"dataset_ids": [str(target.id)]},
    }
    return path.format(dataset_id=target.id), bodies.get(path, {})


def jobs_there(container: Container) -> int:
    with container.sessions.read() as session:
        return len(jobs.listing(session, limit=1_000)[0])


@pytest.mark.parametrize("path", sorted(QUEUING))
def test_the_same_again_is_the_same_job(
    client: httpx.Client, container: Container, bell: Bell, target: Dataset, path: str
) -> None:
    address, body = asked(path, target)
    key = {"Idempotency-Key": "4f0c-1"}
    first, again = (client.post(address, json=body, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()  # the search's id too
    assert (REPLAYED in first.headers, again.headers[REPLAYED]) == (False, "true")
    assert first.headers["location"] == again.headers["location"]
    assert first.headers["retry-after"] == again.headers["retry-after"]
    other = client.post(address, json=body, headers={"Idempotency-Key": "4f0c-2"})
    assert other.headers["location"] != first.headers["location"]
    assert REPLAYED not in other.headers
    client.post(address, json=body)
    assert len(bell.rung) == 3
    each = 2 if path == "/v1/supernets:pretrain" else 1  # a group and its one child
    assert jobs_there(container) == 3 * each


def test_a_key_that_stands_for_another_request_is_refused(
    client: httpx.Client, container: Container, target: Dataset
) -> None:
    key = {"Idempotency-Key": "one"}
    address, body = asked("/v1/searches", target)
    assert client.post(address, json=body, headers=key).status_code == 202
    elsewhere = asked("/v1/supernets", target)
    for at, sent in ((address, body | {"training": {"seed": 4}}), elsewhere):
        answer = client.post(at, json=sent, headers=key)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
        assert "new key" in answer.json()["detail"]
    assert jobs_there(container) == 1


def test_a_replay_shows_the_job_as_it_is_now(
    client: httpx.Client, container: Container, target: Dataset
) -> None:
    address, body = asked("/v1/searches", target)
    key = {"Idempotency-Key": "one"}
    first = client.post(address, json=body, headers=key).json()
    client.post(f"/v1/jobs/{first['job']['id']}:cancel")
    again = client.post(address, json=body, headers=key).json()
    assert (again["id"], again["job"]["state"]) == (first["id"], "cancelled")


def test_a_refused_request_does_not_use_up_its_key(
    client: httpx.Client, container: Container, target: Dataset
) -> None:
    key = {"Idempotency-Key": "one"}
    bare = scenes.dataset(container, "bare", statistics_only=True)
    for path in ("/v1/searches", "/v1/datasets/{dataset_id}:embed"):
        address, body = asked(path, bare)
        assert client.post(address, json=body, headers=key).status_code == 409
    address, body = asked("/v1/searches", target)
    assert client.post(address, json=body, headers=key).status_code == 202


@pytest.mark.parametrize(
    "key", ["", '""', "a b", 'a"b', '"a', "a\\b", "x" * 256, b"\xe9t\xe9", "a\tb"]
)
def test_what_is_no_key_is_refused(
    client: httpx.Client, container: Container, target: Dataset, key: str | bytes
) -> None:
    address, body = asked("/v1/searches", target)
    answer = client.post(address, json=body, headers=[(b"Idempotency-Key", key)])  # type: ignore[list-item]
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    (error,) = answer.json()["errors"]
    assert error["place"] == "header.Idempotency-Key"
    assert "1 to 255" in error["message"]
    assert jobs_there(container) == 0


def test_quotation_marks_are_not_part_of_a_key(client: httpx.Client, target: Dataset) -> None:
    address, body = asked("/v1/searches", target)
    long = "~" * 255
    made = [
        client.post(address, json=body, headers={"Idempotency-Key": key})
        for key in ("one", '"one"', long, f'"{long}"')
    ]
    assert [each.status_code for each in made] == [202] * 4
    ids = [each.json()["id"] for each in made]
    assert (ids[0], ids[2], len(set(ids))) == (ids[1], ids[3], 2)


def test_who_asks_too_soon_is_told_when_to_ask_again() -> None:
    problem = problems.of_error(Conflict("wait", code="idempotency_key_in_flight"))
    assert (problem.status, dict(problem.headers)) == (409, {"Retry-After": "5"})


def test_the_key_is_documented_where_it_counts(served: Served) -> None:
    documented = {
        path
        for path, methods in served.app.openapi()["paths"].items()
        for each in methods.get("post", {}).get("parameters", ())
        if each["name"] == "Idempotency-Key"
    }
    # In test_intake_jobs, test_prunings and test_report_pages; one takes a model's file.
    elsewhere = {
        "/v1/datasets:ingest",
        "/v1/datasets/{dataset_id}:leave-out",
        "/v1/prunings",
        "/v1/searches:replay",
    }
    assert documented == QUEUING | elsewhere | {"/v1/searches/{search_id}:clone"}


def test_a_search_is_cloned_once_under_a_key(client: httpx.Client, target: Dataset) -> None:
    search = client.post("/v1/searches", json={"dataset_id": str(target.id)}).json()
    address, key = f"/v1/searches/{search['id']}:clone", {"Idempotency-Key": "c10e-1"}
    first, again = (client.post(address, json={}, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert first.json()["id"] != search["id"]


def test_keys_at_the_same_moment_on_one_file(
    client: httpx.Client, container: Container, target: Dataset
) -> None:
    address, body = asked("/v1/searches", target)

    def ask(number: int) -> tuple[int, int, str]:
        key = number % 5
        sent = body | {"training": {"seed": key}}
        answer = client.post(address, json=sent, headers={"Idempotency-Key": f"key-{key}"})
        return key, answer.status_code, answer.json()["id"]

    with ThreadPoolExecutor(8) as pool:
        answers = Counter(pool.map(ask, range(40)))
    assert len(answers) == 5
    assert set(answers.values()) == {8}
    assert {status for _, status, _ in answers} == {202}
    assert jobs_there(container) == 5


class Losing(httpx.HTTPTransport):
    """The network between a client and the server, where some answers are lost on their way."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[Callable[[], httpx.Response]] = []
        self.sent: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        answer = super().handle_request(request)
        if not self.losses:
            return answer
        answer.close()
        return self.losses.pop(0)()


def cut() -> httpx.Response:
    raise httpx.ReadError("cut")


def problem(status: int, code: str) -> Callable[[], httpx.Response]:
    body = {"detail": "No.", "code": code, "errors": []}
    return lambda: httpx.Response(status, json=body)


@pytest.fixture
def losing() -> Losing:
    return Losing()


@pytest.fixture
def far(
    client: httpx.Client, losing: Losing, monkeypatch: pytest.MonkeyPatch
) -> Iterator[headstart.Client]:
    """The client at the other end of that network."""
    monkeypatch.setattr(patience, "FIRST", 0.0)
    with headstart.Client(str(client.base_url), transport=losing) as opened:
        yield opened


def test_the_client_asks_again_for_a_lost_answer(
    far: headstart.Client, losing: Losing, container: Container, target: Dataset
) -> None:
    busy = problem(409, "idempotency_key_in_flight")
    losing.losses = [cut, problem(503, "unavailable"), busy]
    made = far.searches.create(str(target.id))
    assert len(losing.sent) == 4
    assert jobs_there(container) == 1
    again = far.searches.create(str(target.id))  # asked for anew, so another search
    assert again.id != made.id


def test_the_client_gives_up_at_once_where_it_is_no_use(
    far: headstart.Client, losing: Losing, target: Dataset
) -> None:
    losing.losses = [problem(409, "conflict")]
    with pytest.raises(headstart.Conflict, match=r"No\."):
        far.searches.create(str(target.id))
    losing.losses = [cut]
    with pytest.raises(headstart.Unreachable, match="broke"):  # what has no key is said once
        far.jobs.cancel(str(target.id))
    assert len(losing.sent) == 2

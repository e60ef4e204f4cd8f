"""What is one project's is for all others as if it were not there."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from core.config import UploadLimits
from core.domain.identity import DEFAULT, Limits
from core.services import projects, uploads
from tests.unit.api import scenes
from tests.unit.api.keyed import Keyed, keyed

PLACE = re.compile(r"\{(\w+)(?::uuid)?\}")
NOTHING: Mapping[str, str] = {
    "class_index": "0",
    "index": "0",
    "name": "model.onnx",
    # Tried across projects in tests of their own.
    "webhook_id": str(UUID(int=7)),
    "delivery_id": str(UUID(int=7)),
}
Ids = Mapping[str, str]


@pytest.fixture(scope="module")
def service(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    yield from keyed(migrated_sqlite, tmp_path_factory.mktemp("keyed"))


@pytest.fixture(scope="module")
def ids(service: Keyed) -> Ids:
    """One of everything, in the project of all keys but `other`."""
    target, source = (scenes.dataset(service.mine, name) for name in ("target", "source"))
    supernet = scenes.supernet(service.mine, source)
    scenes.ranking(service.mine, target, source, supernet.id)
    search, model = scenes.finished(service.mine, target)
    with service.mine.sessions.begin() as session:
        upload = uploads.create(
            session, name="a.zip", length=9, sha256=None, limits=UploadLimits()
        )
    pruning = scenes.pruned(service.mine, target)
    return {
        "dataset_id": str(target.id),
        "source_dataset_id": str(source.id),
        "supernet_id": str(supernet.id),
        "search_id": str(search.id),
        "job_id": str(search.job_id),
        "model_id": str(model.id),
        "pruning_id": str(pruning.id),
        "upload_id": str(upload.id),
        "key_id": service.keys["write"].split("_")[1],
    }


def addresses(service: Keyed, ids: Ids) -> list[tuple[str, str]]:
    known = NOTHING | ids
    found = [
        (method, PLACE.sub(lambda place: known[place[1]], route.path))
        for route in iter_route_contexts(service.app.routes)
        if "{" in route.path
        for method in sorted(route.methods or ())
    ]
    against = ids["source_dataset_id"]
    return [(m, f"{p}?against={against}" if p.endswith("/diff") else p) for m, p in found]


def told(answer: httpx.Response, ids: Ids) -> tuple[int, str, list[str]]:
    """An answer without the ids that were asked for, and the request's own."""
    text = re.sub(r"urn:headstart:request:\w+", "", answer.text)
    for name, each in ids.items():
        text = text.replace(each, name)
    headers = {"x-request-id", "content-length"}
    return answer.status_code, text, sorted(set(answer.headers) - headers)


def test_another_project_s_and_nobody_s_are_answered_alike(service: Keyed, ids: Ids) -> None:
    nobody_s = {name: str(uuid4()) for name in ids} | {"key_id": "nobody00"}
    real, missing = addresses(service, ids), addresses(service, nobody_s)
    assert len(real) > 35
    found = 0
    for (method, path), (_, other) in zip(real, missing, strict=True):
        answer = service.ask(method, path, "other")
        assert told(answer, ids) == told(service.ask(method, other, "other"), nobody_s), path
        if method == "GET":  # of others the body is looked at first, and there is none
            assert answer.status_code == 404, (path, answer.text)
            found += 1
    assert found > 20


def test_they_are_there_for_their_own(service: Keyed, ids: Ids) -> None:
    found = [path for method, path in addresses(service, ids) if method == "GET"]
    there = [path for path in found if service.ask("GET", path, "read").status_code < 400]
    assert len(there) > len(found) / 2


LISTS = ("datasets", "jobs", "searches", "supernets", "models", "prunings", "uploads")


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.usefixtures("ids")
def test_lists_are_of_one_project(service: Keyed, name: str) -> None:
    assert service.ask("GET", f"/v1/{name}", "read").json()["items"]
    assert service.ask("GET", f"/v1/{name}", "other").json()["items"] == []


@pytest.mark.usefixtures("ids")
def test_pages_show_one_project(service: Keyed) -> None:
    page = {"Accept": "text/html"}
    assert "target" in service.ask("GET", "/", "read", headers=page).text
    for path in ("/", "/jobs", "/models", "/prunings", "/registry", "/operations"):
        answer = service.ask("GET", path, "other", headers=page)
        assert answer.status_code == 200
        assert "target" not in answer.text


def test_who_asks_is_told(service: Keyed, ids: Ids) -> None:
    mine = service.ask("GET", "/v1/me", "read").json()
    assert (mine["project"], mine["scope"], mine["key_id"]) == (
        "default", "read", service.keys["read"].split("_")[1],
    )  # fmt: skip
    assert mine["used"]["stored_bytes"] == 9
    most = UploadLimits().stored_bytes
    assert mine["limits"] == {"active_jobs": 1_000, "stored_bytes": most, "gpu_seconds": None}
    theirs = service.ask("GET", "/v1/me", "other").json()
    assert (theirs["project"], theirs["project_id"]) == ("other", str(service.other))
    assert theirs["used"] == {"active_jobs": 0, "stored_bytes": 0, "gpu_seconds": 0.0}


def test_a_limit_is_the_project_s(service: Keyed, ids: Ids) -> None:
    rank = f"/v1/datasets/{ids['dataset_id']}:rank"
    with service.container.sessions.begin() as session:
        projects.limit(session, DEFAULT, Limits(active_jobs=0, stored_bytes=10))
    for path in (rank, rank.removeprefix("/v1").replace(":", "/")):
        refused = service.ask("POST", path, "write")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
    assert service.ask("POST", rank, "write").json()["code"] == "too_many_jobs"
    begin = {"Tus-Resumable": "1.0.0", "Upload-Length": "2"}
    full = service.ask("POST", "/v1/uploads", "write", headers=begin)
    assert (full.status_code, full.json()["code"]) == (413, "quota_exceeded")
    assert service.ask("POST", "/v1/uploads", "other", headers=begin).status_code == 201
    with service.container.sessions.begin() as session:
        projects.limit(session, DEFAULT, Limits(active_jobs=9))
    assert service.ask("POST", rank, "write").status_code == 202

"""HEAD, OPTIONS, methods that an address does not take, and ids that are none."""

from uuid import UUID

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from api.app import described
from core.bootstrap import Container
from tests.unit.api import scenes

NOBODY = UUID("5d3c0b8e-2f4a-4c6d-9e1b-7a8f0c2d4e61")  # the same wherever tests are named


@pytest.mark.parametrize(
    ("address", "methods"),
    [
        ("/v1/jobs", "GET, HEAD, OPTIONS"),
        ("/v1/datasets", "GET, HEAD, POST, PUT, OPTIONS"),
        (f"/v1/datasets/{NOBODY}", "GET, HEAD, DELETE, OPTIONS"),
        (f"/v1/jobs/{NOBODY}:cancel", "POST, OPTIONS"),
        (f"/v1/jobs/{NOBODY}/stream", "GET, OPTIONS"),
        (f"/v1/datasets/{NOBODY}:rank", "POST, OPTIONS"),
        ("/v1/supernets:import", "POST, OPTIONS"),
        ("/v1/datasets:statistics", "POST, OPTIONS"),
        (f"/v1/uploads/{NOBODY}", "GET, HEAD, PATCH, DELETE, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
        ("/static/headstart.css", "GET, HEAD, OPTIONS"),
    ],
)
def test_what_an_address_takes(client: httpx.Client, address: str, methods: str) -> None:
    told = client.options(address)
    assert (told.status_code, told.content) == (204, b"")
    assert told.headers["allow"] == methods
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - {*methods.split(", ")}:
        headers = {"Content-Type": "text/plain"}
        refused = client.request(method, address, content=b"x", headers=headers)
        assert refused.status_code == 405, method
        assert refused.headers["allow"] == methods
        assert refused.json()["code"] == "method_not_allowed"


def test_options_of_nothing_is_not_found(client: httpx.Client) -> None:
    assert client.options("/v1/nowhere").status_code == 404


def test_head_is_get_without_its_body(client: httpx.Client, container: Container) -> None:
    target = scenes.dataset(container)
    _, model = scenes.finished(container, target)
    for address in (
        "/v1/jobs",
        f"/v1/datasets/{target.id}",
        f"/v1/datasets/{NOBODY}",
        f"/v1/models/{model.id}/artifacts/model.onnx",
        "/healthz",
        "/openapi.json",
        "/",
    ):
        head, get = client.head(address), client.get(address)
        assert head.content == b""
        assert head.status_code == get.status_code
        for each in ("content-type", "content-length", "etag", "cache-control"):
            if address != f"/v1/datasets/{NOBODY}" or each != "content-length":
                assert head.headers.get(each) == get.headers.get(each), (address, each)


def test_head_knows_what_is_known_and_waits_for_nothing(
    client: httpx.Client, container: Container
) -> None:
    job = scenes.running(container, scenes.dataset(container))
    tag = client.head(f"/v1/jobs/{job.id}").headers["etag"]
    known = {"If-None-Match": tag, "Prefer": "wait=30"}
    answer = client.head(f"/v1/jobs/{job.id}", headers=known)
    assert answer.status_code == 304
    assert "preference-applied" not in answer.headers


def test_head_of_a_stream_is_refused(client: httpx.Client, container: Container) -> None:
    job = scenes.running(container, scenes.dataset(container))
    assert client.head(f"/v1/jobs/{job.id}/stream").status_code == 405


@pytest.mark.parametrize(
    "address",
    ["/v1/jobs/7", "/v1/datasets/not-an-id/report", f"/v1/datasets/{NOBODY}/images/x.png",
     f"/v1/models/{str(NOBODY)[:-1]}", f"/v1/datasets/{NOBODY}/examples/{'9' * 5_000}.png",
     f"/v1/jobs/{{{NOBODY}}}", f"/v1/jobs/urn:uuid:{NOBODY}"],
)  # fmt: skip
def test_an_id_that_is_none_is_not_found(client: httpx.Client, address: str) -> None:
    answer = client.get(address)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_an_id_that_is_none_is_not_found_by_a_verb(client: httpx.Client) -> None:
    assert client.post("/v1/jobs/7:cancel").status_code == 404
    assert client.delete("/v1/datasets/7").status_code == 404


def test_every_id_in_a_path_is_told_by_its_form() -> None:
    """So that a malformed one, and a verb that takes another method, have one answer each."""
    seen = 0
    for route in iter_route_contexts(described().routes):
        for name, convertor in getattr(route, "param_convertors", {}).items():
            wanted = {
                each.name: each.field_info.annotation for each in route.dependant.path_params
            }
            if wanted.get(name) is UUID:
                assert convertor.regex.startswith("[0-9a-fA-F]{8}"), f"{route.path}: {name}"
                seen += 1
    assert seen > 20

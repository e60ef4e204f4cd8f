"""Requests: which are made again, when, with what; and what is never sent."""

import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import headstart
from headstart import operations
from headstart.patience import Patience
from tests.fixtures.hosts import certificate
from tests.fixtures.impostor import answer, impostor
from tests.unit.client.script import Script, client, ok, problem

__all__ = ["certificate"]

JOB = {"id": "j", "state": "queued"}
SEARCH = {"id": "s", "job": JOB}
DATASET = {"id": "0199c2a4-5d1e-7c3f-9a41-2f6d0b8c7e15", "name": "digits"}
RESET = httpx.ReadError("reset")


@pytest.mark.parametrize("first", [RESET, httpx.ConnectError("no"), 429, 502, 503, 504])
def test_reads_are_made_again(first: Exception | int, pauses: list[float]) -> None:
    answer = first if isinstance(first, Exception) else problem(first, "busy")
    script = Script(answer, ok(JOB))
    assert client(script).jobs.get("j") == JOB
    assert len(pauses) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500, 501])
def test_what_would_be_refused_again_is_not(status: int) -> None:
    script = Script(problem(status, "wrong"))
    with pytest.raises(headstart.Problem):
        client(script).jobs.get("j")
    assert len(script.heard) == 1


def test_a_request_for_work_is_made_again_under_its_key() -> None:
    lost = (RESET, problem(409, "idempotency_key_in_flight", Retry_After="1"), problem(503, "x"))
    script = Script(*lost, ok(SEARCH))
    search = client(script).searches.create(str(DATASET["id"]), policy="cold")
    assert search.id == "s"
    keys = script.sent("idempotency-key")
    assert len(keys) == 4
    assert len(set(keys)) == 1
    assert keys[0]
    assert {each.read() for each in script.heard} == {script.heard[0].read()}


@pytest.mark.parametrize("answer", [RESET, httpx.ConnectError("no"), problem(503, "busy")])
def test_a_post_without_a_key_is_never_made_again(answer: Exception) -> None:
    script = Script(answer)
    with pytest.raises(headstart.Problem):
        client(script).jobs.cancel("j")
    assert len(script.heard) == 1


def test_a_post_is_made_again_under_a_key_of_ones_own() -> None:
    script = Script(RESET, ok({}))
    client(script).request("POST", "/v1/anything", json={"a": 1}, idempotency_key="mine")
    assert script.sent("idempotency-key") == ["mine", "mine"]


QUEUED = str(DATASET["id"])


@pytest.mark.parametrize(
    "work",
    [
        lambda it, **key: it.searches.create(QUEUED, policy="cold", **key),
        lambda it, **key: it.searches.clone("s", **key),
        lambda it, **key: it.searches.replay(config={}, **key),
        lambda it, **key: it.datasets.rank(QUEUED, k=5, **key),
        lambda it, **key: it.datasets.embed(QUEUED, **key),
        lambda it, **key: it.datasets.ingest(["u"], name="digits", **key),
        lambda it, **key: it.datasets.leave_out(QUEUED, [{"split": "train", "index": 1}], **key),
        lambda it, **key: it.supernets.create(QUEUED, name="net", **key),
        lambda it, **key: it.supernets.pretrain([QUEUED], **key),
    ],
)
def test_all_that_is_queued_takes_a_key_of_ones_own(work: Callable[..., Any]) -> None:
    script = Script(RESET, ok(SEARCH), RESET, ok(SEARCH))
    work(client(script), idempotency_key="mine")
    work(client(script))
    first, again, *others = script.sent("idempotency-key")
    assert (first, again) == ("mine", "mine")
    assert len(set(others)) == 1
    assert "mine" not in others
    assert "mine" not in script.heard[0].read().decode()


def test_every_operation_that_takes_a_key_is_given_one() -> None:
    keyed = {
        (each.method, each.path)
        for each in vars(operations).values()
        if isinstance(each, operations.Operation) and each.keyed
    }
    described = json.loads(Path("docs/openapi.json").read_text())["paths"]
    assert keyed == {
        (method.upper(), path)
        for path, methods in described.items()
        for method, operation in methods.items()
        if any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", []))
    }
    assert ("POST", "/v1/searches") in keyed


def test_retry_after_is_waited_for(pauses: list[float]) -> None:
    script = Script(problem(429, "rate_limited", Retry_After="7"), ok(JOB))
    client(script).jobs.get("j")
    assert 7 <= pauses[0] <= 7.5


def test_nobody_waits_past_the_deadline(pauses: list[float]) -> None:
    script = Script(problem(429, "gpu_seconds_spent", Retry_After="86400"))
    with pytest.raises(headstart.RateLimited) as refused:
        client(script).jobs.get("j")
    assert refused.value.retry_after == 86_400
    assert pauses == []


def test_jitter_is_full_and_ends_with_the_deadline() -> None:
    now, drawn = 0.0, []

    def draw(low: float, high: float) -> float:
        assert low == 0
        drawn.append(high)
        return high

    patience = Patience(30.0, clock=lambda: now, draw=draw)
    lost = headstart.Unreachable("lost")
    for _ in range(5):
        now += patience.pause(lost)
    with pytest.raises(headstart.Unreachable):
        patience.pause(lost)
    assert drawn == [0.5, 1, 2, 4, 8, 16]
    assert now == 15.5
    patience.renew()
    assert patience.pause(lost) == 0.5


def test_a_deletion_whose_answer_was_lost_is_done() -> None:
    script = Script(RESET, problem(410, "dataset_deleted"))
    assert client(script).datasets.delete(str(DATASET["id"])) is True
    with pytest.raises(headstart.NotFound):
        client(Script(problem(404, "not_found"))).datasets.delete(str(DATASET["id"]))


@pytest.mark.parametrize(
    ("status", "lost"), [(429, False), (502, True), (503, False), (504, True)]
)
def test_a_deletion_that_was_put_off_is_not_done(status: int, lost: bool) -> None:
    script = Script(problem(status, "busy"), problem(404, "not_found"))
    if lost:
        client(script).webhooks.delete("w")
    else:
        with pytest.raises(headstart.NotFound):
            client(script).webhooks.delete("w")


def test_a_list_is_fetched_as_it_is_read() -> None:
    pages = [{"items": [n], "next_page_token": "t" if n == 1 else None} for n in (1, 2)]
    script = Script(*map(ok, pages))
    found = client(script).jobs.list(state="running")
    assert script.heard == []
    assert next(found) == 1
    assert len(script.heard) == 1
    assert list(found) == [2]
    asked = [dict(each.url.params) for each in script.heard]
    first = {"state": "running", "page_size": "100"}
    assert asked == [first, {**first, "page_token": "t"}]


def test_a_refusal_says_all_that_the_server_said() -> None:
    with pytest.raises(headstart.Invalid) as refused:
        client(Script(problem(422, "validation_error"))).jobs.get("j")
    said = refused.value
    assert (said.status, said.code, said.request_id) == (422, "validation_error", "r1")
    assert said.details == ("here: Look.",)
    assert str(said) == "It is validation_error. (validation_error, request r1)\n  here: Look."
    assert isinstance(said, headstart.Problem)


@pytest.mark.parametrize("answer", [httpx.Response(200, text="<html>"), httpx.Response(418)])
def test_another_kind_of_server_is_told_of(answer: httpx.Response) -> None:
    with pytest.raises(headstart.Problem) as refused:
        client(Script(answer)).jobs.get("j")
    assert refused.value.code == "bad_answer"


@pytest.mark.parametrize(
    "errors",
    [{"a": 1}, "no", ["no"], [{"message": "no"}], [None], 7,
     [{"place": "here", "code": "x", "message": "Look."}, {"reason": "no"}]],
)  # fmt: skip
def test_a_gateways_own_errors_are_not_told_as_ours(errors: Any) -> None:
    body = {"code": 400, "detail": "No.", "errors": errors}
    with pytest.raises(headstart.Invalid) as refused:
        client(Script(httpx.Response(400, json=body))).jobs.get("j")
    well_formed = isinstance(errors, list) and len(errors) == 2
    assert str(refused.value) == "No. (400)" + "\n  here: Look." * well_formed


@pytest.mark.parametrize("there", ["https://elsewhere.example/v1/jobs/j", "/v1/jobs/k"])
def test_redirects_are_not_followed(there: str) -> None:
    script = Script(httpx.Response(307, headers={"Location": there}))
    with pytest.raises(headstart.Problem, match="Redirects are not followed") as refused:
        client(script).jobs.get("j")
    assert refused.value.code == "redirected"
    assert len(script.heard) == 1


@pytest.mark.parametrize(
    "path", ["https://elsewhere.example/v1/jobs", "//elsewhere.example/", "x"]
)
def test_no_request_leaves_for_another_server(path: str) -> None:
    script = Script()
    with pytest.raises(headstart.Problem) as refused:
        client(script).request("GET", path)
    assert refused.value.code == "bad_path"
    assert script.heard == []


def test_an_id_cannot_be_another_address() -> None:
    script = Script(ok(JOB))
    client(script).jobs.get("../models?x=/#")
    assert script.heard[0].url.raw_path == b"/v1/jobs/..%2Fmodels%3Fx%3D%2F%23"


@pytest.mark.parametrize(
    ("url", "fine"),
    [("http://127.0.0.1:1", True), ("http://localhost", True), ("http://[::1]:8", True),
     ("https://hs.example", True), ("http://hs.example", False), ("http://10.0.0.1", False),
     ("http://127.0.0.1.evil.example", False), ("http://localhost.evil.example", False)],
)  # fmt: skip
def test_a_key_goes_over_plain_http_to_this_machine_alone(url: str, fine: bool) -> None:
    script = Script(ok(JOB), ok(JOB))
    if not fine:
        with pytest.raises(headstart.Problem) as refused:
            client(script, url=url)
        assert refused.value.code == "readable_on_the_way"
        assert "canary" not in str(refused.value)
    client(script, url=url, allow_insecure=not fine).jobs.get("j")
    assert script.sent("authorization") == ["Bearer hs_canary"]
    client(script, url=url, key=None).jobs.get("j")
    assert script.sent("authorization")[1] is None


def test_a_buckets_secret_goes_no_other_way(alone: None) -> None:
    order = {"uri": "s3://b/k", "endpoint": "https://s3", "access_key": "a", "secret_key": "c"}
    for url, fine in (("http://hs.example", False), ("https://hs.example", True)):
        script = Script(ok({"id": "u"}))
        if fine:
            assert client(script, url=url).uploads.fetch(**order)["id"] == "u"
        else:
            with pytest.raises(headstart.Problem, match="your secret key"):
                client(script, url=url, key=None).uploads.fetch(**order)
            assert script.heard == []


def test_a_key_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    opened = client(Script(ok(JOB), problem(401, "unauthenticated"), httpx.ConnectError("no")))
    opened.jobs.get("j")
    told = [repr(opened), repr(opened.__dict__), repr(opened.jobs.__dict__)]
    for _ in range(2):
        with pytest.raises(headstart.Problem) as refused:
            opened.jobs.cancel("j")
        told += [repr(refused.value), str(refused.value), repr(refused.value.__dict__)]
    assert "hs_canary" not in " ".join(told) + caplog.text


def test_a_certificate_that_is_not_trusted_is_said_at_once() -> None:
    script = Script(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"))
    with pytest.raises(headstart.Unreachable, match="SSL_CERT_FILE"):
        client(script).jobs.get("j")
    assert len(script.heard) == 1


def test_this_machine_may_have_a_ca_of_its_own(
    monkeypatch: pytest.MonkeyPatch, certificate: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    said = answer(200, b'{"status": "ok"}')
    with impostor(lambda _, connection: connection.sendall(said), secured=context) as server:
        url = f"https://localhost:{server.port}"
        with (
            headstart.Client(url) as client,
            pytest.raises(headstart.Unreachable, match="SSL_CERT_FILE"),
        ):
            client.health()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with headstart.Client(url) as client:
            assert client.health() == {"status": "ok"}

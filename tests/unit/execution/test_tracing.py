"""A request, the attempts at its job and their stages are one trace, where one is asked for."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import NoReturn

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext

from api import main, serving
from api.app import create_app
from core import bootstrap, tracing
from core.domain.identity import DEFAULT
from core.domain.jobs import QueueName
from core.embedded import embedded
from core.execution.process import environment
from core.queue.hintless import HintlessQueue
from tests.fixtures.projects import of_project
from tests.unit.execution.bench import Bench, eventually, job_of, scenario_command, submit
from tests.unit.services import samples
from worker.lifecycle import Lifecycle

TRACE, CALLER = "ab" * 16, "cd" * 8
SILENT = """
import sys
from core import tracing
from core.execution import child, supervisor
tracing.begin()
with tracing.span("nothing", {}), tracing.Stages("load") as stages:
    stages.reach("work")
    tracing.current().conclude("failed")
    assert tracing.traceparent() is None
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
from api import main
main.create()
# The framework and the broker's client load some of it, none of which sends anything.
sending = ("opentelemetry.sdk.trace", "opentelemetry.exporter")
assert not [name for name in sys.modules if name.startswith(sending)]
"""


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    made = InMemorySpanExporter()
    tracing.send_to(made)
    yield made
    tracing.end()


def asked(bench: Bench, method: str, path: str) -> httpx.Response:
    """The answer to a request that is part of somebody's trace."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(of_project(container)))
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "x-request-id": "seven"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, headers=headers)

    container = bootstrap.build(bench.settings, queue=HintlessQueue())
    answer = asyncio.run(ask())
    container.close()
    return answer


def named(spans: Sequence[ReadableSpan], name: str) -> list[ReadableSpan]:
    found = [each for each in spans if each.name == name]
    return sorted(found, key=lambda each: each.start_time or 0)


def under(spans: Sequence[ReadableSpan], parent: SpanContext | None) -> list[str]:
    assert parent is not None
    return [e.name for e in spans if e.parent is not None and e.parent.span_id == parent.span_id]


def test_a_request_its_attempts_and_their_stages_are_one_trace(
    bench: Bench, exporter: InMemorySpanExporter
) -> None:
    with bench.sessions.begin() as session:
        dataset = samples.dataset(session)
    answer = asked(bench, "POST", f"/v1/datasets/{dataset.id}:embed")
    assert answer.status_code == 202
    supervisor = bench.supervisor("steps")  # which is killed once, and goes on
    while supervisor.run_next(QueueName.CPU):
        pass
    tracing.end()
    spans = exporter.get_finished_spans()
    assert {f"{each.context.trace_id:x}" for each in spans if each.context} == {TRACE}
    (request,) = named(spans, "POST /v1/datasets/{dataset_id}:embed")
    assert request.parent is not None
    assert f"{request.parent.span_id:x}" == CALLER
    assert request.attributes is not None
    assert request.attributes["headstart.operation"] == "datasets_embed"
    assert request.attributes["headstart.request.id"] == "seven"
    assert request.attributes["http.response.status_code"] == 202
    assert under(spans, request.context) == ["attempt embed"] * 2
    told = []
    for attempt in named(spans, "attempt embed"):
        assert attempt.attributes is not None
        assert attempt.attributes["headstart.job.id"] == answer.json()["id"]
        assert attempt.attributes["headstart.project.id"] == str(DEFAULT)
        fields = ("headstart.attempt", "headstart.fence", "headstart.outcome")
        told.append((*(attempt.attributes[each] for each in fields), attempt.status.is_ok))
        assert under(spans, attempt.context) == ["compute"]
    assert told == [(1, 1, "worker_lost", False), (2, 2, "succeeded", True)]
    for computed in named(spans, "compute"):
        assert sorted(under(spans, computed.context)) == ["stage load", "stage work"]


def test_no_query_is_told_and_no_probe(bench: Bench, exporter: InMemorySpanExporter) -> None:
    assert asked(bench, "GET", "/v1/jobs?label=patient:smith").status_code == 200
    assert asked(bench, "GET", "/healthz").status_code == 200
    tracing.end()
    (request,) = exporter.get_finished_spans()
    assert request.name == "GET /v1/jobs"
    assert "smith" not in request.to_json()


def test_a_line_of_the_log_names_its_trace(exporter: InMemorySpanExporter) -> None:
    assert tracing.stamp(None, "info", {}) == {}
    with tracing.span("work", {}, parent=f"00-{TRACE}-{CALLER}-01"):
        line = tracing.stamp(None, "info", {"event": "heard"})
    tracing.end()
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert line == {"event": "heard", "trace_id": TRACE, "span_id": f"{span.context.span_id:016x}"}


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """Somebody who takes spans by OTLP/HTTP."""
    taken: list[ExportTraceServiceRequest] = []

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Take) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", taken
        server.shutdown()
        thread.join()


def sent(taken: Sequence[ExportTraceServiceRequest]) -> Iterator[Span]:
    """The spans that somebody took."""
    scopes = (
        scope for each in taken for found in each.resource_spans for scope in found.scope_spans
    )
    return (span for scope in scopes for span in scope.spans)


def test_an_embedded_job_reaches_a_collector(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector() as (url, taken):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "lab")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        tracing.begin()
        command = scenario_command("succeed", bench.folder)
        with embedded(bench.settings, child_command=command) as container:
            job_id = submit(container.sessions.within(DEFAULT))
            container.queue.announce(job_id, QueueName.CPU)
            eventually(lambda: job_of(container.sessions, job_id).finished)
        tracing.end()
    found = [each for request in taken for each in request.resource_spans]
    services = {a.value.string_value for f in found for a in f.resource.attributes}
    assert "lab" in services
    spans = list(sent(taken))
    assert {each.name for each in spans} == {
        "attempt embed",
        "compute",
        "stage load",
        "stage work",
    }
    assert len({each.trace_id for each in spans}) == 1


def deployed(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    """The service as the API image runs it."""
    patch.setattr(main, "Settings", lambda: bench.settings)
    asyncio.run(_lived(main.create()))


def on_one_machine(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    """The service as `headstart serve` runs it, which ends it by SystemExit."""

    def run(app: FastAPI, **_: object) -> NoReturn:
        asyncio.run(_lived(app))
        raise SystemExit(0)

    patch.setattr(serving.uvicorn, "run", run)
    patch.setattr(serving.os, "umask", lambda _: None)
    patch.setattr(serving.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit):
        serving.run(bench.settings, host="127.0.0.1", port=1)


def working(bench: Bench, _: pytest.MonkeyPatch) -> None:
    """A worker that does one job."""
    job_id = bench.submit()
    lifecycle = Lifecycle(bench.settings, child_command=scenario_command("succeed", bench.folder))
    lifecycle.begin([QueueName.CPU], 1)
    eventually(lambda: bench.job(job_id).finished)
    lifecycle.end()


async def _lived(app: FastAPI) -> None:
    """A server's life: from its start to its end, with one request."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        assert (await client.get("/v1/jobs")).status_code == 200


@pytest.mark.parametrize(
    ("life", "span"),
    [(deployed, "GET /v1/jobs"), (on_one_machine, "GET /v1/jobs"), (working, "attempt embed")],
)
def test_each_process_sends_its_spans_and_at_its_end_what_is_left(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    life: Callable[[Bench, pytest.MonkeyPatch], None],
    span: str,
) -> None:
    monkeypatch.setattr("core.bootstrap.configure_logging", lambda _: None)
    with collector() as (url, taken):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        life(bench, monkeypatch)
        assert tracing.provider() is None
    assert span in {each.name for each in sent(taken)}


@pytest.mark.parametrize(
    ("said", "exporters"),
    [
        ({}, set()),
        ({"OTEL_SERVICE_NAME": "lab"}, set()),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, {"otlp"}),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, {"console", "otlp"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, {"otlp"}),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, {"otlp"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, set()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "TRUE"}, set()),
    ],
)
def test_traces_are_sent_where_the_environment_asks_for_them(
    said: dict[str, str], exporters: set[str]
) -> None:
    assert tracing.wanted(said) == exporters


@pytest.mark.parametrize(
    "said",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_what_is_not_known_sends_nothing(
    said: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    tracing.begin()
    assert tracing.provider() is None


def test_a_child_knows_no_collector() -> None:
    secret = {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret"}
    assert not [name for name in environment(secret, threads=1) if name.startswith("OTEL_")]


def test_without_being_asked_nothing_is_loaded(tmp_path: Path) -> None:
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    env = quiet | {"HEADSTART_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", SILENT], env=env, check=True, timeout=120)

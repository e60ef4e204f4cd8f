"""Spans by OpenTelemetry, where its own variables (`OTEL_…`) ask for them; else nothing is loaded.

A trace begins with a request, and the jobs that it makes belong to it: a job's row keeps the
`traceparent`, so that each attempt finds it, in whichever process and after however long.
Attributes are ids, numbers and words of ours; never a name, a query or a message.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import structlog

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

Attributes = Mapping[str, str | int]
FINE = frozenset({"succeeded", "cancelled", "drained"})  # outcomes that are no error
EXPORTERS = frozenset({"otlp", "console"})
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

log = structlog.stdlib.get_logger(__name__)
_provider: "TracerProvider | None" = None


def wanted(environment: Mapping[str, str]) -> frozenset[str]:
    """The exporters that these variables ask for. Without any of them: none, not the standard's
    own default, which would send to this machine."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return frozenset()
    default = "otlp" if any(environment.get(name) for name in ENDPOINTS) else "none"
    said = environment.get("OTEL_TRACES_EXPORTER") or default
    return frozenset(each.strip() for each in said.split(",")) - {"none", ""}


def begin() -> None:
    """Send spans as the environment says. Called by entry points alone; again does nothing."""
    asked = wanted(os.environ)
    if not asked or _provider is not None:
        return
    protocol = next(filter(None, map(os.environ.get, PROTOCOLS)), "http/protobuf")
    if asked - EXPORTERS or protocol != "http/protobuf":
        log.warning("traces_not_sent", reason="only console, and otlp by http/protobuf, are known")
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter
    except ImportError:
        log.warning("traces_not_sent", reason="install headstart-nas[otel]")
        return
    send_to(*(OTLPSpanExporter() if each == "otlp" else ConsoleSpanExporter() for each in asked))


def send_to(*exporters: "SpanExporter") -> None:
    """Send spans to these, in the background, until `end`; at the process's end what is left."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    global _provider
    named = Resource.create({"service.name": "headstart"}).merge(OTELResourceDetector().detect())
    _provider = TracerProvider(resource=named)
    for exporter in exporters:
        _provider.add_span_processor(BatchSpanProcessor(exporter))


def end() -> None:
    """Send what is left, and no more."""
    global _provider
    ended, _provider = _provider, None
    if ended is not None:
        ended.shutdown()


def provider() -> "TracerProvider | None":
    """What a framework that makes spans itself is to make them with."""
    return _provider


class Span:
    """What takes a while; one of nothing where nobody asked for spans."""

    def __init__(self, inner: "trace.Span | None" = None) -> None:
        self._inner = inner

    def say(self, attributes: Attributes) -> None:
        """Add these."""
        if self._inner is not None:
            self._inner.set_attributes(attributes)

    def conclude(self, outcome: str) -> None:
        """Say how it went, by a stable code."""
        self.say({"headstart.outcome": outcome})
        if self._inner is not None and outcome not in FINE:
            from opentelemetry.trace import StatusCode

            self._inner.set_status(StatusCode.ERROR, outcome)

    def end(self) -> None:
        """It is over; what is said later is lost."""
        if self._inner is not None:
            self._inner.end()


def current() -> Span:
    """The innermost span that this thread or task is in."""
    if _provider is None:
        return Span()
    from opentelemetry import trace

    return Span(trace.get_current_span())


def start(name: str, attributes: Attributes) -> Span:
    """A span within the current one, whose end is the caller's to say."""
    if _provider is None:
        return Span()
    return Span(_provider.get_tracer(__name__).start_span(name, attributes=attributes))


@contextmanager
def span(name: str, attributes: Attributes, *, parent: str | None = None) -> Iterator[None]:
    """Be in a span until the block ends: of the trace that `parent` (a traceparent) names, or else
    of the current one."""
    if _provider is None:
        yield
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    found = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
    tracer = _provider.get_tracer(__name__)
    # What an exception says is for the log alone.
    quiet: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}
    with tracer.start_as_current_span(name, found, attributes=attributes, **quiet):
        yield


def traceparent() -> str | None:
    """The current span as W3C's header has it, if there is one."""
    if _provider is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def stamp(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Let a line of the log name the trace in which it was written (a processor of structlog)."""
    if said := traceparent():
        _, event["trace_id"], event["span_id"], _ = said.split("-")
    return event


class Stages:
    """Spans within the current one, each from the first word of its stage until the next's."""

    def __init__(self, first: str) -> None:
        self._name, self._span = "", Span()
        self.reach(first)

    def reach(self, stage: str) -> None:
        """The work is at this stage now."""
        if stage != self._name:
            self._span.end()
            self._name, self._span = stage, start(f"stage {stage}", {"headstart.stage": stage})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._span.end()

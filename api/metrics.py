"""What Prometheus may ask of this process (`GET /metrics`), and what is counted of requests."""

import asyncio
from typing import cast

from fastapi import APIRouter, Request, Response
from prometheus_client import Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from core.execution.metrics import REGISTRY, Everything

router = APIRouter()

REQUESTS = Counter(
    "headstart_http_requests",
    "Requests answered; 499 where the caller went away before.",
    ["operation", "method", "status"],
    registry=REGISTRY,
)
SECONDS = Histogram(
    "headstart_http_request_seconds",
    "Seconds to the end of an answer, but of streams and of requests that wait for news.",
    ["operation"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
UPLOADED = Counter(
    "headstart_upload_bytes", "Bytes of files that came as bodies.", registry=REGISTRY
)


@router.get("/metrics", operation_id="metrics", include_in_schema=False)
async def scrape(request: Request) -> Response:
    """Counters of this process, gauges of the installation. In a thread that answers nothing else:
    it is asked for most when all of those are taken."""
    everything = cast(Everything, request.app.state.metrics)
    text = await asyncio.to_thread(generate_latest, everything)
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)

"""Finished models answer: by the Open Inference Protocol (version 2), and for one image."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

import numpy as np
from anyio import CapacityLimiter, fail_after, to_thread
from fastapi import APIRouter, Query, Request, Response

from api import answering, contract, security, tensors, uploads
from api.deps import ContainerDep, InferenceDep
from api.uploads import Expected
from api.views.inference import (
    ClassProbabilityView,
    InferenceView,
    ModelMetadataView,
    ModelReadyView,
    PredictionView,
    ServerLiveView,
    ServerMetadataView,
    ServerReadyView,
)
from api.views.shapes import finite
from core.data import picture
from core.errors import InvalidInput, Unavailable
from core.inference.batching import Inference

router = APIRouter(tags=["inference"])

Made = TypeVar("Made")

KINDS: Final = ("png", "jpeg", "webp", "gif", "bmp", "tiff")
IMAGES: Final = frozenset({*(f"image/{kind}" for kind in KINDS), tensors.BINARY})
FILE: Final = {"schema": {"type": "string", "format": "binary"}}
SMALL: Final = 64 * 1024
DECODING: Final = CapacityLimiter(2)  # images, for a few at once
REFUSALS: Final = (
    "busy",
    "corrupt_object",
    "inference_lost",
    "inference_timeout",
    "inference_unavailable",
    "too_large",
)
TENSORS: Final[dict[str, Any]] = {
    **contract.takes(
        contract.sends(
            tensors.JSON_LENGTH,
            "Bytes of the body that are JSON, if not all are.",
            pattern=f"^{tensors.DIGITS.pattern}$",
        )
    ),
    "requestBody": {
        "required": True,
        "content": {
            tensors.JSON: {"schema": {"$ref": f"{contract.SCHEMAS}InferenceBody"}},
            tensors.BINARY: FILE,
        },
    },
}
IMAGE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "A PNG, JPEG, WebP, GIF or BMP image; TIFF where the operator allows it.",
        "content": dict.fromkeys(sorted(IMAGES), FILE),
    },
}


@router.get("/v2", operation_id="inference_server")
async def server(request: Request) -> ServerMetadataView:
    """What answers here, and which extensions of the protocol it has."""
    version = request.app.version
    return ServerMetadataView(name="headstart", version=version, extensions=[tensors.EXTENSION])


@router.get("/v2/health/live", operation_id="inference_live")
async def live() -> ServerLiveView:
    """The process answers."""
    return ServerLiveView(live=True)


@router.get(
    "/v2/health/ready",
    operation_id="inference_ready",
    responses=contract.refusals("inference_unavailable"),
)
def ready(container: ContainerDep, inference: InferenceDep) -> ServerReadyView:
    """Models can be looked for, read and computed with."""
    inference.check()
    container.sessions.check()
    container.store.check()
    return ServerReadyView(ready=True)


@router.get(
    "/v2/models/{model_id:uuid}",
    operation_id="inference_model",
    responses=contract.refusals(*REFUSALS),
)
async def metadata(
    model_id: UUID, container: ContainerDep, inference: InferenceDep
) -> ModelMetadataView:
    """What a model takes and answers, by the id that it has under `/v1/models`."""
    file = await answering.network(container, model_id)
    return ModelMetadataView.of(model_id, await answering.signature_of(inference, container, file))


@router.get(
    "/v2/models/{model_id:uuid}/ready",
    operation_id="inference_model_ready",
    responses=contract.refusals(*REFUSALS),
)
async def model_ready(
    model_id: UUID, container: ContainerDep, inference: InferenceDep
) -> ModelReadyView:
    """The model is loaded; it is, if it was not."""
    file = await answering.network(container, model_id)
    await answering.asked(inference, container, file)
    return ModelReadyView(name=str(model_id), ready=True)


@router.post(
    "/v2/models/{model_id:uuid}/infer",
    operation_id="inference_infer",
    response_model=InferenceView,
    openapi_extra=TENSORS,
    responses={
        200: {
            "content": {tensors.BINARY: FILE},
            **contract.headers(tensors.JSON_LENGTH),
        },
        **contract.refusals("incomplete_body", "malformed_json", *REFUSALS),
    },
)
async def infer(
    model_id: UUID, request: Request, container: ContainerDep, inference: InferenceDep
) -> Response:
    """What a model makes of a batch.

    Numbers are 32-bit floats; with `Inference-Header-Content-Length` they come after the JSON as
    bytes, and outputs with `binary_data` go so.
    """
    file = await answering.network(container, model_id)
    async with _admitted(request, inference):
        with _in_time(inference):
            raw = await request.body()
        signature = await answering.signature_of(inference, container, file)
        rows = inference.limits.rows
        read = partial(tensors.read, raw, request.headers, signature, rows=rows)
        asked, batch = await _off_loop(len(raw), read)
        _, outputs = await answering.asked(inference, container, file, batch)
        size = sum(each.nbytes for each in outputs)
        return await _off_loop(size, partial(tensors.answer, model_id, asked, signature, outputs))


@router.post(
    "/v1/models/{model_id:uuid}:predict",
    operation_id="inference_predict",
    openapi_extra=IMAGE,
    responses=contract.refusals("bad_image", "image_too_large", *REFUSALS, *uploads.REFUSALS),
)
async def predict(
    model_id: UUID,
    request: Request,
    container: ContainerDep,
    inference: InferenceDep,
    top: Annotated[int, Query(ge=1, le=1_000, description="How many classes are told.")] = 5,
    neighbours: Annotated[
        int, Query(ge=0, le=20, description="How many of the training images most alike are told.")
    ] = 0,
) -> PredictionView:
    """Which classes a model takes an image for; the image is fitted as those of its dataset."""
    file = await answering.network(container, model_id)
    signature = await answering.signature_of(inference, container, file)
    expected = Expected("image", inference.limits.body_bytes, IMAGES, "image/png or image/jpeg")
    async with _admitted(request, inference), AsyncExitStack() as stack:
        with _in_time(inference):
            received = uploads.received(request, container.settings, expected)
            image = await stack.enter_async_context(received)
        _, channels, resolution, _ = signature.input.shape
        look = partial(
            picture.read,
            image.path,
            container.settings.uploads,
            resolution=resolution,
            channels=channels,
        )
        pixels = await _decoded(look, inference.limits.seconds)
    batch = pixels[None].astype(np.float32) / np.float32(255)
    _, outputs = await answering.asked(inference, container, file, batch)
    names = await answering.classes(container, model_id)
    (place,) = (at for at, each in enumerate(signature.outputs) if each.name == "probabilities")
    shares: list[float | None] = finite(outputs[place][0].tolist())
    told = sorted(zip(shares, names, strict=True), key=lambda each: -(each[0] or 0.0))
    classes = [ClassProbabilityView(name=name, probability=share) for share, name in told[:top]]
    alike = []
    if neighbours:
        alike = (await answering.alike(container, inference, model_id, batch, names))[:neighbours]
    return PredictionView(model_id=model_id, classes=classes, neighbours=alike)


async def _off_loop(size: int, work: Callable[[], Made]) -> Made:
    """Where it takes longer than to wait for a thread."""
    return work() if size < SMALL else await to_thread.run_sync(work, limiter=answering.READING)


async def _decoded(look: Callable[[], Made], patience: float) -> Made:
    try:
        with fail_after(patience):
            return await to_thread.run_sync(look, limiter=DECODING)
    except TimeoutError:
        words = "As many images as are decoded at once wait already."
        raise Unavailable(words, code="busy") from None


@asynccontextmanager
async def _admitted(request: Request, inference: Inference) -> AsyncIterator[None]:
    """While there is room for the body; one that does not say its length may be the largest."""
    size = security.announced(request.headers)
    with inference.admitted(inference.limits.body_bytes if size is None else size):
        yield


@contextmanager
def _in_time(inference: Inference) -> Iterator[None]:
    """For reading a body: what never comes would hold its room for ever."""
    seconds = inference.limits.seconds
    try:
        with fail_after(seconds):
            yield
    except TimeoutError:
        words = f"The body did not come within {seconds:g} seconds."
        raise InvalidInput(words, code="incomplete_body") from None

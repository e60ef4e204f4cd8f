"""Requests and answers of the Open Inference Protocol as arrays: JSON, with numbers in it or, by
the extension for binary tensors, as bytes after it."""

import json
import re
from typing import Any, Final
from uuid import UUID

import numpy as np
from fastapi import Response
from pydantic import ValidationError
from starlette.datastructures import Headers

from api import problems
from api.views.inference import InferenceBody, InputTensorBody
from api.views.shapes import finite
from core.domain.inference import Signature
from core.errors import Detail, InvalidInput
from core.inference.process import Floats

EXTENSION: Final = "binary_tensor_data"
JSON_LENGTH: Final = "Inference-Header-Content-Length"
DIGITS: Final = re.compile("[0-9]{1,12}")
JSON, BINARY = "application/json", "application/octet-stream"


def read(
    raw: bytes, headers: Headers, signature: Signature, *, rows: int
) -> tuple[InferenceBody, Floats]:
    """The request and its input, of so many rows at most, as the model takes it.

    Raises InvalidInput.
    """
    size = _json_length(raw, headers)
    try:
        body = InferenceBody.model_validate_json(raw[:size])
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            raise problems.malformed(str(found[0]["ctx"]["error"])) from None
        raise problems.invalid(found) from None
    return body, _batch(body, raw[size:], signature, rows)


def _json_length(raw: bytes, headers: Headers) -> int:
    """How many of the bytes are JSON."""
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in {"", JSON, BINARY}:
        words = "Send JSON, or JSON and tensors as application/octet-stream."
        raise InvalidInput(words, code="unsupported_media_type")
    told = headers.get(JSON_LENGTH)
    if told is None and media != BINARY:
        return len(raw)
    size = int(told) if told and DIGITS.fullmatch(told) else -1
    if not 0 < size <= len(raw) or not raw[:size].lstrip().startswith(b"{"):
        raise _refused(f"header.{JSON_LENGTH}", "so many bytes of the body are to be JSON")
    return size


def _batch(body: InferenceBody, more: bytes, signature: Signature, rows: int) -> Floats:
    (given,) = body.inputs
    wanted = signature.input
    known = {each.name for each in signature.outputs}
    if given.name != wanted.name:
        raise _refused("inputs.0.name", f"the model's input is {wanted.name}")
    if given.shape[1:] != list(wanted.shape[1:]) or not given.shape:
        raise _refused("inputs.0.shape", f"the model's input is {list(wanted.shape)}")
    if not 1 <= given.shape[0] <= rows:
        raise _refused("inputs.0.shape.0", f"1 to {rows} rows are computed together")
    if unknown := [each.name for each in body.outputs if each.name not in known]:
        raise _refused("outputs", f"there is no {unknown[0]!r}, only {', '.join(sorted(known))}")
    if given.data is not None and more:
        raise _refused("inputs.0.data", f"{len(more)} bytes come after the JSON, beside data")
    found = _of_bytes(given, more) if given.data is None else _of_numbers(given.data)
    if found.size != np.prod(given.shape):
        raise _refused("inputs.0.data", f"{found.size} numbers are not {given.shape}")
    if not np.isfinite(found).all():
        raise _refused("inputs.0.data", "a number is not finite as a 32-bit float")
    return found.reshape(given.shape)


def answer(
    model_id: UUID, body: InferenceBody, signature: Signature, outputs: tuple[Floats, ...]
) -> Response:
    """What the model made of it, as it was asked for."""
    made = dict(zip((each.name for each in signature.outputs), outputs, strict=True))
    chosen = {each.name: each.parameters for each in body.outputs} or {each: {} for each in made}
    usual = body.parameters.get("binary_data_output", False)
    told = []
    parts: list[bytes] = []
    for name, parameters in chosen.items():
        found = made[name]
        about = {"name": name, "shape": found.shape, "datatype": "FP32", "parameters": {}}
        if parameters.get("binary_data", usual) is True:
            parts.append(found.tobytes())
            about["parameters"] = {"binary_data_size": found.nbytes}
        else:
            numbers = found.ravel().tolist()
            about["data"] = numbers if np.isfinite(found).all() else finite(numbers)
        told.append(about)
    named = {} if body.id is None else {"id": body.id}
    text = json.dumps({"model_name": str(model_id), **named, "outputs": told}).encode()
    if not parts:
        return Response(text, media_type=JSON)
    headers = {JSON_LENGTH: str(len(text))}
    return Response(b"".join((text, *parts)), media_type=BINARY, headers=headers)


def _of_bytes(given: InputTensorBody, more: bytes) -> Floats:
    size = given.parameters.get("binary_data_size")
    if size != len(more) or size % 4:
        said = f"data, or {len(more)} bytes after the JSON as binary_data_size"
        raise _refused("inputs.0.data", said)
    return np.frombuffer(more, "<f4")


def _of_numbers(data: list[Any]) -> Floats:
    # As they are: were there a text among them, all would take as much room as the longest.
    found = np.array(data, dtype=object)
    kinds = set(map(type, found.ravel().tolist()))
    if list in kinds:
        raise _refused("inputs.0.data", "rows are of different lengths")
    if not kinds <= {int, float}:
        raise _refused("inputs.0.data", "something in it is not a number")
    try:
        with np.errstate(over="ignore"):
            return found.astype(np.float32)
    except OverflowError:
        raise _refused("inputs.0.data", "a number is too large") from None


def _refused(place: str, message: str) -> InvalidInput:
    words = f"The model cannot compute this. {place}: {message}."
    return InvalidInput(words, details=[Detail(place, "invalid_tensor", message)])

"""The OpenAPI document: what FastAPI cannot know of our answers, added in one place.

Routes name their problems (`refusals`), headers (`headers`, `sends`) and ids; `document` adds what
holds for every operation. The committed document is the business of `api.openapi`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from api import problems
from api.codes import CODES
from api.identity import is_open
from api.methods import STREAM
from api.problems import MEDIA_TYPE
from api.samples import SAMPLES
from api.views.inference import InferenceBody
from api.views.problems import ProblemView

Answers = dict[int | str, dict[str, Any]]
Json = dict[str, Any]

JSON: Final = "application/json"
SCHEMAS: Final = "#/components/schemas/"
NAMED: Final = (ProblemView, InferenceBody)  # no route says that it sends or reads them
# `PageView[JobView]`, as a name and as a title, is `JobPage` to generated clients.
GENERIC: Final = re.compile(r"(Page)View[_\[](\w+?)View[_\]]")
HEADERS: Final[Mapping[str, tuple[Json, str]]] = {
    "Cache-Control": ({"type": "string"}, "How long the answer may be kept."),
    "Content-Digest": ({"type": "string"}, "`sha-256=:BASE64:`, the SHA-256 of the body."),
    "Content-Disposition": ({"type": "string"}, "`attachment`, with a name for the file."),
    "ETag": ({"type": "string"}, "Changes with the answer; send it as `If-None-Match`."),
    "Idempotency-Replayed": (
        {"type": "string", "enum": ["true"]},
        "An earlier request under this key made the job.",
    ),
    "Inference-Header-Content-Length": (
        {"type": "integer"},
        "Bytes of the body that are JSON; tensors follow.",
    ),
    "Location": ({"type": "string", "format": "uri-reference"}, "Where to look for it."),
    "Preference-Applied": ({"type": "string"}, "Which of `Prefer` was followed."),
    "Retry-After": ({"type": "integer"}, "Seconds until asking again makes sense."),
    "Tus-Checksum-Algorithm": ({"type": "string"}, "What `Upload-Checksum` may be made by."),
    "Tus-Extension": ({"type": "string"}, "Extensions of tus that are spoken."),
    "Tus-Max-Size": ({"type": "integer"}, "Bytes of the largest upload."),
    "Tus-Resumable": ({"type": "string", "enum": ["1.0.0"]}, "The version of tus."),
    "Tus-Version": ({"type": "string"}, "Versions of tus that are spoken."),
    "Upload-Expires": ({"type": "string"}, "Until when the upload is kept, as an HTTP date."),
    "Upload-Length": ({"type": "integer", "minimum": 1}, "Bytes of the whole upload."),
    "Upload-Offset": ({"type": "integer", "minimum": 0}, "Bytes of the upload that are stored."),
    "WWW-Authenticate": ({"type": "string", "enum": ["Bearer"]}, "Send a key."),
}
KEY: Final[Json] = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "hs_ID_SECRET_CHECK",
    "description": "An API key, where the service asks for keys: on one's own machine it may not.",
}


def headers(*names: str) -> Json:
    """The headers of an answer, as `responses=` takes them."""
    shown = {each: {"schema": HEADERS[each][0], "description": HEADERS[each][1]} for each in names}
    return {"headers": shown}


def also(first: Json, second: Json) -> Json:
    """The headers of both."""
    return {"headers": first["headers"] | second["headers"]}


def unchanged(*names: str) -> Answers:
    """The answer to an `If-None-Match` that still holds."""
    return {304: {"description": "Unchanged.", **headers("ETag", *names)}}


def sends(name: str, description: str, *, required: bool = False, **schema: Any) -> Json:
    """A header that a request may have, and that no parameter of the route's function says."""
    return {
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "schema": {"type": "string", **schema},
    }


def takes(*parameters: Json) -> Json:
    """Such headers, as `openapi_extra=` takes them."""
    return {"parameters": list(parameters)}


IF_NONE_MATCH: Final = sends("If-None-Match", "The `ETag` of the answer that is there already.")


def refusals(*codes: str) -> Answers:
    """The answers that tell of these problems, by status."""
    return {status: _refusal(those) for status, those in _by_status(codes).items()}


def document(raw: Json) -> Json:
    """FastAPI's document with what holds for every operation, and examples."""
    found: Json = json.loads(GENERIC.sub(r"\2\1", json.dumps(raw)))
    schemas = found["components"]["schemas"]
    for theirs in ("HTTPValidationError", "ValidationError"):
        schemas.pop(theirs, None)
    for kind in NAMED:
        shown = kind.model_json_schema(ref_template=SCHEMAS + "{model}")
        schemas |= {**shown.pop("$defs"), kind.__name__: shown}
    for name, sample in SAMPLES.items():
        schemas[name]["examples"] = [sample]
    found["components"]["examples"] = {
        code: {"summary": CODES[code].sentence, "value": _example(code)} for code in sorted(CODES)
    }
    found["components"]["securitySchemes"] = {"key": KEY}
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            operation["security"] = [] if is_open(path) else [{"key": []}]
            _complete(method, operation)
            if method == "get" and path.startswith("/v1/"):
                _tag(operation)
    return found


def _complete(method: str, operation: Json) -> None:
    """Its summary in words, and the problems that any such request may meet."""
    first = re.split(r"[.;:](?:\s|$)", operation["description"], maxsplit=1)[0]
    operation["summary"] = " ".join(first.split())
    answers = operation["responses"]
    # The framework calls it a text, and generators would read all of it before they look.
    answers.get("200", {}).get("content", {}).get(STREAM, {}).pop("schema", None)
    if MEDIA_TYPE not in answers.get("422", {}).get("content", {}):
        answers.pop("422", None)  # the framework's own, which we never send
    for status, those in _by_status(_usual(method, operation)).items():
        known = answers.get(str(status), {}).get("content", {}).get(MEDIA_TYPE, {})
        answer = _refusal([*known.get("examples", {}), *those])
        if status == 503 and "503" in answers and not known:  # readiness has a word of its own
            answers["503"]["content"] |= answer["content"]
            answers["503"]["description"] += "\n" + answer["description"]
        else:
            answers[str(status)] = answer


def _tag(operation: Json) -> None:
    """What `conditional.Tags` does to JSON that has no entity tag of its own."""
    answers = operation["responses"]
    if JSON not in answers["200"].get("content", {}) or "304" in answers:
        return
    told = answers["200"].setdefault("headers", {})
    answers["304"] = unchanged("Cache-Control", *told)[304]
    told.update(headers("ETag", "Cache-Control")["headers"])
    operation.setdefault("parameters", []).append(IF_NONE_MATCH)


def _usual(method: str, operation: Json) -> Iterator[str]:
    takes = operation.get("requestBody", {}).get("content", {})
    asks = {each["in"] for each in operation.get("parameters", ())}
    yield from ("bad_request", "unknown_host", "internal", "unavailable")
    if operation["security"]:
        yield from ("unauthenticated", "key_revoked", "key_expired", "rate_limited")
    if method not in {"get", "head", "options"}:
        yield from ("forbidden", "csrf")
        yield from ("cross_site", "unsupported_media_type")
        if set(takes) <= {JSON}:
            yield "too_large"
    if JSON in takes:
        yield "malformed_json"
    yield "validation_error"  # of parameters that it does not take, too
    if JSON in takes or asks & {"path", "query"}:
        yield "invalid_input"
    if "path" in asks:
        yield "not_found"


def _by_status(codes: Iterable[str]) -> Mapping[int, list[str]]:
    found: dict[int, list[str]] = {}
    for code in codes:
        found.setdefault(CODES[code].status, []).append(code)
    return found


def _refusal(codes: Iterable[str]) -> Json:
    named = sorted(set(codes))
    answer = {
        "description": "\n".join(f"- `{each}`: {CODES[each].sentence}" for each in named),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": f"{SCHEMAS}ProblemView"},
                "examples": {each: {"$ref": f"#/components/examples/{each}"} for each in named},
            }
        },
    }
    if CODES[named[0]].status == 401:
        return answer | headers("WWW-Authenticate")
    passing = any(problems.passes(CODES[each].status, each) for each in named)
    return answer | headers("Retry-After") if passing else answer


def _example(code: str) -> Json:
    status, sentence = CODES[code]
    return problems.body_of(problems.Problem(status, code, sentence))

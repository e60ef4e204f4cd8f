"""The OpenAPI document: what FastAPI cannot know of our answers, added in one place.

Routes name their problems (`refusals`), headers (`headers`, `sends`) and ids; `document` adds what
holds for every operation. `docs/openapi.json` is the same, committed: `python -m api.contract`
tells what has changed since, and `--write` renews it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from api.codes import CODES
from api.problems import MEDIA_TYPE

Answers = dict[int | str, dict[str, Any]]
Json = dict[str, Any]

# Of every operation; of those that change something; of those that read JSON.
ALWAYS: Final = ("bad_request", "unknown_host", "internal", "unavailable")
UNSAFE: Final = ("cross_site", "too_large", "unsupported_media_type")
HEADERS: Final[Mapping[str, tuple[Json, str]]] = {
    "Cache-Control": ({"type": "string"}, "How long the answer may be kept."),
    "Content-Digest": ({"type": "string"}, "`sha-256=:BASE64:`, the SHA-256 of the body."),
    "Content-Disposition": ({"type": "string"}, "`attachment`, with a name for the file."),
    "ETag": ({"type": "string"}, "Changes with the answer; send it as `If-None-Match`."),
    "Idempotency-Replayed": (
        {"type": "string", "enum": ["true"]},
        "An earlier request under this key made the job.",
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
}


def headers(*names: str) -> Json:
    """The headers of an answer, as `responses=` takes them."""
    shown = {each: {"schema": HEADERS[each][0], "description": HEADERS[each][1]} for each in names}
    return {"headers": shown}


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
    by_status: dict[int | str, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code].status, []).append(code)
    return {status: _refusal(those) for status, those in by_status.items()}


def _refusal(codes: Iterable[str]) -> Json:
    named = sorted(set(codes))
    return {
        "description": "\n".join(f"- `{each}`: {CODES[each].sentence}" for each in named),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/ProblemView"},
                "examples": {each: {"$ref": f"#/components/examples/{each}"} for each in named},
            }
        },
    }

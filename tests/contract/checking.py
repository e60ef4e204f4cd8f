"""schemathesis against the application: what is tried, what it is judged by, and what came of it.

Each departure from its defaults stands here with its reason; no operation is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import schemathesis
from hypothesis import strategies
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from starlette.datastructures import Headers

from api import tensors, tus
from api.routes.inference import IMAGES
from api.uploads import MEDIA_TYPES
from tests.contract.scene import ARCHIVE, Scene
from tests.unit.api import archives
from tests.unit.api.recording import contradictions

HOST: Final = "127.0.0.1"
# A request that has the documented form can still be refused for what it means, by a code that
# its operation lists (`is_documented` looks at that): bytes that are no archive (422), of another
# type than their name says (415) or too many (413), an upload that another is using (423).
UNACCEPTABLE: Final = ["410", "412", "413", "415", "422", "423"]
ACCEPTED: Final = ["2xx", "3xx", "401", "403", "404", "409", "429", *UNACCEPTABLE]
# The body as bytes is JSON with tensors after it, which no schema can say.
OF_BYTES: Final = {"expected-statuses": [*ACCEPTED, "400"]}
# tus has a status of its own for a version that is not spoken, or not said.
REJECTED: Final = ["400", "401", "403", "404", "405", "409", "412", "413", "415", "422", "429"]
BY_RULES: Final = {"value_error", "invalid_tensor"}
FORM: Final = {"validation_error", "malformed_json"}
UNKNOWN: Final = "x-schemathesis-unknown-property"


@schemathesis.check
def is_documented(_: CheckContext, response: Response, case: Case) -> None:
    """Status, media type, headers and problem code are those that the operation names."""
    if case.method.lower() != case.operation.method.lower() or response.status_code == 405:
        return  # another method: no operation of the document
    named: dict[str, Any] = case.operation.schema.raw_schema["paths"]
    operation = named[case.operation.path][case.operation.method.lower()]
    headers = Headers({name: value[0] for name, value in response.headers.items()})
    found = list(contradictions(operation, response.status_code, headers, response.content))
    assert not found, f"{response.status_code} {found}"


@schemathesis.check
def is_understood(_: CheckContext, response: Response, case: Case) -> None:
    """What has the documented form is not refused for its form, unless by a rule that no schema
    can say: a name without invisible characters, or a tensor of the model's shape."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if tensors.JSON_LENGTH in case.headers:  # which cuts the JSON anywhere
        return
    if response.status_code in {400, 422}:
        problem = response.json()
        wrong = [each for each in problem["errors"] if each["code"] not in BY_RULES]
        assert problem["code"] not in FORM or not wrong, wrong


@schemathesis.hook
def filter_case(_: HookContext, case: Case) -> bool:
    """Any request may have headers that nobody knows (RFC 9110, 5.1): no reason to refuse it."""
    return UNKNOWN not in case.headers


@schemathesis.hook
def before_call(_: HookContext, case: Case, _kwargs: dict[str, Any]) -> None:
    """Who revokes the key that all requests have would see nothing but 401 from there on."""
    key_id = str(case.path_parameters.get("key_id", ""))
    if key_id and key_id in case.operation.schema.config.headers["Authorization"]:
        case.path_parameters["key_id"] = "0" * len(key_id)


@schemathesis.serializer(tus.MEDIA_TYPE)
def piece(_: Any, value: Any) -> bytes:
    """A piece of an upload: the bytes themselves."""
    return value if isinstance(value, bytes) else str(value).encode()


# Of random bytes few are what they are sent as.
schemathesis.openapi.media_type(
    "application/zip", strategies.just(ARCHIVE) | strategies.binary(), aliases=MEDIA_TYPES
)
schemathesis.openapi.media_type(
    "image/png", strategies.just(archives.png()) | strategies.binary(), aliases=IMAGES
)


@dataclass
class Outcome:
    """What came of one operation: how many requests, how many of them were accepted, in
    how many seconds, and what was wrong."""

    cases: int = 0
    accepted: int = 0
    seconds: float = 0.0
    failures: dict[str, str] = field(default_factory=dict)


def tried(scene: Scene, *, examples: int, seed: int = 0, paths: str = "") -> dict[str, Outcome]:
    """All phases with all checks, of the operations whose paths begin so: what came of each, and
    under no name of sequences of requests."""
    headers = {"Host": HOST, "Authorization": f"Bearer {scene.secret}"}
    schema = schemathesis.openapi.from_asgi(
        "/openapi.json", scene.app, config=_config(scene, headers, examples, seed), headers=headers
    ).exclude(path_regex=f"^(?!{paths})")  # what `include` adds would be beside our operations
    found: dict[str, Outcome] = {}
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            outcome = found.setdefault(event.label or "", Outcome())
            outcome.cases += len(event.recorder.cases)
            outcome.accepted += sum(
                each.response is not None and each.response.status_code < 400
                for each in event.recorder.interactions.values()
            )
            outcome.seconds += event.elapsed_time
            outcome.failures.update(_failures(event))
        elif isinstance(event, events.NonFatalError):
            outcome = found.setdefault(event.label, Outcome())
            outcome.failures[f"{event.phase.value}: error"] = str(event.value)
        elif isinstance(event, events.FatalError):
            raise event.exception
    return found


def _failures(event: events.ScenarioFinished) -> Iterator[tuple[str, str]]:
    for checks in event.recorder.checks.values():
        for each in checks:
            if each.failure_info is not None:
                told = each.failure_info
                yield (
                    f"{event.phase.value}: {each.name}: {told.failure.title}",
                    (f"{told.failure.message}\n{told.code_sample}"),
                )


def _config(scene: Scene, headers: dict[str, str], examples: int, seed: int) -> SchemathesisConfig:
    return SchemathesisConfig.from_dict(
        {
            "base-url": f"http://{HOST}",
            "headers": headers,
            "seed": seed,
            # Most requests are about what there is.
            "dictionaries": {name: {"values": [*ids]} for name, ids in scene.ids.items()},
            "parameters": {
                f"{place}.{name}": {"dictionary": name, "probability": 0.8}
                for name in scene.ids
                for place in ("path", "query", "body")
            }
            | {
                "body.uploads[*]": {"dictionary": "upload_id", "probability": 0.8},
                "path.name": {"dictionary": "artifact", "probability": 0.8},
            },
            "continue-on-failure": True,
            # Of bytes that are wrong as such there are none: what is made of them is thrown away.
            "suppress-health-check": ["filter_too_much"],
            # Of a job that goes on, which a stream follows without end.
            "max-stream-events": 1,
            "generation": {
                "max-examples": examples,
                "deterministic": True,
                "no-shrink": True,
                "database": "none",
            },
            "checks": {
                "positive_data_acceptance": {"expected-statuses": ACCEPTED},
                "negative_data_rejection": {"expected-statuses": REJECTED},
                "missing_required_header": {"expected-statuses": REJECTED},
            },
            "operations": [
                {
                    "include-operation-id": "inference_infer",
                    "checks": {"positive_data_acceptance": OF_BYTES},
                }
            ],
        }
    )

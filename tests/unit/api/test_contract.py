"""The OpenAPI document: the committed one is the application's, complete, and true of bodies."""

import ast
import copy
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

import core.errors
from api import (
    breaking,
    codes,
    contract,
    openapi,
    problems,
    pruning_bodies,
    schemas,
    search_bodies,
)
from api.app import Application, described
from api.routes import health, keys, s3_uploads, webhooks
from api.samples import SAMPLES
from api.views import (
    datasets,
    estimates,
    identity,
    inference,
    jobs,
    neighbours,
    results,
    uploads,
    versions,
)
from api.views import embedders as embedder_views
from api.views import problems as problem_views
from api.views import webhooks as webhook_views
from api.views.shapes import PageView
from core.domain.uploads import UploadState
from core.execution import failures
from core.services import moves
from core.storage import s3_answers
from tests.unit.api.conftest import Served
from tests.unit.api.recording import contradictions

ROOT = Path(contract.__file__).parents[1]
Json = dict[str, Any]
# Said by commands, before there is anything that could answer by HTTP.
BY_COMMANDS = {"port_taken", "unknown_profile"}


@pytest.fixture(scope="module")
def application() -> Application:
    return described()


@pytest.fixture(scope="module")
def document(application: Application) -> Json:
    return application.openapi()


@pytest.fixture
def old(document: Json) -> Json:
    return copy.deepcopy(document)


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_the_committed_document_is_the_applications(document: Json) -> None:
    committed = openapi.COMMITTED.read_text("utf-8")
    assert committed == openapi.written(document), "run python -m api.openapi --write"


def test_the_committed_table_has_the_catalogue() -> None:
    assert openapi.TABLE.read_text("utf-8") == openapi.tabled()


def test_every_operation_has_an_id_of_its_own(application: Application, document: Json) -> None:
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    for name, operation in operations(document):
        (tag,) = operation["tags"]
        assert re.fullmatch(rf"{tag}_[a-z0-9]+(_[a-z0-9]+)*", operation["operationId"]), name
        assert "_v1_" not in operation["operationId"], f"{name}: give it an operation_id"
        assert operation["summary"], name
    named = [each for each in application.routes if isinstance(each, APIRoute)]
    assert all(each.operation_id for each in named)


def test_errors_are_problems_and_nothing_else(document: Json) -> None:
    assert "HTTPValidationError" not in json.dumps(document)
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            if int(status) < 400:
                continue
            problem = answer["content"][problems.MEDIA_TYPE]
            assert problem["schema"] == {"$ref": "#/components/schemas/ProblemView"}, name
            for code in problem["examples"]:
                assert codes.CODES[code].status == int(status), (name, code)
                assert f"`{code}`" in answer["description"], (name, code)


def test_every_reference_leads_somewhere(document: Json) -> None:
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))):
        found = document
        for part in reference.split("/"):
            found = found[part]
        assert found


def test_every_json_body_has_an_example(document: Json) -> None:
    bodies = 0
    for name, operation in operations(document):
        answers = [each for status, each in operation["responses"].items() if status[0] == "2"]
        for each in [operation.get("requestBody", {}), *answers]:
            shape = each.get("content", {}).get(contract.JSON, {}).get("schema", {})
            shape = shape.get("items", shape)
            if "$ref" in shape:
                schema = document["components"]["schemas"][shape["$ref"].rpartition("/")[2]]
                assert schema["examples"], name
                bodies += 1
            else:
                assert not shape or shape == {"type": "object"}, name
    assert bodies > 40


MODELS: Mapping[str, Any] = {
    **{
        name: found
        for module in (datasets, jobs, neighbours, results, uploads, versions, embedder_views,
                       problem_views, schemas, s3_uploads, health, identity, keys,
                       inference, search_bodies, pruning_bodies, estimates, webhooks,
                       webhook_views)
        for name, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, BaseModel)
    },
    "AuditPage": PageView[identity.AuditView],
    "KeyPage": PageView[identity.KeyView],
    "DeliveryPage": PageView[webhook_views.DeliveryView],
    "WebhookPage": PageView[webhook_views.WebhookView],
    "DatasetPage": PageView[datasets.DatasetView],
    "UploadInPiecesPage": PageView[uploads.UploadInPiecesView],
    "EmbedderPage": PageView[embedder_views.EmbedderView],
    "EventPage": PageView[jobs.EventView],
    "JobPage": PageView[jobs.JobView],
    "ModelPage": PageView[results.ModelView],
    "LogLinePage": PageView[jobs.LogLineView],
    "PruningPage": PageView[results.PruningView],
    "RecordPage": PageView[jobs.RecordView],
    "SearchPage": PageView[results.SearchView],
    "SupernetPage": PageView[results.SupernetView],
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_examples_are_what_they_are_examples_of(name: str) -> None:
    kind = TypeAdapter(MODELS[name])
    read = kind.validate_json(json.dumps(SAMPLES[name]))
    shown = kind.dump_python(read, mode="json")
    if not name.endswith("Body"):  # what may be left out of a request is filled in
        assert shown == SAMPLES[name]


def test_the_upload_of_the_example_is_in_a_state_that_there_is() -> None:
    assert SAMPLES["UploadInPiecesView"]["state"] in set(UploadState)


ERRORS = {each.__name__ for each in vars(core.errors).values() if inspect.isclass(each)}


def calls(*packages: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call in them, by the last word of what is called."""
    for package in packages:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call):
                    yield ast.unparse(node.func).rpartition(".")[2], node


def words(nodes: list[ast.expr]) -> set[str]:
    found = {str(each.value) for each in nodes if isinstance(each, ast.Constant)}
    return {each for each in found if re.fullmatch("[a-z_0-9]+", each)}


def test_the_catalogue_has_every_code_that_is_raised() -> None:
    found = {each.code for each in of_core_errors()}
    for name, call in calls("api", "core"):
        if name in ERRORS:
            found |= words([each.value for each in call.keywords if each.arg == "code"])
    for name, call in calls("api"):
        if name == "Problem":
            found |= words(call.args[1:2])
    found |= {code for code, _ in (*s3_answers.MEANINGS.values(), *s3_answers.BY_STATUS.values())}
    assert len(found) > 70
    assert found - codes.CODES.keys() - codes.JOB_CODES.keys() == BY_COMMANDS


def test_the_catalogue_has_every_fault_of_an_archive() -> None:
    found = set()
    for name, call in calls("core/data"):
        if name in {"fault", "BadImage"}:
            found |= words(call.args[1:2] if name == "fault" else call.args[:1])
    found |= words([call.args[1] for name, call in calls("core/data")
                    if name == "Detail" and ast.unparse(call.args[0]) == "''"])  # fmt: skip
    assert len(found) > 20
    assert found <= codes.ARCHIVE_CODES.keys() | {"size_mismatch"}


def of_core_errors() -> Iterator[type[core.errors.AppError]]:
    for _, each in inspect.getmembers(core.errors, inspect.isclass):
        if issubclass(each, core.errors.AppError):
            yield each


def test_a_class_and_its_own_code_have_one_status() -> None:
    answered = [each for each in of_core_errors() if each.code not in codes.JOB_CODES]
    assert len(answered) > 10
    for each in answered:
        assert problems.of_error(each("words")).status == problems.STATUS_OF.get(
            each, codes.CODES[each.code].status
        )


@pytest.mark.parametrize("status", [429, 503])
def test_who_is_told_to_come_again_is_told_when(status: int) -> None:
    these = [code for code, known in codes.CODES.items() if known.status == status]
    assert len(these) > 1
    told = [problems.of_error(core.errors.AppError("words", code=code)) for code in these]
    told.append(problems.of_http(HTTPException(status)))
    assert all(int(dict(each.headers)["Retry-After"]) > 0 for each in told)


def test_the_framework_s_codes_are_catalogued_with_their_statuses() -> None:
    for status, code in problems.CODE_OF_STATUS.items():
        assert codes.CODES[code].status == status


def test_every_end_of_a_job_is_catalogued() -> None:
    ends = {*failures.FAILURES, moves.WORKER_LOST, moves.CHILDREN_FAILED}
    assert ends <= codes.CODES.keys() | codes.JOB_CODES.keys()
    assert not codes.CODES.keys() & codes.JOB_CODES.keys()


JSON_ANSWER = {"content-type": "application/json"}
PROBLEM = {"content-type": problems.MEDIA_TYPE}


def told(code: str, status: int = 404) -> bytes:
    return json.dumps(problems.body_of(problems.Problem(status, code, "Words."))).encode()


CONTRADICTIONS: Mapping[str, tuple[int, dict[str, str], bytes]] = {
    "is no answer": (418, {}, b""),
    "comes as text/html": (200, {"content-type": "text/html; charset=utf-8"}, b""),
    "has location": (200, JSON_ANSWER | {"location": "/"}, b"{}"),
    "has the code no_map": (404, PROBLEM, told("no_map")),
    "catalogue does not have": (404, PROBLEM, told("nowhere")),
    "no problem as documented": (404, PROBLEM, told("not_found")[:-1] + b', "more": 1}'),
    "has Retry-After": (404, PROBLEM | {"retry-after": "5"}, told("not_found")),
}


@pytest.mark.parametrize("words", CONTRADICTIONS)
def test_the_recorder_sees_what_is_not_documented(words: str, document: Json) -> None:
    operation = document["paths"]["/v1/jobs/{job_id}/events"]["get"]
    status, sent, body = CONTRADICTIONS[words]
    found = list(contradictions(operation, status, Headers(sent), body))
    assert any(words in each for each in found)


def test_the_recorder_is_silent_of_what_is(document: Json) -> None:
    operation = document["paths"]["/v1/jobs/{job_id}/events"]["get"]
    assert not list(contradictions(operation, 200, Headers(JSON_ANSWER), b"{}"))
    assert not list(contradictions(operation, 404, Headers(PROBLEM), told("not_found")))


def test_the_recorder_listens(client: httpx.Client, served: Served) -> None:
    before = served.recorder.answers
    assert client.get("/v1/jobs").status_code == 200
    assert client.get("/v1/jobs/x").status_code in {404, 422}
    assert served.recorder.answers >= before + 1


def drop(*path: str) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        for part in path[:-1]:
            document = document[part]
        del document[path[-1]]

    return change


def put(value: object, *path: str) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        for part in path[:-1]:
            document = document[part]
        document[path[-1]] = value

    return change


SCHEMA = ("components", "schemas")
JOBS = ("paths", "/v1/jobs", "get")
SUBMIT = ("paths", "/v1/searches", "post")
BREAKS = {
    "DELETE /v1/datasets/{dataset_id}: gone": drop("paths", "/v1/datasets/{dataset_id}", "delete"),
    "GET /v1/jobs: operation jobs_list has another name": put("list", *JOBS, "operationId"),
    "GET /v1/jobs: answer 200 gone": drop(*JOBS, "responses", "200"),
    "GET /v1/jobs: answer 200: application/json gone": put(
        {}, *JOBS, "responses", "200", "content"
    ),
    "POST /v1/searches: answer 202: Location gone": drop(
        *SUBMIT, "responses", "202", "headers", "Location"
    ),
    "POST /v1/searches: body: application/json gone": put({}, *SUBMIT, "requestBody", "content"),
    "JobView.state: gone": drop(*SCHEMA, "JobView", "properties", "state"),
    "JobView.progress: another type": put(
        {"type": "string"}, *SCHEMA, "JobView", "properties", "progress"
    ),
    "JobView.stage: may be left out": lambda found: found["components"]["schemas"]["JobView"][
        "required"
    ].remove("stage"),
    "JobState: value running gone": lambda found: found["components"]["schemas"]["JobState"][
        "enum"
    ].remove("running"),
    "SearchBody.policy: required": lambda found: found["components"]["schemas"]["SearchBody"][
        "required"
    ].append("policy"),
    "TrainingBody.epochs: required": put(["epochs"], *SCHEMA, "TrainingBody", "required"),
    "GET /v1/jobs: parameter query.kind gone": lambda found: found["paths"]["/v1/jobs"]["get"][
        "parameters"
    ].pop(next(n for n, each in enumerate(found["paths"]["/v1/jobs"]["get"]["parameters"])
               if each["name"] == "kind")),
    "GET /v1/jobs: parameter query.new required": lambda found: found["paths"]["/v1/jobs"]["get"][
        "parameters"
    ].append({"name": "new", "in": "query", "required": True, "schema": {}}),
    "GET /v1/jobs: parameter query.kind: another type": lambda found: next(
        each for each in found["paths"]["/v1/jobs"]["get"]["parameters"] if each["name"] == "kind"
    ).update(schema={"type": "integer"}),
    "GET /v1/jobs: answer 200: application/json: another type": put(
        {"type": "array", "items": {"$ref": "#/components/schemas/JobView"}},
        *JOBS, "responses", "200", "content", "application/json", "schema",
    ),
    "POST /v1/searches: body: application/json: another type": put(
        {"type": "object"}, *SUBMIT, "requestBody", "content", "application/json", "schema"
    ),
    "POST /v1/datasets/{dataset_id}:embed: body required": put(
        True, "paths", "/v1/datasets/{dataset_id}:embed", "post", "requestBody", "required"
    ),
}  # fmt: skip


@pytest.mark.parametrize("line", BREAKS)
def test_what_is_taken_away_breaks_until_it_is_announced(line: str, old: Json) -> None:
    new = copy.deepcopy(old)
    BREAKS[line](new)
    assert line in breaking.breaks(old, new)
    left = openapi.unannounced(old, new, f"# Changes\n\n- {line}\n")
    assert line not in left


ADDITIONS = {
    "a path": put({}, "paths", "/v1/new"),
    "a property": put({"type": "string"}, *SCHEMA, "JobView", "properties", "new"),
    "a value": lambda found: found["components"]["schemas"]["JobState"]["enum"].append("new"),
    "a property that a request may have": put(
        {"type": "string"}, *SCHEMA, "SearchBody", "properties", "new"
    ),
    "one that an answer always has": lambda found: found["components"]["schemas"]["JobView"][
        "required"
    ].append("children"),
    "words": put("Other words.", *SCHEMA, "JobView", "description"),
    "a refusal": put({"description": ""}, *JOBS, "responses", "429"),
}


@pytest.mark.parametrize("what", ADDITIONS)
def test_what_is_added_breaks_nothing(what: str, old: Json) -> None:
    new = copy.deepcopy(old)
    ADDITIONS[what](new)
    assert new != old
    assert not breaking.breaks(old, new)


def test_the_command_refuses_what_is_not_announced(
    document: Json, old: Json, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put({}, *SCHEMA, "JobView", "properties", "given_up")(old)
    committed, changes = tmp_path / "openapi.json", tmp_path / "changes.md"
    monkeypatch.setattr(openapi, "COMMITTED", committed)
    monkeypatch.setattr(openapi, "CHANGES", changes)
    monkeypatch.setattr(openapi, "TABLE", tmp_path / "problems.md")
    committed.write_text(json.dumps(old))
    changes.write_text("# Changes\n")
    refused = openapi.main(["--write"])
    assert refused is not None
    assert "JobView.given_up: gone" in refused
    assert json.loads(committed.read_text()) == old

    changes.write_text("# Changes\n\n- JobView.given_up: gone\n")
    assert openapi.main(["--write"]) is None
    assert committed.read_text("utf-8") == openapi.written(document)
    assert openapi.main([]) == "usage: python -m api.openapi --write"

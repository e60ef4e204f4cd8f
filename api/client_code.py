"""What of the client is made and not written: types and addresses from the interface's
description, the blocking half from the asynchronous one.

`python -m api.client_code --write` renews all of it from `docs/openapi.json`;
`python -m api.openapi --write` does so, too.
"""

import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
DESCRIBED: Final = ROOT / "docs" / "openapi.json"
PACKAGE: Final = ROOT / "headstart"
SCHEMA, OPERATIONS = PACKAGE / "schema.py", PACKAGE / "operations.py"
ASYNC, SYNC = PACKAGE / "_async", PACKAGE / "_sync"

Json = dict[str, Any]

# What the client's methods take as arguments of their own.
BY_POSITION: Final = {"dataset_id", "dataset_ids", "name", "uploads"}
PAGING: Final = "page_token"
METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch")

OPERATION: Final = '''\
"""Every operation of the interface. Made by api/client_code.py; not to be edited."""

from typing import Final, NamedTuple


class Operation(NamedTuple):
    """Where to ask; whether an Idempotency-Key makes asking again safe; whether it is a list."""

    method: str
    path: str
    keyed: bool = False
    paged: bool = False


'''

SAID: Final = (
    '"""The nouns of the interface, as the service sends and takes them; not to be edited."""'
)

# Of a schema, what a type is made of.
PLAIN: Final = {"type", "required", "$ref", "enum", "const", "minItems", "maxItems"}
ONE: Final = {"items", "additionalProperties", "propertyNames"}
MANY: Final = {"anyOf", "oneOf", "allOf", "prefixItems"}

# As `_async` says it, and as `_sync` does.
BLOCKING: Final = {
    "_async": "_sync",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "aiter_bytes": "iter_bytes",
    "aiter_sse": "iter_sse",
    "aread": "read",
    "asynccontextmanager": "contextmanager",
}
DROPPED: Final = {"async", "await"}
BY_HAND: Final = {"__init__.py", "running.py"}


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Path, method and operation, in the document's order."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def types(document: Json) -> Json:
    """A document of schemas alone: those of answers whole, of each list a query, of each body
    that the client takes apart its options."""
    found = document["components"]["schemas"]
    schemas = {name: _slim(schema) for name, schema in found.items()}
    for name, schema in schemas.items():
        # An answer's fields are all sent, but for those of which none is required.
        if schema.get("required") and not name.endswith("Body"):
            schema["required"] = sorted(schema["properties"])
    for _, _, operation in operations(document):
        parameters = {each["name"]: each for each in operation.get("parameters", ())}
        if PAGING in parameters:
            asked = {
                name: _slim(each["schema"])
                for name, each in parameters.items()
                if each["in"] == "query" and name != PAGING
            }
            schemas[_camel(operation["operationId"]) + "Query"] = _object(asked)
    for name in [name for name in schemas if name.endswith("Body")]:
        if taken := BY_POSITION & set(schemas[name].get("properties", ())):
            schemas[name.removesuffix("Body") + "Options"] = _without(schemas[name], taken)
    return {
        "openapi": document["openapi"],
        "info": {"title": "Headstart", "version": "0"},
        "paths": {},
        "components": {"schemas": schemas},
    }


def schema_module(document: Json) -> str:
    """`headstart/schema.py`, by datamodel-code-generator."""
    with tempfile.TemporaryDirectory(prefix="headstart-") as folder:
        source, module = Path(folder) / "openapi.json", Path(folder) / "schema.py"
        source.write_text(json.dumps(types(document)), "utf-8")
        options = (
            "--input-file-type openapi --output-model-type typing.TypedDict "
            "--target-python-version 3.11 --enum-field-as-literal all --use-union-operator "
            "--use-standard-collections --disable-timestamp --formatters builtin"
        )
        command = [
            "-m",
            "datamodel_code_generator",
            "--input",
            str(source),
            "--output",
            str(module),
        ]
        subprocess.run([sys.executable, *command, *options.split()], check=True)
        body = module.read_text("utf-8").split("\n", 3)[3]
    body = _formatted({SCHEMA.name: body})[SCHEMA.name]
    return f"{SAID}\n{mark(document, body)}\n\n{body}"


def is_fresh(document: Json, module: str) -> bool:
    """Whether these are the types of this document as they were made: a test sees it at once."""
    said, _, body = module.partition("\n\n")
    return said == f"{SAID}\n{mark(document, body)}"


def mark(document: Json, body: str) -> str:
    """Names what the types were made of and what came of it."""
    spelled = json.dumps(types(document), sort_keys=True)
    of, came = (hashlib.sha256(each.encode()).hexdigest() for each in (spelled, body))
    return f"# Made by api/client_code.py of {of};\n# SHA-256 of what follows: {came}"


def operations_module(document: Json) -> str:
    """`headstart/operations.py`: every operation's address, and whether it takes a key."""
    lines = [OPERATION]
    found = sorted(operations(document), key=lambda each: str(each[2]["operationId"]))
    for path, method, operation in found:
        parameters = {each["name"] for each in operation.get("parameters", ())}
        traits = {"keyed": "Idempotency-Key" in parameters, "paged": PAGING in parameters}
        said = "".join(f", {name}=True" for name, has in traits.items() if has)
        made = f"Operation({method.upper()!r}, {path!r}{said})"
        lines.append(f"{operation['operationId'].upper()}: Final = {made}\n")
    return "".join(lines)


def blocking(source: str) -> str:
    """A module of `_async` as it is in `_sync`: token by token. Comments stay as they are; from
    strings goes what only the asynchronous half says."""
    made, tokens = [], list(tokenize.generate_tokens(io.StringIO(source).readline))
    end, skipped = (1, 0), False
    for token in tokens:
        gap = " " * (token.start[1] - end[1]) if token.start[0] == end[0] else " " * token.start[1]
        end = token.end
        if token.type == tokenize.NAME and token.string in DROPPED:
            made.append(gap)
            skipped = True
            continue
        made.append(("" if skipped and token.start[0] == end[0] else gap) + _blocking(token))
        skipped = False
    return "".join(made)


def _blocking(token: tokenize.TokenInfo) -> str:
    if token.type == tokenize.NAME:
        known = BLOCKING.get(token.string)
        return known or re.sub(r"^(_?)Async(?=[A-Z])", r"\1", token.string)
    if token.type == tokenize.STRING:
        return re.sub(r"\b(await |async |Async(?=[A-Z]))", "", token.string)
    return token.string


def made(document: Json) -> dict[Path, str]:
    """All but the types, which take seconds."""
    halves = [path for path in sorted(ASYNC.glob("*.py")) if path.name not in BY_HAND]
    sources = {path.name: blocking(path.read_text("utf-8")) for path in halves}
    sources[OPERATIONS.name] = operations_module(document)
    done = _formatted(sources)
    return {OPERATIONS: done.pop(OPERATIONS.name)} | {SYNC / n: text for n, text in done.items()}


def write() -> None:
    """Renew what is stale."""
    document = json.loads(DESCRIBED.read_text("utf-8"))
    if not SCHEMA.exists() or not is_fresh(document, SCHEMA.read_text("utf-8")):
        SCHEMA.write_text(schema_module(document), "utf-8")
    for path, text in made(document).items():
        path.write_text(text, "utf-8")


def _slim(schema: Json) -> Json:
    slim: Json = {key: value for key, value in schema.items() if key in PLAIN}
    if "prefixItems" not in schema:
        slim.pop("minItems", None)
        slim.pop("maxItems", None)
    for each in schema.get("patternProperties", {}).values():
        slim["additionalProperties"] = _slim(each)
    for key in ONE & set(schema):
        if isinstance(schema[key], dict):
            slim[key] = _slim(schema[key])
    for key in MANY & set(schema):
        slim[key] = [_slim(each) for each in schema[key]]
    if "properties" in schema:
        slim["properties"] = {name: _slim(each) for name, each in schema["properties"].items()}
    return slim


def _object(properties: Json, required: tuple[str, ...] = ()) -> Json:
    return {"type": "object", "properties": properties, "required": list(required)}


def _without(schema: Json, taken: set[str]) -> Json:
    left = {name: each for name, each in schema["properties"].items() if name not in taken}
    return _object(left, tuple(name for name in schema.get("required", ()) if name in left))


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _formatted(sources: Mapping[str, str]) -> dict[str, str]:
    """Modules by their names, as ruff writes them, imports in order."""
    with tempfile.TemporaryDirectory(prefix="headstart-") as folder:
        for name, source in sources.items():
            (Path(folder) / name).write_text(source, "utf-8")
        ours = f"lint.isort.known-first-party = ['{PACKAGE.name}']"
        configured = ["--config", str(ROOT / "pyproject.toml"), "--config", ours]
        for verb in (["check", "--fix-only", "--select", "I"], ["format"]):
            asked = [sys.executable, "-m", "ruff", *verb, "--quiet", "--no-cache", *configured]
            subprocess.run([*asked, folder], check=True)
        return {name: (Path(folder) / name).read_text("utf-8") for name in sources}


def main(arguments: list[str]) -> str | None:
    """Renew what is made."""
    if arguments != ["--write"]:
        return "usage: python -m api.client_code --write"
    write()
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

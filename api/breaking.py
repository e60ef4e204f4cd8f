"""What a new OpenAPI document takes from those who were written against the old one."""

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]


def breaks(old: Json, new: Json) -> list[str]:
    """One line for each change that a client of the old document may fail on.

    Such are: something that is gone (a path, a method, a parameter, a property, a value, a way of
    writing a body), a name of an operation or a type of a value that is another, and what a
    request must have now or an answer may lack now. What is added breaks nothing.
    """
    return [*_paths(old, new), *_schemas(old, new)]


def _paths(old: Json, new: Json) -> Iterator[str]:
    for path, methods in old["paths"].items():
        for method, before in methods.items():
            name = f"{method.upper()} {path}"
            after = new["paths"].get(path, {}).get(method)
            if after is None:
                yield f"{name}: gone"
            else:
                yield from _operation(name, before, after)


def _operation(name: str, before: Json, after: Json) -> Iterator[str]:
    if before["operationId"] != after["operationId"]:
        yield f"{name}: operation {before['operationId']} has another name"
    known, now = _parameters(before), _parameters(after)
    yield from _shapes(f"{name}: parameter", known, now)
    for each in now:
        if now[each].get("required") and not known.get(each, {}).get("required"):
            yield f"{name}: parameter {each} required"
    yield from _body(f"{name}: body", before.get("requestBody"), after.get("requestBody"))
    for status, answer in before["responses"].items():
        if not status.startswith(("2", "3")):
            continue
        if status not in after["responses"]:
            yield f"{name}: answer {status} gone"
            continue
        shown = after["responses"][status]
        for kind in ("content", "headers"):
            told = f"{name}: answer {status}:"
            yield from _shapes(told, answer.get(kind, {}), shown.get(kind, {}))


def _parameters(operation: Json) -> dict[str, Json]:
    return {f"{each['in']}.{each['name']}": each for each in operation.get("parameters", ())}


def _body(name: str, before: Json | None, after: Json | None) -> Iterator[str]:
    known, now = before or {}, after or {}
    if now.get("required") and not known.get("required"):
        yield f"{name} required"
    yield from _shapes(f"{name}:", known.get("content", {}), now.get("content", {}))


def _shapes(name: str, before: Json, after: Json) -> Iterator[str]:
    """What of parameters, headers or ways of writing a body is gone, or of another type."""
    for each, described in before.items():
        if each not in after:
            yield f"{name} {each} gone"
        elif _shape(described.get("schema", {})) != _shape(after[each].get("schema", {})):
            yield f"{name} {each}: another type"


def _schemas(old: Json, new: Json) -> Iterator[str]:
    asked = _asked(old) | _asked(new)
    now = new["components"]["schemas"]
    for name, before in old["components"]["schemas"].items():
        if name not in now:
            yield f"{name}: gone"
            continue
        after = now[name]
        for value in before.get("enum", ()):
            if value not in after.get("enum", ()):
                yield f"{name}: value {value} gone"
        yield from _properties(name, before, after, asked=name in asked)


def _properties(name: str, before: Json, after: Json, *, asked: bool) -> Iterator[str]:
    now = after.get("properties", {})
    for each, shape in before.get("properties", {}).items():
        if each not in now:
            yield f"{name}.{each}: gone"
        elif _shape(shape) != _shape(now[each]):
            yield f"{name}.{each}: another type"
    needed, need = set(before.get("required", ())), set(after.get("required", ()))
    if asked:
        yield from (f"{name}.{each}: required" for each in sorted(need - needed))
    else:
        lacking = (needed - need) & now.keys()
        yield from (f"{name}.{each}: may be left out" for each in sorted(lacking))


def _shape(schema: Json) -> object:
    """What tells one type from another; words, limits and defaults do not."""
    kinds = {str(schema.get(each)) for each in ("type", "$ref", "format", "const")}
    several = {str(_shape(each)) for each in schema.get("anyOf", ())}
    inside = [_shape(schema[each]) for each in ("items", "additionalProperties")
              if isinstance(schema.get(each), dict)]  # fmt: skip
    return sorted(kinds), sorted(several), sorted(map(str, schema.get("enum", ()))), inside


def _asked(document: Json) -> set[str]:
    """The schemas that requests are made of."""
    bodies = [
        operation["requestBody"]
        for methods in document["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    ]
    found: set[str] = set()
    left: list[Any] = [bodies]
    while left:
        each = left.pop()
        if isinstance(each, list):
            left += each
        elif isinstance(each, dict):
            left += each.values()
            name = str(each.get("$ref", "")).rpartition("/")[2]
            if name and name not in found:
                found.add(name)
                left.append(document["components"]["schemas"].get(name))
    return found

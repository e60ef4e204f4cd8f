"""The environment's names that the settings know, and the interpolation that Compose does."""

import re
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from core.config import Settings

PREFIX, NESTED = "HEADSTART_", "__"
SERVERS = frozenset({"FORWARDED_ALLOW_IPS"})  # what uvicorn reads itself
VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?P<rule>:[-?])?(?P<word>[^}]*)\})")


def known_names(model: type[BaseModel] = Settings, prefix: str = PREFIX) -> Iterator[str]:
    """Every name of the environment that means something to the settings."""
    for name, field in model.model_fields.items():
        yield (own := prefix + name.upper())
        for part in _models(field.annotation):
            yield from known_names(part, own + NESTED)


def variables(text: str) -> dict[str, str | None]:
    """The variables that a compose file asks for, each with its default if it has one."""
    found = {}
    for match in VARIABLE.finditer(text):
        if match["name"]:
            found[match["name"]] = match["word"] if match["rule"] == ":-" else None
    return found


def interpolated(value: Any, given: Mapping[str, str]) -> Any:
    """A compose file's values as Compose sees them. Raises KeyError for a variable that lacks."""
    if isinstance(value, dict):
        return {name: interpolated(each, given) for name, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each, given) for each in value]
    return VARIABLE.sub(lambda m: _filled(m, given), value) if isinstance(value, str) else value


def _filled(match: re.Match[str], given: Mapping[str, str]) -> str:
    if match["name"] is None:
        return "$"
    if found := given.get(match["name"]):
        return found
    if match["rule"] == ":-":
        return match["word"]
    raise KeyError(match["name"])


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if get_origin(annotation) in {Annotated, Union, UnionType}:
        for part in get_args(annotation):
            yield from _models(part)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation

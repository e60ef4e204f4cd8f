"""JSON and back."""

import json
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import ValidationError

from core.domain.jobs import JobKind, Progress
from core.services import wire


def test_what_json_cannot_hold_becomes_null() -> None:
    value = {"a": float("nan"), "b": (float("inf"), 1), "c": MappingProxyType({"d": JobKind.RANK})}
    dumped = wire.dump(value)
    assert dumped == {"a": None, "b": [None, 1], "c": {"d": "rank"}}
    json.dumps(dumped, allow_nan=False)


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(ValueError, match="object"):
        wire.dump({"a": object()})


@pytest.mark.parametrize("wrong", [{}, {"stage": "a", "fraction": "x"}, None, []])
def test_the_wrong_shape_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        wire.load(Progress, wrong)

"""What counts as the same result, and which earlier result may be compared with."""

import copy
from typing import Any

import pytest

from tests.cluster.__main__ import ALIKE, differences, usable

ARM = {"genotype": {"normal": [["skip", 0]]}, "source": None, "learning_rate": 0.1}
ARM |= {"retrained_accuracy": 0.9, "seconds": 3.0}
RESULT: dict[str, Any] = {
    "seed": 4,
    "pretraining_seconds": {},
    "targets": {"greek": {"ranking": [], "cold": ARM, "warm": {**ARM, "source": "zoo"}}},
}


def changed(what: str, value: object) -> dict[str, Any]:
    made = copy.deepcopy(RESULT)
    made["targets"]["greek"]["warm"][what] = value
    return made


def test_time_is_no_difference() -> None:
    assert differences(changed("seconds", 7.0), RESULT) == []


@pytest.mark.parametrize("what", ALIKE)
def test_every_other_difference_is_named(what: str) -> None:
    (found,) = differences(changed(what, "other"), RESULT)
    assert found.startswith(f"greek, warm: {what} other, not ")


def test_a_result_is_of_one_seed_one_form_and_one_code() -> None:
    assert usable(RESULT, seed=4, written=2.0, changed=1.0)
    assert not usable(RESULT, seed=5, written=2.0, changed=1.0)
    assert not usable(RESULT, seed=4, written=1.0, changed=2.0)
    long = {**RESULT, "pretraining_seconds": {"mnist": 3.0}}
    assert not usable(long, seed=4, written=2.0, changed=1.0)

"""A process dies where it is told to, when it is told to, and nowhere without being told."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from core import crash_points
from core.execution.process import environment

ROOT = Path(__file__).parents[3]
REACHES = "from core import crash_points as c\nfor name in ({names}): c.reach(name)"


def reached(*names: str, order: str | None = None) -> int:
    """The exit status of a process that reaches these points, one after the other."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("HEADSTART_")}
    told = {} if order is None else {crash_points.VARIABLE: order}
    program = REACHES.format(names="".join(f"{name!r}, " for name in names))
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env={**kept, **told}, cwd=ROOT, check=False).returncode


def test_nobody_dies_unasked() -> None:
    assert reached(*crash_points.POINTS) == 0


@pytest.mark.parametrize(
    ("order", "names", "status"),
    [
        ("before_commit", ["after_claim"], 0),
        ("before_commit", ["after_claim", "before_commit"], -signal.SIGKILL),
        ("before_commit:2", ["before_commit"], 0),
        ("before_commit:2", ["before_commit", "before_commit"], -signal.SIGKILL),
    ],
)
def test_one_dies_at_the_point_and_the_time_that_are_named(
    order: str, names: list[str], status: int
) -> None:
    assert reached(*names, order=order) == status


def test_a_file_kills_one_process(tmp_path: Path) -> None:
    (tmp_path / "in_sweep").touch()
    assert reached("before_commit", order=str(tmp_path)) == 0
    assert reached("in_sweep", order=str(tmp_path)) == -signal.SIGKILL
    assert reached("in_sweep", order=str(tmp_path)) == 0


def test_children_inherit_the_order() -> None:
    told = {crash_points.VARIABLE: "after_restore", "HEADSTART_HOME": "/home"}
    passed = environment(told, threads=1)
    assert passed[crash_points.VARIABLE] == "after_restore"
    assert "HEADSTART_HOME" not in passed
    assert crash_points.VARIABLE not in environment({}, threads=1)


def test_every_point_is_in_one_place_and_no_other_is() -> None:
    calls: Counter[str] = Counter()
    for package in ("api", "core", "worker"):
        for path in (ROOT / package).rglob("*.py"):
            calls.update(re.findall(r'crash_points\.reach\("(\w+)"\)', path.read_text()))
    assert calls == Counter((*crash_points.POINTS, *crash_points.OF_SENDER))

"""What grows bit by bit is found, whatever hides it; what does not is let pass."""

import random
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.chaos import gauges
from tests.chaos.curves import Curve, Limit, slope, table

LIMIT = Limit("MiB", 1.0, 8.0)
HOURS = 7200
PLANTED: dict[str, tuple[bool, Callable[[float, random.Random], float]]] = {
    "flat": (True, lambda at, dice: 100.0),
    "noise": (True, lambda at, dice: 100 + dice.gauss(0, 5)),
    "a saw": (True, lambda at, dice: 100 + at % 300 / 10),
    "grown warm, then flat": (True, lambda at, dice: 100 + min(at, 600) / 10),
    "an early step": (True, lambda at, dice: 100 + 40 * (at > 1000) + dice.gauss(0, 1)),
    "peaks": (True, lambda at, dice: 100 + 500 * (dice.random() < 0.2)),
    "shrinks": (True, lambda at, dice: 200 - at / 60),
    "just below the limit": (True, lambda at, dice: 100 + 0.9 * at / 600),
    "just above the limit": (False, lambda at, dice: 100 + 1.2 * at / 600),
    "grows under noise": (False, lambda at, dice: 100 + 2 * at / 600 + dice.gauss(0, 5)),
    "grows under a saw": (False, lambda at, dice: 100 + 2 * at / 600 + at % 300 / 10),
    "grows under peaks": (
        False,
        lambda at, dice: 100 + 2 * at / 600 + 500 * (dice.random() < 0.2),
    ),
    "grows after an hour": (False, lambda at, dice: 100 + max(0, at - 3600) / 60),
}


def curve(shape: Callable[[float, random.Random], float], seconds: int = HOURS) -> Curve:
    dice, every = random.Random(1), max(1, seconds // 360)
    return Curve("it", LIMIT, [(at, shape(at, dice)) for at in range(0, seconds, every)])


@pytest.mark.parametrize("name", PLANTED)
def test_what_grows_is_named_and_nothing_else(name: str) -> None:
    passes, shape = PLANTED[name]
    seen = curve(shape)
    assert (seen.complaint is None) == passes, seen.complaint
    assert seen.to_json()["passed"] == passes
    assert ("FAILED" in table([seen])) == (not passes)


@pytest.mark.parametrize(("per_minute", "passes"), [(6, True), (20, False)])
def test_a_minute_is_judged_by_what_is_no_noise(per_minute: float, passes: bool) -> None:
    """A minute's slope is steep for nothing: there less than the noise is let pass."""
    seen = curve(lambda at, dice: 100 + at * per_minute / 60 + dice.gauss(0, 0.5), seconds=60)
    assert (seen.complaint is None) == passes, seen.complaint


def test_the_slope_is_that_of_the_line_and_of_most_points() -> None:
    line = [(float(at), 3.0 + 0.25 * at) for at in range(50)]
    assert slope(line) == pytest.approx(0.25)
    wild = [(at, value + 1000 * (at % 5 == 0)) for at, value in line]
    assert slope(wild) == pytest.approx(0.25, abs=0.01)
    assert slope(line[:1]) == 0.0
    assert slope([(1.0, 2.0), (1.0, 9.0)]) == 0.0


def test_what_was_hardly_seen_is_no_good_news() -> None:
    seen = Curve("it", LIMIT, [(0.0, 1.0), (100.0, 1.0)])
    assert seen.complaint == "it: seen 1 times only"
    assert Curve("it", LIMIT, []).complaint == "it: seen 0 times only"


LEAKS = """
import os, sys, threading, time
kept = []
for line in sys.stdin:
    kept += [bytearray(os.urandom(1)) * 2**23, threading.Event()]
    kept += [open(os.devnull) for _ in range(3)]
    for _ in range(2):
        threading.Thread(target=kept[-4].wait, daemon=True).start()
    print(flush=True)
"""


def test_a_process_that_leaks_is_seen_to() -> None:
    command = [sys.executable, "-c", LEAKS]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        readings = []
        for _ in range(12):
            process.stdin.write("\n")
            process.stdin.flush()
            process.stdout.readline()
            readings.append(gauges.of_process(process.pid))
        process.stdin.close()
    found = {
        what: Curve(what, limit, [(float(at), each[what]) for at, each in enumerate(readings)])
        for what, limit in gauges.OF_A_PROCESS.items()
    }
    assert all(each.complaint for each in found.values()), found
    assert found["descriptors"].rise == pytest.approx(3 * found["descriptors"].seconds)
    assert found["threads"].rise == pytest.approx(2 * found["threads"].seconds)
    assert gauges.of_process(process.pid) == {}


def test_a_process_that_only_waits_is_not() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True
    ) as process:
        readings = []
        for _ in range(20):
            readings.append(gauges.of_process(process.pid))
            time.sleep(0.02)
        process.communicate("\n")
    for what, limit in gauges.OF_A_PROCESS.items():
        points = [(float(at), each[what]) for at, each in enumerate(readings)]
        assert Curve(what, limit, points).complaint is None

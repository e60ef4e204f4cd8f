"""Silence is judged by what was usual, and never by less than the floor."""

import pytest

from core.execution.vigil import TIMES, Vigil


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def after(vigil: Vigil, clock: Clock, *gaps: float) -> None:
    for gap in gaps:
        clock.now += gap
        vigil.heard()


def test_before_the_first_sign_the_floor_is_the_limit(clock: Clock) -> None:
    vigil = Vigil(60.0, clock=clock)
    clock.now += 60.0
    assert not vigil.in_vain
    clock.now += 0.1
    assert vigil.in_vain


def test_quick_signs_do_not_shorten_the_floor(clock: Clock) -> None:
    vigil = Vigil(60.0, clock=clock)
    after(vigil, clock, *[0.2] * 100)
    assert vigil.limit == 60.0
    clock.now += 59.9
    assert not vigil.in_vain


def test_slow_steps_lengthen_it(clock: Clock) -> None:
    vigil = Vigil(60.0, clock=clock)
    after(vigil, clock, *[50.0] * 5)
    assert vigil.limit == TIMES * 50.0
    clock.now += TIMES * 50.0
    assert not vigil.in_vain
    clock.now += 0.1
    assert vigil.in_vain
    assert vigil.silence == pytest.approx(TIMES * 50.0 + 0.1)


def test_a_single_long_gap_does_not(clock: Clock) -> None:
    vigil = Vigil(60.0, clock=clock)
    after(vigil, clock, 0.2, 0.2, 3_000.0, 0.2, 0.2)
    assert vigil.limit == 60.0


def test_a_new_pace_is_learned_however_long_the_old_one_lasted(clock: Clock) -> None:
    vigil = Vigil(1.0, clock=clock)
    after(vigil, clock, *[0.1] * 100_000)
    after(vigil, clock, *[2.0] * 1_000)
    assert vigil.limit == TIMES * 2.0

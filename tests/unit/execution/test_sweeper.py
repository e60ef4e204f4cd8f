"""The chore is done again and again, whatever happens in one of its turns."""

from threading import Event

from core.errors import Unavailable
from core.execution.sweeper import Sweeper


def test_a_failed_sweep_is_not_the_last() -> None:
    turns = iter([Unavailable("away"), RuntimeError("a bug"), None])
    enough = Event()

    def sweep() -> None:
        error = next(turns, None)
        if error is not None:
            raise error
        enough.set()

    sweeper = Sweeper(sweep, seconds=0.01)
    sweeper.start()
    assert enough.wait(10)
    sweeper.stop()


def test_stop_before_start_is_harmless() -> None:
    Sweeper(lambda: None, seconds=1).stop()


def test_stop_does_not_wait_for_the_next_turn() -> None:
    done = Event()
    sweeper = Sweeper(done.set, seconds=3600)
    sweeper.start()
    assert done.wait(10)
    sweeper.stop()

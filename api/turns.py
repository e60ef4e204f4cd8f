"""Work of which a process does a little at once: the others are told to come again."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Semaphore

from core.errors import Unavailable


@contextmanager
def turn(places: Semaphore, others: str, *, patience: float = 0.0) -> Iterator[None]:
    """Have one of the places while the block runs; `others` says who has them all.

    Raises Unavailable (`busy`) when none becomes free for so many seconds.
    """
    if not places.acquire(timeout=patience):
        raise Unavailable(f"{others} just now; ask again in a moment.", code="busy")
    try:
        yield
    finally:
        places.release()

"""Slots are woken by rings, share the work, and end when told to."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Event, Lock
from uuid import uuid4

import pytest

from core.domain.jobs import JobId, QueueName
from core.queue.hintless import HintlessQueue
from core.queue.in_process import InProcessQueue

SECONDS = 10.0


class Desk:
    """Work that waits in two piles; taking a piece may be held up by `gate`."""

    def __init__(self) -> None:
        self.piles: dict[QueueName, SimpleQueue[str]] = {name: SimpleQueue() for name in QueueName}
        self.gate = Event()
        self.gate.set()
        self.done: SimpleQueue[str] = SimpleQueue()
        self.begun: SimpleQueue[str] = SimpleQueue()
        self.lock = Lock()
        self.at_once = self.most_at_once = 0

    def run_next(self, queue: QueueName) -> bool:
        try:
            piece = self.piles[queue].get_nowait()
        except Empty:
            return False
        if piece == "broken":
            self.begun.put(piece)
            raise RuntimeError(piece)
        self.begun.put(piece)
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.gate.wait(SECONDS)
        with self.lock:
            self.at_once -= 1
        self.done.put(piece)
        return True


@contextmanager
def started(desk: Desk, slots: int) -> Iterator[InProcessQueue]:
    queue = InProcessQueue(desk.run_next, slots)
    queue.start()
    try:
        yield queue
    finally:
        desk.gate.set()
        queue.stop()


def ring(queue: InProcessQueue) -> None:
    queue.announce(JobId(uuid4()), QueueName.CPU)


def test_what_waited_before_the_start_is_done_without_a_ring() -> None:
    desk = Desk()
    for name in QueueName:
        desk.piles[name].put(name.value)
    with started(desk, 1):
        assert {desk.done.get(timeout=SECONDS) for _ in QueueName} == {"cpu", "gpu"}


def test_a_ring_wakes_idle_slots() -> None:
    desk = Desk()
    with started(desk, 2) as queue:
        for piece in ("first", "second"):
            desk.piles[QueueName.GPU].put(piece)
            ring(queue)
            assert desk.done.get(timeout=SECONDS) == piece


def test_no_more_than_the_slots_work_at_once() -> None:
    desk = Desk()
    desk.gate.clear()
    for number in range(5):
        desk.piles[QueueName.CPU].put(str(number))
    with started(desk, 2) as queue:
        ring(queue)
        for _ in range(2):
            desk.begun.get(timeout=SECONDS)
        desk.gate.set()
        assert len({desk.done.get(timeout=SECONDS) for _ in range(5)}) == 5
    assert desk.most_at_once == 2


def test_a_ring_during_the_last_look_is_not_lost() -> None:
    desk = Desk()
    desk.gate.clear()
    desk.piles[QueueName.GPU].put("long")
    with started(desk, 1) as queue:
        desk.begun.get(timeout=SECONDS)
        desk.piles[QueueName.CPU].put("late")
        ring(queue)
        desk.gate.set()
        assert [desk.done.get(timeout=SECONDS) for _ in range(2)] == ["long", "late"]


def test_a_slot_survives_a_broken_run() -> None:
    desk = Desk()
    desk.piles[QueueName.CPU].put("broken")
    with started(desk, 1) as queue:
        desk.begun.get(timeout=SECONDS)
        desk.piles[QueueName.CPU].put("next")
        ring(queue)
        assert desk.done.get(timeout=SECONDS) == "next"


def test_a_ring_settles_when_a_slot_is_free_again() -> None:
    desk = Desk()
    desk.gate.clear()
    for number in range(3):
        desk.piles[QueueName.CPU].put(str(number))
    with started(desk, 2) as queue, ThreadPoolExecutor(1) as other:
        for _ in range(2):
            desk.begun.get(timeout=SECONDS)
        rung = queue.ring()
        settled = other.submit(queue.settle, rung)
        with pytest.raises(TimeoutError):
            settled.result(timeout=0.2)
        assert not queue.answered(rung)
        desk.gate.set()
        settled.result(timeout=SECONDS)
        assert queue.answered(rung)
        assert desk.piles[QueueName.CPU].empty()


def test_a_ring_settles_at_once_where_one_slot_idles() -> None:
    desk = Desk()
    desk.gate.clear()
    desk.piles[QueueName.GPU].put("long")
    with started(desk, 2) as queue:
        desk.begun.get(timeout=SECONDS)
        queue.settle(queue.ring())
        assert desk.done.empty()


def test_a_broken_run_settles_too() -> None:
    desk = Desk()
    with started(desk, 1) as queue:
        desk.piles[QueueName.CPU].put("broken")
        queue.settle(queue.ring())
        assert desk.begun.get_nowait() == "broken"


def test_stopping_lets_go_of_who_waits() -> None:
    desk = Desk()
    desk.gate.clear()
    desk.piles[QueueName.CPU].put("running")
    with ThreadPoolExecutor(1) as other:
        with started(desk, 1) as queue:
            desk.begun.get(timeout=SECONDS)
            settled = other.submit(queue.settle, queue.ring())
        settled.result(timeout=SECONDS)


def test_stop_waits_for_running_work_and_takes_no_more() -> None:
    desk = Desk()
    desk.gate.clear()
    for piece in ("running", "waiting"):
        desk.piles[QueueName.CPU].put(piece)
    queue = InProcessQueue(desk.run_next, 1)
    queue.start()
    desk.begun.get(timeout=SECONDS)
    queue._stopping = True  # as stop() does first, before it waits
    desk.gate.set()
    queue.stop()
    assert desk.done.get_nowait() == "running"
    assert desk.piles[QueueName.CPU].get_nowait() == "waiting"


def test_stop_before_start_is_harmless() -> None:
    InProcessQueue(Desk().run_next, 2).stop()


def test_checks_pass_without_a_broker() -> None:
    InProcessQueue(Desk().run_next, 1).check()
    silent = HintlessQueue()
    silent.announce(JobId(uuid4()), QueueName.CPU)
    silent.check()

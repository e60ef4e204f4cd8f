"""Finished models computed by one process: to the bit, together, in turn, and after any loss."""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from types import SimpleNamespace

import psutil
import pytest

from core.config import InferenceSettings
from core.domain.searches import Artifact
from core.errors import AppError, TooLarge, Unavailable
from core.inference import batching, models
from core.inference.batching import Answer, Inference
from core.inference.process import Floats, ModelProcess
from tests.fixtures.onnx_models import answered, images, same, tiny

MODEL = tiny()


def file_of(data: bytes) -> Artifact:
    return Artifact("model.onnx", "k", hashlib.sha256(data).hexdigest(), len(data), "onnx")


def outputs(answer: "Future[Answer]") -> tuple[Floats, ...]:
    return answer.result(timeout=30)[1]


def refused(answer: "Future[Answer]") -> str:
    with pytest.raises(AppError) as raised:
        answer.result(timeout=30)
    return raised.value.stable_code


def until(happens: Callable[[], bool]) -> None:
    for _ in range(6_000):
        if happens():
            return
        time.sleep(0.005)
    raise AssertionError("it never happened")


class Service:
    """An `Inference` and the process that it has; others of this test run may have theirs."""

    def __init__(self, **limits: float) -> None:
        self.limits = InferenceSettings(**limits)
        self.inference = Inference(self.limits)
        self._others = set(self._running())

    def ask(self, data: bytes, batch: Floats | None = None) -> "Future[Answer]":
        return self.inference.submit(file_of(data), lambda: data, batch)

    def under_way(self, data: bytes, batch: Floats) -> "Future[Answer]":
        """A request that the process has and does not answer."""
        self.ask(data).result(timeout=30)
        self.send(signal.SIGSTOP)
        answer = self.ask(data, batch)
        until(lambda: not self.inference._waiting)
        return answer

    def processes(self) -> set[psutil.Process]:
        return set(self._running()) - self._others

    def send(self, number: int) -> None:
        (process,) = self.processes()
        process.send_signal(number)

    def close(self) -> None:
        self.inference.close()
        assert not self.processes()

    def _running(self) -> Iterator[psutil.Process]:
        for each in psutil.Process().children():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if each.cmdline()[-1:] == ["core.inference.runtime"]:
                    yield each


@contextmanager
def opened(**limits: float) -> Iterator[Service]:
    with closing(Service(**limits)) as service:
        yield service


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with opened() as made:
        yield made


def test_a_model_says_what_it_takes(service: Service) -> None:
    signature, nothing = service.ask(MODEL).result(timeout=30)
    assert (signature.input.name, signature.input.shape) == ("images", (-1, 3, 8, 8))
    assert [each.name for each in signature.outputs] == ["logits", "probabilities"]
    assert nothing == ()
    assert service.inference.known(file_of(MODEL)) == signature
    assert service.inference.known(file_of(b"another")) is None


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_answers_are_the_runtime_s_to_the_bit(service: Service, count: int) -> None:
    batch = images(count)
    found = outputs(service.ask(MODEL, batch))
    assert all(map(same, found, answered(MODEL, batch)))


def test_who_waits_for_one_model_is_computed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    run = ModelProcess.run

    def spied(self: ModelProcess, model: str, batch: Floats) -> tuple[Floats, ...]:
        sizes.append(len(batch))
        return run(self, model, batch)

    monkeypatch.setattr(ModelProcess, "run", spied)
    batch, other = images(9), tiny(1)
    with opened(rows=4, idle_seconds=30) as service:
        first = service.under_way(MODEL, batch[:1])
        rest = [service.ask(MODEL, batch[at : at + 2]) for at in range(1, 9, 2)]
        between = service.ask(other, batch)
        service.send(signal.SIGCONT)
        found = [outputs(each) for each in (first, *rest)]
        alone = outputs(between)
    assert sizes == [1, 4, 4, 9]
    assert all(map(same, alone, answered(other, batch)))
    for place, expected in enumerate(answered(MODEL, batch)):
        assert b"".join(each[place].tobytes() for each in found) == expected.tobytes()


def test_a_request_waits_for_company_as_long_as_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    inference = Inference(InferenceSettings(gather_seconds=0.004, rows=3))
    waits: list[float] = []

    def wait_for(happens: Callable[[], bool], seconds: float) -> None:
        waits.append(0.0 if happens() else seconds)

    monkeypatch.setattr(batching, "time", SimpleNamespace(monotonic=lambda: 100.0))
    monkeypatch.setattr(inference._changed, "wait_for", wait_for)
    for rows, since, expected in ((1, 99.999, 0.003), (1, 99.9, 0.0), (3, 100.0, 0.0)):
        asked = batching._Asked(file_of(MODEL), lambda: MODEL, images(rows), since)
        inference._waiting = [asked]
        assert inference._next() == [asked]
        assert waits.pop() == pytest.approx(expected)


def test_a_killed_process_costs_one_answer(service: Service) -> None:
    lost = service.under_way(MODEL, images(1))
    service.send(signal.SIGKILL)
    assert refused(lost) == "inference_lost"
    assert same(outputs(service.ask(MODEL, images(1)))[0], answered(MODEL, images(1))[0])
    (process,) = service.processes()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its owner hears of it as well
    assert outputs(service.ask(MODEL, images(1))), "nobody waited, so nobody is told"


def test_a_silent_process_is_replaced() -> None:
    with opened(seconds=1.0) as service:
        late = service.under_way(MODEL, images(1))
        (first,) = service.processes()
        assert refused(late) == "inference_timeout"
        assert outputs(service.ask(MODEL, images(1)))
        assert not first.is_running()


def test_a_process_that_wants_too_much_memory_is_replaced() -> None:
    with opened() as service:
        assert refused(service.ask(tiny(hungry=True), images(1))) == "inference_lost"
        assert outputs(service.ask(MODEL, images(1)))


def test_who_has_waited_too_long_is_told_and_not_computed() -> None:
    inference = Inference(InferenceSettings(seconds=10))
    old = batching._Asked(file_of(MODEL), lambda: MODEL, images(1), time.monotonic() - 10.1)
    held = models.Models(inference.limits)
    inference._compute(held, [old])
    assert refused(old.answer) == "busy"
    assert held._process is None


def test_an_idle_process_ends_and_another_begins() -> None:
    with opened(idle_seconds=0.05) as service:
        for _ in range(2):
            assert outputs(service.ask(MODEL, images(1)))
            until(lambda: not service.processes())


def test_models_make_room_for_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[list[str]] = []
    load = ModelProcess.load

    def spied(self: ModelProcess, model: str, data: bytes, *, drop: list[str]) -> object:
        loads.append(drop)
        return load(self, model, data, drop=drop)

    monkeypatch.setattr(ModelProcess, "load", spied)
    first, second, third = (tiny(seed) for seed in range(3))
    names = [file_of(each).sha256 for each in (first, second, third)]
    with opened(model_bytes=2 * len(first) + 100) as service:
        for data in (first, second, first, third, first, second):
            batch = images(2)
            assert same(outputs(service.ask(data, batch))[0], answered(data, batch)[0])
        large = tiny(padding=3 * len(first))
        with pytest.raises(TooLarge):
            service.ask(large).result(timeout=30)
    assert loads == [[], [], [names[1]], [names[2]]]


def test_what_is_no_model_is_refused_and_the_others_stay(service: Service) -> None:
    assert outputs(service.ask(MODEL, images(1)))
    (before,) = service.processes()
    assert refused(service.ask(b"onnx" * 1000)) == "internal"
    assert outputs(service.ask(MODEL, images(1)))
    assert service.processes() == {before}


def unreadable() -> bytes:
    raise Unavailable("The store does not answer.")


def test_a_store_that_does_not_answer_is_told_of(service: Service) -> None:
    file = file_of(b"elsewhere")
    assert refused(service.inference.submit(file, unreadable)) == "unavailable"


def test_a_bug_reaches_who_waits(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(models.Models, "ready", broken)
    with pytest.raises(ZeroDivisionError):
        service.ask(MODEL).result(timeout=30)
    monkeypatch.undo()
    assert outputs(service.ask(MODEL, images(1)))


def test_more_than_may_wait_are_refused_at_once() -> None:
    with opened(queue=1) as service:
        first = service.under_way(MODEL, images(1))
        second = service.ask(MODEL, images(1))
        with pytest.raises(Unavailable) as raised:
            service.ask(MODEL, images(1))
        assert raised.value.stable_code == "busy"
        service.send(signal.SIGCONT)
        assert outputs(first)
        assert outputs(second)


def test_who_has_gone_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened() as service:
        first = service.under_way(MODEL, images(1))
        gone, stays = service.ask(MODEL, images(1)), service.ask(MODEL, images(2))
        assert gone.cancel()
        service.send(signal.SIGCONT)
        assert [len(outputs(each)[0]) for each in (first, stays)] == [1, 2]


def test_bodies_take_turns_for_memory() -> None:
    inference = Inference(InferenceSettings(bodies_bytes=100))
    alone = inference.admitted(1_000)  # any that the address takes
    with alone, pytest.raises(Unavailable), inference.admitted(1):
        raise AssertionError
    with inference.admitted(60), inference.admitted(40):
        pass


def test_the_end_lets_nobody_wait() -> None:
    with opened() as service:
        first = service.under_way(MODEL, images(1))
        second = service.ask(MODEL, images(1))
        closing = threading.Thread(target=service.close)
        closing.start()
        until(lambda: service.inference._closed)
        service.send(signal.SIGCONT)
        closing.join()
        assert outputs(first)
        assert refused(second) == "busy"
        with pytest.raises(Unavailable):
            service.ask(MODEL)


def test_without_the_runtime_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "find_spec", lambda _: None)
    with opened() as service, pytest.raises(Unavailable, match=r"nas\[inference\]") as raised:
        service.ask(MODEL)
    assert raised.value.stable_code == "inference_unavailable"


def test_the_process_has_a_limit_and_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_SECRET_KEY", "canary")
    with opened() as service:
        service.ask(MODEL).result(timeout=30)
        (process,) = service.processes()
        assert "canary" not in str(process.environ())
        assert process.rlimit(psutil.RLIMIT_AS) == (service.limits.memory_bytes,) * 2

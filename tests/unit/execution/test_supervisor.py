"""From claim to last word, with a real child."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NoReturn

import psutil
import pytest
from sqlalchemy import update

from core.config import JobTimings
from core.db.job_tables import JobRow
from core.db.sessions import Sessions
from core.domain.jobs import JobId, JobState, QueueName
from core.errors import Conflict, NotFound, Unavailable
from core.execution import attempt, failures, host_memory, process
from core.execution.vigil import Vigil
from core.services import job_logs, jobs, work
from tests.unit.execution.bench import QUICK, Bench, alive, eventually


@pytest.fixture
def watched_from_ready(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a child takes to start, it is not called hung for that."""

    class Started(Vigil):
        @property
        def in_vain(self) -> bool:
            return (bench.folder / "ready").exists() and super().in_vain

    monkeypatch.setattr(attempt, "Vigil", Started)


def log_of(bench: Bench, job_id: JobId) -> list[str]:
    with bench.sessions.read() as session:
        lines, _ = job_logs.page(session, job_id, limit=100)
    return [f"{each.level}: {each.message}" for each in lines]


def test_success_records_the_result_and_leaves_nothing_behind(bench: Bench) -> None:
    job = bench.run("succeed")
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None
    assert (job.attempt, job.error_code) == (1, None)
    assert job.cost_seconds > 0
    with bench.sessions.read() as session:
        (record,) = jobs.records(session, job.id)
    assert record.values == {"threads": str(bench.settings.threads), "not_a_number": None}
    assert list((bench.settings.home / "scratch").iterdir()) == []


def test_a_child_loads_no_torch_unasked_and_sees_no_setting_of_ours(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_STORAGE__SECRET_KEY", "canary")
    bench.run("succeed")
    assert (bench.read("torch"), bench.read("secrets")) == ("False", "[]")


def test_an_empty_queue_is_no_work(bench: Bench) -> None:
    supervisor = bench.supervisor("succeed")
    bench.submit()
    assert not supervisor.run_next(QueueName.GPU)
    assert supervisor.run_next(QueueName.CPU)
    assert not supervisor.run_next(QueueName.CPU)


def test_an_outcome_that_cannot_be_recorded_fails_the_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(*_: object) -> None:
        raise error

    monkeypatch.setattr(work, "record", record)
    error: Exception = Conflict("That name is taken.")
    assert bench.run("succeed").error_message == "That name is taken."
    error = RuntimeError("/secret/path")
    job = bench.run("succeed")
    assert (job.state, job.error_code, job.error_message) == (JobState.FAILED, "internal", "")


def test_inputs_that_cannot_be_read_fail_the_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inputs(*_: object) -> None:
        raise error

    monkeypatch.setattr(work, "inputs", inputs)
    error: Exception = NotFound("That dataset is gone.")
    assert bench.run("succeed").error_code == "not_found"
    error = RuntimeError("/secret/path")
    assert bench.run("succeed").error_code == "internal"
    error = Unavailable("The database does not answer.")
    lose_patience(monkeypatch)
    job = bench.run("succeed")
    assert (job.error_code, job.attempt) == ("unavailable", 3)


@pytest.mark.parametrize(
    ("scenario", "code", "message"),
    [
        ("diverge", "diverged", "The loss is not finite."),
        ("run_out", "out_of_memory", "The work needed more memory"),
        ("break_down", "internal", ""),
    ],
)
def test_a_failure_keeps_its_code_and_no_secret(
    bench: Bench, scenario: str, code: str, message: str
) -> None:
    job = bench.run(scenario)
    assert (job.state, job.error_code, job.attempt) == (JobState.FAILED, code, 1)
    assert (job.error_message or "").startswith(message)
    assert "/secret" not in (job.error_message or "")
    log = log_of(bench, job.id)
    assert log[-1].startswith(f"error: {message}")
    assert log[-1].endswith(f"({code})")
    assert "/secret" not in "".join(log)


def test_a_killed_child_is_resumed_from_its_checkpoint(bench: Bench) -> None:
    job = bench.run("steps")
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert bench.read("log").split() == ["1", "2", "3", "4", "5", "6"]
    assert bench.rings == [job.id]
    with bench.sessions.read() as session:
        (resumed,) = jobs.records(session, job.id, stage="resume")
        totals = [record.values["total"] for record in jobs.records(session, job.id, stage="work")]
        kept = jobs.checkpoints(session, job.id)
    assert resumed.values["step"] == 3
    assert [each for each in log_of(bench, job.id) if "held" not in each] == [
        "info: Attempt 1 of 3 begins.",
        "info: Stage work.",
        "warning: Given back (worker_lost); the next attempt begins.",
        "info: Attempt 2 of 3 begins.",
        "info: Resumes from checkpoint 3: newest.",
        "info: Stage work.",
        "info: Done; what it made is being registered.",
    ]
    assert totals == [1, 3, 6, 10, 15, 21]
    assert kept[0].step == 6


def test_a_corrupt_checkpoint_gives_way_to_the_one_before(bench: Bench) -> None:
    job_id = bench.submit()
    supervisor = bench.supervisor("steps")
    assert supervisor.run_next(QueueName.CPU)
    with bench.sessions.read() as session:
        newest = jobs.checkpoints(session, job_id)[0]
    stored = bench.settings.home / "objects" / newest.key
    stored.chmod(0o600)
    stored.write_text("999")
    assert supervisor.run_next(QueueName.CPU)
    assert bench.job(job_id).state is JobState.SUCCEEDED
    assert bench.read("log").split() == ["1", "2", "3", "3", "4", "5", "6"]
    with bench.sessions.read() as session:
        (resumed,) = jobs.records(session, job_id, stage="resume")
    assert resumed.values == {"step": 2, "reason": "1 newer unreadable"}


@pytest.mark.parametrize(("scenario", "code"), [("die", "worker_lost"), ("miss", "unavailable")])
def test_attempts_run_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, scenario: str, code: str
) -> None:
    lose_patience(monkeypatch)
    job = bench.run(scenario)
    assert (job.state, job.error_code, job.attempt) == (JobState.FAILED, code, 3)
    with bench.sessions.read() as session:
        moves = [event.to_state for event in jobs.events(session, job.id)]
    assert moves.count(JobState.RUNNING) == 3


def test_a_store_that_is_away_costs_no_attempt(bench: Bench) -> None:
    job_id = bench.submit()
    assert bench.supervisor("miss", replace_delays(0.0, 30.0)).run_next(QueueName.CPU)
    job = bench.job(job_id)
    assert (job.state, job.attempt, job.resume_reason) == (JobState.QUEUED, 0, "unavailable")
    supervisor = bench.supervisor("miss", replace_delays(0.0, 30.0))
    assert supervisor.run_next(QueueName.CPU)  # by another worker, at once
    assert not supervisor.run_next(QueueName.CPU)  # and then later and later


def test_a_full_disk_costs_no_attempt_and_the_job_goes_on_when_there_is_room(bench: Bench) -> None:
    job_id = bench.submit()
    supervisor = bench.supervisor("fill")
    for _ in range(4):  # more often than it has attempts
        assert supervisor.run_next(QueueName.CPU)
        job = bench.job(job_id)
        assert (job.state, job.attempt, job.resume_reason) == (JobState.QUEUED, 0, "storage_full")
    (bench.folder / "room").touch()
    assert supervisor.run_next(QueueName.CPU)
    assert (bench.job(job_id).state, bench.job(job_id).attempt) == (JobState.SUCCEEDED, 1)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "storage_full"),
        (errno.EDQUOT, "storage_full"),
        (errno.EACCES, "unavailable"),
        (errno.ENOMEM, "host_oom"),
    ],
)
def test_an_attempt_that_cannot_begin_gives_the_job_back_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number), "/secret/path")

    job_id = bench.submit()
    supervisor = bench.supervisor("succeed")
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkdtemp", refuse)
        assert supervisor.run_next(QueueName.CPU)
    job = bench.job(job_id)
    assert (job.state, job.resume_reason) == (JobState.QUEUED, reason)
    assert supervisor.run_next(QueueName.CPU)
    assert bench.job(job_id).state is JobState.SUCCEEDED


def test_a_process_that_cannot_be_started_gives_the_job_back_at_once(bench: Bench) -> None:
    job_id = bench.submit()
    supervisor = bench.supervisor("succeed")
    command, supervisor._command = supervisor._command, ("/no/such/program",)
    assert supervisor.run_next(QueueName.CPU)
    assert bench.job(job_id).resume_reason == "unavailable"
    supervisor._command = command
    assert supervisor.run_next(QueueName.CPU)
    assert bench.job(job_id).state is JobState.SUCCEEDED


def test_a_broken_device_is_tried_again_in_a_new_process(bench: Bench) -> None:
    job = bench.run("break_device")
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert job.resume_reason == "device_fault"


def test_a_lost_device_is_not_used_again_and_costs_no_attempt(bench: Bench) -> None:
    job_id = bench.submit()
    supervisor = bench.supervisor("lose_device", device="cuda")
    assert not supervisor.quarantined
    assert supervisor.run_next(QueueName.CPU)
    job = bench.job(job_id)
    assert (job.state, job.attempt, job.resume_reason) == (JobState.QUEUED, 0, "device_lost")
    assert supervisor.quarantined
    with bench.sessions.begin() as session:
        session.execute(update(JobRow).values(queue=QueueName.GPU))
    assert not supervisor.run_next(QueueName.GPU)  # others may
    assert bench.job(job_id).state is JobState.QUEUED
    with bench.sessions.begin() as session:
        session.execute(update(JobRow).values(queue=QueueName.CPU))
    assert supervisor.run_next(QueueName.CPU)  # what needs no accelerator
    assert bench.read("log").split() == ["cuda", "cpu"]
    assert bench.job(job_id).state is JobState.SUCCEEDED


def test_a_job_that_kills_every_device_ends(bench: Bench) -> None:
    job_id = bench.submit()
    claims = 0
    while bench.supervisor("lose_device", device="cuda").run_next(QueueName.CPU):
        claims += 1
    job = bench.job(job_id)
    assert (job.state, job.error_code, claims) == (JobState.FAILED, "device_lost", 5)


def test_a_gpu_without_memory_is_tried_once_more_with_half_the_batch(bench: Bench) -> None:
    job = bench.run("halve")
    assert (job.state, job.attempt, job.resume_reason) == (JobState.SUCCEEDED, 2, "gpu_oom")
    job = bench.run("overflow")
    assert (job.state, job.error_code, job.attempt) == (JobState.FAILED, "gpu_oom", 2)
    assert job.error_message == failures.FAILURES["gpu_oom"].words


def test_what_did_not_fit_is_remembered_across_other_ends(bench: Bench) -> None:
    job_id = bench.submit()
    with bench.sessions.begin() as session:
        session.execute(update(JobRow).values(max_attempts=4))
    supervisor = bench.supervisor("exhaust")
    while supervisor.run_next(QueueName.CPU):
        pass
    assert bench.read("log").split() == ["0", "1", "1", "2"]
    assert bench.job(job_id).state is JobState.SUCCEEDED


@pytest.mark.usefixtures("watched_from_ready")
def test_a_child_that_no_kill_ends_holds_neither_job_nor_worker(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = bench.submit()
    supervisor = bench.supervisor("hang", stalling_after(1.5))
    kill = os.killpg
    with monkeypatch.context() as patch:
        patch.setattr(os, "killpg", lambda *_: None)
        patch.setattr(process, "KILL_SECONDS", 0.5)
        patch.setattr(process, "EXIT_SECONDS", 0.1)
        assert supervisor.run_next(QueueName.CPU)
    pid = int(bench.read("pid"))
    assert alive(pid)
    assert (bench.job(job_id).state, bench.job(job_id).resume_reason) == (
        JobState.QUEUED,
        "stalled",
    )
    assert supervisor.quarantined
    kill(pid, signal.SIGKILL)
    eventually(lambda: "child-guard" not in [thread.name for thread in threading.enumerate()])
    assert not alive(pid)


def test_a_machine_out_of_memory_is_tried_once_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_memory, "limit_bytes", lambda: 1024)
    job = bench.run("die")
    assert (job.state, job.error_code, job.attempt) == (JobState.FAILED, "host_oom", 2)
    assert job.error_message == failures.FAILURES["host_oom"].words


def test_a_child_that_we_have_killed_did_not_run_out_of_memory(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_memory, "limit_bytes", lambda: 1024)
    job_id = bench.submit()
    supervisor = bench.supervisor("hang")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(supervisor.run_next, QueueName.CPU)
        bench.wait_for("ready")
        supervisor.drain()
        assert running.result(timeout=20)
    assert bench.job(job_id).resume_reason == "drained"


@pytest.mark.parametrize("case", ["stopped", "without its twin"])
def test_a_child_dies_with_a_killed_process(bench: Bench, case: str) -> None:
    module = "tests.unit.execution.embedded_process"
    with subprocess.Popen([sys.executable, "-m", module, "hang", str(bench.folder)]) as process:
        try:
            eventually((bench.folder / "ready").exists, seconds=90.0)
            child, other = int(bench.read("pid")), int(bench.read("grandchild"))
            twins = [p.pid for p in psutil.Process(child).children() if p.pid != other]
            victim, how = (
                (child, signal.SIGSTOP) if case == "stopped" else (*twins, signal.SIGKILL)
            )
            os.kill(victim, how)
        finally:
            process.kill()
    eventually(lambda: not alive(child))
    if case != "stopped":
        os.kill(other, signal.SIGKILL)
    eventually(lambda: not alive(other))


@pytest.mark.usefixtures("watched_from_ready")
def test_a_hung_child_is_killed_and_three_are_enough(bench: Bench) -> None:
    job_id = bench.submit()
    supervisor = bench.supervisor("hang", stalling_after(1.5))
    for claims in (1, 2, 3):
        assert supervisor.run_next(QueueName.CPU)
        assert not alive(int(bench.read("pid")))
        job = bench.job(job_id)
        assert job.attempt == claims
        if claims < 3:
            assert (job.state, job.resume_reason) == (JobState.QUEUED, "stalled")
    assert (job.state, job.error_code) == (JobState.FAILED, "stalled")
    assert job.error_message == failures.FAILURES["stalled"].words
    other = bench.submit()
    assert bench.supervisor("succeed").run_next(QueueName.CPU)
    assert bench.job(other).state is JobState.SUCCEEDED


@pytest.mark.usefixtures("watched_from_ready")
@pytest.mark.parametrize("case", ["stopped", "stuck in foreign code"])
def test_no_thread_of_its_own_speaks_for_a_child_that_cannot(bench: Bench, case: str) -> None:
    job_id = bench.submit()
    scenario = "wait" if case == "stopped" else "hold"
    supervisor = bench.supervisor(scenario, stalling_after(1.5))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(supervisor.run_next, QueueName.CPU)
        bench.wait_for("ready")
        if case == "stopped":
            os.kill(int(bench.read("pid")), signal.SIGSTOP)
        assert running.result(timeout=30)
    assert not alive(int(bench.read("pid")))
    assert (bench.job(job_id).resume_reason, bench.job(job_id).attempt) == ("stalled", 1)


@pytest.mark.usefixtures("watched_from_ready")
@pytest.mark.parametrize("scenario", ["plod", "slow_down"])
def test_a_slow_child_is_left_alone(bench: Bench, scenario: str) -> None:
    job_id = bench.submit()
    assert bench.supervisor(scenario, stalling_after(2.5)).run_next(QueueName.CPU)
    assert (bench.job(job_id).state, bench.job(job_id).attempt) == (JobState.SUCCEEDED, 1)


@pytest.mark.usefixtures("watched_from_ready")
def test_a_hung_child_that_was_cancelled_is_cancelled(bench: Bench) -> None:
    job_id = bench.submit()
    patient = stalling_after(1.5).model_copy(update={"cancel_grace": 600.0})
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench.supervisor("hang", patient).run_next, QueueName.CPU)
        bench.wait_for("ready")
        with bench.sessions.begin() as session:
            jobs.cancel(session, job_id)
        assert running.result(timeout=20)
    assert bench.job(job_id).state is JobState.CANCELLED


def test_a_drain_lets_the_epoch_end(bench: Bench) -> None:
    job_id = bench.submit()
    timings = QUICK.model_copy(update={"drain_grace": 20.0})
    supervisor = bench.supervisor("finish_epoch", timings)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(supervisor.run_next, QueueName.CPU)
        bench.wait_for("ready")
        supervisor.drain()
        assert running.result(timeout=15)
    job = bench.job(job_id)
    assert (job.state, job.attempt, job.resume_reason) == (JobState.QUEUED, 0, "drained")
    with bench.sessions.read() as session:
        (kept,) = jobs.checkpoints(session, job_id)
    assert kept.step == 1
    assert bench.supervisor("finish_epoch").run_next(QueueName.CPU)
    assert bench.job(job_id).state is JobState.SUCCEEDED


def test_a_cancel_amid_a_drain_does_not_wait_for_it(bench: Bench) -> None:
    job_id = bench.submit()
    timings = QUICK.model_copy(update={"drain_grace": 60.0})
    supervisor = bench.supervisor("hang", timings)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(supervisor.run_next, QueueName.CPU)
        bench.wait_for("ready")
        supervisor.drain()
        with bench.sessions.begin() as session:
            jobs.cancel(session, job_id)
        assert running.result(timeout=20)
    assert bench.job(job_id).state is JobState.CANCELLED


def test_a_later_attempt_waits(bench: Bench) -> None:
    job_id = bench.submit()
    supervisor = bench.supervisor("die", replace_delays(30.0))
    assert supervisor.run_next(QueueName.CPU)
    assert not supervisor.run_next(QueueName.CPU)
    assert (bench.job(job_id).state, bench.rings) == (JobState.QUEUED, [])


@pytest.mark.parametrize("scenario", ["wait", "hang"])
def test_cancel_ends_the_child_and_all_it_started(bench: Bench, scenario: str) -> None:
    job_id = bench.submit()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench.supervisor(scenario).run_next, QueueName.CPU)
        bench.wait_for("ready")
        with bench.sessions.begin() as session:
            jobs.cancel(session, job_id)
        assert running.result(timeout=20)
    assert bench.job(job_id).state is JobState.CANCELLED
    assert not alive(int(bench.read("pid")))
    if scenario == "hang":
        eventually(lambda: not alive(int(bench.read("grandchild"))))


def test_a_job_cancelled_in_the_queue_never_starts(bench: Bench) -> None:
    job_id = bench.submit()
    with bench.sessions.begin() as session:
        jobs.cancel(session, job_id)
    assert not bench.supervisor("succeed").run_next(QueueName.CPU)
    assert bench.job(job_id).state is JobState.CANCELLED


def test_who_lost_the_lease_kills_the_child_and_writes_nothing(bench: Bench) -> None:
    job_id = bench.submit()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench.supervisor("wait").run_next, QueueName.CPU)
        bench.wait_for("ready")
        with bench.sessions.begin() as session:
            jobs.forget_owner(session, "test:")
        with bench.sessions.begin() as session:
            taken = jobs.claim(session, queue=QueueName.CPU, owner="another:1", lease_seconds=60)
        assert taken is not None
        assert running.result(timeout=20)
    after = bench.job(job_id)
    assert not alive(int(bench.read("pid")))
    assert (after.state, after.fence, after.lease_owner) == (
        JobState.RUNNING,
        taken.fence,
        "another:1",
    )
    with bench.sessions.read() as session:
        assert len(jobs.events(session, job_id)) == 4  # queued, running, queued, running
        lines, _ = job_logs.page(session, job_id, limit=9)
    assert {each.fence for each in lines} == {taken.fence - 1}  # the last words went unheard


def test_drain_gives_the_job_back_uncharged(bench: Bench) -> None:
    job_id = bench.submit()
    supervisor = bench.supervisor("wait")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(supervisor.run_next, QueueName.CPU)
        bench.wait_for("ready")
        supervisor.drain()
        assert running.result(timeout=20)
    assert not supervisor.run_next(QueueName.CPU)
    assert not alive(int(bench.read("pid")))
    assert bench.job(job_id).state is JobState.QUEUED
    (bench.folder / "enough").touch()
    assert bench.supervisor("wait").run_next(QueueName.CPU)
    assert (bench.job(job_id).state, bench.job(job_id).attempt) == (JobState.SUCCEEDED, 1)


def test_a_short_absence_of_the_database_costs_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = bench.submit()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench.supervisor("wait").run_next, QueueName.CPU)
        bench.wait_for("ready")
        with monkeypatch.context() as patch:
            tries = refuse(patch)
            eventually(lambda: len(tries) >= 3)
            (bench.folder / "enough").touch()
            eventually(lambda: not alive(int(bench.read("pid"))))
        assert running.result(timeout=20)
    assert bench.job(job_id).state is JobState.SUCCEEDED


def test_without_a_beat_the_child_is_killed_and_the_job_left_to_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = bench.submit()
    supervisor = bench.supervisor("wait", QUICK.model_copy(update={"self_stop": 2.0}))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(supervisor.run_next, QueueName.CPU)
        bench.wait_for("ready")
        with monkeypatch.context() as patch:
            refuse(patch)
            assert running.result(timeout=20)
    assert not alive(int(bench.read("pid")))
    assert bench.job(job_id).state is JobState.RUNNING


def test_the_sweep_takes_back_what_a_lost_worker_held(bench: Bench) -> None:
    job_id = bench.submit()
    with bench.sessions.begin() as session:
        assert jobs.claim(session, queue=QueueName.CPU, owner="dead:1", lease_seconds=0.01)
    supervisor = bench.supervisor("succeed")
    eventually(lambda: supervisor.sweep() or bench.job(job_id).state is JobState.QUEUED)
    assert bench.rings[:1] == [job_id]
    assert supervisor.run_next(QueueName.CPU)
    assert (bench.job(job_id).state, bench.job(job_id).attempt) == (JobState.SUCCEEDED, 2)


def replace_delays(*seconds: float):  # type: ignore[no-untyped-def]
    return QUICK.model_copy(update={"retry_delays": seconds})


def stalling_after(seconds: float) -> JobTimings:
    return QUICK.model_copy(update={"stall": seconds})


def lose_patience(patch: pytest.MonkeyPatch) -> None:
    """Let an absent store count from the first attempt on."""
    hasty = replace(failures.FAILURES["unavailable"], patience=1)
    patch.setattr(failures, "FAILURES", {**failures.FAILURES, "unavailable": hasty})


def refuse(patch: pytest.MonkeyPatch) -> list[int]:
    """Let every write transaction fail as an absent database does; counts them."""
    tries: list[int] = []

    def begin(self: Sessions) -> None:
        tries.append(1)
        raise Unavailable("The database does not answer.")

    patch.setattr(Sessions, "begin", begin)
    return tries

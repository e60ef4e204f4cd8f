"""What crosses the pipe comes out as it went in, and the secrets cross nowhere else."""

import math

import pytest

from core.config import S3Storage, Settings
from core.domain.jobs import Checkpoint, JobRecord, LogLevel, Progress
from core.execution import protocol
from core.execution.process import environment

EVENTS = [
    protocol.Reported(Progress("search", 0.5, 3.0), JobRecord("search", 1, {"loss": 0.1})),
    protocol.Reported(Progress("search", 0.5), None),
    protocol.Alive(),
    protocol.Said(LogLevel.WARNING, "RuntimeWarning: slow"),
    protocol.Checkpointed(Checkpoint(2, 3, "key", "0" * 64, 10)),
    protocol.Resumed(None, "no checkpoint yet"),
    protocol.Finished({"genotype": {"normal": [["skip", 0]]}}),
    protocol.Failed("diverged", "line\nbreak", "Traceback …"),
    protocol.Halted(),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_survive_the_wire_on_one_line(event: protocol.Event) -> None:
    line = protocol.encode(event)
    assert line.count(b"\n") == 1
    assert protocol.decode(line) == event


def test_numbers_that_json_cannot_hold_become_null() -> None:
    record = JobRecord("search", 1, {"loss": math.nan})
    heard = protocol.decode(protocol.encode(protocol.Reported(Progress("search", 0.5), record)))
    assert isinstance(heard, protocol.Reported)
    assert heard.record == JobRecord("search", 1, {"loss": None})


@pytest.mark.parametrize(
    "line",
    [b"", b"no JSON", b"[]", b"7", b'{"event": "Exited", "body": {"status": 0}}', b'{"event": 1}'],
)
def test_what_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        protocol.decode(line)


def test_the_settings_of_a_child_are_its_own_and_its_secrets_are_not_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = {"kind": "s3", "bucket": "b", "access_key": "who", "secret_key": "canary"}
    settings = Settings.model_validate({"storage": storage})
    carried = Settings(**protocol.portable(settings))
    assert isinstance(carried.storage, S3Storage)
    assert carried.storage == settings.storage
    assert carried.home.is_absolute()
    inherited = {"HEADSTART_STORAGE__SECRET_KEY": "canary", "PATH": "/bin", "OMP_NUM_THREADS": "9"}
    given = environment(inherited, threads=2)
    assert "canary" not in given.values()
    assert (given["PATH"], given["OMP_NUM_THREADS"]) == ("/bin", "2")

"""What a pipeline is given inside the child."""

import hashlib
import io
import os
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from safetensors.numpy import save

from core.config import S3Storage, Settings
from core.domain.identity import DEFAULT
from core.domain.jobs import Checkpoint, JobId, JobKind, JobRecord, Progress
from core.execution import protocol
from core.execution.child_context import ChildContext
from core.pipelines.context import Stopped
from core.storage import s3

JOB = JobId(UUID(int=7))


def context_at(
    folder: Path, *, checkpoints: tuple[Checkpoint, ...] = (), attempt: int = 1, fence: int = 1
) -> tuple[ChildContext, list[protocol.Event]]:
    scratch = folder / f"scratch-{fence}"
    scratch.mkdir()
    envelope = protocol.Envelope(
        project_id=DEFAULT,
        job_id=JOB,
        kind=JobKind.EMBED,
        fence=fence,
        attempt=attempt,
        inputs={},
        checkpoints=checkpoints,
        settings=protocol.portable(Settings(home=folder / "home")),
        threads=1,
        device="cpu",
        scratch=str(scratch),
        supervisor=1,
    )
    said: list[protocol.Event] = []
    return ChildContext(protocol.unseal(protocol.seal(envelope)), say=said.append), said


def saved(folder: Path, *contents: str, fence: int = 1) -> tuple[Checkpoint, ...]:
    """Checkpoints of an attempt that wrote each content in turn, newest first."""
    context, said = context_at(folder, fence=fence)
    for step, content in enumerate(contents):
        path = context.scratch / "state.bin"
        path.write_text(content)
        context.checkpoint(step, path)
    return tuple(event.checkpoint for event in said if isinstance(event, protocol.Checkpointed))[
        ::-1
    ]


def test_a_checkpoint_is_stored_under_the_attempt_before_it_is_announced(tmp_path: Path) -> None:
    (newest, _) = saved(tmp_path, "old", "new", fence=4)
    assert newest.key == f"default/jobs/{JOB}/a4/checkpoints/1.bin"
    assert (newest.fence, newest.step, newest.size) == (4, 1, 3)
    assert newest.sha256 == hashlib.sha256(b"new").hexdigest()


def test_a_new_stage_is_told_of_at_once(tmp_path: Path) -> None:
    context, said = context_at(tmp_path)
    for stage in ("race", "race", "search:0"):
        context.report(Progress(stage, 0.1))
    told = [event.progress.stage for event in said if isinstance(event, protocol.Reported)]
    assert told == ["race", "search:0"]


def test_checkpoints_only_go_forward(tmp_path: Path) -> None:
    known = saved(tmp_path, "0", "1", "2")
    context, _ = context_at(tmp_path, checkpoints=known, fence=2)
    restored = context.restore()
    assert restored is not None
    with pytest.raises(ValueError, match="checkpoint 2 after checkpoint 2"):
        context.checkpoint(2, restored.path)
    context.checkpoint(3, restored.path)


@pytest.mark.parametrize(
    ("damaged", "step", "reason"),
    [
        ((), 2, "newest"),
        ((2,), 1, "1 newer unreadable"),
        ((2, 1), 0, "2 newer unreadable"),
        ((2, 1, 0), None, "3 unreadable"),
    ],
)
@pytest.mark.parametrize("how", ["altered", "gone"])
def test_the_newest_whole_checkpoint_wins(
    tmp_path: Path, how: str, damaged: tuple[int, ...], step: int | None, reason: str
) -> None:
    known = saved(tmp_path, "zero", "one", "two")
    for checkpoint in known:
        stored = tmp_path / "home" / "objects" / checkpoint.key
        if checkpoint.step in damaged:
            stored.chmod(0o600)
            stored.write_text("flipped") if how == "altered" else stored.unlink()
    context, said = context_at(tmp_path, checkpoints=known, attempt=2, fence=2)
    restored = context.restore()
    assert said == [protocol.Resumed(step, reason)]
    assert (restored.step if restored else None) == step
    if restored:
        assert restored.path.read_text() == ["zero", "one", "two"][restored.step]


class Bucket:
    """The few calls of a bucket's client that reading needs."""

    def __init__(self, objects: dict[str, bytes], digests: dict[str, str]) -> None:
        self.objects, self.digests = objects, digests

    def head_object(self, **asked: str) -> dict[str, Any]:
        key = asked["Key"]
        metadata = {s3.DIGEST: self.digests[key]}
        return {"ContentLength": len(self.objects[key]), "Metadata": metadata}

    def get_object(self, **asked: str) -> dict[str, Any]:
        first = int(asked["Range"].removeprefix("bytes=").removesuffix("-"))
        return {"Body": io.BytesIO(self.objects[asked["Key"]][first:])}


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def halved(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("size", [3, 3 * s3.MEBIBYTE + 1])
@pytest.mark.parametrize(
    ("damage", "step"),
    [(flipped, 1), (halved, 1), (None, 2)],
)
def test_a_bucket_that_finds_the_damage_itself_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any, step: int, size: int
) -> None:
    contents = {number: os.urandom(size) for number in range(3)}
    known = tuple(
        Checkpoint(1, number, f"{number}.bin", hashlib.sha256(content).hexdigest(), size)
        for number, content in sorted(contents.items(), reverse=True)
    )
    objects = {f"{number}.bin": content for number, content in contents.items()}
    if damage:
        objects["2.bin"] = damage(objects["2.bin"])
    bucket = Bucket(objects, {checkpoint.key: checkpoint.sha256 for checkpoint in known})
    monkeypatch.setattr(s3, "_client", lambda _: bucket)
    context, said = context_at(tmp_path, checkpoints=known, attempt=2, fence=2)
    context.store = s3.S3Store(S3Storage(kind="s3", bucket="b"))
    restored = context.restore()
    assert restored is not None
    assert (restored.step, restored.path.read_bytes()) == (step, contents[step])
    assert said == [protocol.Resumed(step, "newest" if step == 2 else "1 newer unreadable")]
    left = [path.name for path in context.scratch.iterdir()]
    assert left == [restored.path.name]  # what was thrown away takes no room


def test_a_tensor_file_cut_short_before_its_checksum_was_taken_is_passed_over(
    tmp_path: Path,
) -> None:
    whole = save({"weight": np.ones(8, np.float32)})
    context, said = context_at(tmp_path)
    for step, content in enumerate((whole, whole[:-1])):
        path = context.scratch / "state.safetensors"
        path.write_bytes(content)
        context.checkpoint(step, path)
    known = tuple(event.checkpoint for event in said if isinstance(event, protocol.Checkpointed))
    resumed, said = context_at(tmp_path, checkpoints=known[::-1], attempt=2, fence=2)
    restored = resumed.restore()
    assert restored is not None
    assert restored.path.read_bytes() == whole
    assert said == [protocol.Resumed(0, "1 newer unreadable")]


def test_a_first_attempt_has_nothing_to_explain(tmp_path: Path) -> None:
    context, said = context_at(tmp_path)
    assert context.restore() is None
    assert said == []


def test_a_second_attempt_without_checkpoints_says_so(tmp_path: Path) -> None:
    context, said = context_at(tmp_path, attempt=2)
    assert context.restore() is None
    assert said == [protocol.Resumed(None, "no checkpoint yet")]


def test_progress_is_thinned_and_records_are_not(tmp_path: Path) -> None:
    context, said = context_at(tmp_path)
    for step in range(50):
        context.report(Progress("work", step / 50))
        if step % 10 == 0:
            context.report(Progress("work", step / 50), JobRecord("work", step, {}))
    records = [event for event in said if isinstance(event, protocol.Reported) and event.record]
    assert len(records) == 5
    assert len(said) < 20


def test_signs_of_life_are_thinned_and_a_report_is_one(tmp_path: Path) -> None:
    context, said = context_at(tmp_path)
    context.report(Progress("work", 0.1))
    for _ in range(100):
        context.alive()
    assert len(said) < 20
    context._last_sign -= 1.0
    context.alive()
    assert said[-1] == protocol.Alive()
    context.stop()
    context.alive()  # an epoch may end


def test_after_a_stop_the_next_report_raises(tmp_path: Path) -> None:
    context, said = context_at(tmp_path)
    context.report(Progress("work", 0.0))
    context.stop()
    with pytest.raises(Stopped):
        context.report(Progress("work", 0.1), JobRecord("work", 1, {}))
    assert isinstance(said[-1], protocol.Reported)  # the last record is told all the same

"""The intake job: what it makes, what it tells on its way, and what a refusal leaves behind."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from core.config import UploadLimits
from core.domain import keys
from core.domain.datasets import IntakeOptions
from core.domain.identity import DEFAULT
from core.domain.searches import IngestSpec
from core.domain.uploads import Part, Upload, UploadId, UploadState
from core.domain.work import IngestInputs
from core.errors import BadArchive, Conflict, CorruptObject, InvalidInput
from core.pipelines import ingest_uploads
from core.pipelines.context import Stopped
from core.pipelines.ingest_dataset import ingest
from tests.unit.api import archives
from tests.unit.pipelines.conftest import World, striped_archive

PIECE = 3_000


def upload(
    world: World, data: bytes, *, name: str = "images.zip", sha256: str | None = None
) -> tuple[Upload, tuple[Part, ...]]:
    """A complete upload in pieces, as the service would have stored it."""
    upload_id, parts = UploadId(uuid4()), []
    for start in range(0, len(data), PIECE):
        piece = data[start : start + PIECE]
        key = keys.upload_part(DEFAULT, upload_id, start, "t")
        (world.kept / "piece").write_bytes(piece)
        world.store.put(key, world.kept / "piece")
        parts.append(Part(key, start, len(piece), hashlib.sha256(piece).hexdigest()))
    now, size = datetime.now(UTC), len(data)
    whole = Upload(upload_id, DEFAULT, name, size, size, sha256, UploadState.USED, now, now)
    return whole, tuple(parts)


def inputs(
    found: Sequence[tuple[Upload, tuple[Part, ...]]], options: IntakeOptions | None = None
) -> IngestInputs:
    ids = tuple(each.id for each, _ in found)
    spec = IngestSpec(ids, "name", "x@1", options or IntakeOptions())
    return IngestInputs(spec, tuple(found))


def test_it_makes_what_an_upload_in_one_request_makes(world: World, tmp_path: Path) -> None:
    data = striped_archive(classes=3, seed=1)
    (tmp_path / "whole.zip").write_bytes(data)
    options = IntakeOptions(seed=5, test_share=0.3)
    wanted = ingest(
        tmp_path / "whole.zip",
        folder=tmp_path / "prepared",
        project=DEFAULT,
        store=world.store,
        limits=UploadLimits(),
        options=options,
    )
    world.store.delete(
        [keys.originals(DEFAULT, wanted.sha256), keys.packed(DEFAULT, wanted.sha256, 32)]
    )
    sha256 = hashlib.sha256(data).hexdigest()
    outcome = ingest_uploads.run(inputs([upload(world, data, sha256=sha256)], options), world)
    for name in ("sha256", "classes", "train_counts", "test_counts", "channels", "report"):
        assert getattr(outcome, name) == getattr(wanted, name)
    assert outcome.originals_sha256 == wanted.originals_sha256
    assert outcome.size_bytes == wanted.size_bytes
    assert world.store.exists(keys.originals(DEFAULT, outcome.sha256))
    assert world.store.exists(keys.packed(DEFAULT, outcome.sha256, 32))


def test_it_tells_how_far_it_is(world: World) -> None:
    ingest_uploads.run(inputs([upload(world, striped_archive(classes=3, seed=1))]), world)
    fractions = [each.fraction for each in world.progress]
    assert fractions == sorted(fractions)
    assert (fractions[0], 0.9 < fractions[-1] < 1) == (0.0, True)
    stages = list(dict.fromkeys(each.stage for each in world.progress))
    assert stages == ["gather", "unpack", "decode", "write", "store"]
    etas = [each.eta_seconds for each in world.progress if each.fraction > 0.1]
    assert all(eta is not None and eta >= 0 for eta in etas)


def test_names_of_files_say_the_splits(world: World) -> None:
    found = [
        upload(world, archives.zipped({
            name: archives.png(100 * number + index)
            for index, name in enumerate(archives.class_folders())
        }), name=f"{split}.zip")
        for number, split in enumerate(("train", "test"))
    ]  # fmt: skip
    outcome = ingest_uploads.run(inputs(found), world)
    assert (outcome.report.split, sum(outcome.test_counts)) == ("given", 12)


def test_a_refusal_leaves_everything_it_found(world: World) -> None:
    """More than one record holds."""
    bad = {f"cat/bad{number}.png": b"no image" for number in range(150)}
    found = upload(world, archives.zipped({**archives.class_folders(), **bad}))
    with pytest.raises(BadArchive) as refused:
        ingest_uploads.run(inputs([found]), world)
    assert [each.stage for each in world.records] == ["refusal", "refusal"]
    told = [each for record in world.records for each in record.values["findings"]]
    assert len(told) == len(refused.value.details) >= 150
    assert {"place": "cat/bad149.png", "code": "bad_image"}.items() <= told[149].items()
    assert world.store.exists(found[1][0].key)
    assert not list(world.store.listing("default/datasets"))


def test_it_stops_when_it_is_asked_to(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    said = world.report

    def stop(*told: object) -> None:
        said(*told)  # type: ignore[arg-type]
        if world.progress[-1].stage == "decode":
            raise Stopped

    monkeypatch.setattr(world, "report", stop)
    with pytest.raises(Stopped):
        ingest_uploads.run(inputs([upload(world, striped_archive(classes=3, seed=1))]), world)
    assert list((world.scratch / "prepared").iterdir()) == []


def test_what_is_not_what_was_sent_is_refused(world: World) -> None:
    data = striped_archive(classes=3, seed=1)
    whole, parts = upload(world, data, sha256="0" * 64)
    with pytest.raises(InvalidInput, match="SHA-256"):
        ingest_uploads.run(inputs([(whole, parts)]), world)
    (world.scratch / "upload-0" / "images.zip").unlink()
    (world.scratch / "upload-0").rmdir()
    world.store.delete([parts[0].key])
    (world.kept / "piece").write_bytes(bytes(PIECE))
    world.store.put(parts[0].key, world.kept / "piece")
    with pytest.raises(CorruptObject):
        ingest_uploads.run(inputs([(whole, parts)]), world)


def test_what_is_not_all_there_is_refused(world: World) -> None:
    whole, parts = upload(world, striped_archive(classes=3, seed=1))
    cut = Upload(
        whole.id, DEFAULT, whole.name, whole.length + 1, whole.received, None, whole.state,
        whole.expires_at, whole.created_at,
    )  # fmt: skip
    with pytest.raises(Conflict, match="are here"):
        ingest_uploads.run(inputs([(cut, parts)]), world)

"""The end of intakes: what they make has room, though several were asked for while there was."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.config import UploadLimits
from core.domain.datasets import IntakeOptions
from core.domain.jobs import JobKind
from core.domain.searches import IngestSpec
from core.domain.work import IngestOutcome
from core.errors import TooLarge
from core.execution import deletion, intakes
from core.services import datasets, wire
from core.storage.local import LocalStore
from tests.unit.execution.bench import REPORT, Bench
from tests.unit.services.samples import queued, sha256_of

OUTCOME = IngestOutcome(sha256_of("first"), ("a", "b"), (3, 4), (1, 2), 1, REPORT, "0" * 64, 10)


def test_versions_that_one_room_was_found_for(bench: Bench, tmp_path: Path) -> None:
    limits, store = UploadLimits(stored_bytes=25), LocalStore(tmp_path / "store")
    with bench.sessions.begin() as session:
        first, _ = datasets.take_in(session, OUTCOME, name="first")
        jobs = []
        for place in range(2):  # each finds room
            options = IntakeOptions(leave_out=(place,))
            spec = IngestSpec((), "next", "embedder", options, parent_id=first.id)
            jobs.append(queued(session, kind=JobKind.INGEST, spec=wire.dump(spec)))
    made = [replace(OUTCOME, sha256=sha256_of(each)) for each in ("one", "other")]
    (tmp_path / "file").write_bytes(b"images")
    for outcome in made:
        for key in deletion.of_images(first.project_id, outcome.sha256):
            store.put(key, tmp_path / "file")

    def register(place: int) -> None:
        with bench.sessions.begin() as session:
            datasets.take_in(session, made[place], name="next", parent_id=first.id)
            intakes.check(session, store, jobs[place], made[place], limits)

    register(0)
    with pytest.raises(TooLarge) as refused:
        register(1)
    assert refused.value.stable_code == "quota_exceeded"

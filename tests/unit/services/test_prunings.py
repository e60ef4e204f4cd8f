"""Prunings: from a request to a mask that others take over."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.config import UploadLimits
from core.db.sessions import Sessions
from core.domain import keys
from core.domain.datasets import Dataset
from core.domain.identity import DEFAULT
from core.domain.jobs import Job, JobId, JobKind, JobState, QueueName
from core.domain.prunings import (
    Architecture,
    Counted,
    MaskPolicy,
    PruneSpec,
    Pruning,
    PruningId,
)
from core.domain.uploads import Part, Upload
from core.domain.work import PruneInputs, PruneOutcome
from core.errors import Conflict, InvalidInput, NotFound
from core.services import datasets, garbage, inventory, jobs, prunings, repeating, uploads, work
from tests.unit.services.samples import EMBEDDER, artifact, bare, dataset, embedding, sha256_of

MASK = {"body.conv1": [1, 0], "blocks": [1]}
FILE = artifact("mask.json")


def asked(sessions: Sessions, spec: PruneSpec) -> tuple[Pruning, Job]:
    with sessions.begin() as session:
        return prunings.submit(session, spec, priority=3)


def given(sessions: Sessions) -> tuple[Job, PruneInputs]:
    with sessions.begin() as session:
        job = jobs.claim(session, queue=QueueName.GPU, owner="w", lease_seconds=60.0)
        assert job is not None
        found = work.inputs(session, job)
    assert isinstance(found, PruneInputs)
    return job, found


def done(sessions: Sessions, job: Job, **metrics: Any) -> UUID:
    key = keys.attempt(DEFAULT, job.id, job.fence, "model/manifest.json")
    outcome = PruneOutcome(MASK, {"kept": 0.25, **metrics}, (FILE,), key, sha256_of("manifest"))
    with sessions.begin() as session:
        result = work.record(session, job, outcome)
    assert result["dataset_id"] == str(job.dataset_id)
    return UUID(result["pruning_id"])


@pytest.fixture
def target(sessions: Sessions) -> Dataset:
    with sessions.begin() as session:
        return dataset(session, "target")


@pytest.fixture
def spec(target: Dataset) -> PruneSpec:
    return PruneSpec(target.id, Architecture.RESNET18)


def test_a_mask_is_learned_and_taken_over(sessions: Sessions, spec: PruneSpec) -> None:
    with sessions.begin() as session:
        source = dataset(session, "source")
    wanted = replace(spec, source_id=source.id, share=0.25, measure=Counted.FLOPS, blocks=True)
    made, job = asked(sessions, wanted)
    assert (job.kind, job.queue, job.priority) == (JobKind.PRUNE, QueueName.GPU, 3)
    assert (made.mask, made.artifacts) == (None, ())
    over = replace(spec, mask_from=made.id)
    with pytest.raises(Conflict, match="no mask yet") as caught:
        asked(sessions, over)
    assert caught.value.stable_code == "not_finished"
    with sessions.begin() as session, pytest.raises(Conflict, match="unfinished"):
        datasets.delete(session, source.id)  # for it is read, too
    taken, found = given(sessions)
    assert found.source == bare(source)
    assert (found.spec, found.mask, found.weights) == (wanted, None, None)
    pruning_id = done(sessions, taken)
    with sessions.read() as session:
        found_now = prunings.get(session, pruning_id)
        assert found_now == prunings.by_job(session, job.id)
        assert prunings.listing(session, limit=5)[0] == (found_now,)
        assert prunings.listing(session, limit=5, dataset_id=source.id)[0] == ()
        assert prunings.artifact(session, pruning_id, "mask.json") == FILE
        with pytest.raises(NotFound, match=r"it has: mask\.json"):
            prunings.artifact(session, pruning_id, "x")
    assert (found_now.mask, found_now.artifacts) == (MASK, (FILE,))

    with sessions.begin() as session:
        datasets.delete(session, source.id)
    _, second = asked(sessions, over)
    _, inputs = given(sessions)
    assert inputs.mask == MASK
    assert inputs.spec == replace(over, share=0.25, measure=Counted.FLOPS, blocks=True)
    for changes in ({"architecture": Architecture.RESNET34}, {"share": 0.5}):
        with pytest.raises(InvalidInput) as refused:
            asked(sessions, replace(over, **changes))
        assert [each.place for each in refused.value.details] == list(changes)
    with pytest.raises(NotFound):
        asked(sessions, replace(over, mask_from=PruningId(uuid4())))
    assert second.spec["share"] == 0.25
    with sessions.read() as session:  # its source is gone: it cannot be learned again
        assert not repeating.possible(session, jobs.get(session, job.id))


def learned(sessions: Sessions, spec: PruneSpec, name: str, *, seen: bool = True) -> Pruning:
    """A finished pruning for a dataset of its own."""
    with sessions.begin() as session:
        made = dataset(session, name)
        if seen:
            datasets.record_embedding(session, embedding(made))
    asked(sessions, replace(spec, dataset_id=made.id))
    job, _ = given(sessions)
    scores = {name: [float(each) for each in part] for name, part in MASK.items()}
    pruning_id = done(sessions, job, search={"history": [], "scores": scores})
    with sessions.read() as session:
        return prunings.get(session, pruning_id)


def test_masks_to_choose_from_fit_and_can_be_ranked(sessions: Sessions, spec: PruneSpec) -> None:
    """The newest of each other dataset, of this network and about this size, not one at second
    hand."""
    near = replace(spec, mask=MaskPolicy.NEAREST, embedder=EMBEDDER)
    with pytest.raises(InvalidInput, match="prune it for one first") as caught:
        asked(sessions, near)
    assert [(each.place, each.code) for each in caught.value.details] == [("mask", "no_mask")]
    fits = learned(sessions, replace(spec, share=0.52), "fits")
    for name, change in (
        ("smaller", {"share": 0.25}),
        ("dearer", {"gamma": 0.5}),  # kept a quarter
        ("other", {"architecture": Architecture.RESNET34}),
        ("operations", {"measure": Counted.FLOPS}),
        ("second hand", {"mask_from": fits.id}),
    ):
        learned(sessions, replace(spec, **change), name)
    learned(sessions, spec, "unseen", seen=False)
    asked(sessions, spec)
    done(sessions, given(sessions)[0])  # its own
    _, job = asked(sessions, near)
    assert job.spec["mask"] == "nearest"
    _, inputs = given(sessions)
    (known,) = inputs.known
    assert (known.pruning_id, known.dataset_name, known.mask) == (fits.id, "fits", MASK)
    assert known.scores is not None
    assert inputs.ranked is not None
    assert [each.dataset_name for each in inputs.ranked.sources] == ["fits"]
    _, job = asked(sessions, replace(near, share=0.25))
    known = given(sessions)[1].known
    assert {each.dataset_name for each in known} == {"smaller", "dearer"}


def test_what_a_price_has_kept_is_its_masks_share(sessions: Sessions, spec: PruneSpec) -> None:
    """A price says no share before its job is done."""
    priced, _ = asked(sessions, replace(spec, gamma=0.5))
    assert (priced.spec["gamma"], priced.spec["share"]) == (0.5, None)
    done(sessions, given(sessions)[0])
    over, _ = asked(sessions, replace(spec, mask_from=priced.id))
    assert (over.spec["gamma"], over.spec["share"]) == (None, 0.25)
    with pytest.raises(InvalidInput, match=r"leaves 0\.25"):
        asked(sessions, replace(spec, mask_from=priced.id, share=0.5))


def test_nearly_all_that_a_price_has_kept_can_be_asked_for_again(
    sessions: Sessions, spec: PruneSpec
) -> None:
    """More than a share may be asked for: what the mask leaves is its own."""
    priced, _ = asked(sessions, replace(spec, gamma=1e-9))
    done(sessions, given(sessions)[0], kept=0.9919)
    over, job = asked(sessions, replace(spec, mask_from=priced.id))
    assert over.spec["share"] == 0.9919
    with sessions.begin() as session:
        again = repeating.again(session, jobs.get(session, job.id), device="cpu")
    assert again.spec == job.spec


def test_named_masks_are_of_one_kind_and_finished(sessions: Sessions, spec: PruneSpec) -> None:
    first, second = (learned(sessions, spec, each, seen=False) for each in ("first", "second"))
    over = learned(sessions, replace(spec, mask_from=first.id), "over")
    combine = replace(spec, mask=MaskPolicy.COMBINE, embedder=EMBEDDER, share=0.25)
    asked(sessions, replace(combine, masks_from=(second.id, first.id)))
    _, inputs = given(sessions)
    assert [each.dataset_name for each in inputs.known] == ["second", "first"]
    waiting, _ = asked(sessions, spec)
    for pruning_id, refusal, said in (
        (PruningId(uuid4()), NotFound, "no pruning"),
        (waiting.id, Conflict, "no mask yet"),
        (over.id, InvalidInput, "taken its mask over"),
    ):
        with pytest.raises(refusal, match=said):
            asked(sessions, replace(combine, masks_from=(first.id, pruning_id)))
    with pytest.raises(InvalidInput, match="without blocks"):
        asked(sessions, replace(combine, masks_from=(first.id,), blocks=True))


def test_its_files_are_named_and_no_garbage(sessions: Sessions, spec: PruneSpec) -> None:
    asked(sessions, spec)
    job, _ = given(sessions)
    pruning_id = done(sessions, job)
    with sessions.read() as session:
        pruning = prunings.get(session, pruning_id)
        manifest = str(pruning.manifest_key)
        other = keys.attempt(DEFAULT, job.id, job.fence, "model/left.json")
        assert garbage.judge(session, [manifest, other]).garbage == {other}
        owned = [each.key for each in inventory.named(session) if "pruning" in each.owner]
    assert owned == [manifest, FILE.key]
    asked(sessions, spec)  # without files yet
    with sessions.read() as session:
        assert sum("pruning" in each.owner for each in inventory.named(session)) == 2


def uploaded(sessions: Sessions, received: int) -> Upload:
    with sessions.begin() as session:
        made = uploads.create(session, name="w", length=7, sha256=None, limits=UploadLimits())
        uploads.take(session, made.id, offset=0, token="t")
        part = Part("key", 0, received, sha256_of("w"))
        return uploads.append(session, made.id, "t", part)


def test_brought_weights_wait_for_the_job(sessions: Sessions, spec: PruneSpec) -> None:
    with pytest.raises(Conflict) as caught:
        asked(sessions, replace(spec, weights=uploaded(sessions, 3).id))
    assert caught.value.stable_code == "upload_incomplete"
    upload = uploaded(sessions, 7)
    _, job = asked(sessions, replace(spec, weights=upload.id, inherit=True))
    with sessions.begin() as session, pytest.raises(Conflict, match="yet to read"):
        uploads.drop(session, upload.id)
    taken, found = given(sessions)
    assert found.weights is not None
    assert found.weights[0].id == upload.id
    assert [each.key for each in found.weights[1]] == ["key"]
    done(sessions, taken)
    assert again(sessions, job.id).kind is JobKind.PRUNE
    cancelled(sessions, QueueName.GPU)
    with sessions.begin() as session:
        uploads.drop(session, upload.id)
    with sessions.read() as session:
        assert not repeating.possible(session, jobs.get(session, job.id))


def again(sessions: Sessions, job_id: JobId) -> Job:
    with sessions.begin() as session:
        ended = jobs.get(session, job_id)
        assert repeating.possible(session, ended)
        return repeating.again(session, ended, device="cpu")


def cancelled(sessions: Sessions, queue: QueueName) -> None:
    with sessions.begin() as session:
        terms: dict[str, Any] = {"queue": queue, "owner": "w", "lease_seconds": 60.0}
        job = jobs.claim(session, **terms)
        assert job is not None
        jobs.fail(session, job.id, job.fence, code="x", message="x")
        assert jobs.get(session, job.id).state is JobState.FAILED

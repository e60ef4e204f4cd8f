"""Names of embedders: one spelling each, and trunks of registered supernets only."""

import hashlib
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from core.db.sessions import Sessions
from core.domain import embedders as names
from core.domain.jobs import JobKind
from core.domain.searches import EmbedSpec, RankSpec
from core.domain.supernets import lineage
from core.errors import InvalidInput
from core.services import datasets, embedders, jobs, searches, supernets, work
from tests.unit.services.samples import dataset, embedding, queued, sha256_of

ONE = UUID("8c1f2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b")


def registered(sessions: Sessions, name: str = "source") -> UUID:
    """A supernet on a dataset of that name."""
    with sessions.begin() as session:
        source = dataset(session, name)
        job = queued(session, kind=JobKind.PRETRAIN)
        made, _ = supernets.register(
            session,
            name=f"{name} net",
            dataset_id=source.id,
            job_id=job.id,
            space={"channels": 4},
            resolution=16,
            key="weights",
            sha256=sha256_of(f"{name} weights"),
            metrics={},
            seconds=1.0,
            lineage=lineage([source]),
        )
    return made.id


def test_a_trunk_is_resolved_for_the_job(sessions: Sessions) -> None:
    supernet_id = registered(sessions)
    with sessions.begin() as session:
        target = dataset(session, "target")
        job = searches.submit_embed(session, EmbedSpec(target.id, names.of_trunk(supernet_id)))
        ranked = searches.submit_rank(session, RankSpec(target.id, names.of_trunk(supernet_id)))
    with sessions.read() as session:
        for each in (job, ranked):
            trunk = work.inputs(session, each).trunk
            assert trunk is not None
            assert (trunk.supernet_id, trunk.resolution) == (supernet_id, 16)
            assert (trunk.key, trunk.source.name) == ("weights", "source")


def test_what_is_embedded_is_told_to_the_job(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target = dataset(session, "target")
        job = searches.submit_embed(session, EmbedSpec(target.id, "default-1"))
        assert work.inputs(session, job).embedding is None
        kept = datasets.record_embedding(session, embedding(target))
        assert work.inputs(session, job).embedding == kept
        assert work.inputs(session, job).trunk is None


@pytest.mark.parametrize("version", ["", "7", str(ONE).upper(), ONE.hex, f"{ONE}@1"])
def test_a_trunk_has_one_spelling(sessions: Sessions, version: str) -> None:
    with sessions.begin() as session:
        target = dataset(session)
        with pytest.raises(InvalidInput) as refused:
            searches.submit_embed(session, EmbedSpec(target.id, f"trunk@{version}"))
    assert refused.value.details[0].place == "embedder"


def test_an_unregistered_trunk_is_refused(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target = dataset(session)
        with pytest.raises(InvalidInput, match="no supernet") as refused:
            searches.submit_rank(session, RankSpec(target.id, names.of_trunk(uuid4())))
        assert jobs.listing(session, limit=9)[0] == ()
    assert refused.value.stable_code == "unknown_embedder"


@pytest.mark.parametrize(
    ("identifier", "said"),
    [
        ("nonesuch@1", "known are oriented-energy, resnet18, trunk"),
        ("oriented-energy", "oriented-energy@1"),
        ("oriented-energy@7", "this is oriented-energy@1"),
        ("resnet18", "version"),
        ("trunk@7", "supernet's id"),
    ],
)
def test_what_cannot_be_asked_for_says_what_can(identifier: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        names.check(identifier)


def test_known_names_pass() -> None:
    for identifier in ("oriented-energy@1", "resnet18@1-0123", names.of_trunk(uuid4())):
        names.check(identifier)


def test_all_embedders_are_listed_once(sessions: Sessions, tmp_path: Path) -> None:
    ids = [registered(sessions, name) for name in ("a", "b", "c")]
    weights = tmp_path / "weights"
    weights.write_bytes(b"weights")
    options = {"default": "oriented-energy@1", "resnet18_weights": weights}
    with sessions.read() as session:
        first, token = embedders.listing(session, limit=2, **options)
        second, end = embedders.listing(session, limit=2, after=token, **options)
    assert end is None
    digest = hashlib.sha256(b"weights").hexdigest()[:12]
    assert [each.identifier for each in first[:2]] == ["oriented-energy@1", f"resnet18@1-{digest}"]
    assert [each.default for each in (*first, *second)] == [True] + [False] * 4
    assert {each.supernet_id for each in (*first[2:], *second)} == set(ids)


def test_without_weights_there_is_no_resnet(sessions: Sessions, tmp_path: Path) -> None:
    with sessions.read() as session:
        found, _ = embedders.listing(
            session, default="x@1", resnet18_weights=tmp_path / "none", limit=5
        )
    assert [each.identifier for each in found] == ["oriented-energy@1", None]
    assert not any(each.default for each in found)

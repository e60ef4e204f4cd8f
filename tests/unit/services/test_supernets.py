"""The registry of supernets: bytes are entered once, and those of no one dataset are shared."""

import time
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from core.db.sessions import Sessions
from core.domain import embedders as names
from core.domain.jobs import JobKind
from core.domain.searches import EmbedSpec
from core.domain.supernets import LineageKind, lineage
from core.errors import InvalidInput
from core.services import embedders, searches, supernets
from tests.unit.services.samples import dataset, queued, sha256_of

TERMS: dict[str, Any] = {
    "name": "zoo",
    "dataset_id": None,
    "job_id": None,
    "space": {"channels": 4},
    "resolution": 16,
    "key": "weights",
    "sha256": sha256_of("weights"),
    "metrics": {"valid_accuracy": 0.5},
    "seconds": 1.0,
    "lineage": {"kind": "import", "datasets": [], "parents": [], "training": {}},
}


def test_the_same_bytes_are_one_supernet(sessions: Sessions) -> None:
    with sessions.begin() as session:
        first, new = supernets.register(session, **TERMS)
        assert new
        assert (first.dataset_id, first.job_id, first.lineage) == (None, None, TERMS["lineage"])
        other = {**TERMS, "name": "another name", "key": "elsewhere"}
        assert supernets.register(session, **other) == (first, False)
        assert supernets.find(session, first.sha256) == first
        assert supernets.find(session, sha256_of("others")) is None


def test_another_violation_is_not_taken_for_a_repeated_import(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = queued(session, kind=JobKind.PRETRAIN)
        terms = {**TERMS, "job_id": job.id}
        supernets.register(session, **terms)
        with pytest.raises(IntegrityError):  # one job registers at most one supernet
            supernets.register(session, **{**terms, "sha256": sha256_of("second")})


def test_shared_are_those_of_no_one_dataset_newest_first(sessions: Sessions) -> None:
    made = []
    for number in range(3):
        with sessions.begin() as session:
            terms = {**TERMS, "sha256": sha256_of(str(number)), "name": f"zoo {number}"}
            if number == 1:  # trained here, on several
                both = [dataset(session, "a"), dataset(session, "b")]
                job = queued(session, kind=JobKind.PRETRAIN)
                terms |= {"job_id": job.id, "lineage": lineage(both)}
            made.append(supernets.register(session, **terms)[0])
        time.sleep(0.002)  # SQLite's clock has milliseconds
    with sessions.begin() as session:
        own = {"dataset_id": dataset(session, "a").id, "sha256": sha256_of("own")}
        job = queued(session, kind=JobKind.PRETRAIN)
        supernets.register(session, **{**TERMS, **own, "job_id": job.id})
    with sessions.read() as session:
        found = supernets.shared(session)
        assert [each.id for each in found] == [each.id for each in reversed(made)]
        assert supernets.shared(session, limit=1) == found[:1]
    assert (found[0].key, found[0].resolution) == ("weights", 16)


def test_lineage_counts_datasets(sessions: Sessions) -> None:
    with sessions.begin() as session:
        one, two = dataset(session, "one"), dataset(session, "two")
    alone = lineage([one])
    assert alone["kind"] == LineageKind.DATASET
    assert alone["datasets"] == [
        {"name": "one", "sha256": one.sha256, "classes": 2, "images": one.n_train}
    ]
    both = lineage([one, two], parents=["f" * 64], training={"steps": 7})
    assert both["kind"] == LineageKind.MULTI_DATASET
    assert [each["name"] for each in both["datasets"]] == ["one", "two"]
    assert (both["parents"], both["training"]) == (["f" * 64], {"steps": 7})


def test_without_its_images_a_trunk_embeds_nothing(sessions: Sessions) -> None:
    with sessions.begin() as session:
        made, _ = supernets.register(session, **TERMS)
        spec = EmbedSpec(dataset(session).id, names.of_trunk(made.id))
        with pytest.raises(InvalidInput, match="not trained on one dataset here"):
            searches.submit_embed(session, spec)
        listed, _ = embedders.listing(session, default="x@1", resnet18_weights=None, limit=5)
    assert all(each.supernet_id is None for each in listed)

"""From a request to what it made: submit, inputs, record, and what everyone sees then."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.data import manifests
from core.db.sessions import Sessions
from core.domain import effort
from core.domain.datasets import Dataset
from core.domain.jobs import Job, JobKind, JobState, QueueName
from core.domain.searches import (
    EmbedSpec,
    Method,
    PretrainSpec,
    RankSpec,
    SearchSpec,
    SpaceSpec,
    StartPolicy,
    Training,
)
from core.domain.supernets import LineageKind, Supernet, SupernetId
from core.domain.work import (
    EmbedInputs,
    EmbedOutcome,
    Inputs,
    Outcome,
    PretrainInputs,
    PretrainOutcome,
    RankInputs,
    RankOutcome,
    SearchInputs,
    SearchOutcome,
)
from core.errors import InvalidInput, LeaseLost, NotFound
from core.nas.space import Space
from core.services import (
    bundles,
    datasets,
    jobs,
    models,
    searches,
    specs,
    supernets,
    wire,
    work,
)
from tests.unit.services.samples import (
    EMBEDDER,
    artifact,
    bare,
    dataset,
    embedding,
    ranking,
    sha256_of,
)


def take(sessions: Sessions, kind: JobKind) -> Job:
    queue = QueueName.CPU if kind in {JobKind.EMBED, JobKind.RANK} else QueueName.GPU
    with sessions.begin() as session:
        job = jobs.claim(session, queue=queue, owner="w", lease_seconds=60.0)
    assert job is not None
    assert job.kind is kind
    return job


def record(sessions: Sessions, job: Job, outcome: Outcome) -> dict[str, Any]:
    with sessions.begin() as session:
        result = dict(work.record(session, job, outcome))
    with sessions.read() as session:
        done = jobs.get(session, job.id)
    assert (done.state, done.result) == (JobState.SUCCEEDED, result)
    return result


def pretrained(sessions: Sessions, name: str) -> tuple[Dataset, Supernet]:
    """A source: a dataset, embedded, with a supernet on it."""
    with sessions.begin() as session:
        source = dataset(session, name)
        searches.submit_pretrain(session, PretrainSpec(source.id, f" {name} net ", EMBEDDER))
    job = take(sessions, JobKind.PRETRAIN)
    with sessions.read() as session:
        given = work.inputs(session, job)
        seen = datasets.embedding(session, source.id, EMBEDDER)
    assert given == PretrainInputs(
        PretrainSpec(source.id, f" {name} net ", EMBEDDER), bare(source), seen
    )
    outcome = PretrainOutcome(
        space={"channels": 8},
        resolution=32,
        key=f"supernets/{name}",
        sha256=sha256_of(f"{name} by {job.id}"),
        metrics={"accuracy": 0.9},
        seconds=12.0,
        embedding=embedding(source),
    )
    result = record(sessions, job, outcome)
    with sessions.read() as session:
        supernet = supernets.get(session, UUID(result["supernet_id"]))
    return source, supernet


def test_a_supernet_of_several_datasets_belongs_to_none_of_them(sessions: Sessions) -> None:
    with sessions.begin() as session:
        first, second = dataset(session, "first"), dataset(session, "second")
        spec = PretrainSpec(first.id, "both", EMBEDDER, others=(second.id,), steps=7)
        searches.submit_pretrain(session, spec)
    job = take(sessions, JobKind.PRETRAIN)
    with sessions.read() as session:
        given = work.inputs(session, job)
    assert given == PretrainInputs(spec, bare(first), None, others=(bare(second),))
    outcome = PretrainOutcome(
        space={"channels": 8},
        resolution=32,
        key="supernets/both",
        sha256=sha256_of("both"),
        metrics={},
        seconds=3.0,
        embedding=None,
    )
    result = record(sessions, job, outcome)
    with sessions.read() as session:
        supernet = supernets.get(session, UUID(result["supernet_id"]))
        assert [each.id for each in supernets.shared(session)] == [supernet.id]
    assert (supernet.dataset_id, supernet.job_id) == (None, job.id)
    assert supernet.lineage["kind"] == LineageKind.MULTI_DATASET
    assert [each["name"] for each in supernet.lineage["datasets"]] == ["first", "second"]
    assert supernet.lineage["training"]["settings"]["steps"] == 7


def shared_net(sessions: Sessions, *names: str, **changes: Any) -> Supernet:
    """A supernet of datasets of those names, which need not be registered."""
    told = [
        {"name": name, "sha256": sha256_of(name), "classes": 2, "images": 7, "licence": "CC0"}
        for name in names
    ]
    given = {
        "name": "shared",
        "dataset_id": None,
        "job_id": None,
        "space": Space(channels=8, layers=4).to_dict(),
        "resolution": 32,
        "key": "zoo/shared",
        "sha256": sha256_of(f"net of {names}"),
        "metrics": {},
        "seconds": 1.0,
        "lineage": {"kind": "import", "datasets": told, "parents": [], "training": {}},
    }
    with sessions.begin() as session:
        return supernets.register(session, **{**given, **changes})[0]


def test_a_shared_supernet_goes_on_with_all_of_its_datasets_that_are_here(
    sessions: Sessions,
) -> None:
    parent = shared_net(sessions, "gone", "kept", "named")
    with sessions.begin() as session:
        new, named, kept = (dataset(session, name) for name in ("new", "named", "kept"))
        asked = PretrainSpec(
            new.id, "child", EMBEDDER, others=(named.id,), continue_from=parent.id
        )
        searches.submit_pretrain(session, asked)
        dataset(session, "gone")  # too late: every attempt trains on the same
    job = take(sessions, JobKind.PRETRAIN)
    with sessions.read() as session:
        given = work.inputs(session, job)
    assert isinstance(given, PretrainInputs)
    assert given.others == (bare(named), bare(kept))
    assert given.parent == supernets.starting_point(parent)
    assert wire.load(PretrainInputs, wire.dump(given)) == given
    child = made(sessions, job)
    assert (child.dataset_id, child.lineage["kind"]) == (None, LineageKind.MULTI_DATASET)
    assert child.lineage["parents"] == [parent.sha256]
    told = child.lineage["datasets"]
    assert [each["name"] for each in told] == ["gone", "kept", "named", "new"]
    assert [each.get("licence") for each in told] == ["CC0", "CC0", "CC0", None]
    assert child.lineage["training"]["continued"] == {
        "supernet_id": str(parent.id),
        "supernet_name": "shared",
        "replayed": ["named", "kept"],
        "not_replayed": ["gone"],
        "joined": ["new"],
    }
    bundled = manifests.dumps(bundles.manifest_of(child), sha256=child.sha256)
    assert manifests.loads(bundled)[2] == []


def test_a_shared_supernet_none_of_whose_datasets_is_here_goes_on_alone(
    sessions: Sessions,
) -> None:
    parent = shared_net(sessions, "gone", "far")
    with sessions.begin() as session:
        new = dataset(session, "new")
        asked = PretrainSpec(new.id, "child", EMBEDDER, continue_from=parent.id)
        searches.submit_pretrain(session, asked)
    child = made(sessions, take(sessions, JobKind.PRETRAIN))
    assert child.dataset_id is None
    assert child.lineage["training"]["continued"]["replayed"] == []
    assert child.lineage["training"]["continued"]["not_replayed"] == ["gone", "far"]
    with sessions.read() as session:
        assert [each.id for each in supernets.shared(session)] == [child.id, parent.id]


def made(sessions: Sessions, job: Job) -> Supernet:
    outcome = PretrainOutcome(
        space={"channels": 8},
        resolution=32,
        key=f"supernets/{job.id}",
        sha256=sha256_of(str(job.id)),
        metrics={},
        seconds=3.0,
        embedding=None,
    )
    result = record(sessions, job, outcome)
    with sessions.read() as session:
        return supernets.get(session, UUID(result["supernet_id"]))


def test_what_cannot_be_continued(sessions: Sessions) -> None:
    _, single = pretrained(sessions, "source")
    shared = shared_net(sessions, "a", "b")
    imported = shared_net(sessions, "alone")
    many = shared_net(sessions, *map(str, range(specs.MOST_DATASETS)))
    with sessions.begin() as session:
        new = dataset(session, "new")

        def refused(parent: UUID, **changes: Any) -> list[str]:
            asked = PretrainSpec(new.id, "child", EMBEDDER, continue_from=SupernetId(parent))
            with pytest.raises(InvalidInput) as caught:
                searches.submit_pretrain(session, replace(asked, **changes))
            return [f"{each.place}: {each.message}" for each in caught.value.details]

        with pytest.raises(NotFound, match="no supernet"):
            searches.submit_pretrain(
                session, PretrainSpec(new.id, "n", EMBEDDER, continue_from=SupernetId(uuid4()))
            )
        for one in (single, imported):
            (said,) = refused(one.id)
            assert "was trained on one dataset; name one of several" in said
        assert refused(shared.id, space=SpaceSpec(channels=4, resolution=64)) == [
            "space.channels: It is 8, not 4.",
            "space.stem_stride: It is 1, not 2.",
            "space.resolution: It is 32, not 64.",
        ]
        assert "more than 1000 datasets" in refused(many.id)[0]
        drnas = refused(shared.id, training=Training(method=Method.DRNAS))
        assert drnas[0].startswith("training.method")
    with sessions.read() as session:
        assert jobs.listing(session, limit=5, states=[JobState.QUEUED]) == ((), None)


def test_an_embed_job(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target = dataset(session)
        job = searches.submit_embed(session, EmbedSpec(target.id, EMBEDDER))
    assert (job.kind, job.dataset_id) == (JobKind.EMBED, target.id)
    job = take(sessions, JobKind.EMBED)
    with sessions.read() as session:
        given = work.inputs(session, job)
    assert given == EmbedInputs(EmbedSpec(target.id, EMBEDDER), bare(target))
    record(sessions, job, EmbedOutcome(embedding(target)))
    with sessions.read() as session:
        assert datasets.embedding(session, target.id, EMBEDDER) == embedding(target)


def test_a_rank_job_sees_the_sources_but_never_the_target(sessions: Sessions) -> None:
    near, near_net = pretrained(sessions, "near")
    target, _ = pretrained(sessions, "target")  # itself a source for others
    with sessions.begin() as session:
        bare, unseen_yet = dataset(session, "bare"), dataset(session, "unseen")
        centred = replace(embedding(bare), centre=(1.0, 2.0))
        assert datasets.record_embedding(session, centred) == centred
        datasets.record_embedding(session, embedding(unseen_yet, "a third"))
        searches.submit_rank(session, RankSpec(target.id, EMBEDDER))
        searches.submit_rank(session, RankSpec(target.id, "other"))
    job = take(sessions, JobKind.RANK)
    with sessions.read() as session:
        given = work.inputs(session, job)
    assert isinstance(given, RankInputs)
    assert given.embedding == embedding(target)
    assert (given.considered, given.beyond) == (2, None)
    by_name = {found.dataset_name: found for found in given.sources}
    assert set(by_name) == {"near", "bare"}
    assert by_name["near"].embedding == embedding(near)
    assert by_name["near"].supernet is not None
    assert (by_name["near"].supernet.id, by_name["near"].supernet.key) == (
        near_net.id,
        "supernets/near",
    )
    assert by_name["bare"].supernet is None
    assert wire.load(RankInputs, wire.dump(given)) == given
    record(sessions, job, RankOutcome(ranking(target, near), None))
    other = take(sessions, JobKind.RANK)
    with sessions.read() as session:
        unseen = work.inputs(session, other)
        assert isinstance(unseen, RankInputs)
        assert (unseen.embedding, unseen.sources, unseen.considered) == (None, (), 0)
        assert datasets.ranking(session, target.id) == ranking(target, near)


def test_a_search_job_from_request_to_model(sessions: Sessions) -> None:
    source, net = pretrained(sessions, "source")
    with sessions.begin() as session:
        target = dataset(session, "target")
        search, job = searches.submit_search(session, SearchSpec(target.id, EMBEDDER))
    assert (search.job_id, search.model_id, search.ranking) == (job.id, None, None)
    job = take(sessions, JobKind.SEARCH)
    with sessions.read() as session:
        given = work.inputs(session, job)
    assert isinstance(given, SearchInputs)
    assert starts(given) == [net.id]
    assert wire.load(SearchInputs, wire.dump(given)) == given
    outcome = SearchOutcome(
        ranking=ranking(target, source),
        start={"policy": "nearest"},
        genotype={"normal": [["skip", 0]]},
        metrics={"retrained": 0.97, "odd": float("inf")},
        artifacts=(artifact(),),
        manifest_key="m",
        manifest_sha256=sha256_of("m"),
        embedding=embedding(target),
    )
    result = record(sessions, job, wire.load(SearchOutcome, wire.dump(outcome)))
    with sessions.read() as session:
        done = searches.by_job(session, job.id)
        model = models.get(session, done.model_id or uuid4())
        assert searches.get(session, search.id) == done
        assert searches.listing(session, limit=5)[0] == (done,)
        assert searches.listing(session, limit=5, dataset_id=source.id)[0] == ()
        assert models.listing(session, limit=5, dataset_id=target.id)[0] == (model,)
        assert models.listing(session, limit=5, dataset_id=source.id)[0] == ()
    assert result["model_id"] == str(model.id)
    assert (done.ranking, done.start) == (outcome.ranking, outcome.start)
    assert (model.search_id, model.dataset_id) == (search.id, target.id)
    assert model.metrics == {"retrained": 0.97, "odd": None}
    assert model.artifact("model.onnx") == artifact()
    assert model.artifact("other") is None


def contribution(sha256: str = sha256_of("given")) -> PretrainOutcome:
    return PretrainOutcome(
        space={"channels": 8},
        resolution=16,
        key="jobs/1/supernet",
        sha256=sha256,
        metrics={"test_accuracy": 0.8},
        seconds=7.0,
        embedding=None,
    )


def searched(
    sessions: Sessions, target: Dataset, source: Dataset | None, net: Supernet | None, **spec: Any
) -> tuple[Job, SearchOutcome]:
    """A search that a worker holds, and what it will hand back."""
    with sessions.begin() as session:
        searches.submit_search(session, SearchSpec(target.id, EMBEDDER, **spec))
    ranked = ranking(target, *([] if source is None else [source]))
    found = [replace(n, supernet_id=net and net.id, distance=2.5) for n in ranked.neighbours]
    outcome = SearchOutcome(
        ranking=replace(ranked, neighbours=tuple(found)),
        start={"supernet_id": None if net is None else str(net.id)},
        genotype={},
        metrics={"arms": [{"learning_rate": 0.1}, {"learning_rate": 0.025}], "best_arm": 1},
        artifacts=(),
        manifest_key="m",
        manifest_sha256=sha256_of("m"),
        embedding=embedding(target),
        contribution=contribution(),
    )
    return take(sessions, JobKind.SEARCH), outcome


def test_a_contributed_supernet_is_a_source_for_others(sessions: Sessions) -> None:
    source, net = pretrained(sessions, "source")
    with sessions.begin() as session:
        target, other = dataset(session, "target"), dataset(session, "other")
    job, outcome = searched(sessions, target, source, net, contribute=True)
    result = record(sessions, job, wire.load(SearchOutcome, wire.dump(outcome)))
    with sessions.read() as session:
        made = supernets.get(session, UUID(result["supernet_id"]))
    assert (made.dataset_id, made.job_id) == (target.id, job.id)
    assert made.name == f"target by search {result['search_id'][:8]}"
    assert (made.key, made.resolution, made.space) == ("jobs/1/supernet", 16, {"channels": 8})
    assert made.lineage["kind"] == LineageKind.SEARCH
    assert [each["sha256"] for each in made.lineage["datasets"]] == [target.sha256]
    assert made.lineage["parents"] == [net.sha256]
    training = made.lineage["training"]
    assert (training["search_id"], training["supernet_id"], training["distance"]) == (
        result["search_id"], str(net.id), 2.5,
    )  # fmt: skip
    settings = training["settings"]
    assert (settings["learning_rate"], settings["epochs"], settings["seed"]) == (0.025, 20, 0)
    assert settings["method"] == "darts"
    with sessions.begin() as session:
        searches.submit_search(session, SearchSpec(other.id, EMBEDDER))
    following = take(sessions, JobKind.SEARCH)
    with sessions.read() as session:
        assert set(starts(work.inputs(session, following))) == {net.id, made.id}


def test_a_cold_search_contributes_without_a_parent(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target = dataset(session)
    job, outcome = searched(sessions, target, None, None, contribute=True)
    with sessions.read() as session:
        made = supernets.get(session, UUID(record(sessions, job, outcome)["supernet_id"]))
    assert made.lineage["parents"] == []
    training = made.lineage["training"]
    assert (training["supernet_id"], training["distance"]) == (None, None)
    # Another search that ends with the same bytes adds nothing.
    again, same = searched(sessions, target, None, None, contribute=True)
    assert record(sessions, again, same)["supernet_id"] == str(made.id)
    with sessions.read() as session:
        assert supernets.listing(session, limit=5)[0] == (made,)


def test_a_contributed_supernet_has_a_name_that_a_bundle_may_have(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target = dataset(session, "n" * datasets.NAME_LENGTH)
    job, outcome = searched(sessions, target, None, None, contribute=True)
    with sessions.read() as session:
        made = supernets.get(session, UUID(record(sessions, job, outcome)["supernet_id"]))
    assert len(made.name) == manifests.LONGEST_NAME
    assert made.name.endswith(f"n by search {made.lineage['training']['search_id'][:8]}")


def test_without_consent_nothing_is_registered(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target = dataset(session)
    job, outcome = searched(sessions, target, None, None)
    assert outcome.contribution is not None  # not even when a worker hands one over
    assert "supernet_id" not in record(sessions, job, outcome)
    lost, outcome = searched(sessions, target, None, None, contribute=True)
    with sessions.begin() as session:
        jobs.release(session, lost.id, lost.fence, reason="lost", delay_seconds=0, charge=True)
    with pytest.raises(LeaseLost), sessions.begin() as session:
        work.record(session, lost, outcome)
    with sessions.read() as session:
        assert supernets.listing(session, limit=5) == ((), None)


@pytest.mark.parametrize("policy", list(StartPolicy))
def test_each_policy_has_its_starts(sessions: Sessions, policy: StartPolicy) -> None:
    _, first = pretrained(sessions, "first")
    _, second = pretrained(sessions, "second")
    named = first.id if policy is StartPolicy.SUPERNET else None
    with sessions.begin() as session:
        spec = SearchSpec(dataset(session).id, EMBEDDER, policy, named)
        searches.submit_search(session, spec)
    job = take(sessions, JobKind.SEARCH)
    with sessions.read() as session:
        given = work.inputs(session, job)
    assert isinstance(given, SearchInputs)
    assert given.spec == spec
    expected = {
        StartPolicy.RACE: [first.id, second.id],
        StartPolicy.NEAREST: [first.id, second.id],
        StartPolicy.MULTI_DATASET: [],
        StartPolicy.SUPERNET: [first.id],
        StartPolicy.COLD: [],
    }
    assert set(starts(given)) == set(expected[policy])
    assert given.considered == len(expected[policy])


def test_supernets_of_no_one_dataset_are_starts_for_every_target(sessions: Sessions) -> None:
    for number in range(effort.SHARED + 1):
        with sessions.begin() as session:
            made, _ = supernets.register(
                session,
                name=f"zoo {number}",
                dataset_id=None,
                job_id=None,
                space={"channels": 8},
                resolution=32,
                key=f"zoo/{number}",
                sha256=sha256_of(str(number)),
                metrics={},
                seconds=1.0,
                lineage={"kind": "import"},
            )
    policies = {
        StartPolicy.RACE: effort.SHARED,
        StartPolicy.MULTI_DATASET: 1,
        StartPolicy.SUPERNET: 1,
        StartPolicy.NEAREST: 0,
    }
    for policy, count in policies.items():
        named = made.id if policy is StartPolicy.SUPERNET else None
        with sessions.begin() as session:
            # Its dataset is not here, so no embedding of it is asked for.
            spec = SearchSpec(dataset(session).id, EMBEDDER, policy, named)
            searches.submit_search(session, spec)
        job = take(sessions, JobKind.SEARCH)
        with sessions.read() as session:
            given = work.inputs(session, job)
        assert isinstance(given, SearchInputs)
        assert len(given.shared) == count
        assert [each.id for each in given.shared[:1]] == [made.id][:count]  # newest first
        assert wire.load(SearchInputs, wire.dump(given)) == given


def test_a_dataset_with_several_supernets_is_one_source(sessions: Sessions) -> None:
    _, older = pretrained(sessions, "source")
    _, newer = pretrained(sessions, "source")
    with sessions.begin() as session:
        target = dataset(session)
        searches.submit_rank(session, RankSpec(target.id, EMBEDDER, supernets_only=True))
        datasets.record_embedding(session, embedding(dataset(session, "without a supernet")))
        named = SearchSpec(target.id, EMBEDDER, StartPolicy.SUPERNET, older.id)
        searches.submit_search(session, named)
    rank, search = take(sessions, JobKind.RANK), take(sessions, JobKind.SEARCH)
    with sessions.read() as session:
        assert starts(work.inputs(session, rank)) == [newer.id]
        # Named, the older one is what the search starts from.
        assert starts(work.inputs(session, search)) == [older.id]


def starts(given: Inputs) -> list[SupernetId]:
    assert isinstance(given, RankInputs | SearchInputs)
    return [found.supernet.id for found in given.sources if found.supernet is not None]


def test_who_lost_the_lease_records_nothing(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target = dataset(session)
        searches.submit_embed(session, EmbedSpec(target.id, EMBEDDER))
    job = take(sessions, JobKind.EMBED)
    with sessions.begin() as session:
        jobs.release(session, job.id, job.fence, reason="lost", delay_seconds=0, charge=True)
    with pytest.raises(LeaseLost), sessions.begin() as session:
        work.record(session, job, EmbedOutcome(embedding(target)))
    with sessions.read() as session:
        assert datasets.embedding(session, target.id, EMBEDDER) is None


def test_an_outcome_cannot_speak_for_another_dataset(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target, other = dataset(session), dataset(session, "other")
        searches.submit_embed(session, EmbedSpec(target.id, EMBEDDER))
    job = take(sessions, JobKind.EMBED)
    with pytest.raises(ValueError, match="own dataset"), sessions.begin() as session:
        work.record(session, job, EmbedOutcome(embedding(other)))


def test_requests_about_nothing(sessions: Sessions) -> None:
    nowhere = dataset_free_specs()
    with sessions.begin() as session:
        for submit, spec in nowhere:
            with pytest.raises(NotFound):
                submit(session, spec)
        for look in (searches.get, searches.by_job, models.get, supernets.get):
            with pytest.raises(NotFound):
                look(session, uuid4())
        target = dataset(session)
        missing = SearchSpec(target.id, EMBEDDER, StartPolicy.SUPERNET, SupernetId(uuid4()))
        with pytest.raises(NotFound):
            searches.submit_search(session, missing)
    with sessions.read() as session:
        assert jobs.listing(session, limit=5) == ((), None)


def dataset_free_specs() -> list[Any]:
    nowhere: Any = uuid4()
    return [
        (searches.submit_embed, EmbedSpec(nowhere, EMBEDDER)),
        (searches.submit_rank, RankSpec(nowhere, EMBEDDER)),
        (searches.submit_pretrain, PretrainSpec(nowhere, "n", EMBEDDER)),
        (searches.submit_pretrain, PretrainSpec(nowhere, "n", EMBEDDER, others=(uuid4(),))),
        (searches.submit_search, SearchSpec(nowhere, EMBEDDER)),
    ]


def test_bad_requests_queue_nothing(sessions: Sessions) -> None:
    _, net = pretrained(sessions, "source")
    with sessions.begin() as session:
        target = dataset(session)
        with pytest.raises(InvalidInput, match="details"):
            searches.submit_search(
                session, SearchSpec(target.id, EMBEDDER, learning_rates=(float("nan"),))
            )
        other = SearchSpec(target.id, "other", StartPolicy.SUPERNET, net.id)
        with pytest.raises(InvalidInput, match="no embedding by 'other'"):
            searches.submit_search(session, other)
    with sessions.read() as session:
        assert jobs.listing(session, limit=5, states=[JobState.QUEUED]) == ((), None)
        assert searches.listing(session, limit=5) == ((), None)


def test_a_named_supernet_that_lost_its_embedding(sessions: Sessions) -> None:
    with sessions.begin() as session:
        spec = SearchSpec(dataset(session).id, EMBEDDER, StartPolicy.SUPERNET, SupernetId(uuid4()))
        jobs.submit(session, kind=JobKind.SEARCH, spec=wire.dump(spec), dataset_id=spec.dataset_id)
    job = take(sessions, JobKind.SEARCH)
    with sessions.read() as session, pytest.raises(NotFound, match="no supernet"):
        work.inputs(session, job)


def test_supernets_are_listed_newest_first(sessions: Sessions) -> None:
    _, first = pretrained(sessions, "first")
    _, second = pretrained(sessions, "second")
    with sessions.read() as session:
        page, token = supernets.listing(session, limit=1)
        assert page == (second,)
        assert supernets.listing(session, limit=1, after=token) == ((first,), None)
    assert first.name == "first net"

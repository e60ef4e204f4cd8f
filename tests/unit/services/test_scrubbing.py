"""Rankings lose what they said of deleted datasets, and nothing else."""

import json
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from core.db.dataset_tables import RankingRow
from core.db.result_tables import SearchRow
from core.db.sessions import Sessions
from core.domain import keys
from core.domain.datasets import Dataset, ImagePair, Ranking
from core.domain.identity import DEFAULT
from core.domain.searches import SearchSpec
from core.execution import collector
from core.services import datasets, scrubbing, searches
from core.storage.local import LocalStore
from tests.unit.services.samples import EMBEDDER, dataset, ranking


def telling(of: Dataset, *sources: Dataset) -> Ranking:
    made = ranking(of, *sources)
    secrets = [
        replace(
            each,
            coupling=(("a", f"class of {each.dataset_name}", 0.5),),
            pairs=(ImagePair(1, 2, "a", f"image of {each.dataset_name}", 0.1),),
        )
        for each in made.neighbours
    ]
    return replace(made, neighbours=tuple(secrets))


def stored(sessions: Sessions) -> str:
    """Every ranking that there is, as text."""
    with sessions.read() as session:
        found = [row.neighbours for row in session.scalars(select(RankingRow))]
        found += [row.ranking.neighbours for row in session.scalars(select(SearchRow))
                  if row.ranking]  # fmt: skip
    return json.dumps(str(found))


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_what_was_deleted_is_in_no_ranking(
    sessions: Sessions, tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch, at_once: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(scrubbing, "AT_ONCE", at_once)
    with sessions.begin() as session:
        target, gone, kept = (dataset(session, name) for name in ("target", "gone", "kept"))
        for sources in ((gone, kept), (kept,), (gone,), ()):
            datasets.record_ranking(session, telling(target, *sources))
            search, _ = searches.submit_search(session, SearchSpec(target.id, EMBEDDER))
            found = {"ranking": telling(target, *sources) if sources else None}
            session.execute(update(SearchRow).where(SearchRow.id == search.id).values(found))
    store = LocalStore(tmp_path_factory.mktemp("objects"))
    before = stored(sessions)
    collector.collect(sessions, store)
    assert stored(sessions) == before
    with sessions.begin() as session:
        datasets.delete(session, gone.id)
    collector.collect(sessions, store, dry_run=True)
    assert stored(sessions) == before
    collector.collect(sessions, store)
    after = stored(sessions)
    assert before.count("class of gone") == before.count("image of gone") == 4
    assert "of gone" not in after
    for words in ("class of kept", "image of kept", str(gone.id)):
        assert after.count(words) == before.count(words)
    collector.collect(sessions, store)
    assert stored(sessions) == after
    assert list(store.listing(keys.dataset(DEFAULT, gone.sha256))) == []


def test_thousands_of_deleted_datasets_are_not_too_many(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target, gone = (dataset(session, name) for name in ("target", "gone"))
        datasets.record_ranking(session, telling(target, gone))
        search, _ = searches.submit_search(session, SearchSpec(target.id, EMBEDDER))
        found = {"ranking": telling(target, gone)}
        session.execute(update(SearchRow).where(SearchRow.id == search.id).values(found))
    many = [uuid4() for _ in range(3_000)]
    for each in (scrubbing.rankings, scrubbing.searches):
        with sessions.begin() as session:
            assert each(session, many, None) is not None
    assert stored(sessions).count("of gone") == 4
    for each in (scrubbing.rankings, scrubbing.searches):
        with sessions.begin() as session:
            each(session, [*many, gone.id], None)
    assert "of gone" not in stored(sessions)

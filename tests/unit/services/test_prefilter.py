"""The nearest by centre: one answer, whoever computes it, and nothing is lost on the way."""

import math
import struct
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import text

from core.db import schema, vectors
from core.db.dataset_tables import DatasetRow, EmbeddingRow
from core.db.sessions import Sessions
from core.domain.datasets import Dataset, Embedding
from core.ot import centres as nearness
from core.services import datasets, prefilter
from core.services.prefilter import Shortlist
from tests.unit.services.samples import EMBEDDER, dataset, sha256_of

Centre = tuple[float, ...]


def rounded(values: Centre) -> Centre:
    return struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values))


def embedded(sessions: Sessions, centres: list[Centre], embedder: str = EMBEDDER) -> list[Dataset]:
    made = []
    with sessions.begin() as session:
        for number, centre in enumerate(centres):
            each = dataset(session, f"set {number}")
            made.append(each)
            row = Embedding(each.id, embedder, "k", sha256_of("k"), 4, 9, 0.1, rounded(centre))
            datasets.record_embedding(session, row)
    return made


def ask(sessions: Sessions, target: Dataset, centre: Centre, **terms: int) -> Shortlist:
    with sessions.read() as session:
        return prefilter.nearest(
            session, embedder=EMBEDDER, centre=centre, exclude=target.id, **terms
        )


def by_hand(
    found: list[Dataset], centres: list[Centre], centre: Centre
) -> list[tuple[float, UUID]]:
    return sorted(
        (math.dist(rounded(c), centre), each.id) for each, c in zip(found, centres, strict=True)
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_nearest_come_first_and_the_rest_is_bounded(
    sessions: Sessions, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearness, "AT_ONCE", 4)  # several parts, most of them pruned
    random = np.random.default_rng(seed)
    centres = [tuple(row) for row in random.normal(size=(30, 5)).tolist()]
    centres[7:12] = [centres[6]] * 5  # equal distances: ids decide
    target, *others = embedded(sessions, centres)
    centre = rounded(centres[0])
    expected = by_hand(others, centres[1:], centre)
    for limit in (1, 8, 9, 28):
        found = ask(sessions, target, centre, limit=limit)
        assert list(found.ids) == [each for _, each in expected[:limit]]
        assert found.considered == 29
        assert found.beyond is not None
        assert found.beyond == pytest.approx(expected[limit][0], rel=1e-5)
        assert found.beyond <= expected[limit][0]
    whole = ask(sessions, target, centre, limit=29)
    assert list(whole.ids) == [each for _, each in expected]
    assert whole.beyond is None


def test_what_has_no_usable_centre_is_always_among_them(sessions: Sessions) -> None:
    centres = [(0.0, 0.0), (1.0, 0.0), (), (2.0, 0.0), (1.0,), (math.nan, 0.0), (math.inf, 1.0)]
    target, near, empty, far, short, nan, infinite = embedded(sessions, centres)
    found = ask(sessions, target, (0.0, 0.0), limit=1)
    unknown = sorted(each.id for each in (empty, short, nan, infinite))
    assert list(found.ids) == [near.id, *unknown]
    assert (found.considered, found.beyond) == (6, pytest.approx(2.0))
    blind = ask(sessions, target, (), limit=1)
    assert set(blind.ids) == {near.id, far.id, *unknown}
    assert (blind.considered, blind.beyond) == (6, None)


def test_other_embedders_do_not_count(sessions: Sessions) -> None:
    (target,) = embedded(sessions, [(1.0,)])
    embedded(sessions, [(1.0,), (2.0,)], "another")
    assert ask(sessions, target, (1.0,), limit=1) == Shortlist((), 0, None)


def test_the_bound_allows_for_rounding(sessions: Sessions) -> None:
    """Far from the origin 32 bits are coarse: what was left out may lie nearer than it looks."""
    true_target, true_source = (1e6 + 0.03, 0.0), (1e6 + 0.49, 0.0)
    target, *_ = embedded(sessions, [true_target, true_source, true_source])
    found = ask(sessions, target, rounded(true_target), limit=1)
    assert found.beyond is not None
    assert found.beyond < math.dist(true_target, true_source)
    assert math.dist(rounded(true_target), rounded(true_source)) > 0.46


def with_vectors(sessions: Sessions) -> None:
    with sessions.read() as session:
        if not vectors.present(session.connection()):
            pytest.skip("no pgvector here")


def without_vectors(sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.execute(text(vectors.DROP))


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e25], ids=["plain", "tiny", "huge"])
def test_pgvector_and_numpy_agree(sessions: Sessions, scale: float) -> None:
    with_vectors(sessions)
    random = np.random.default_rng(5)
    # Nearly equal distances, which 32-bit sums put in another order.
    rows = random.normal(size=(60, 115))
    rows *= (1 + 1e-7 * random.integers(0, 3, (60, 1))) / np.linalg.norm(rows, axis=1)[:, None]
    centres = [tuple(row) for row in (scale * rows).tolist()] + [()]
    target = embedded(sessions, [*centres, (0.0,) * 115])[-1]
    centre = (0.0,) * 115
    with sessions.read() as session:
        seen = prefilter._eligible(EMBEDDER, target.id, supernets_only=False)
        sent = session.execute(prefilter._within_reach(seen, EMBEDDER, centre, 20)).all()
    assert 21 <= len(sent) <= 61
    by_server = [ask(sessions, target, centre, limit=limit) for limit in (1, 20, 59)]
    without_vectors(sessions)
    assert [ask(sessions, target, centre, limit=limit) for limit in (1, 20, 59)] == by_server
    assert all(len(found.ids) > 1 for found in by_server)


def test_few_are_sent_where_pgvector_looks(sessions: Sessions) -> None:
    with_vectors(sessions)
    target, *_ = embedded(sessions, [(float(number), 0.0) for number in range(40)])
    with sessions.read() as session:
        seen = prefilter._eligible(EMBEDDER, target.id, supernets_only=False)
        sent = session.execute(prefilter._within_reach(seen, EMBEDDER, (0.0, 0.0), 5)).all()
    assert len(sent) == 6


def test_the_extension_may_come_later(sessions: Sessions, database_url: str) -> None:
    with_vectors(sessions)
    without_vectors(sessions)
    centres = [(float(number), 1.0) for number in range(5)] + [(), (math.nan, 1.0)]
    target, *_ = embedded(sessions, centres)
    before = ask(sessions, target, centres[0], limit=2)
    schema.migrate(database_url)
    with sessions.read() as session:
        assert session.execute(text(f"SELECT count(*) FROM {vectors.NAME}")).scalar_one() == 5
    assert ask(sessions, target, centres[0], limit=2) == before


def test_the_extension_may_go(sessions: Sessions, database_url: str) -> None:
    with_vectors(sessions)
    target, *_ = embedded(sessions, [(1.0,), (2.0,), (3.0,)])
    before = ask(sessions, target, (1.0,), limit=1)
    with sessions.begin() as session:
        session.execute(text("DROP EXTENSION vector CASCADE"))
    assert ask(sessions, target, (1.0,), limit=1) == before
    embedded(sessions, [(1.0,), (2.0,), (3.0,), (4.0,)])
    schema.migrate(database_url)  # and come again
    with sessions.read() as session:
        assert vectors.present(session.connection())
        assert session.execute(text(f"SELECT count(*) FROM {vectors.NAME}")).scalar_one() == 4


def test_who_may_not_create_the_extension_does_without(sessions: Sessions) -> None:
    with_vectors(sessions)
    with sessions.begin() as session:
        session.execute(text("DROP EXTENSION vector CASCADE"))
        session.execute(text("CREATE ROLE nobody_in_particular"))
        session.execute(text("SET LOCAL ROLE nobody_in_particular"))
        assert not vectors.ensure(session.connection())
        session.execute(text("RESET ROLE"))
        session.execute(text("DROP ROLE nobody_in_particular"))  # roles outlive the database


def test_an_embedding_deleted_takes_its_vector_along(sessions: Sessions) -> None:
    with_vectors(sessions)
    embedded(sessions, [(1.0,), (2.0,)])
    with sessions.begin() as session:
        session.execute(text(f"DELETE FROM {EmbeddingRow.__tablename__}"))
        session.execute(text(f"DELETE FROM {DatasetRow.__tablename__}"))
        assert session.execute(text(f"SELECT count(*) FROM {vectors.NAME}")).scalar_one() == 0

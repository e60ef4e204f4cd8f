"""What finished searches gained by where they began, over a cold start."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db import types
from core.db.result_tables import ModelRow, SearchRow
from core.domain.datasets import DatasetId
from core.domain.jobs import JobId
from core.domain.searches import ModelId, SearchId, limit_of
from core.domain.supernets import SupernetId
from core.services import races

NEWEST: Final = 200  # finished searches that are looked at


@dataclass(frozen=True, slots=True)
class Begun:
    """A finished search and what its start brought it, in accuracy points over a cold one.

    Attributes:
        supernet_id: What it began from; None of a cold start.
        lead: Of its race, on validation images, before any step of either: 0 where the cold start
            won, None where it did not race against one.
        kept: Of the retrained network, on test images, over that of the newest cold search on the
            same dataset with the same training; None where there is none.
    """

    search_id: SearchId
    job_id: JobId
    model_id: ModelId
    dataset_id: DatasetId
    at: datetime
    supernet_id: SupernetId | None
    lead: float | None
    kept: float | None


@dataclass(frozen=True, slots=True)
class Record:
    """How many searches began from a supernet, and the medians of what that brought them, each
    with the number of searches that it is of."""

    searches: int
    lead: float | None
    leads: int
    kept: float | None
    keeps: int


def newest(session: Session, *, limit: int = NEWEST) -> tuple[Begun, ...]:
    """The newest finished searches, newest first, but for those of a given architecture."""
    tested = types.word(ModelRow.metrics, "retrained", "test_accuracy")
    row = SearchRow
    statement = (
        select(row.id, row.job_id, ModelRow.id, row.dataset_id, row.created_at, row.spec,
               row.start, tested)
        .join(ModelRow, ModelRow.search_id == row.id)
        .where(row.start.is_not(None), types.word(row.spec, "genotype").is_(None))
        .order_by(row.created_at.desc(), row.id)
        .limit(limit)
    )  # fmt: skip
    found = [_Read.of(*each) for each in session.execute(statement)]
    cold = {each.terms: each.tested for each in reversed(found) if each.supernet_id is None}
    return tuple(each.told(cold.get(each.terms)) for each in found)


def records(found: Iterable[Begun]) -> Mapping[SupernetId, Record]:
    """What each supernet is known to have brought."""
    by: defaultdict[SupernetId, list[Begun]] = defaultdict(list)
    for each in found:
        if each.supernet_id is not None:
            by[each.supernet_id].append(each)
    return {supernet_id: _record(begun) for supernet_id, begun in by.items()}


@dataclass(frozen=True, slots=True)
class _Read:
    ids: tuple[UUID, UUID, UUID, UUID]
    at: datetime
    supernet_id: str | None
    terms: tuple[Any, ...]  # alike where two searches may be compared
    race: Mapping[str, Any] | None
    tested: float | None

    @classmethod
    def of(
        cls,
        search_id: UUID,
        job_id: UUID,
        model_id: UUID,
        dataset_id: UUID,
        at: datetime,
        spec: Mapping[str, Any],
        start: Mapping[str, Any],
        tested: str | None,
    ) -> "_Read":
        training = spec.get("training", {})
        terms = (dataset_id, *(training.get(each) for each in ("epochs", "seed", "method")))
        return cls(
            ids=(search_id, job_id, model_id, dataset_id),
            at=at,
            supernet_id=start.get("supernet_id"),
            terms=(*terms, spec.get("retrain_epochs"), limit_of(spec)),
            race=start.get("race"),
            tested=None if tested is None else float(tested),
        )

    def told(self, control: float | None) -> Begun:
        search_id, job_id, model_id, dataset_id = self.ids
        warm = self.supernet_id is not None
        known = warm and control is not None and self.tested is not None
        return Begun(
            search_id=SearchId(search_id),
            job_id=JobId(job_id),
            model_id=ModelId(model_id),
            dataset_id=DatasetId(dataset_id),
            at=self.at,
            supernet_id=SupernetId(UUID(self.supernet_id)) if self.supernet_id else None,
            lead=self._lead(),
            kept=100 * (self.tested - control) if known else None,  # type: ignore[operator]
        )

    def _lead(self) -> float | None:
        leads = () if self.race is None else tuple(races.leads(self.race))
        if not leads:
            return None
        if self.supernet_id is None:
            return 0.0
        mine = (each.points for each in leads if str(each.supernet_id) == self.supernet_id)
        return next(mine, None)


def _record(begun: Sequence[Begun]) -> Record:
    leads = [each.lead for each in begun if each.lead is not None]
    kept = [each.kept for each in begun if each.kept is not None]
    return Record(
        searches=len(begun),
        lead=median(leads) if leads else None,
        leads=len(leads),
        kept=median(kept) if kept else None,
        keeps=len(kept),
    )

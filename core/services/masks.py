"""Masks that earlier prunings have learned, for those that take them over by policy."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.result_tables import PruningRow
from core.domain.datasets import Dataset, DatasetId
from core.domain.prunings import MaskPolicy, PruneSpec, Pruning, PruningId
from core.domain.searches import Artifact, RankSpec
from core.domain.work import KnownMask, RankInputs
from core.errors import Conflict, Detail, InvalidInput, NotFound
from core.services import datasets, embedders, sources, wire

ABOUT = 0.05  # shares that lie no farther apart are alike
LOOKED_AT = 1000  # of the newest prunings
WEIGHTS = "model.safetensors"
OFFERED = 100  # of their masks, each of another dataset


def check(session: Session, spec: PruneSpec) -> None:
    """Raise InvalidInput, NotFound or Conflict unless there is a mask for such a request."""
    embedder = str(spec.embedder)
    embedders.check(session, embedder)
    datasets.get(session, spec.dataset_id, report=False)
    if spec.masks_from:
        list(_named(session, spec))
    elif not sources.seen(session, list(_fitting(session, spec)), embedder=embedder):
        what = f"No finished pruning of {spec.architecture} has learned its mask"
        how = f"at a share of {spec.wanted:g} of its {spec.measure}, give or take {ABOUT:g},"
        message = (
            f"{what} {how} {'with' if spec.blocks else 'without'} blocks, on another dataset that "
            f"'{spec.embedder}' has seen: prune it for one first, ask for the share of one that "
            f"there is, or learn the mask with mask={MaskPolicy.SEARCH}."
        )
        raise InvalidInput(message, details=[Detail("mask", "no_mask", message)])


def choose(
    session: Session, spec: PruneSpec, dataset: Dataset
) -> tuple[tuple[KnownMask, ...], RankInputs]:
    """The masks to choose from, and what to rank their datasets by.

    Those that are named, wherever they were learned; else the newest fitting one of each other
    dataset that can be ranked. Raises NotFound, InvalidInput, Conflict.
    """
    embedder = str(spec.embedder)
    if spec.masks_from:
        known = list(_named(session, spec))
        learned_on = {each.dataset_id for each in known} - {spec.dataset_id}
        seen = sources.of_datasets(session, list(learned_on), embedder=embedder)
    else:
        newest = _fitting(session, spec)
        seen = sources.of_datasets(session, list(newest), embedder=embedder)
        here = [newest[each.dataset_id] for each in seen]
        known = [each for each, _ in _loaded(session, here)]
    ranked = RankInputs(
        RankSpec(spec.dataset_id, embedder),
        dataset,
        datasets.embedding(session, spec.dataset_id, embedder),
        seen,
        embedders.trunk(session, embedder),
        considered=len(seen),
    )
    return tuple(known), ranked


def _named(session: Session, spec: PruneSpec) -> Iterator[KnownMask]:
    found = {each.pruning_id: (each, of) for each, of in _loaded(session, spec.masks_from)}
    for pruning_id in spec.masks_from:
        if pruning_id not in found:
            if session.get(PruningRow, pruning_id) is None:
                raise NotFound(f"There is no pruning {pruning_id}.")
            message = f"Pruning {pruning_id} has no mask yet: wait until its job has succeeded."
            raise Conflict(message, code="not_finished")
        known, of = found[pruning_id]
        if not of.searches:
            message = (
                f"Pruning {pruning_id} has taken its mask over: name the one that learned it."
            )
            raise InvalidInput(message, details=[Detail("masks_from", "invalid", message)])
        if (of.architecture, of.blocks) != (spec.architecture, spec.blocks):
            message = (
                f"Pruning {pruning_id} is one of {of.architecture} "
                f"{'with' if of.blocks else 'without'} blocks: name those of one kind, and ask "
                "for the same."
            )
            raise InvalidInput(message, details=[Detail("masks_from", "invalid", message)])
        yield known


def size(of: PruneSpec, kept: float) -> float:
    """The share that a finished pruning stands for: the wanted one, or what a price has kept."""
    return of.wanted if of.gamma is None else kept


def _fitting(session: Session, spec: PruneSpec) -> dict[DatasetId, PruningId]:
    """The newest fitting one of each other dataset; the newest datasets of very many."""
    statement = (
        select(PruningRow.id, PruningRow.spec, PruningRow.metrics["kept"].as_float())
        .where(PruningRow.manifest_key.is_not(None))
        .order_by(PruningRow.created_at.desc(), PruningRow.id)
        .limit(LOOKED_AT)
    )
    newest: dict[DatasetId, PruningId] = {}
    for pruning_id, said, kept in session.execute(statement):
        of: PruneSpec = wire.load(PruneSpec, said)
        if _fits(of, spec, size(of, kept)):
            newest.setdefault(of.learned_on, PruningId(pruning_id))
    return dict(islice(newest.items(), OFFERED))


def _fits(of: PruneSpec, spec: PruneSpec, left: float) -> bool:
    """Whether it has learned a mask elsewhere, of this network and about this size."""
    alike = ("architecture", "measure", "blocks")
    return (
        of.searches
        and of.learned_on != spec.dataset_id
        and all(getattr(of, name) == getattr(spec, name) for name in alike)
        and abs(left - spec.wanted) <= ABOUT + 1e-9
    )


def _loaded(session: Session, ids: Iterable[UUID]) -> Iterator[tuple[KnownMask, PruneSpec]]:
    wanted = PruningRow.id.in_(list(ids)), PruningRow.manifest_key.is_not(None)
    rows = [each.to_domain() for each in session.scalars(select(PruningRow).where(*wanted))]
    specs = [wire.load(PruneSpec, each.spec) for each in rows]
    names = datasets.called(session, {each.learned_on for each in specs})
    for row, of in zip(rows, specs, strict=True):
        assert row.mask is not None
        name = names[of.learned_on]
        scores = _scores(row.metrics or {})
        yield KnownMask(row.id, of.learned_on, name, row.mask, scores, weights_of(row)), of


def weights_of(pruning: Pruning) -> Artifact | None:
    """The trained network's, where its job has succeeded."""
    return next((each for each in pruning.artifacts if each.name == WEIGHTS), None)


def _scores(metrics: Any) -> dict[str, list[float]] | None:
    return (metrics.get("search") or {}).get("scores")

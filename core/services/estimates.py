"""What a search will take, before it is asked for: rows are read, and nothing is computed."""

import math
from collections.abc import Sequence
from statistics import fmean, quantiles, stdev
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.result_tables import SupernetRow
from core.domain import effort
from core.domain.datasets import Dataset
from core.domain.estimates import Basis, Estimate, Interval, Saving, Start, Trial
from core.domain.searches import Budget, SearchSpec, StartPolicy
from core.domain.supernets import Supernet
from core.errors import Detail, InvalidInput
from core.nas import cost_model
from core.nas.cost_model import Factor, Shape
from core.nas.space import Space
from core.ot import expected_lead
from core.ot.expected_lead import Forecast
from core.ot.lead_model import Observation
from core.services import datasets, finished, prefilter, races, specs, supernets
from core.services.finished import Finished, Here

RACES = 100  # that a forecast is learned from here: the job itself looks at more
FEWEST = 3  # searches of a kind, before anything is said of it
COLD = Start(None, "cold start")
NOTHING = Interval(0.0, 0.0, 0.0)


def of_search(session: Session, spec: SearchSpec, *, device: str) -> Estimate:
    """What the search will probably take. Raises NotFound, InvalidInput: of a budget in which no
    model can be made, even if all goes well, and of a deadline that is too near
    (`budget_too_small`, which says the least that would do).

    Args:
        session: Only read from.
        spec: As it would be asked for.
        device: What workers are set to compute on, where no finished search says so.
    """
    specs.check(spec)
    _check_epochs(spec)
    spec = spec.capped
    dataset = datasets.get(session, spec.dataset_id, report=False)
    datasets.check_images(dataset)
    history = finished.newest(session)
    here = finished.here(history, device)
    starts, first = _starts(session, spec)
    shape = _shape(spec, dataset, first)
    least = _interval(_least(spec, shape), here.factor)
    limits = _limits(session, spec, here)
    for place, most in limits.items():
        if most < least.low:
            words = f"about {least.expected:.0f} seconds, {least.low:.0f} if all goes well"
            raise _too_small(place, words)
    seconds = _seconds(spec, shape, here, min(limits.values(), default=math.inf))
    return Estimate(
        dataset_id=dataset.id,
        seconds=seconds,
        gpu_seconds=_times(seconds, here.processes) if here.gpu else NOTHING,
        host_bytes=_interval(shape.host_bytes(), here.memory("host")),
        gpu_bytes=_interval(shape.tensors(), here.memory("gpu")) if here.gpu else NOTHING,
        least_seconds=least,
        saving=_saving(history, spec, shape, here.factor),
        trial=_trial(spec, shape, starts),
        basis=Basis(len(here.alike), here.device),
    )


def check_budget(session: Session, spec: SearchSpec, *, device: str) -> None:
    """Refuse what `of_search` would, where anything bounds the search. Raises as that does."""
    if spec.deadline is not None or spec.budget != Budget():
        of_search(session, spec, device=device)


def _limits(session: Session, spec: SearchSpec, here: Here) -> dict[str, float]:
    """The seconds that the job may take, by the place of what says so."""
    budget, found = spec.budget, dict[str, float]()
    if budget.seconds is not None:
        found["budget.seconds"] = budget.seconds
    if budget.gpu_seconds is not None and here.gpu:
        found["budget.gpu_seconds"] = budget.gpu_seconds / here.processes
    if spec.deadline is not None:
        moment = session.scalars(select(now())).one()
        found["deadline"] = (spec.deadline - moment).total_seconds()
    return found


def _check_epochs(spec: SearchSpec) -> None:
    arms = len(spec.rates(warm=True))
    if spec.budget.epochs is not None and spec.budget.epochs <= arms:
        why = "one of each search and one of retraining"
        raise _too_small("budget.epochs", f"{arms + 1} epochs at least: {why}")


def _too_small(place: str, least: str) -> InvalidInput:
    message = f"No model can be made of so little. It takes {least}."
    detail = Detail(place, "budget_too_small", message)
    return InvalidInput(message, code="budget_too_small", details=[detail])


def _seconds(spec: SearchSpec, shape: Shape, here: Here, limit: float) -> Interval:
    """Between a search that ends as soon as it may and one that runs to its end."""
    least, most = _job(spec, shape, _shortest(spec)), _job(spec, shape, 1.0)
    used = [each.used for each in here.alike if each.used is not None]
    middle = _job(spec, shape, fmean(used)) if len(used) >= FEWEST else (least + most) / 2
    low, half, high = here.factor.quantiles()
    return Interval(*(min(each, limit) for each in (middle * half, least * low, most * high)))


def _job(spec: SearchSpec, shape: Shape, used: float) -> float:
    searches = len(spec.rates(warm=True))
    searched = max(searches, round(used * searches * spec.training.epochs))
    saved = searches * spec.training.epochs - searched
    return shape.job(
        searches=searches,
        searched=searched,
        retrained=spec.retrain_epochs + (effort.MORE * saved if spec.waits else 0),
        other=effort.choice(spec) + effort.race(spec),
    )


def _least(spec: SearchSpec, shape: Shape) -> float:
    searches = len(spec.rates(warm=True))
    other = effort.choice(spec) + effort.race(spec)
    return shape.job(searches=searches, searched=searches, retrained=1, other=other)


def _shortest(spec: SearchSpec) -> float:
    """The part of its epochs after which a search may end of itself."""
    return min(1.0, (1 + spec.waits) / spec.training.epochs) if spec.waits else 1.0


def _saving(history: Sequence[Finished], spec: SearchSpec, shape: Shape, factor: Factor) -> Saving:
    raced = [each for each in history if each.raced]
    leads = [each.lead for each in raced if each.lead is not None]
    warm, cold = (
        [each.used for each in history if each.warm is kind and each.used is not None]
        for kind in (True, False)
    )
    seconds, may = None, spec.policy is not StartPolicy.COLD and _shortest(spec) < 1
    if may and min(len(warm), len(cold)) >= FEWEST:
        error = (stdev(warm) ** 2 / len(warm) + stdev(cold) ** 2 / len(cold)) ** 0.5
        epochs = len(spec.rates(warm=True)) * spec.training.epochs
        worth = shape.epoch() * epochs * factor.quantiles()[1]
        less, reach = fmean(cold) - fmean(warm), cost_model.P90 * error
        seconds = Interval(*(worth * each for each in (less, less - reach, less + reach)))
    return Saving(len(raced), sum(each.warm for each in raced), _spread(leads), seconds)


def _spread(values: Sequence[float]) -> Interval | None:
    if len(values) < FEWEST:
        return None
    tenths = quantiles(values, n=10, method="inclusive")
    return Interval(fmean(values), tenths[0], tenths[-1])


def _trial(spec: SearchSpec, shape: Shape, starts: tuple[Start, ...]) -> Trial:
    return Trial(
        policy=spec.policy.value,
        starts=starts,
        method=spec.training.method.value,
        space=shape.space.to_dict(),
        resolution=shape.resolution,
        batch_size=shape.batch_size,
        steps_per_epoch=shape.steps,
        learning_rates=spec.rates(warm=bool(starts) and starts[0] != COLD),
        epochs=spec.training.epochs if spec.genotype is None else 0,
        retrain_epochs=spec.retrain_epochs,
        selection=spec.selection.value,
    )


def _shape(spec: SearchSpec, dataset: Dataset, first: Supernet | None) -> Shape:
    """Of the space that will probably be searched: of the first supernet, where it is its own."""
    if first is None or spec.adapt:
        space = specs.space_of(spec.space, spec.training.method)
        resolution = spec.space.resolution
    else:
        space, resolution = Space.from_dict(first.space), first.resolution
    size = spec.training.batch_size
    return specs.shape(spec, space, resolution, dataset.train_counts, size)


def _starts(session: Session, spec: SearchSpec) -> tuple[tuple[Start, ...], Supernet | None]:
    """What the search may begin from, in the order in which it is tried, and the first of it."""
    if spec.genotype is not None:
        return (), None
    match spec.policy:
        case StartPolicy.COLD:
            return (COLD,), None
        case StartPolicy.SUPERNET:
            assert spec.supernet_id is not None  # `specs.check` has seen to it
            found = [supernets.get(session, spec.supernet_id)]
        case StartPolicy.MULTI_DATASET:
            found = _shared(session, 1)
        case StartPolicy.NEAREST:
            found = _nearest(session, spec, 1)
        case StartPolicy.RACE:
            found = [*_shared(session, effort.SHARED), *_nearest(session, spec, effort.NEAREST)]
    named = datasets.called(session, [each.dataset_id for each in found if each.dataset_id])
    forecast = _forecast(session, spec) if spec.policy is StartPolicy.RACE else None
    starts = [
        Start(
            each.id,
            each.name,
            named[each.dataset_id] if each.dataset_id else None,
            _lead(forecast, each),
        )
        for each in found
    ]
    cold = not found or spec.policy is StartPolicy.RACE
    return (*starts, *([COLD] if cold else [])), found[0] if found else None


def _shared(session: Session, most: int) -> list[Supernet]:
    return [supernets.get(session, each.id) for each in supernets.shared(session, limit=most)]


def _nearest(session: Session, spec: SearchSpec, most: int) -> list[Supernet]:
    """By the ranking that is stored, else by centres; none of a dataset yet to be embedded."""
    seen = datasets.embedding(session, spec.dataset_id, spec.embedder)
    if seen is None:
        return []
    terms: dict[str, Any] = {"embedder": spec.embedder, "exclude": spec.dataset_id}
    near: Sequence[UUID] = prefilter.nearest(
        session, centre=seen.centre, limit=most, supernets_only=True, **terms
    ).ids
    ranking = datasets.ranking(session, spec.dataset_id, embedder=spec.embedder)
    if ranking is not None:
        near = [*(each.dataset_id for each in ranking.neighbours), *near]
    row = SupernetRow
    statement = select(row).where(row.dataset_id.in_(near))
    by_dataset: dict[UUID, Supernet] = {}
    for found in session.scalars(statement.order_by(row.created_at, row.id.desc())):
        if found.dataset_id is not None:
            by_dataset[found.dataset_id] = found.to_domain()  # the newest stays
    ordered = [by_dataset[each] for each in dict.fromkeys(near) if each in by_dataset]
    return ordered[:most]


def _forecast(session: Session, spec: SearchSpec) -> Forecast:
    return expected_lead.learn(
        Observation(str(past.dataset_id), str(each.supernet_id), each.distance, each.points)
        for past in races.past(session, spec, newest=RACES)
        for each in past.leads
    )


def _lead(forecast: Forecast | None, supernet: Supernet) -> Interval | None:
    # Its distance is for the job to measure; what is known of the source itself speaks already.
    found = None if forecast is None else forecast.expect(str(supernet.id), None)
    return None if found is None else Interval(found.lead, found.low, found.high)


def _interval(modelled: float, factor: Factor) -> Interval:
    low, half, high = factor.quantiles()
    return Interval(modelled * half, modelled * low, modelled * high)


def _times(found: Interval, count: int) -> Interval:
    return Interval(found.expected * count, found.low * count, found.high * count)

"""The race for the start of a search: who runs, what it costs, and what is written down of it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from core.domain import effort
from core.domain.jobs import JobRecord
from core.domain.searches import SearchSpec
from core.domain.work import SearchInputs
from core.errors import CorruptObject, InvalidInput, NotFound
from core.nas import standings
from core.nas.images import LabelledImages
from core.nas.race import Begun, Contestant, Entry, Race
from core.nas.standings import Rung, Standing
from core.pipelines import bilevel, choosing, dataset_images, machine, origins
from core.pipelines.context import Context
from core.pipelines.meter import Meter
from core.pipelines.origins import Origin

STAGE = "race"
_COLD_NAME = "cold start"


@dataclass(frozen=True, slots=True)
class Raced:
    """The winner, the record of how it won, and what is done of its search already."""

    winner: Origin
    reason: str
    record: dict[str, Any]
    begun: Begun | None


def run(
    sources: Iterable[Origin], inputs: SearchInputs, context: Context, *, most: int, meter: Meter
) -> Raced:
    """Race the sources, `most` of them, and a cold start. Raises Stopped, InvalidInput.

    A source is asked for when those before it have been measured. Nothing is kept of a race that
    is interrupted: the next attempt runs it again, to the same end.
    """
    spec, loader, field = inputs.spec, _Loader(inputs, context), _Field(most + 1)
    meter.begin(STAGE)
    left, rungs = effort.race(spec), list[Rung]()

    def contestants() -> Iterator[Contestant]:
        for each in chain(sources, [origins.COLD]):
            yield Contestant(field.enter(each), loader.entering(each), each == origins.COLD)

    def heard(cost: float, epochs: int, alone: Standing) -> None:
        nonlocal left
        step = min(left, cost)
        left -= step
        line = field.record(len(rungs), alone.name, _measured(epochs, alone))
        meter.advance(STAGE, step, line)

    raced = Race(
        contestants(),
        entrants=most + 1,
        budget=effort.race(spec),
        method=spec.training.method,
        head=bilevel.initial(spec.head),
        seed=spec.training.seed,
        heard=heard,
    )
    for rung in raced.rungs():
        for each in rung.standings:  # now that it is known how they stand
            meter.advance(STAGE, 0.0, field.record(len(rungs), each.name, _told(rung, each)))
        rungs.append(rung)
    meter.skip(left)
    try:
        verdict = standings.verdict(rungs)
    except ValueError as error:
        raise InvalidInput(f"The search cannot begin: {error}.") from error
    ran = [_described(each, spec, rungs) for each in field.named.items()]
    record = {
        "budget_epochs": effort.race(spec),
        "contestants": ran,
        "winner": verdict.name,
        "reason": verdict.reason,
        "seconds": sum(each["seconds"] for each in ran),
        "overhead_fraction": None,  # of the seconds of the whole job, known when it ends
    }
    begun = raced.begun(verdict.name)
    return Raced(field.named[verdict.name], verdict.reason, record, begun)


def with_overhead(start: dict[str, Any], seconds: Mapping[str, float]) -> dict[str, Any]:
    """The record of a start when the job ends: what share of its seconds the race took."""
    if start.get("race") is None:
        return start
    share = seconds["race"] / sum(seconds.values())
    return {**start, "race": {**start["race"], "overhead_fraction": share}}


class _Field:
    """Who runs, each under a name of its own, in the order in which they entered."""

    def __init__(self, most: int) -> None:
        self.named: dict[str, Origin] = {}
        self._most = most

    def enter(self, origin: Origin) -> str:
        """Its name from now on."""
        name = _COLD_NAME if origin.supernet is None else origin.supernet.name
        if origin.supernet is not None and (name in self.named or name == _COLD_NAME):
            name = f"{name} ({origin.supernet.id})"
        self.named[name] = origin
        return name

    def record(self, rung: int, name: str, values: Mapping[str, Any]) -> JobRecord:
        """A line of the job's history: one for each contestant in each rung, the newest."""
        step = rung * self._most + list(self.named).index(name)
        return JobRecord(STAGE, step, {"contestant": name, **values})


@dataclass(frozen=True, slots=True)
class _Loader:
    """Loads contestants; the target's images once per resolution."""

    inputs: SearchInputs
    context: Context
    seen: dict[tuple[int, int], tuple[LabelledImages, LabelledImages]] = field(
        default_factory=dict
    )

    def entering(self, origin: Origin) -> Callable[[], Entry]:
        """How that contestant is loaded; ValueError where it cannot be."""

        def enter() -> Entry:
            try:
                return self._entry(origin)
            except (NotFound, CorruptObject, InvalidInput) as error:
                raise ValueError(error.message) from error

        return enter

    def _entry(self, origin: Origin) -> Entry:
        spec = self.inputs.spec
        space = origins.space(origin, spec)
        warm = origins.load(origin.supernet, space, self.context, seed=spec.training.seed)
        train, valid = self._halves(origins.resolution(origin, spec), space.input_channels)
        source = None if origin.supernet is None else origin.supernet.name
        choosing.require(spec, space, train, self.context, source=source)
        training = machine.fitted(
            spec.training,
            space,
            train.classes,
            resolution=origins.resolution(origin, spec),
            context=self.context,
        )
        rate = spec.rates(warm=origin.supernet is not None)[0]
        config = bilevel.configure(training, rate, head=spec.head, patience=spec.waits)
        return Entry(warm, train, valid, config)

    def _halves(self, resolution: int, channels: int) -> tuple[LabelledImages, LabelledImages]:
        key = resolution, channels
        if key not in self.seen:
            images, _ = dataset_images.load(
                self.context, self.inputs.dataset, resolution=resolution, channels=channels
            )
            images = images.to(self.context.device)
            self.seen[key] = images.halves(self.inputs.spec.training.seed)
        return self.seen[key]


def _measured(epochs: int, standing: Standing) -> dict[str, Any]:
    """What is known of a contestant before the others of its rung have run."""
    return {
        "epochs": epochs,
        "valid_accuracy": standing.accuracy,
        "standard_error": standing.error,
        "seconds": standing.seconds,
        "out": standing.out,
    }


def _told(rung: Rung, standing: Standing) -> dict[str, Any]:
    return {
        **_measured(rung.epochs, standing),
        "train_images": rung.train_images,
        "valid_images": rung.valid_images,
        "behind": standing.behind,
        "behind_standard_error": standing.behind_error,
    }


def _described(
    entered: tuple[str, Origin], spec: SearchSpec, rungs: Sequence[Rung]
) -> dict[str, Any]:
    name, origin = entered
    ran = [(rung, each) for rung in rungs for each in rung.standings if each.name == name]
    supernet = origin.supernet
    return {
        "name": name,
        "supernet_id": str(supernet.id) if supernet else None,
        "dataset_name": origin.dataset_name,
        "distance": origin.distance,
        "learning_rate": spec.rates(warm=supernet is not None)[0],
        "rungs": [_told(rung, each) for rung, each in ran],
        "seconds": sum(each.seconds for _, each in ran),
        "out": ran[-1][1].out,
    }

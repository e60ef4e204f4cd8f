"""Which start serves a target best: successive halving on the target itself.

Contestants are supernets and a cold start. Jamieson & Talwalkar 2016 (arXiv 1502.07943, figure
3) drop the worse half after every rung and double the rungs' length; Li et al. 2018 (Hyperband,
arXiv 1603.06560) bound the cost of the whole. Here the first rung takes no gradient step, and
what is compared are answers to the same images: a paired difference has a far smaller standard
error than two accuracies. The most accurate wins; whoever is clearly worse than another is out
before longer rungs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.nas import methods, search
from core.nas.classifier import ImageClassifier
from core.nas.head import collect_features, solve_head
from core.nas.images import LabelledImages, epoch_generator
from core.nas.search import SearchConfig, SearchState
from core.nas.space import Space
from core.nas.standings import Rung, Standing, Trial, judge
from core.nas.warm_start import Head, Source, begin

FEWEST, MOST = 256, 4096  # images of a half that the first rung looks at, where there are so many
_PER_CLASS = 8  # and no fewer of each class, on average
# In epochs of search: a start with its head on all images; measuring one before its first step.
_ENTRY, _MEASURING = 0.35, 0.25
_TRAIN_STREAM, _VALID_STREAM = 40, 41  # of `epoch_generator`
_BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A contestant ready to run, with the target as it sees it.

    Args:
        origin: A space (cold) or a source (warm).
        train: Training half, at the contestant's own resolution.
        valid: Validation half: for every contestant the same images in the same order.
        config: Of the search that it would run.
    """

    origin: Space | Source
    train: LabelledImages
    valid: LabelledImages
    config: SearchConfig


@dataclass(frozen=True, slots=True, eq=False)
class Contestant:
    """One possible start; `enter` loads it (ValueError: it cannot, and is out)."""

    name: str
    enter: Callable[[], Entry]
    cold: bool = False


def run(
    contestants: Sequence[Contestant],
    *,
    budget: float,
    method: str,
    head: Head,
    seed: int,
    heard: Callable[[float], None] = lambda _cost: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Rung]:
    """Race until one contestant is left or the budget is spent.

    The first rung loads everyone, re-estimates statistics, solves the head on (a sample of) the
    training half and answers (a sample of) the validation half. Later rungs are the first 1, 3,
    7 ... epochs of the search that each would run. No state outlives the race: equal arguments
    give equal rungs, so an interrupted race is run again.

    Args:
        contestants: The likeliest first: ties go to the earlier.
        budget: What all of it may cost, in epochs of search. The first rung is run whatever it
            is, on as few images as tell anything.
        method: Method of search, see `core.nas.methods`.
        head: How the classifier begins in the later rungs; the first always solves it.
        seed: Decides every draw.
        heard: Told what each trial cost, in epochs of search, when it is over.
        clock: Seconds from any origin.

    Yields:
        One `Rung` after another, the first without a step.

    Raises:
        ValueError: contestants with other validation labels than the first's.
    """
    field = _Field(method=method, head=head, seed=seed, heard=heard, clock=clock)
    # Half is for the first rung; all of it, where the rest would not pay for a second of two.
    pays = budget / 2 >= 2 * (1 + _ENTRY + _MEASURING)
    first = field.first(contestants, budget / 2 if pays else budget)
    yield first
    alive, epochs, length = first.alive, 0, 1
    while len(alive) > 1:
        cost = length + (0 if epochs else _ENTRY + _MEASURING)
        last = min(field.entries[each.name].config.epochs for each in alive)
        if field.spent + cost * len(alive) > budget or epochs + length > last:
            return
        epochs += length
        rung = field.next(alive, epochs, cost)
        yield rung
        alive, length = rung.alive, 2 * length


class _Field:
    """Everyone who runs, and what that has cost so far."""

    def __init__(
        self,
        *,
        method: str,
        head: Head,
        seed: int,
        heard: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        self.method, self.head, self.seed = method, head, seed
        self.heard, self.clock = heard, clock
        self.entries: dict[str, Entry] = {}
        self.spent = 0.0
        self._runners: dict[str, _Runner] = {}

    def first(self, contestants: Sequence[Contestant], budget: float) -> Rung:
        """Everyone loaded and compared before any step."""
        share = budget / (_ENTRY * max(1, len(contestants)))
        trials: list[Trial] = []
        sizes = (0, 0)
        for each in contestants:
            started, trial = self.clock(), Trial(each.name, each.cold)
            cost = 0.0
            try:
                entry = each.enter()
                train, valid = self._sampled(entry, share)
                trial.hits = _answers(entry, train, valid, self.method)
            except ValueError as error:
                trial.failed = str(error)
            else:
                self._accept(each.name, entry)
                sizes = len(train), len(valid)
                cost = _ENTRY * sum(sizes) / (len(entry.train) + len(entry.valid))
            trial.seconds = self.clock() - started
            trials.append(trial)
            self._pay(cost)
        return Rung(0, *sizes, judge(trials))

    def next(self, alive: Sequence[Standing], epochs: int, cost: float) -> Rung:
        """Those left after `epochs` of their searches; each pays `cost`."""
        trials = []
        for each in alive:
            started, trial = self.clock(), Trial(each.name, each.cold)
            try:
                trial.hits = self._runner(each.name).until(epochs)
            except ValueError as error:  # its loss diverged, say
                trial.failed = str(error)
            trial.seconds = self.clock() - started
            trials.append(trial)
            self._pay(cost)
        entry = self.entries[alive[0].name]
        return Rung(epochs, len(entry.train), len(entry.valid), judge(trials))

    def _runner(self, name: str) -> _Runner:
        if name not in self._runners:
            self._runners[name] = _Runner(self.entries[name], self.method, self.head)
        return self._runners[name]

    def _accept(self, name: str, entry: Entry) -> None:
        for other in self.entries.values():
            if not torch.equal(other.valid.labels, entry.valid.labels):
                raise ValueError(f"contestants: {name!r} sees other validation images")
        self.entries[name] = entry

    def _sampled(self, entry: Entry, share: float) -> tuple[LabelledImages, LabelledImages]:
        fewest = max(FEWEST, _PER_CLASS * entry.train.classes)

        def sample(half: LabelledImages, stream: int) -> LabelledImages:
            count = min(max(int(share * len(half)), fewest), max(MOST, fewest))
            return half.sample(count, epoch_generator(self.seed, 0, stream))

        return sample(entry.train, _TRAIN_STREAM), sample(entry.valid, _VALID_STREAM)

    def _pay(self, cost: float) -> None:
        self.spent += cost
        self.heard(cost)


class _Runner:
    """One contestant's search, paused between rungs."""

    def __init__(self, entry: Entry, method: str, head: Head) -> None:
        self.entry = entry
        # Too short for the guard to say anything.
        config = replace(entry.config, guard=None)
        supernet = begin(
            entry.origin,
            entry.train.classes,
            entry.train,
            entry.valid,
            head=head,
            generator=_of_search(config.seed),
            batch_size=config.batch_size,
        )
        self.state = SearchState(supernet, methods.create(method, supernet))
        self.records = search.run(self.state, entry.train, entry.valid, config)

    def until(self, epochs: int) -> Tensor:
        """Search on to so many epochs; whether each validation answer is then right."""
        for record in self.records:
            if record.epoch == epochs:
                break
        # The epoch was measured last: its running statistics are still there.
        return _right(self.state.supernet, self.entry.valid)


def _answers(entry: Entry, train: LabelledImages, valid: LabelledImages, method: str) -> Tensor:
    """Whether each validation answer is right before any step, the head solved on `train`."""
    supernet = begin(
        entry.origin,
        train.classes,
        train,
        valid,
        head="random",
        generator=_of_search(entry.config.seed),
        batch_size=_BATCH,
    )
    methods.create(method, supernet)  # refuses a space that it cannot search
    features = collect_features(supernet, valid.batches(_BATCH))
    solution = solve_head(
        collect_features(supernet, train.batches(_BATCH)),
        train.labels,
        features,
        valid.labels,
        train.classes,
    )
    scores = features.double() @ solution.weight.t() + solution.bias
    return scores.argmax(dim=1) == valid.labels


def _of_search(seed: int) -> torch.Generator:
    """What the search itself will draw its weights by."""
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def _right(model: ImageClassifier, images: LabelledImages) -> Tensor:
    training = model.training
    model.eval()
    found = [model(batch).argmax(dim=1) == labels for batch, labels in images.batches(_BATCH)]
    model.train(training)
    return torch.cat(found)

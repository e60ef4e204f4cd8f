"""Which start serves a target best: successive halving on the target itself.

Contestants are supernets and a cold start. Jamieson & Talwalkar 2016 (arXiv 1502.07943, figure
3) drop the worse half after every rung and double the rungs' length; Li et al. 2018 (Hyperband,
arXiv 1603.06560) bound the cost of the whole. Here the first rung takes no gradient step, and
what is compared are answers to the same images: a paired difference has a far smaller standard
error than two accuracies. The most accurate wins; whoever is clearly worse than another is out
before longer rungs. What a contestant does here is the beginning of its search, which goes on from
there if it wins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.nas import methods, search
from core.nas.images import LabelledImages, epoch_generator
from core.nas.search import EpochRecord, SearchConfig, SearchState
from core.nas.space import Space
from core.nas.standings import Rung, Standing, Trial, judge
from core.nas.warm_start import Head, Source, begin

FEWEST, MOST = 256, 4096  # images of a half that the first rung looks at, where there are so many
_PER_CLASS = 8  # and no fewer of each class, on average
_ENTRY = 0.3  # of an epoch of search: a start with its head solved and measured on all images
_TRAIN_STREAM, _VALID_STREAM = 40, 41  # of `epoch_generator`


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


class Begun:
    """A contestant's search, paused between rungs.

    Args:
        entry: The contestant.
        method: Of search.
        head: How the classifier begins.

    Attributes:
        state: As the last record left it: `core.nas.search.run` goes on from it as ``measured``.
        records: Of the epochs so far, the start's first.

    Raises:
        ValueError: a source or space that cannot be searched.
    """

    def __init__(self, entry: Entry, method: str, head: Head) -> None:
        self.entry = entry
        supernet = begin(
            entry.origin,
            entry.train.classes,
            entry.train,
            entry.valid,
            head=head,
            generator=torch.Generator().manual_seed(entry.config.seed),  # the search's own
            batch_size=entry.config.batch_size,
        )
        self.state = SearchState(supernet, methods.create(method, supernet))
        self.records: list[EpochRecord] = []
        self._course = search.run(self.state, entry.train, entry.valid, entry.config)

    def until(self, epochs: int) -> Tensor:
        """Search on to so many epochs; whether each validation answer is then right."""
        for record in self._course:
            self.records.append(record)
            if record.epoch == epochs:
                break
        assert self.state.right is not None  # every record measures
        return self.state.right


class Race:
    """Everyone who runs, and what that has cost so far.

    Args:
        contestants: Ties go to the earlier. Each is asked for when those before it have been
            measured: what is known at once need not wait for what must be looked for first.
        entrants: How many contestants there are at most, for the budget to be shared out.
        budget: What all of it may cost, in epochs of search. The first rung is run whatever it
            is, on as few images as tell anything.
        method: Method of search, see `core.nas.methods`.
        head: How the classifier begins in the later rungs; the first always solves it.
        seed: Decides every draw.
        heard: Told of each trial when it is over: what it cost, in epochs of search, how many
            epochs that contestant has searched, and what it is worth, compared with nobody.
        clock: Seconds from any origin.

    Raises:
        ValueError: `entrants` is below 1.
    """

    def __init__(
        self,
        contestants: Iterable[Contestant],
        *,
        entrants: int,
        budget: float,
        method: str,
        head: Head,
        seed: int,
        heard: Callable[[float, int, Standing], None] = lambda _cost, _epochs, _alone: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if entrants < 1:
            raise ValueError(f"entrants: {entrants} is below 1")
        self._contestants, self._entrants, self._budget = contestants, entrants, budget
        self._method, self._head, self._seed = method, head, seed
        self._heard, self._clock = heard, clock
        self._entries: dict[str, Entry] = {}
        self._begun: dict[str, Begun] = {}
        self._spent = 0.0

    def rungs(self) -> Iterator[Rung]:
        """Race until one contestant is left or the budget is spent; once only.

        The first rung loads everyone and compares them as their searches would begin, with the
        head solved on (a sample of) the training half, by their answers on (a sample of) the
        validation half. Later rungs are the first 1, 3, 7 ... epochs of the search that each
        would run. Equal arguments give equal rungs, so an interrupted race is run again.

        Yields:
            One `Rung` after another, the first without a step.

        Raises:
            ValueError: contestants with other validation labels than the first's.
        """
        # Half is for the first rung; all of it, where the rest would not pay for a second of two.
        pays = self._budget / 2 >= 2 * (1 + _ENTRY)
        first = self._first(self._budget / 2 if pays else self._budget)
        yield first
        alive, epochs, length = first.alive, 0, 1
        while len(alive) > 1:
            costs = {each.name: length + self._start_of(each.name) for each in alive}
            last = min(self._entries[name].config.epochs for name in costs)
            if self._spent + sum(costs.values()) > self._budget or epochs + length > last:
                return
            epochs += length
            rung = self._next(alive, epochs, costs)
            yield rung
            alive, length = rung.alive, 2 * length

    def begun(self, name: str) -> Begun | None:
        """What is done of that contestant's search: its first epochs, if only the measuring of
        its start; None where the race saw a sample of the images only."""
        return self._begun.get(name)

    def _start_of(self, name: str) -> float:
        return 0.0 if name in self._begun else _ENTRY

    def _first(self, budget: float) -> Rung:
        """Everyone loaded and compared before any step."""
        share = budget / (_ENTRY * self._entrants)
        trials: list[Trial] = []
        sizes = (0, 0)
        for each in self._contestants:
            started, trial = self._clock(), Trial(each.name, each.cold)
            cost = 0.0
            try:
                entry = each.enter()
                train, valid = self._sampled(entry, share)
                trial.hits = self._answers(each.name, entry, train, valid)
            except ValueError as error:
                trial.failed = str(error)
            else:
                self._accept(each.name, entry)
                sizes = len(train), len(valid)
                cost = _ENTRY * sum(sizes) / (len(entry.train) + len(entry.valid))
            trial.seconds = self._clock() - started
            trials.append(trial)
            self._pay(cost, 0, trial)
        return Rung(0, *sizes, judge(trials))

    def _answers(
        self, name: str, entry: Entry, train: LabelledImages, valid: LabelledImages
    ) -> Tensor:
        """Whether each validation answer is right before any step, the head solved on `train`."""
        config = replace(entry.config, solve_head=True)
        begun = Begun(Entry(entry.origin, train, valid, config), self._method, "random")
        right = begun.until(0)
        if config == entry.config and train is entry.train and valid is entry.valid:
            self._begun[name] = begun
        return right

    def _next(self, alive: Sequence[Standing], epochs: int, costs: Mapping[str, float]) -> Rung:
        """Those left after `epochs` of their searches; each pays its cost."""
        trials = []
        for each in alive:
            started, trial = self._clock(), Trial(each.name, each.cold)
            try:
                if each.name not in self._begun:
                    entry = self._entries[each.name]
                    self._begun[each.name] = Begun(entry, self._method, self._head)
                trial.hits = self._begun[each.name].until(epochs)
            except ValueError as error:  # its loss diverged, say
                trial.failed = str(error)
                self._begun.pop(each.name, None)  # stopped amid an epoch
            trial.seconds = self._clock() - started
            trials.append(trial)
            self._pay(costs[each.name], epochs, trial)
        entry = self._entries[alive[0].name]
        return Rung(epochs, len(entry.train), len(entry.valid), judge(trials))

    def _accept(self, name: str, entry: Entry) -> None:
        for other in self._entries.values():
            if not torch.equal(other.valid.labels, entry.valid.labels):
                raise ValueError(f"contestants: {name!r} sees other validation images")
        self._entries[name] = entry

    def _sampled(self, entry: Entry, share: float) -> tuple[LabelledImages, LabelledImages]:
        fewest = max(FEWEST, _PER_CLASS * entry.train.classes)

        def sample(half: LabelledImages, stream: int) -> LabelledImages:
            count = min(max(int(share * len(half)), fewest), max(MOST, fewest))
            if count >= len(half):
                return half
            return half.sample(count, epoch_generator(self._seed, 0, stream))

        return sample(entry.train, _TRAIN_STREAM), sample(entry.valid, _VALID_STREAM)

    def _pay(self, cost: float, epochs: int, trial: Trial) -> None:
        self._spent += cost
        (alone,) = judge([trial])
        self._heard(cost, epochs, alone)

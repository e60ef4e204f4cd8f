"""Refinement of a front: an archive, a predictor of its errors, weights that follow it.

Neural Architecture Transfer (Lu et al. 2020, arXiv 2005.05859, algorithm 1) in the small: in every
round the predictor is fitted to the archive, NSGA-II proposes by it, the shared weights are tuned
along genomes like the archive's, the proposals are scored and join it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from core.nas.genotype import Genotype
from core.nas.images import LabelledImages, epoch_generator
from core.nas.loop import TrainingConfig, TrainingState, gradients
from core.nas.pareto import Objectives, breed, non_dominated, nsga2, survivors
from core.nas.paths import Path
from core.nas.search import endless
from core.nas.selection.variation import choices, cross, sample
from core.nas.space import CELL_SPACES
from core.nas.supernet import Relaxation, Supernet, softmax

G = TypeVar("G")
Predictor = Callable[[G], float]

_ROUNDS, _CHILDREN, _SAMPLES = 29, 30, 31  # streams of `epoch_generator`
_TOGETHER = 2  # sub-networks in a step
_RIDGES = tuple(10.0**exponent for exponent in range(-3, 4))


@dataclass(frozen=True, slots=True)
class Archive(Generic[G]):
    """Everything scored so far, after one round.

    Args:
        index: 0 for the initial genomes.
        scored: Objectives of every genome: its error, then its costs. Of errors that an earlier
            round measured, with weights that have been tuned since, those on the front are
            measured again.
        evaluations: Errors measured in all.
    """

    index: int
    scored: Mapping[G, Objectives]
    evaluations: int

    def front(self) -> list[G]:
        """The non-dominated, by rising error."""
        genomes, points = list(self.scored), list(self.scored.values())
        return [genomes[i] for i in sorted(non_dominated(points), key=lambda i: points[i])]


def refine(
    initial: Iterable[G],
    error: Callable[[G], float],
    costs: Callable[[G], Objectives],
    vary: Callable[[G, G, torch.Generator], G],
    *,
    children: int,
    population: int,
    seed: int,
    predictor: Callable[[Mapping[G, float]], Predictor[G]] | None = None,
    tune: Callable[[Sequence[G], int], None] | None = None,
) -> Iterator[Archive[G]]:
    """Rounds without end, or until nothing new is found; whoever calls stops when time is over.

    Args:
        initial: First genomes; repeated ones count once.
        error: Measured with the shared weights as they are.
        costs: Known without measuring.
        vary: Two parents to a child.
        children: Genomes measured in a round.
        population: Of the parents, and of NSGA-II over predictions.
        seed: Decides proposals.
        predictor: Fitted to the errors of the archive, it predicts one; None takes children of
            the archive as they come.
        tune: Called with the archive's best and the round before children are measured; the
            errors of the front are then measured again. None leaves the weights be.

    Yields:
        The archive of the initial genomes, then that of every round.

    Raises:
        ValueError: no genomes, no children or a population under 2.
    """
    scored = {each: (error(each), *costs(each)) for each in dict.fromkeys(initial)}
    if not scored or children < 1 or population < 2:
        raise ValueError(
            f"refine: {len(scored)} genomes, {children} children, {population} parents"
        )
    evaluations, index = len(scored), 0
    yield Archive(index, dict(scored), evaluations)
    while True:
        index += 1
        parents = survivors(list(scored), scored, population)
        if predictor is None:
            drawing = epoch_generator(seed, index, _ROUNDS)
            found = breed(parents, scored, vary, children, drawing)
        else:
            predicted = predictor({each: point[0] for each, point in scored.items()})
            found = _proposed(predicted, costs, vary, parents, scored, children, seed + index)
        if not found:
            return
        if tune is not None:
            tune(parents, index)
            for each in Archive(index, scored, 0).front():
                scored[each] = error(each), *scored[each][1:]
                evaluations += 1
        scored |= {each: (error(each), *costs(each)) for each in found}
        evaluations += len(found)
        yield Archive(index, dict(scored), evaluations)


def ridge_predictor(errors: Mapping[Genotype, float]) -> Predictor[Genotype]:
    """Linear in which operation reads which source, the ridge by leave-one-out in closed form.

    Residuals of every one left out are those of all over one less its leverage (PRESS, Allen
    1974), with the mean taken as known.

    Args:
        errors: Measured ones, of genotypes of one space and number of nodes; at least one.

    Raises:
        ValueError: no errors.
    """
    if not errors:
        raise ValueError("ridge_predictor: no errors")
    columns = torch.stack([encoded(each) for each in errors])
    targets = torch.tensor(list(errors.values()), dtype=torch.float64)
    centre, mean = targets.mean(), columns.mean(dim=0)
    centred, gram = columns - mean, (columns - mean) @ (columns - mean).t()
    eye = torch.eye(len(targets), dtype=torch.float64)

    def dual(ridge: float) -> tuple[float, Tensor]:
        inverse = torch.linalg.inv(gram + ridge * eye)
        weights = inverse @ (targets - centre)
        return float((weights / inverse.diagonal()).square().mean()), weights

    _, weights = min((dual(ridge) for ridge in _RIDGES), key=lambda each: each[0])
    slopes = centred.t() @ weights
    return lambda genotype: float(centre + (encoded(genotype) - mean) @ slopes)


def encoded(genotype: Genotype) -> Tensor:
    """``[kinds * edges * O]`` float64: one where an edge has that operation."""
    space = CELL_SPACES[genotype.cells]
    operations, values = choices(space), []
    for cell in (genotype.normal, genotype.reduction):
        for node, edges in enumerate(cell):
            row = torch.zeros(node + space.inputs, len(operations), dtype=torch.float64)
            for edge in edges:
                row[edge.source, operations.index(edge.operation)] = 1.0
            values.append(row.flatten())
    return torch.cat(values)


class Tuner:
    """Tunes a supernet's weights along genotypes like an archive's best, two in every step.

    Neural Architecture Transfer (Lu et al. 2020, arXiv 2005.05859, section 3.3), which draws by
    the archive's distribution.

    Args:
        supernet: Its weights change; alphas do not. Of no partial channels.
        train: What the weights learn from.
        batch_size: Images of a step.
        rate: Of the descent.
        seed: Decides batches and children.
    """

    def __init__(
        self, supernet: Supernet, train: LabelledImages, *, batch_size: int, rate: float, seed: int
    ) -> None:
        self._supernet, self._train, self._rate = supernet, train, rate
        self._config = TrainingConfig(epochs=1, batch_size=batch_size, seed=seed)
        self._state = TrainingState(supernet, supernet.weight_parameters())
        self._draws = epoch_generator(seed, 0, _CHILDREN)

    def tune(self, draw: Callable[[torch.Generator], Genotype], index: int, *, steps: int) -> None:
        """So many steps along what `draw` makes.

        Args:
            draw: A genotype, by the generator that is given to it.
            index: Of the round: it has batches of its own.
            steps: Each of two sub-networks and one batch.

        Raises:
            ValueError: as `core.nas.paths.Path`.
        """
        descent, config = self._state.descent, self._config
        batches = endless(self._train, config, index)
        self._supernet.train()
        for _ in range(steps):
            images, labels = next(batches)
            paths = [Path(self._supernet, draw(self._draws)) for _ in range(_TOGETHER)]
            losses = [F.cross_entropy(path(images), labels) for path in paths]
            descent.step(
                gradients(torch.stack(losses).mean(), descent.parameters),
                rate=self._rate,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
                clip=config.gradient_clip,
            )


def samples(
    supernet: Supernet, count: int, *, seed: int, preference: Relaxation = softmax
) -> list[Genotype]:
    """So many draws by the alphas, some of them alike perhaps.

    Args:
        supernet: Searched.
        count: Draws.
        seed: Decides them.
        preference: As for `core.nas.derive.derive`.

    Raises:
        ValueError: as `core.nas.selection.variation.sample`.
    """
    strengths, draws = supernet.strengths(preference), epoch_generator(seed, 0, _SAMPLES)
    return [sample(supernet.space, strengths, draws) for _ in range(count)]


def child_of(parents: Sequence[Genotype], generator: torch.Generator) -> Genotype:
    """A cross of two of them, with no mutation."""
    first, second = torch.randint(len(parents), (2,), generator=generator).tolist()
    return cross(parents[first], parents[second], generator)


def _proposed(
    predicted: Predictor[G],
    costs: Callable[[G], Objectives],
    vary: Callable[[G, G, torch.Generator], G],
    parents: Sequence[G],
    scored: Mapping[G, Objectives],
    count: int,
    seed: int,
) -> list[G]:
    *_, last = nsga2(
        parents,
        lambda each: (predicted(each), *costs(each)),
        vary,
        population=len(parents) if len(parents) > 1 else 2,
        evaluations=20 * count,
        seed=seed,
    )
    new = [each for each in last.evaluated if each not in scored]
    return survivors(new, last.evaluated, count) if new else []

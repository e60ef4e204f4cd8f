"""The best of several discrete cells, by what they are worth with the supernet's weights.

Alphas of short searches barely tell a good cell from a random one; a candidate's score costs a
second or two. As in one-shot search (Bender et al. 2018, section 3.3; Guo et al. 2020, arXiv
1904.00420, section 3.3), with statistics measured anew and the head solved for each candidate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from core.nas.derive import derive
from core.nas.evaluate import evaluate
from core.nas.genotype import Genotype
from core.nas.head import fit_head
from core.nas.images import LabelledImages, epoch_generator
from core.nas.loop import MEASURING_BATCH, TrainingConfig, TrainingState, run_epochs
from core.nas.network import Network, inherit, parameter_count
from core.nas.normalisation import reestimate
from core.nas.selection.variation import mutate, sample
from core.nas.supernet import Relaxation, Supernet, softmax

_SAMPLES, _EVOLUTION, _IMAGES = 22, 23, 24  # streams of `epoch_generator`
_ATTEMPTS = 50  # draws in search of a genotype not had yet; small spaces run out of them


@dataclass(frozen=True, slots=True)
class Proposal:
    """A genotype and where it comes from, such as ``magnitude`` or ``sample``."""

    genotype: Genotype
    origin: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A proposal with its score.

    Args:
        genotype: The cells.
        origin: Where it comes from.
        accuracy: On images that neither weights nor head have seen, in 0..1.
        loss: Likewise, mean cross-entropy in nats.
        parameters: Learned numbers of the derived network at the supernet's size.
    """

    genotype: Genotype
    origin: str
    accuracy: float
    loss: float
    parameters: int


def proposals(
    supernet: Supernet,
    *,
    samples: int,
    max_skips: int,
    seed: int,
    given: Iterable[Proposal] = (),
    preference: Relaxation = softmax,
) -> list[Proposal]:
    """Different genotypes worth scoring: by magnitude, with few skips, given ones, and samples.

    Args:
        supernet: Trained.
        samples: Genotypes drawn by the alphas; fewer where a space has no more.
        max_skips: For the constrained magnitude.
        seed: Decides the draws.
        given: Others, such as what `core.nas.selection.perturbation` chose.
        preference: As for `derive`; the samples follow it too.

    Returns:
        Each genotype once, under its first origin.
    """
    found: dict[Genotype, str] = {derive(supernet, preference): "magnitude"}
    constrained = derive(supernet, preference, max_skips=max_skips)
    found.setdefault(constrained, f"magnitude, {max_skips} skips")
    for proposal in given:
        found.setdefault(proposal.genotype, proposal.origin)
    generator, strengths = epoch_generator(seed, 0, _SAMPLES), supernet.strengths(preference)
    wanted = len(found) + samples
    for _ in range(_ATTEMPTS + samples):
        if len(found) < wanted:
            found.setdefault(sample(supernet.space, strengths, generator), "sample")
    return [Proposal(genotype, origin) for genotype, origin in found.items()]


class Scorer:
    """Scores genotypes with the weights of one supernet; equal genotypes are scored once.

    Args:
        supernet: Trained; unchanged.
        train: Training half, for statistics and head.
        valid: Validation half: one half of it chooses the head's ridge, the other scores.
        seed: Decides that split and the sample of images.
        batch_size: Images per forward pass.
        images: Training images used, at most, and validation images, at most.
        tuning: Settings of a brief descent from the inherited weights, on `train`, before the
            head is solved; None scores the inherited weights themselves.

    Raises:
        ValueError: a part without images.
    """

    def __init__(
        self,
        supernet: Supernet,
        train: LabelledImages,
        valid: LabelledImages,
        *,
        seed: int,
        batch_size: int = MEASURING_BATCH,
        images: int = 2048,
        tuning: TrainingConfig | None = None,
    ) -> None:
        generator = epoch_generator(seed, 0, _IMAGES)
        self._supernet, self._batch_size, self._tuning = supernet, batch_size, tuning
        self._train = train.sample(images, generator)
        self._fit, self._held_out = valid.sample(images, generator).halves(seed)
        self._scored: dict[Genotype, Candidate] = {}

    @property
    def evaluations(self) -> int:
        """Different genotypes scored so far."""
        return len(self._scored)

    def __call__(self, proposal: Proposal) -> Candidate:
        """The proposal's score.

        Raises:
            ValueError: the genotype is not of the supernet's space.
        """
        known = self._scored.get(proposal.genotype)
        if known is None:
            known = self._scored[proposal.genotype] = self._score(proposal)
        return replace(known, origin=proposal.origin)

    def _score(self, proposal: Proposal) -> Candidate:
        network = inherit(self._supernet, proposal.genotype)
        if self._tuning is not None:
            _tune(network, self._train, self._held_out, self._tuning)
        reestimate(network, self._train.batches(self._batch_size))
        fit_head(network, self._train, self._fit, batch_size=self._batch_size)
        found = evaluate(network, self._held_out, self._batch_size)
        return Candidate(
            genotype=proposal.genotype,
            origin=proposal.origin,
            accuracy=found.accuracy,
            loss=found.loss,
            parameters=parameter_count(network),
        )


def best(candidates: Iterable[Candidate]) -> Candidate:
    """The most accurate; ties: fewer parameters, then the earlier one.

    Raises:
        ValueError: no candidates.
    """
    ranked = sorted(candidates, key=lambda each: (-each.accuracy, each.parameters))
    if not ranked:
        raise ValueError("candidates: there are none")
    return ranked[0]


def evolve(
    score: Callable[[Proposal], Candidate],
    begin: Iterable[Candidate],
    *,
    evaluations: int,
    seed: int,
    tournament: int = 3,
) -> Iterator[Candidate]:
    """Aging evolution (Real et al. 2019, arXiv 1802.01548, algorithm 1) from scored candidates.

    The best of `tournament` drawn members has a mutated child, which joins the population as
    its oldest member leaves; the population keeps its size.

    Args:
        score: Scores children, as a `Scorer` does.
        begin: The first population; the earliest is the oldest.
        evaluations: Children in all. One that was scored before is drawn again, if possible.
        seed: Decides tournaments and mutations.
        tournament: Members per tournament, at most the population.

    Yields:
        Each child with its score.

    Raises:
        ValueError: an empty population or no tournament.
    """
    population = deque(begin)
    if not population or tournament < 1:
        raise ValueError(f"evolution: {len(population)} candidates, tournaments of {tournament}")
    generator = epoch_generator(seed, 0, _EVOLUTION)
    seen = {member.genotype for member in population}
    for _ in range(evaluations):
        for _ in range(_ATTEMPTS):
            drawn = torch.randperm(len(population), generator=generator)[:tournament].tolist()
            genotype = mutate(best(population[at] for at in drawn).genotype, generator)
            if genotype not in seen:
                break
        seen.add(genotype)
        child = score(Proposal(genotype, "evolution"))
        population.append(child)
        population.popleft()
        yield child


def _tune(
    network: Network, train: LabelledImages, valid: LabelledImages, config: TrainingConfig
) -> None:
    state = TrainingState(network, list(network.parameters()))
    for _ in run_epochs(state, train, valid, config):
        pass

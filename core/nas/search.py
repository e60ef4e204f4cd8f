"""The bilevel search (Liu et al. 2019, algorithm 1) by any method: pure over a resumable state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import count

import torch
from torch import Tensor

from core.nas.derive import derive, mean_entropy
from core.nas.genotype import Genotype
from core.nas.guard import Guard
from core.nas.guard_config import GuardConfig
from core.nas.images import LabelledImages, epoch_generator
from core.nas.limits import check_limits
from core.nas.loop import VALID, Epoch, Step, TrainingConfig, TrainingState, run_epochs
from core.nas.methods.base import Method
from core.nas.optimisers import Adam, Optimiser
from core.nas.paths import sandwich_loss
from core.nas.patience import Patience
from core.nas.ranks import ALONE, Ranks
from core.nas.scores import Diverged
from core.nas.selection.variation import sample
from core.nas.supernet import Supernet

__all__ = ["Diverged", "EpochRecord", "SearchConfig", "SearchState", "run"]

_LIMITS = {
    "alpha_learning_rate": (0.0, 10.0),
    "alpha_weight_decay": (0.0, 1.0),
    "generalisation_gap": (0.0, 10.0),
    "paths": (0, 64),
    "patience": (0, 100_000),
}
_GENOTYPES = 6  # stream of `epoch_generator`, apart from the loop's and the methods' own


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig(TrainingConfig):
    """Settings of a bilevel search; those of the weights are `TrainingConfig`'s.

    Args:
        alpha_learning_rate: Of Adam on the architecture parameters.
        alpha_weight_decay: On the architecture parameters.
        generalisation_gap: Coefficient of the gap between both halves' losses in what the alphas
            descend (UNAS, Vahdat et al. 2020; the paper's 0.5); 0 leaves it out.
        paths: Sub-networks, drawn by the alphas, that learn from the mixture in every weight step
            (`core.nas.paths.sandwich_loss`), so that what is derived inherits weights of its own
            worth; not with partial channels.
        recompute: Compute maps again in backward passes instead of keeping them.
        guard: Watches for collapse and convergence, and ends the search early; None to not.
        patience: Epochs without a better validation accuracy, beyond noise, that end the search
            (`core.nas.patience`), not counting those in which the alphas rest; 0 to never. Of use
            with `solve_head`: a head that is descended makes a good search look like none for
            epochs.

    Raises:
        ValueError: a value that is not finite or out of range.
    """

    alpha_learning_rate: float = 3e-4
    alpha_weight_decay: float = 1e-3
    generalisation_gap: float = 0.0
    paths: int = 0
    recompute: bool = False
    guard: GuardConfig | None = None
    patience: int = 0

    def __post_init__(self) -> None:
        # The zero-argument super() does not survive slots=True.
        TrainingConfig.__post_init__(self)
        check_limits(self, _LIMITS)


class SearchState(TrainingState):
    """A supernet, the optimisers of its weights and alphas, method, guard, completed epochs, and
    how long ago it last became better.

    Args:
        supernet: Trained in place.
        method: Made for this supernet by `core.nas.methods.create`; first-order DARTS if None.
    """

    def __init__(self, supernet: Supernet, method: Method | None = None) -> None:
        super().__init__(supernet, supernet.weight_parameters())
        self.supernet = supernet
        self.adam = Adam(supernet.alpha_parameters())
        self.method = Method(supernet) if method is None else method
        self.guard = Guard(self.method)
        self.patience = Patience()

    @property
    def stopped(self) -> bool:
        """Whether the search was ended early."""
        return self.guard.stopped or self.patience.stopped

    def optimisers(self) -> dict[str, Optimiser]:
        """The optimisers by the name under which their tensors are kept."""
        return {"descent": self.descent, "adam": self.adam}

    def _live(self) -> dict[str, Tensor]:
        live = super()._live()
        for place in ("method", "guard", "patience"):
            tensors = getattr(self, place).tensors()
            live |= {f"{place}.{name}": value for name, value in tensors.items()}
        return live


Alphas = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """What one epoch of a search did; epoch 0 is the start, measured before any step.

    Args:
        epoch: Completed epochs.
        train_loss: Mean over the epoch's (augmented) batches; at epoch 0 of a plain sample.
        train_accuracy: Likewise, in 0..1.
        valid_loss: On the whole validation half, with re-estimated statistics.
        valid_accuracy: Likewise, in 0..1. The alphas were fitted to these images.
        learning_rate: Of the weights in this epoch.
        entropy_normal: Mean entropy in nats of the normal cell's mixtures, at most the logarithm
            of the number of operations.
        entropy_reduction: Likewise of the reduction cell's; None where none is searched.
        skip_count: Skip connections in the normal cell if derived now.
        alphas_normal: The weights that a genotype is derived by (DARTS: softmaxed alphas),
            ``[edges][operations]``, rounded to 4 digits.
        alphas_reduction: Likewise; empty where no reduction cell is searched.
        genotype: What they prefer at this moment, by the rule of `core.nas.derive.derive`.
        seconds: Wall clock of the whole epoch, evaluation included.
        steps: Weight steps (as many architecture steps where the alphas move).
        eigenvalue: What the guard saw, see `core.nas.guard.Sight`; None without a guard.
        decided_skips: Likewise.
        stopped: Why the search ended with this epoch, None if it did not end early.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    valid_loss: float
    valid_accuracy: float
    learning_rate: float
    entropy_normal: float
    entropy_reduction: float | None
    skip_count: int
    alphas_normal: Alphas
    alphas_reduction: Alphas
    genotype: Genotype
    seconds: float
    steps: int
    eigenvalue: float | None = None
    decided_skips: int | None = None
    stopped: str | None = None


def run(
    state: SearchState,
    train: LabelledImages,
    valid: LabelledImages,
    config: SearchConfig,
    *,
    ranks: Ranks = ALONE,
    measured: bool = False,
) -> Iterator[EpochRecord]:
    """Alternate architecture steps on `valid` with weight steps on `train`.

    Args:
        state: Advanced in place, by its method; `state.tensors()` between two records is a
            checkpoint.
        train: Training half.
        valid: Validation half, on the same device.
        config: Settings; the same for a resumed run.
        ranks: The processes that share this search; each runs the same, and all must agree on
            the architecture after every epoch.
        measured: Whether the state is one that this has yielded before.

    Yields:
        One record per epoch, and first one for a start that was not measured before.
        Where the search ends early, the last one says why, and describes the alphas as the
        epoch left them: after a collapse the state has those of the last healthy epoch.

    Raises:
        Diverged: a loss is not finite.
        ValueError: a generalisation gap for a method that takes none, or paths for a
            supernet of partial channels.
    """
    if state.stopped:
        return
    method = state.method
    if config.generalisation_gap and not method.takes_gap:
        raise ValueError(f"generalisation_gap: not for {method.name}, which looks a step ahead")
    if config.paths and state.supernet.space.partial > 1:
        raise ValueError("paths: not with partial channels, whose cells inherit no weights")
    method.gap, method.precision = config.generalisation_gap, config.precision
    state.supernet.recompute(config.recompute)
    state.supernet.relaxation = method.relax
    for epoch in run_epochs(
        state,
        train,
        valid,
        config,
        prepare=lambda epoch: _step(state, valid, config, epoch, ranks),
        ranks=ranks,
        measured=measured,
    ):
        for parameter in state.adam.parameters:
            ranks.agree("architecture", parameter)
        if epoch.index:
            method.finish(valid, config)
        record = _record(epoch, state)
        if config.guard is not None and epoch.index:
            sight = state.guard.look(
                valid, config.guard, seed=config.seed, solved=config.solve_head
            )
            record = replace(record, **asdict(sight))
        if method.searching:  # while alphas rest there is no search to end
            waited = _waited(state, record, valid, config, ranks)
            record = replace(record, stopped=record.stopped or waited)
        # Who went on alone would wait for the others for ever.
        ended = torch.tensor(float(record.stopped is not None), device=valid.labels.device)
        ranks.agree("early end", ended)
        yield record
        if record.stopped is not None:
            return


def _waited(
    state: SearchState,
    record: EpochRecord,
    valid: LabelledImages,
    config: SearchConfig,
    ranks: Ranks,
) -> str | None:
    """Why patience ends the search here, the same in all processes: their devices may round."""
    seen = torch.tensor(record.valid_accuracy, dtype=torch.float64, device=valid.labels.device)
    accuracy = float(ranks.total(seen)) / ranks.size
    return state.patience.look(accuracy, len(valid), epochs=config.patience)


def _step(
    state: SearchState, valid: LabelledImages, config: SearchConfig, epoch: int, ranks: Ranks
) -> Step:
    supernet, method = state.supernet, state.method
    method.begin(epoch, config)
    batches = endless(valid, config, epoch)

    def before(images: Tensor, labels: Tensor) -> None:
        if method.searching:
            supernet.relaxation = method.relax_alphas
            whole = next(batches)
            share = ranks.share(*whole)
            found = method.gradients(
                (images, labels),
                share,
                descent=state.descent,
                config=config,
                rate=config.rate(epoch),
            )
            averaged = ranks.average(found, len(share[1]), len(whole[1]))
            state.adam.step(
                averaged, rate=config.alpha_learning_rate, weight_decay=config.alpha_weight_decay
            )
        supernet.relaxation = method.relax_weights

    def after() -> None:
        supernet.relaxation = method.relax

    if not config.paths:
        return Step(before=before, after=after)
    drawing = epoch_generator(config.seed, epoch, _GENOTYPES)

    def loss(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        strengths = supernet.strengths(method.preference)
        drawn = [sample(supernet.space, strengths, drawing) for _ in range(config.paths)]
        return sandwich_loss(supernet, images, labels, drawn)

    return Step(before=before, loss=loss, after=after)


def endless(
    images: LabelledImages, config: TrainingConfig, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled, augmented batches of a validation half, over and over, for one epoch."""
    # One generator for all passes of the epoch: a second pass shuffles differently.
    generator = epoch_generator(config.seed, epoch, VALID)
    for _ in count():
        yield from images.batches(config.batch_size, generator, config.augmenter)


def _record(epoch: Epoch, state: SearchState) -> EpochRecord:
    method = state.method
    weights = {
        kind: method.preference(kind, alphas.detach())
        for kind, alphas in state.supernet.alphas().items()
    }
    reduction = weights.get("reduction")
    genotype = derive(state.supernet, method.preference)
    return EpochRecord(
        epoch=epoch.index,
        train_loss=epoch.train.loss,
        train_accuracy=epoch.train.accuracy,
        valid_loss=epoch.valid.loss,
        valid_accuracy=epoch.valid.accuracy,
        learning_rate=epoch.learning_rate,
        entropy_normal=mean_entropy(weights["normal"].log()),
        entropy_reduction=None if reduction is None else mean_entropy(reduction.log()),
        skip_count=genotype.skip_count,
        alphas_normal=_rounded(weights["normal"]),
        alphas_reduction=() if reduction is None else _rounded(reduction),
        genotype=genotype,
        seconds=epoch.seconds,
        steps=epoch.steps,
    )


def _rounded(weights: Tensor) -> Alphas:
    return tuple(tuple(round(value, 4) for value in row) for row in weights.tolist())

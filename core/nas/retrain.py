"""Training a network, derived or given, from scratch or from inherited weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas.auxiliary import AuxiliaryHead, auxiliary_head, tapped
from core.nas.averaging import Trained, WeightAverage
from core.nas.classifier import ImageClassifier
from core.nas.images import LabelledImages, epoch_generator
from core.nas.limits import check_limits
from core.nas.loop import PATHS, Step, TrainingConfig, TrainingState, run_epochs
from core.nas.losses import distillation
from core.nas.network import Network
from core.nas.precision import Precision, widened
from core.nas.ranks import ALONE, Ranks

_AUXILIARY = 6  # stream of `epoch_generator`, beside those of the loop
_SLACK = 0.9  # share of a budget that is planned with: later epochs may be slower


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainConfig(TrainingConfig):
    """Settings of a retraining; see `TrainingConfig` for the rest.

    Args:
        learning_rate_min: The cosine ends at zero, as in the paper.
        drop_path: Chance of dropping an edge in the last epoch; rises from 0 linearly.
        auxiliary: Weight of the auxiliary head's loss, DARTS' 0.4 for 20 layers; 0 for none.
        label_smoothing: Share of each target spread over all classes (Szegedy et al. 2016).
        ema: Decay per step of the averaged weights that are measured and kept; 0 for the last
            weights themselves. See `WeightAverage`.
        distillation: Share of the loss that matches a teacher's answers, in 0..1.
        temperature: Of the distillation.
        budget_seconds: The cosine is planned, from the first epoch's time, to end within it; None
            for all `epochs`. The start and the first epoch are always paid for.

    Raises:
        ValueError: a value that is not finite or out of range.
    """

    learning_rate_min: float = 0.0
    drop_path: float = 0.0
    auxiliary: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0
    distillation: float = 0.0
    temperature: float = 4.0
    budget_seconds: float | None = None

    def __post_init__(self) -> None:
        # The zero-argument super() does not survive slots=True.
        TrainingConfig.__post_init__(self)
        limits: dict[str, tuple[float, float]] = {
            "drop_path": (0.0, 0.9),
            "auxiliary": (0.0, 10.0),
            "label_smoothing": (0.0, 0.99),
            "ema": (0.0, 0.99999),
            "distillation": (0.0, 1.0),
            "temperature": (0.1, 100.0),
        }
        if self.budget_seconds is not None:
            limits["budget_seconds"] = (0.0, 1e9)
        check_limits(self, limits)


class RetrainState(TrainingState, Generic[Trained]):
    """A network, its optimiser, the completed epochs, and what the settings add to them.

    Args:
        network: Trained in place; only a derived one has paths to drop or an auxiliary head.
        config: Settings; the same for a resumed run.
        side: H = W of the images; needed where there is an auxiliary head.

    Attributes:
        average: Of the weights, if asked for.
        auxiliary: The second head, if asked for; no part of the network.
        planned: Epochs that fit the budget, ``[]`` int64; 0 as long as there is no plan.

    Raises:
        ValueError: an auxiliary head without `side`, or for a network that is not derived.
    """

    def __init__(
        self, network: Trained, config: RetrainConfig | None = None, *, side: int | None = None
    ) -> None:
        self.network = network
        self.average = WeightAverage(network) if config is not None and config.ema else None
        self.auxiliary: AuxiliaryHead | None = None
        parameters = [each for each in network.parameters() if each.requires_grad]
        if config is not None and config.auxiliary:
            if not isinstance(network, Network):
                raise ValueError("auxiliary: only for a derived network")
            if side is None:
                raise ValueError("side: an auxiliary head needs the side of the images")
            shape = (network.space.input_channels, side, side)
            generator = epoch_generator(config.seed, 0, _AUXILIARY)
            self.auxiliary = auxiliary_head(network, shape, generator)
            parameters += self.auxiliary.parameters()
        super().__init__(network, parameters)
        self.planned = torch.zeros((), dtype=torch.int64)

    def modules(self) -> dict[str, nn.Module]:
        """The modules by the name under which their tensors are kept; the network first."""
        modules: dict[str, nn.Module] = {"model": self.network}
        if self.average is not None:
            modules["average"] = self.average.network
        if self.auxiliary is not None:
            modules["auxiliary"] = self.auxiliary
        return modules

    def result(self) -> Trained:
        """The network to keep: the averaged one, where there is an average."""
        return self.network if self.average is None else self.average.network

    def last_epoch(self, config: TrainingConfig) -> int:
        """How many epochs the training has in all: as planned, once there is a plan."""
        return int(self.planned) or config.epochs

    def fits(self, config: RetrainConfig) -> None:
        """Raises ValueError where the state was built for other settings."""
        for name, has in (("ema", self.average), ("auxiliary", self.auxiliary)):
            if (has is not None) != bool(getattr(config, name)):
                raise ValueError(f"{name}: the state was built for other settings")
        if config.drop_path and not isinstance(self.network, Network):
            raise ValueError("drop_path: only for a derived network")

    def _live(self) -> dict[str, Tensor]:
        live = super()._live() | {"planned": self.planned}
        return live if self.average is None else live | {"average_steps": self.average.steps}


@dataclass(frozen=True, slots=True)
class RetrainRecord:
    """What one epoch of a retraining did; epoch 0 is the start, measured before any step.

    Fields as in `core.nas.search.EpochRecord`; `valid` is held out from this training. Inherited
    weights have not seen it either if it lies in the search's validation half (see
    `LabelledImages.split`), but the alphas, and ridge and temperature of a solved head, have.

    Args:
        train_loss: Of all that is descended: smoothing, auxiliary head and distillation included.
        valid_loss: Plain cross-entropy of what would be kept now (see `RetrainState.result`).
        epochs: How many there will be in all, as far as is known: a budget may shorten them.
        precision: In which the steps were computed.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    valid_loss: float
    valid_accuracy: float
    learning_rate: float
    seconds: float
    steps: int
    epochs: int
    precision: Precision


def retrain(
    state: RetrainState[Trained],
    train: LabelledImages,
    valid: LabelledImages,
    config: RetrainConfig,
    *,
    teacher: ImageClassifier | None = None,
    clock: Callable[[], float] = time.perf_counter,
    ranks: Ranks = ALONE,
    measured: bool = False,
) -> Iterator[RetrainRecord]:
    """Train a network; what the last epoch leaves in `state.result()` is the result.

    The last, not the best: the cosine ends at zero, and choosing by validation accuracy would
    make the held-out figure an optimistic one.

    Args:
        state: Advanced in place; `state.tensors()` between two records is a checkpoint.
        train: Images to train on.
        valid: Held-out images, on the same device.
        config: Settings; the same for a resumed run.
        teacher: Whose answers are matched, for instance the supernet that the network was derived
            from; put into evaluation mode. Its running statistics must fit the images, and be the
            same for a resumed run. It sees the augmented images (Beyer et al. 2022).
        clock: Seconds from any origin.
        ranks: The processes that share this retraining; each runs the same.
        measured: Whether the state is one that this has yielded before.

    Yields:
        One record per epoch, and first one for a start that was not measured before.

    Raises:
        Diverged: a loss is not finite.
        ValueError: a teacher but no share of the loss for it, or the reverse; a state built for
            other settings; another number of classes.
    """
    state.fits(config)
    _check_teacher(teacher, state.network, config)

    def prepare(epoch: int) -> Step:
        network, average = state.network, state.average
        if isinstance(network, Network):
            last = max(1, state.last_epoch(config) - 1)
            network.drop_path = config.drop_path * epoch / last
            network.path_generator = epoch_generator(config.seed, epoch, PATHS)
        return Step(
            loss=lambda images, labels: _loss(state, images, labels, config, teacher),
            after=None if average is None else lambda: average.update(network, config.ema),
        )

    spent = 0.0
    for epoch in run_epochs(
        state,
        train,
        valid,
        config,
        prepare=prepare,
        clock=clock,
        ranks=ranks,
        measured=measured,
    ):
        spent += epoch.seconds
        if epoch.index == 1 and config.budget_seconds is not None:
            # Once: plans that followed the clock would differ between a run and its resumption.
            left = config.budget_seconds - spent
            planned = planned_epochs(left, epoch.seconds, config.epochs)
            state.planned.copy_(ranks.of_first(torch.tensor(planned, device=train.labels.device)))
        yield RetrainRecord(
            epoch=epoch.index,
            train_loss=epoch.train.loss,
            train_accuracy=epoch.train.accuracy,
            valid_loss=epoch.valid.loss,
            valid_accuracy=epoch.valid.accuracy,
            learning_rate=epoch.learning_rate,
            seconds=epoch.seconds,
            steps=epoch.steps,
            epochs=state.last_epoch(config),
            precision=config.precision,
        )


def planned_epochs(left: float, epoch_seconds: float, epochs: int) -> int:
    """Epochs in all, the first of which is over: never more than asked for.

    Args:
        left: Seconds of the budget that remain; a tenth of them is kept back.
        epoch_seconds: What the first epoch took; later ones are taken to be no slower.
        epochs: As many were asked for, at least 1.
    """
    more = epochs - 1
    if epoch_seconds > 0:
        more = min(more, int(max(0.0, _SLACK * left) / epoch_seconds))
    return 1 + more


def _loss(
    state: RetrainState[Trained],
    images: Tensor,
    labels: Tensor,
    config: RetrainConfig,
    teacher: ImageClassifier | None,
) -> tuple[Tensor, Tensor]:
    def hard(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)

    if state.auxiliary is None:
        logits = widened(state.network(images))
        second = None
    else:
        assert isinstance(state.network, Network)
        logits, maps = tapped(state.network, images)
        logits, second = widened(logits), widened(state.auxiliary(maps))
    loss = hard(logits)
    if teacher is not None:
        with torch.no_grad():
            answers = widened(teacher(images))
        matching = distillation(logits, answers, config.temperature)
        loss = (1 - config.distillation) * loss + config.distillation * matching
    if second is not None:
        loss = loss + config.auxiliary * hard(second)
    return loss, logits


def _check_teacher(
    teacher: ImageClassifier | None, network: ImageClassifier, config: RetrainConfig
) -> None:
    if (teacher is not None) != bool(config.distillation):
        raise ValueError(
            f"distillation: a share of {config.distillation} "
            f"{'with' if teacher is not None else 'without'} a teacher"
        )
    if teacher is not None:
        if teacher.classes != network.classes:
            raise ValueError(
                f"teacher: of {teacher.classes} classes for a network of {network.classes}"
            )
        teacher.eval()

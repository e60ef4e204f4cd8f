"""What search and retraining share: settings, resumable state and the loop over epochs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas.augmentation import Augmentation, Augmenter
from core.nas.classifier import ImageClassifier
from core.nas.head import collect_features, install, solve_head
from core.nas.images import LabelledImages, epoch_generator
from core.nas.limits import check_limits
from core.nas.normalisation import reestimate
from core.nas.optimisers import Momentum, Optimiser
from core.nas.precision import Precision, autocast, deterministic, require, widened
from core.nas.ranks import ALONE, Ranks
from core.nas.scores import Meter, Score, measure, score

# Streams of `epoch_generator`: independent randomness within one epoch.
TRAIN, VALID, STATISTICS, PATHS = 2, 3, 4, 5

# Without a backward pass larger batches fit, and small networks spend less on each call.
MEASURING_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """Settings of a descent with momentum and a cosine schedule.

    Args:
        epochs: Passes over the training images; 0 only measures the start.
        batch_size: Largest batch.
        learning_rate: Of the first epoch after the warm-up.
        learning_rate_min: Of the cosine's end.
        warmup_epochs: Epochs in which the rate rises, linearly (Goyal et al. 2017, section 2.2).
        momentum: Of SGD.
        weight_decay: On weights.
        gradient_clip: Largest norm of the weights' gradient.
        augment: Policy of the training images' augmentation, see `Augmenter`.
        flip: Mirror training images at random; wrong for letters and digits.
        cutout: Side of the square that the policy ``cutout`` erases, as a share of the image's.
        solve_head: Solve the classifier of what is measured in closed form (`core.nas.head`), at
            the start and whenever an epoch's steps are over, so that it does not lag behind the
            features that they moved.
        statistics_images: Training images that re-estimate running statistics before measuring.
        precision: Of the weight steps' forward and backward passes; measuring is in fp32.
        deterministic: Whether an operation that may not repeat to the bit is an error.
        seed: Decides every shuffle and augmentation.

    Raises:
        ValueError: a value that is not finite or out of range.
    """

    epochs: int
    batch_size: int = 64
    learning_rate: float = 0.025
    learning_rate_min: float = 0.001
    warmup_epochs: int = 0
    momentum: float = 0.9
    weight_decay: float = 3e-4
    gradient_clip: float = 5.0
    augment: Augmentation = "shift"
    flip: bool = False
    cutout: float = 0.5
    solve_head: bool = False
    statistics_images: int = 1024
    precision: Precision = "fp32"
    deterministic: bool = False
    seed: int = 0

    LIMITS: ClassVar[dict[str, tuple[float, float]]] = {
        "epochs": (0, 100_000),
        "batch_size": (2, 65_536),
        "learning_rate": (0.0, 10.0),
        "learning_rate_min": (0.0, 10.0),
        "warmup_epochs": (0, 100_000),
        "momentum": (0.0, 0.9999),
        "weight_decay": (0.0, 1.0),
        "gradient_clip": (1e-6, 1e6),
        "cutout": (0.0, 1.0),
        "statistics_images": (2, 1_000_000_000),
        "seed": (0, 2**63 - 1),
    }

    def __post_init__(self) -> None:
        check_limits(self, self.LIMITS)
        _ = self.augmenter  # refuses what it cannot be built of
        require(self.precision, torch.device("cpu"))  # the name; the device is not known yet

    @property
    def augmenter(self) -> Augmenter:
        """What the training images go through."""
        return Augmenter(policy=self.augment, flip=self.flip, cutout=self.cutout)

    def rate(self, epoch: int, epochs: int | None = None) -> float:
        """Learning rate of the epoch with this index (cosine, Loshchilov & Hutter 2017).

        Args:
            epoch: From 0.
            epochs: Where the cosine ends; by default where the settings say.
        """
        end, warmup = self.epochs if epochs is None else epochs, self.warmup_epochs
        low, high = self.learning_rate_min, self.learning_rate
        if epoch < warmup:
            return high * (epoch + 1) / (warmup + 1)
        passed = (epoch - warmup) / max(1, end - warmup)
        return low + (high - low) * (1 + math.cos(math.pi * passed)) / 2


class TrainingState:
    """A model, its optimisers and the number of completed epochs: all that a resume needs.

    Args:
        model: Trained in place.
        weights: Parameters that the epochs' descent moves.

    Attributes:
        right: ``[M]`` bool, which validation answers were right when last measured; not kept in
            checkpoints.
    """

    def __init__(self, model: ImageClassifier, weights: Sequence[nn.Parameter]) -> None:
        self.model = model
        self.epoch = 0
        self.right: Tensor | None = None
        self.descent = Momentum(weights)

    def optimisers(self) -> dict[str, Optimiser]:
        """The optimisers by the name under which their tensors are kept."""
        return {"descent": self.descent}

    def modules(self) -> dict[str, nn.Module]:
        """The modules by the name under which their tensors are kept; the model first."""
        return {"model": self.model}

    def result(self) -> ImageClassifier:
        """What is measured after an epoch, and handed on in the end."""
        return self.model

    def last_epoch(self, config: TrainingConfig) -> int:
        """How many epochs the training has in all."""
        return config.epochs

    def tensors(self) -> dict[str, Tensor]:
        """Copies on the CPU of everything a resume needs: contiguous, fit for safetensors."""
        copies = {n: t.detach().cpu().clone().contiguous() for n, t in self._live().items()}
        copies["epoch"] = torch.tensor(self.epoch)
        return copies

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what `tensors` returned, for a state built the same way.

        Raises:
            ValueError: a tensor is missing, unknown or of another shape; nothing is changed.
        """
        live = self._live()
        different = set(tensors) ^ {*live, "epoch"}
        if different:
            name = min(different)
            raise ValueError(f"state: {'unknown' if name in tensors else 'missing'} {name!r}")
        for name, tensor in live.items():
            if tensors[name].shape != tensor.shape:
                wanted, got = list(tensor.shape), list(tensors[name].shape)
                raise ValueError(f"state: tensor {name!r} is {got}, not {wanted}")
        for name, tensor in live.items():
            tensor.copy_(tensors[name])
        self.epoch = int(tensors["epoch"])

    def _live(self) -> dict[str, Tensor]:
        live: dict[str, Tensor] = {}
        names: dict[int, str] = {}
        for place, module in self.modules().items():
            live |= {f"{place}.{name}": value for name, value in module.state_dict().items()}
            inside = "" if module is self.model else f"{place}."
            names |= {id(p): inside + name for name, p in module.named_parameters()}
        for kind, optimiser in self.optimisers().items():
            for moment, values in optimiser.moments().items():
                for parameter, value in zip(optimiser.parameters, values, strict=True):
                    live[f"{kind}.{moment}.{names[id(parameter)]}"] = value
        return live


@dataclass(frozen=True, slots=True)
class Epoch:
    """One finished epoch; index 0 is the start, measured before any step."""

    index: int
    learning_rate: float
    train: Score
    valid: Score
    steps: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the weight steps of one epoch consist of; each part may be left to its default.

    Args:
        before: Called with the batch (images, labels) before each step.
        loss: Of a batch: the scalar to descend and the logits to count hits by; plain
            cross-entropy of the model when omitted. Called in the context of the precision.
        after: Called when the weights have moved.
    """

    before: Callable[[Tensor, Tensor], None] | None = None
    loss: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    after: Callable[[], None] | None = None


def run_epochs(
    state: TrainingState,
    train: LabelledImages,
    valid: LabelledImages,
    config: TrainingConfig,
    *,
    prepare: Callable[[int], Step] = lambda _epoch: Step(),
    clock: Callable[[], float] = time.perf_counter,
    ranks: Ranks = ALONE,
    measured: bool = False,
) -> Iterator[Epoch]:
    """Train until `config.epochs`, yielding after each epoch and once before the first.

    Between two items the state is complete: saving it and loading it elsewhere gives, on the
    same kind of device and with as many threads, the same numbers to the bit.

    Args:
        state: Advanced in place.
        train: Images for the weights.
        valid: Images to measure on.
        config: Settings.
        prepare: Called with the epoch's index; returns what its steps consist of.
        clock: Seconds from any origin.
        ranks: The processes that share this training; each runs the same.
        measured: Whether the state is one that this has yielded before: its start is not yielded
            again.

    Raises:
        Diverged: a loss is not finite.
        ValueError: the device cannot compute in the precision asked for.
        RuntimeError: an operation does not repeat to the bit, where that is asked for.
    """
    require(config.precision, train.images.device)
    if not measured and state.epoch == 0:
        started = clock()
        with deterministic(config.deterministic):
            model = state.result()
            seen, valid_score = _measure(model, train, valid, config, ranks)
            if seen is None:  # later the steps tell
                seen = measure(model, _statistics_sample(train, config), MEASURING_BATCH)
        state.right = valid_score.right
        yield Epoch(
            index=0,
            learning_rate=config.rate(0),
            train=seen,
            valid=valid_score,
            steps=0,
            seconds=clock() - started,
        )
    while state.epoch < state.last_epoch(config):
        started = clock()
        rate = config.rate(state.epoch, state.last_epoch(config))
        # Never across a yield: the setting is the process's, also while others compute.
        with deterministic(config.deterministic):
            step = prepare(state.epoch)
            trained, steps = _train_epoch(state, train, config, step, ranks, rate=rate)
            state.epoch += 1
            _, valid_score = _measure(state.result(), train, valid, config, ranks)
            state.right = valid_score.right
        yield Epoch(
            index=state.epoch,
            learning_rate=rate,
            train=trained,
            valid=valid_score,
            steps=steps,
            seconds=clock() - started,
        )


def _train_epoch(
    state: TrainingState,
    train: LabelledImages,
    config: TrainingConfig,
    step: Step,
    ranks: Ranks,
    *,
    rate: float,
) -> tuple[Score, int]:
    generator = epoch_generator(config.seed, state.epoch, TRAIN)
    state.model.train()
    meter, steps = Meter(), 0
    for batch in train.batches(config.batch_size, generator, config.augmenter):
        images, labels = ranks.share(*batch)
        if step.before is not None:
            step.before(images, labels)
        with autocast(config.precision, images.device):
            if step.loss is not None:
                loss, logits = step.loss(images, labels)
            else:
                logits = widened(state.model(images))
                loss = F.cross_entropy(logits, labels)
        found = gradients(loss, state.descent.parameters)
        state.descent.step(
            ranks.average(found, len(labels), len(batch[1])),
            rate=rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            clip=config.gradient_clip,
        )
        if step.after is not None:
            step.after()
        meter.add(loss, logits, labels)
        steps += 1
    return meter.score(ranks), steps


def gradients(loss: Tensor, parameters: Sequence[nn.Parameter]) -> tuple[Tensor | None, ...]:
    """Backpropagate to `parameters` only; None for those the loss does not depend on."""
    # Naming the inputs prunes the backward pass: the architecture step needs no kernel gradients.
    found: tuple[Tensor | None, ...] = torch.autograd.grad(loss, parameters, allow_unused=True)
    return found


def _measure(
    model: ImageClassifier,
    train: LabelledImages,
    valid: LabelledImages,
    config: TrainingConfig,
    ranks: Ranks,
) -> tuple[Score | None, Score]:
    """Scores on plain training images, where that costs nothing, and on `valid`.

    Running statistics are estimated anew first: the average that training leaves makes a young
    network look like chance.
    """
    reestimate(model, _statistics_sample(train, config).batches(MEASURING_BATCH))
    if config.solve_head:
        return _solve_head(model, train, valid, ranks)
    return None, measure(model, valid, MEASURING_BATCH)


@torch.no_grad()
def _solve_head(
    model: ImageClassifier, train: LabelledImages, valid: LabelledImages, ranks: Ranks
) -> tuple[Score, Score]:
    """Solve the head for the features of `model`, the same in all processes, and score it."""
    on_train, on_valid = (
        collect_features(model, half.batches(MEASURING_BATCH)) for half in (train, valid)
    )
    install(model, solve_head(on_train, train.labels, on_valid, valid.labels, model.classes))
    if ranks.size > 1:  # each has all images, but its device may round otherwise
        for parameter in model.classifier.parameters():
            parameter.copy_(ranks.total(parameter) / ranks.size)
    return (
        score(model.classifier(on_train), train.labels),
        score(model.classifier(on_valid), valid.labels),
    )


def _statistics_sample(train: LabelledImages, config: TrainingConfig) -> LabelledImages:
    return train.sample(config.statistics_images, epoch_generator(config.seed, 0, STATISTICS))

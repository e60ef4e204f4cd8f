"""What is asked of each kind of job, and what comes back of a search."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType
from uuid import UUID

from core.domain.datasets import AS_USUAL, DatasetId, Hubness, IntakeOptions, Ranking
from core.domain.jobs import JobId
from core.domain.supernets import SupernetId
from core.domain.uploads import UploadId

SearchId = NewType("SearchId", UUID)
ModelId = NewType("ModelId", UUID)

# Of searches, and of retraining; measured in docs/adr/0021 and 0023. A warm start whose head is
# not solved again loses what it carries at the first.
RATE, CAREFUL_RATE, RETRAIN_RATE = 0.1, 0.025, 0.05


class StartPolicy(StrEnum):
    """Where a search begins.

    `RACE` lets the nearest sources, the newest supernets of several datasets and a cold start
    compete for a few steps on the target; a source only wins if it is better than cold.
    """

    RACE = "race"
    NEAREST = "nearest"
    MULTI_DATASET = "multi-dataset"
    SUPERNET = "supernet"
    COLD = "cold"


class HeadInit(StrEnum):
    """How the new classifier begins: at random, or solved in closed form (ridge regression), at
    the start only or again after every epoch."""

    RANDOM = "random"
    CLOSED_FORM = "closed_form"
    EVERY_EPOCH = "closed_form_every_epoch"


class Method(StrEnum):
    """The differentiable search that fits alphas to the dataset (`core.nas.methods`)."""

    DARTS = "darts"
    DARTS_SECOND_ORDER = "darts-second-order"
    PC_DARTS = "pc-darts"
    DRNAS = "drnas"
    SDARTS_RS = "sdarts-rs"
    DARTS_MINUS = "darts-minus"
    OP_DROPPING = "op-dropping"


class Selection(StrEnum):
    """How cells are chosen when the search is over (`core.nas.selection`)."""

    MAGNITUDE = "magnitude"
    PERTURBATION = "perturbation"
    BEST_OF = "best-of"
    JACOBIAN = "jacobian"
    FISHER_RAO = "fisher-rao"


class Objective(StrEnum):
    """What a network is judged by besides its accuracy."""

    PARAMETERS = "parameters"
    FLOPS = "flops"
    LATENCY = "latency"


class TradeOffs(StrEnum):
    """How the cells that trade accuracy off with objectives are found: by NSGA-II, or in rounds
    that a predictor proposes and shared weights follow (`core.nas.refinement`)."""

    NSGA2 = "nsga2"
    REFINED = "refined"


@dataclass(frozen=True, slots=True)
class SpaceSpec:
    """The search space of a cold start, and of a warm one that adapts its source; any other warm
    start takes its source's."""

    channels: int = 8
    layers: int = 4
    nodes: int = 4
    resolution: int = 32
    cells: str = "darts"


@dataclass(frozen=True, slots=True)
class Training:
    """The bilevel loop's settings (`core.nas.search.SearchConfig` says what each does).

    With the `guard` a search that collapses ends early, and a derived normal cell has at most
    `max_skips` skip connections. `paths` sub-networks learn beside the mixture in every step;
    `generalisation_gap` weighs the difference between both halves in what the alphas descend.
    Where `batch_size` does not fit in the GPU's free memory, or with `fit_batch` in any machine's,
    the batch is the largest power of two that does; `recompute` trades time for memory.
    """

    epochs: int = 20
    batch_size: int = 64
    alpha_learning_rate: float = 3e-3
    weight_decay: float = 3e-4
    seed: int = 0
    method: Method = Method.DARTS
    guard: bool = True
    max_skips: int = 2
    paths: int = 0
    generalisation_gap: float = 0.0
    fit_batch: bool = False
    recompute: bool = False
    precision: str = "fp32"


@dataclass(frozen=True, slots=True)
class Retraining:
    """How the derived network is trained; `core.nas.retrain.RetrainConfig` says what each does."""

    augment: str = "shift"
    flip: bool = False
    drop_path: float = 0.0
    auxiliary: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0
    distillation: float = 0.0
    precision: str = "fp32"
    solve_head: bool = False
    budget_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What a search may take at most, all its attempts together; None: as much as it takes.

    The search proper ends early enough that choosing, retraining and exporting fit in. `epochs`
    are those of searching and of retraining; `gpu_seconds` count each GPU, and no CPU.
    """

    seconds: float | None = None
    gpu_seconds: float | None = None
    epochs: int | None = None


@dataclass(frozen=True, slots=True)
class AtMost:
    """What the network that is handed back may cost: learned numbers, or multiply-adds of one
    image. None: as much as the strongest cells do."""

    parameters: int | None = None
    flops: int | None = None


@dataclass(frozen=True, slots=True)
class IngestSpec:
    """Make a dataset of complete uploads, and embed it; `parent_id` is what it is a version of.

    Without uploads it is made of the images of `parent_id` but those that the options leave out.
    """

    uploads: tuple[UploadId, ...]
    name: str
    embedder: str
    options: IntakeOptions = AS_USUAL
    licence: str | None = None
    source: str | None = None
    parent_id: DatasetId | None = None


@dataclass(frozen=True, slots=True)
class EmbedSpec:
    """Embed one dataset."""

    dataset_id: DatasetId
    embedder: str


@dataclass(frozen=True, slots=True)
class RankSpec:
    """Rank one dataset against every other that the embedder has seen, or only against those
    that a supernet was trained on; the nearest `k` are wanted, with their evidence."""

    dataset_id: DatasetId
    embedder: str
    k: int = 10
    supernets_only: bool = False
    hubness: Hubness = Hubness.NONE


@dataclass(frozen=True, slots=True)
class PretrainSpec:
    """Train a supernet on one dataset, or on it and `others` at once, and register it.

    With others an epoch is a round of `steps` batches, each of one of the datasets
    (`core.nas.multi_dataset`), and nothing is derived: guard and skips have no say. It may
    `continue_from` a supernet of several datasets: those of them that are here are among the
    others then, so that they are not forgotten.
    """

    dataset_id: DatasetId
    name: str
    embedder: str
    space: SpaceSpec = field(default_factory=SpaceSpec)
    training: Training = field(default_factory=Training)
    learning_rate: float = 0.05
    others: tuple[DatasetId, ...] = ()
    steps: int = 100
    continue_from: SupernetId | None = None

    @property
    def shared(self) -> bool:
        """Whether the supernet belongs to no single dataset."""
        return bool(self.others) or self.continue_from is not None


@dataclass(frozen=True, slots=True)
class SearchSpec:
    """Search on one dataset.

    With several learning rates each is searched in full and the best by validation accuracy is
    kept; every one of them is paid for and recorded; None leaves them to the start. A search that
    has not become better, beyond noise, for `patience` epochs ends (0: none does; None: a tenth of
    its epochs where the head is solved after each, else 0, for what it can do does not show), and
    retraining has two epochs more for each that this saves. The cells are the strongest whose
    network costs `at_most` so much. With objectives the cells that no
    other beats in all of them are listed, as `trade_offs` finds them. With `adapt` sources
    are adapted to `space` instead of bringing their own. Only with `contribute` is the searched
    supernet registered, as a source for others. `deadline` is when it has to be over: what has
    not begun by then fails, and what runs has the seconds until then as a budget. `labels` are
    the asker's own words for finding it again. A `genotype` in the form models tell theirs is not
    searched for: it is built in the `space` and trained from random weights for `retrain_epochs`.
    """

    dataset_id: DatasetId
    embedder: str
    policy: StartPolicy = StartPolicy.RACE
    supernet_id: SupernetId | None = None
    head: HeadInit = HeadInit.EVERY_EPOCH
    space: SpaceSpec = field(default_factory=SpaceSpec)
    adapt: bool = False
    training: Training = field(default_factory=Training)
    learning_rates: tuple[float, ...] | None = None
    patience: int | None = None
    retrain_epochs: int = 20
    retrain_learning_rate: float = RETRAIN_RATE
    retraining: Retraining = field(default_factory=Retraining)
    selection: Selection = Selection.MAGNITUDE
    at_most: AtMost = field(default_factory=AtMost)
    objectives: tuple[Objective, ...] = ()
    trade_offs: TradeOffs = TradeOffs.NSGA2
    contribute: bool = False
    budget: Budget = field(default_factory=Budget)
    deadline: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    genotype: Mapping[str, Any] | None = None

    @property
    def waits(self) -> int:
        """The patience of its searches, in epochs."""
        if self.genotype is not None:
            return 0
        if self.patience is not None:
            return self.patience
        solved = self.head is HeadInit.EVERY_EPOCH
        return max(1, self.training.epochs // 10) if solved else 0

    def rates(self, *, warm: bool) -> tuple[float, ...]:
        """The learning rates of a search with this kind of start; none where none is searched."""
        if self.genotype is not None:
            return ()
        if self.learning_rates is not None:
            return self.learning_rates
        careful = warm and self.head is not HeadInit.EVERY_EPOCH
        return (CAREFUL_RATE if careful else RATE,)

    @property
    def capped(self) -> "SearchSpec":
        """The same with as many epochs as its budget has, those of retraining first: they are
        worth more than a longer search (ADR 0023). Each search has one at least."""
        most, searches = self.budget.epochs, len(self.rates(warm=True))
        if most is None:
            return self
        if not searches:
            return replace(self, retrain_epochs=min(self.retrain_epochs, most))
        kept = min(self.retrain_epochs, most - searches)
        each = min(self.training.epochs, (most - kept) // searches)
        retrained = min(self.retrain_epochs, most - searches * each)
        training = replace(self.training, epochs=each)
        return replace(self, training=training, retrain_epochs=retrained)


@dataclass(frozen=True, slots=True)
class Artifact:
    """One downloadable file of a model."""

    name: str
    key: str
    sha256: str
    size: int
    media_type: str


@dataclass(frozen=True, slots=True)
class Search:
    """One request and, when its job has succeeded, its result."""

    id: SearchId
    dataset_id: DatasetId
    job_id: JobId
    spec: Mapping[str, Any]
    ranking: Ranking | None
    start: Mapping[str, Any] | None
    model_id: ModelId | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Model:
    """What the user came for: a genotype with weights, its metrics and its files."""

    id: ModelId
    search_id: SearchId
    dataset_id: DatasetId
    genotype: Mapping[str, Any]
    metrics: Mapping[str, Any]
    artifacts: tuple[Artifact, ...]
    manifest_key: str
    manifest_sha256: str
    created_at: datetime

    def artifact(self, name: str) -> Artifact | None:
        """The file of that name, if the model has it."""
        return next((item for item in self.artifacts if item.name == name), None)


def limit_of(spec: Mapping[str, Any]) -> str | None:
    """What the network that a request asked for may cost, as "50,000 parameters"."""
    limits = spec.get("at_most") or {}  # a request of an earlier release has none
    named = {"parameters": "parameters", "flops": "multiply-adds"}
    told = [f"{limits[name]:,} {what}" for name, what in named.items() if limits.get(name)]
    return told[0] if told else None

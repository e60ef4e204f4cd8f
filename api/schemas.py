"""Request bodies: strict, so that a typing slip is an answer and not a surprise."""

import unicodedata
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from core.domain import embedders
from core.domain.datasets import (
    AS_USUAL,
    MOST_LEFT_OUT,
    DatasetId,
    Hubness,
    ImagePlace,
    IntakeOptions,
)
from core.domain.groups import PretrainEach
from core.domain.searches import (
    IngestSpec,
    Method,
    PretrainSpec,
    RankSpec,
    Retraining,
    SpaceSpec,
    Training,
)
from core.domain.supernets import SupernetId
from core.domain.uploads import UploadId
from core.services.specs import MOST_ARCHIVES

LONGEST_NAME = 120
MOST_DATASETS = 1000  # that one supernet is trained on
MOST_TOGETHER = 500  # jobs that one request queues: its transaction stays short
MOST_NEIGHBOURS = 100
MOST_ITEMS = 10_000  # of a list or an object of a body: far more than any takes
SPACE, TRAINING, RETRAINING = SpaceSpec(), Training(), Retraining()


def as_stored(name: str) -> str:
    """How a name is spelled once it is taken: composed, with one kind of space, trimmed."""
    return _one_kind_of_space(unicodedata.normalize("NFC", name)).strip()


def clean_name(name: str) -> str:
    """A name fit to show, on one line. Raises ValueError, saying why not."""
    composed = as_stored(name)
    if not composed:
        raise ValueError("a name needs at least one character")
    if len(composed) > LONGEST_NAME:
        raise ValueError(f"a name has at most {LONGEST_NAME} characters")
    # Control, format (bidirectional overrides), surrogate and private-use characters, and the
    # separators of lines: the registry refuses the same, but only after the files are stored.
    if not composed.isprintable():
        raise ValueError("a name holds no control or invisible characters")
    if "\N{REPLACEMENT CHARACTER}" in composed:  # what decoding leaves where bytes were not UTF-8
        raise ValueError("a name is text in UTF-8")
    return composed


def _one_kind_of_space(text: str) -> str:
    """File names hold no-break and wide spaces, which look like the plain one."""
    return "".join(" " if unicodedata.category(each) == "Zs" else each for each in text)


Name = Annotated[
    str,
    AfterValidator(clean_name),
    Field(json_schema_extra={"minLength": 1, "maxLength": LONGEST_NAME}),
]
Whole = Annotated[int, Field(strict=True)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
LearningRate = Annotated[Real, Field(gt=0, le=10)]
Flag = Annotated[bool, Field(strict=True)]


class Body(BaseModel):
    """Unknown fields are refused; so are NaN, infinities, and true for 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _countable(cls, given: Any) -> Any:
        """Raise ValueError before a mistake is told of each of far too many items."""
        parts = [given, *given.values()] if isinstance(given, dict) else []
        if any(isinstance(each, list | dict) and len(each) > MOST_ITEMS for each in parts):
            raise ValueError(f"a list or an object has more than {MOST_ITEMS} items")
        return given

    @model_validator(mode="before")
    @classmethod
    def _one_kind_of_number(cls, given: Any) -> Any:
        """2.0 is 2 in JSON, where 2 is wanted."""
        if not isinstance(given, dict):
            return given
        return {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in given.items()
        }


class IntakeBody(Body):
    """What a dataset is to be called, where it comes from, and how it is to be read."""

    name: Name
    seed: Whole = AS_USUAL.seed
    test_share: Real = AS_USUAL.test_share
    group: str | None = None
    unreadable_share: Real | None = None
    label: str | None = None
    licence: str | None = None
    source: str | None = None
    parent_id: UUID | None = None

    def options(self) -> IntakeOptions:
        """As the domain says it. Raises InvalidInput (`bad_options`)."""
        return IntakeOptions(
            self.seed, self.test_share, self.group, self.unreadable_share, self.label
        )


class IngestBody(IntakeBody):
    """Make a dataset of complete uploads; several are one dataset, and their files' names may say
    the splits. Further fields as the query parameters of an upload in one request."""

    uploads: Annotated[tuple[UUID, ...], Field(min_length=1, max_length=MOST_ARCHIVES)]

    def to_spec(self, embedder: str) -> IngestSpec:
        """As the domain says it. Raises InvalidInput (`bad_options`)."""
        return IngestSpec(
            uploads=tuple(UploadId(each) for each in self.uploads),
            name=self.name,
            embedder=embedder,
            options=self.options(),
            licence=self.licence,
            source=self.source,
            parent_id=None if self.parent_id is None else DatasetId(self.parent_id),
        )


class ImageBody(Body):
    """An image of a dataset, by its place in its split from 0."""

    split: Literal["train", "test"]
    index: Annotated[Whole, Field(ge=0)]


class LeaveOutBody(Body):
    """Make the next version of a dataset, without these images; `name` is the dataset's own unless
    another is given."""

    images: Annotated[tuple[ImageBody, ...], Field(min_length=1, max_length=MOST_LEFT_OUT)]
    name: Name | None = None

    def places(self) -> list[ImagePlace]:
        """As the domain says it."""
        return [ImagePlace(each.split, each.index) for each in self.images]


class SpaceBody(Body):
    """The search space of a start from nothing; a warm start takes its source's, or with `adapt`
    this one."""

    channels: Annotated[Whole, Field(ge=2, le=128, multiple_of=2)] = SPACE.channels
    layers: Annotated[Whole, Field(ge=3, le=40)] = SPACE.layers
    nodes: Annotated[Whole, Field(ge=1, le=8)] = SPACE.nodes
    resolution: Annotated[Whole, Field(ge=8, le=256)] = SPACE.resolution
    cells: Literal["darts", "s2", "s3", "nas-bench-201"] = "darts"

    def to_spec(self) -> SpaceSpec:
        """As the domain says it."""
        return SpaceSpec(self.channels, self.layers, self.nodes, self.resolution, self.cells)


class TrainingBody(Body):
    """The bilevel loop's settings."""

    epochs: Annotated[Whole, Field(ge=1, le=10_000)] = TRAINING.epochs
    batch_size: Annotated[Whole, Field(ge=2, le=4_096)] = TRAINING.batch_size
    alpha_learning_rate: LearningRate = TRAINING.alpha_learning_rate
    weight_decay: Annotated[Real, Field(ge=0, le=1)] = TRAINING.weight_decay
    seed: Annotated[Whole, Field(ge=0, lt=2**31)] = TRAINING.seed
    method: Method = TRAINING.method
    guard: Flag = TRAINING.guard
    max_skips: Annotated[Whole, Field(ge=0, le=64)] = TRAINING.max_skips
    paths: Annotated[Whole, Field(ge=0, le=64)] = TRAINING.paths
    generalisation_gap: Annotated[Real, Field(ge=0, le=10)] = TRAINING.generalisation_gap
    fit_batch: Flag = TRAINING.fit_batch
    recompute: Flag = TRAINING.recompute
    precision: Literal["fp32", "bf16"] = "fp32"

    def to_spec(self) -> Training:
        """As the domain says it."""
        return Training(**self.model_dump())


class RetrainingBody(Body):
    """How the derived network is trained."""

    augment: Literal["none", "shift", "cutout", "trivial", "auto"] = "shift"
    flip: Flag = RETRAINING.flip
    drop_path: Annotated[Real, Field(ge=0, le=0.9)] = RETRAINING.drop_path
    auxiliary: Annotated[Real, Field(ge=0, le=10)] = RETRAINING.auxiliary
    label_smoothing: Annotated[Real, Field(ge=0, le=0.99)] = RETRAINING.label_smoothing
    ema: Annotated[Real, Field(ge=0, le=0.99999)] = RETRAINING.ema
    distillation: Annotated[Real, Field(ge=0, le=1)] = RETRAINING.distillation
    precision: Literal["fp32", "bf16"] = "fp32"
    solve_head: Flag = RETRAINING.solve_head
    budget_seconds: Annotated[Real, Field(gt=0, le=1e7)] | None = None

    def to_spec(self) -> Retraining:
        """As the domain says it."""
        return Retraining(**self.model_dump())


def known_embedder(identifier: str) -> str:
    """A name with a version that some worker may know. Raises ValueError, saying what to write."""
    embedders.check(identifier)
    return identifier


class EmbedderBody(Body):
    """Which embedder to see datasets through; the service's default when left out."""

    embedder: Annotated[str, Field(max_length=64), AfterValidator(known_embedder)] | None = None


class RankBody(EmbedderBody):
    """What to rank, and how; every other dataset that the embedder has seen when left out."""

    k: Annotated[Whole, Field(ge=1, le=MOST_NEIGHBOURS)] = 10
    supernets_only: Flag = False
    hubness: Hubness = Hubness.NONE

    def to_spec(self, dataset_id: UUID, embedder: str) -> RankSpec:
        """As the domain says it; `embedder` is the service's default."""
        return RankSpec(
            dataset_id=DatasetId(dataset_id),
            embedder=self.embedder or embedder,
            k=self.k,
            supernets_only=self.supernets_only,
            hubness=self.hubness,
        )


DEFAULT_EMBEDDER = EmbedderBody()
DEFAULT_RANK = RankBody()


class PretrainBody(Body):
    """Train a supernet on one dataset and register it as a source; with `others` on all of them
    at once, in `training.epochs` rounds of `steps` batches. With `continue_from` a supernet of
    several datasets goes on learning, on these and on all of its own that are here."""

    dataset_id: UUID
    name: Name
    space: SpaceBody = SpaceBody()
    training: TrainingBody = TrainingBody()
    learning_rate: LearningRate = 0.05
    others: Annotated[tuple[UUID, ...], Field(max_length=MOST_DATASETS - 1)] = ()
    steps: Annotated[Whole, Field(ge=1, le=1_000_000)] = 100
    continue_from: UUID | None = None

    def to_spec(self, embedder: str) -> PretrainSpec:
        """As the domain says it."""
        return PretrainSpec(
            dataset_id=DatasetId(self.dataset_id),
            name=self.name,
            embedder=embedder,
            space=self.space.to_spec(),
            training=self.training.to_spec(),
            learning_rate=self.learning_rate,
            others=tuple(DatasetId(each) for each in self.others),
            steps=self.steps,
            continue_from=None if self.continue_from is None else SupernetId(self.continue_from),
        )


def distinct(dataset_ids: tuple[UUID, ...]) -> tuple[UUID, ...]:
    """Each of them once. Raises ValueError."""
    if len(set(dataset_ids)) < len(dataset_ids):
        raise ValueError("name each dataset once")
    return dataset_ids


class PretrainEachBody(Body):
    """Train a supernet on each of several datasets, all with the same settings, and register
    each as a source under its dataset's name."""

    dataset_ids: Annotated[
        tuple[UUID, ...], Field(min_length=1, max_length=MOST_TOGETHER), AfterValidator(distinct)
    ]
    space: SpaceBody = SpaceBody()
    training: TrainingBody = TrainingBody()
    learning_rate: LearningRate = 0.05

    def to_spec(self, embedder: str) -> PretrainEach:
        """As the domain says it."""
        return PretrainEach(
            dataset_ids=tuple(DatasetId(each) for each in self.dataset_ids),
            embedder=embedder,
            space=self.space.to_spec(),
            training=self.training.to_spec(),
            learning_rate=self.learning_rate,
        )

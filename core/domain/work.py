"""What each kind of job is given and what it hands back.

The supervisor resolves the inputs in one short transaction after the claim and records the outcome
in another; the pipeline between them never sees the database.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.domain.datasets import Dataset, DatasetId, DatasetReport, Embedding, Ranking
from core.domain.prunings import PruneSpec, PruningId
from core.domain.races import PastRace
from core.domain.searches import (
    Artifact,
    EmbedSpec,
    IngestSpec,
    PretrainSpec,
    RankSpec,
    SearchSpec,
)
from core.domain.supernets import SupernetId
from core.domain.uploads import Part, Upload


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """A supernet that a job may start from, and its weights' place in the store."""

    id: SupernetId
    name: str
    space: Mapping[str, Any]
    resolution: int
    key: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Source:
    """A registered dataset that a target is compared with.

    `embedding` says where its statistics are; its centre is left out, for there may be a thousand
    of these. `supernet` is the newest one trained on it, if there is one. `centre` is set when the
    job itself has to choose by it: 32-bit floats, little-endian, in base64.
    """

    dataset_id: DatasetId
    dataset_name: str
    classes: tuple[str, ...]
    embedding: Embedding
    statistics_only: bool = False
    supernet: StartingPoint | None = None
    centre: str = ""


@dataclass(frozen=True, slots=True)
class Trunk:
    """A registered supernet as an embedder; `source` is the dataset it was trained on."""

    supernet_id: SupernetId
    space: Mapping[str, Any]
    resolution: int
    key: str
    sha256: str
    source: Dataset


@dataclass(frozen=True, slots=True)
class IngestInputs:
    """An intake job's inputs: its uploads, each with the parts that its bytes lie in, or the
    `parent` of whose images it is made."""

    spec: IngestSpec
    uploads: tuple[tuple[Upload, tuple[Part, ...]], ...]
    parent: Dataset | None = None


@dataclass(frozen=True, slots=True)
class EmbedInputs:
    """An embed job's inputs; `embedding` is set when there is nothing left to do."""

    spec: EmbedSpec
    dataset: Dataset
    embedding: Embedding | None = None
    trunk: Trunk | None = None


@dataclass(frozen=True, slots=True)
class RankInputs:
    """A rank job's inputs; `embedding` is None when the target has not been embedded yet.

    `considered` sources of the kind asked for are registered, the target excluded. Of a large
    registry only those with the nearest centres are in `sources`: every one left out has its
    centre `beyond` or farther from the target's (None: nothing is left out). A target without an
    embedding has no centre yet: all are there, with theirs, and the job chooses.
    """

    spec: RankSpec
    dataset: Dataset
    embedding: Embedding | None
    sources: tuple[Source, ...]
    trunk: Trunk | None = None
    considered: int = 0
    beyond: float | None = None


@dataclass(frozen=True, slots=True)
class PretrainInputs:
    """A pretrain job's inputs; `others` are further datasets to train on at the same time,
    `parent` is what it goes on from."""

    spec: PretrainSpec
    dataset: Dataset
    embedding: Embedding | None
    trunk: Trunk | None = None
    others: tuple[Dataset, ...] = ()
    parent: StartingPoint | None = None


@dataclass(frozen=True, slots=True)
class SearchInputs:
    """A search job's inputs; `sources` are those it may start from, each with its supernet: none
    when cold. `shared` are supernets of no single dataset that it may start from, newest first.
    `considered` and `beyond` as in `RankInputs`. `history` has the races of earlier searches on
    other datasets. `until` is how many seconds the job may have taken, all attempts together,
    when its deadline is reached."""

    spec: SearchSpec
    dataset: Dataset
    embedding: Embedding | None
    sources: tuple[Source, ...]
    trunk: Trunk | None = None
    considered: int = 0
    beyond: float | None = None
    shared: tuple[StartingPoint, ...] = ()
    history: tuple[PastRace, ...] = ()
    until: float | None = None


@dataclass(frozen=True, slots=True)
class KnownMask:
    """A mask that a finished pruning has learned on a dataset, with the scores of its components
    where they were kept, and its trained network's weights."""

    pruning_id: PruningId
    dataset_id: DatasetId
    dataset_name: str
    mask: Mapping[str, list[int]]
    scores: Mapping[str, list[float]] | None = None
    weights: Artifact | None = None


@dataclass(frozen=True, slots=True)
class PruneInputs:
    """A prune job's inputs; `source` is whose images decide what stays, unless there is a `mask`
    already. `weights` are in an upload, with the parts that its bytes lie in. `known` are masks to
    choose from, and `ranked` what their datasets are ranked by. `carried` are the weights of the
    network that the `mask` is from."""

    spec: PruneSpec
    dataset: Dataset
    source: Dataset
    mask: Mapping[str, list[int]] | None = None
    weights: tuple[Upload, tuple[Part, ...]] | None = None
    known: tuple[KnownMask, ...] = ()
    ranked: RankInputs | None = None
    carried: Artifact | None = None


Inputs = IngestInputs | EmbedInputs | RankInputs | PretrainInputs | SearchInputs | PruneInputs


@dataclass(frozen=True, slots=True)
class IngestOutcome:
    """What an intake job hands back; the images are stored."""

    sha256: str
    classes: tuple[str, ...]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    channels: int
    report: DatasetReport
    originals_sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class EmbedOutcome:
    """What an embed job hands back to be recorded."""

    embedding: Embedding


@dataclass(frozen=True, slots=True)
class RankOutcome:
    """What a rank job hands back; `embedding` is set when the job had to compute it first."""

    ranking: Ranking
    embedding: Embedding | None


@dataclass(frozen=True, slots=True)
class PretrainOutcome:
    """What a pretrain job hands back."""

    space: Mapping[str, Any]
    resolution: int
    key: str
    sha256: str
    metrics: Mapping[str, Any]
    seconds: float
    embedding: Embedding | None


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What a search job hands back; `contribution` is its supernet, where that was agreed to."""

    ranking: Ranking | None
    start: Mapping[str, Any]
    genotype: Mapping[str, Any]
    metrics: Mapping[str, Any]
    artifacts: tuple[Artifact, ...]
    manifest_key: str
    manifest_sha256: str
    embedding: Embedding | None
    contribution: PretrainOutcome | None = None


@dataclass(frozen=True, slots=True)
class PruneOutcome:
    """What a prune job hands back."""

    mask: Mapping[str, list[int]]
    metrics: Mapping[str, Any]
    artifacts: tuple[Artifact, ...]
    manifest_key: str
    manifest_sha256: str
    embedding: Embedding | None = None


Outcome = (
    IngestOutcome | EmbedOutcome | RankOutcome | PretrainOutcome | SearchOutcome | PruneOutcome
)

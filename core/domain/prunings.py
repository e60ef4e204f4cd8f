"""What is asked of the pruning of a known network, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType
from uuid import UUID

from core.domain.datasets import DatasetId
from core.domain.jobs import JobId
from core.domain.searches import Artifact
from core.domain.uploads import UploadId

PruningId = NewType("PruningId", UUID)
HALF = 0.5


class Architecture(StrEnum):
    """A network of torchvision, called as it is there."""

    RESNET18 = "resnet18"
    RESNET34 = "resnet34"
    VGG11_BN = "vgg11_bn"
    MOBILENET_V2 = "mobilenet_v2"
    MOBILENET_V3_SMALL = "mobilenet_v3_small"


class MaskPolicy(StrEnum):
    """Where a mask comes from: a search, or what earlier ones have found on other datasets."""

    SEARCH = "search"
    NEAREST = "nearest"
    COMBINE = "combine"


class Counted(StrEnum):
    """What of a network is counted: its learned numbers, or multiply-adds of one image."""

    PARAMETERS = "parameters"
    FLOPS = "flops"


@dataclass(frozen=True, slots=True)
class PruneSpec:
    """Find out which channels and blocks of a known network a dataset needs, remove the others,
    and train what is left.

    The mask is learned on `source_id`, where that is given, instead of the dataset itself; or it
    is that of the pruning `mask_from`, and nothing is searched: its share, measure and blocks are
    this one's then. By policy it is that of the nearest other dataset that has one, or combined:
    of those that `masks_from` names, or of the nearest; `embedder` says what is near. `weights` is
    the upload of a safetensors state that the search begins from, and with `inherit` the training,
    too; both begin with fresh ones otherwise. Where one mask is taken over, `inherit` without
    `weights` begins with those of the network it is from. With `controls` the whole network, and
    what is left by magnitude and by chance at the same size, are trained alike. A `share` of None
    is half of the network, or the mask's; with a `gamma`, nats that the whole network costs, it is
    what is worth its price. With `noise` a search draws its masks, and with `resample_steps` its
    weights anew after so many steps.
    """

    dataset_id: DatasetId
    architecture: Architecture
    source_id: DatasetId | None = None
    share: float | None = None
    gamma: float | None = None
    measure: Counted = Counted.PARAMETERS
    blocks: bool = False
    mask: MaskPolicy = MaskPolicy.SEARCH
    mask_from: PruningId | None = None
    masks_from: tuple[PruningId, ...] = ()
    embedder: str | None = None
    weights: UploadId | None = None
    inherit: bool = False
    controls: bool = False
    resolution: int = 32
    epochs: int = 20
    retrain_epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.05
    weight_decay: float = 5e-4
    seed: int = 0
    noise: bool = False
    resample_steps: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def learned_on(self) -> DatasetId:
        """The dataset whose images decide, where the mask is not taken over."""
        return self.dataset_id if self.source_id is None else self.source_id

    @property
    def searches(self) -> bool:
        """Whether a mask is learned, not taken over."""
        return self.mask is MaskPolicy.SEARCH and self.mask_from is None

    @property
    def carries(self) -> bool:
        """Whether training begins with the weights of the network that the mask is from."""
        return self.inherit and self.weights is None

    @property
    def wanted(self) -> float:
        """The share that is to be left."""
        return HALF if self.share is None else self.share


@dataclass(frozen=True, slots=True)
class Pruning:
    """One request and, when its job has succeeded, its result: `mask` says by group of channels
    which chunks stay."""

    id: PruningId
    dataset_id: DatasetId
    job_id: JobId
    spec: Mapping[str, Any]
    mask: Mapping[str, Any] | None
    metrics: Mapping[str, Any] | None
    artifacts: tuple[Artifact, ...]
    manifest_key: str | None
    manifest_sha256: str | None
    created_at: datetime

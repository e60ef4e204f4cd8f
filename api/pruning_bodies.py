"""What is asked of prunings."""

from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import Field

from api.schemas import Body, Flag, LearningRate, Real, Whole
from api.search_bodies import EXACTLY, LabelName, LabelValue
from core.domain.datasets import DatasetId
from core.domain.prunings import Architecture, Counted, MaskPolicy, PruneSpec, PruningId
from core.domain.uploads import UploadId
from core.services.jobs import MOST_URGENT
from core.services.specs import MOST_LABELS, MOST_MASKS, SMALLEST_KNOWN

AS_USUAL: Final = PruneSpec(DatasetId(UUID(int=0)), Architecture.RESNET18)


class PruningBody(Body):
    """Find out which channels of a known network a dataset needs, remove the others, and train
    what is left.

    The mask is learned on `source_id`, where that is given; or it is that of an earlier pruning,
    `mask_from`, and so are share, measure and blocks. By `mask` it is taken over from the
    `nearest` other dataset that has one at about this share, or `combine`d of several: of those
    that `masks_from` names, or of the nearest. `weights` is a complete upload, the state of the
    whole architecture as safetensors, that the search begins from, and with `inherit` the
    training, too. Where one mask is taken over, `inherit` without `weights` begins with those of
    the network that it is from. `share` is a half unless something else is asked for;
    with `gamma` it is left to the search: a component stays that is worth its part of so many
    nats of loss.
    """

    dataset_id: UUID
    architecture: Architecture
    source_id: UUID | None = None
    share: Annotated[Real, Field(gt=0, le=0.99)] | None = None
    gamma: Annotated[Real, Field(gt=0, le=1e6)] | None = None
    measure: Counted = AS_USUAL.measure
    blocks: Flag = AS_USUAL.blocks
    mask: MaskPolicy = AS_USUAL.mask
    mask_from: UUID | None = None
    masks_from: Annotated[tuple[UUID, ...], Field(max_length=MOST_MASKS)] = ()
    weights: UUID | None = None
    inherit: Flag = AS_USUAL.inherit
    controls: Flag = AS_USUAL.controls
    resolution: Annotated[Whole, Field(ge=SMALLEST_KNOWN, le=256)] = AS_USUAL.resolution
    epochs: Annotated[Whole, Field(ge=1, le=10_000)] = AS_USUAL.epochs
    retrain_epochs: Annotated[Whole, Field(ge=1, le=10_000)] = AS_USUAL.retrain_epochs
    batch_size: Annotated[Whole, Field(ge=2, le=4_096)] = AS_USUAL.batch_size
    learning_rate: LearningRate = AS_USUAL.learning_rate
    weight_decay: Annotated[Real, Field(ge=0, le=1)] = AS_USUAL.weight_decay
    seed: Annotated[Whole, Field(ge=0, lt=2**31)] = AS_USUAL.seed
    noise: Flag = AS_USUAL.noise
    resample_steps: Annotated[Whole, Field(ge=0, le=1_000_000)] = AS_USUAL.resample_steps
    labels: Annotated[
        dict[LabelName, LabelValue], Field(max_length=MOST_LABELS, json_schema_extra=EXACTLY)
    ] = Field(default_factory=dict)
    priority: Annotated[Whole, Field(ge=-MOST_URGENT, le=MOST_URGENT)] = 0

    def to_spec(self, embedder: str) -> PruneSpec:
        """As the domain says it; what is near is seen by `embedder`."""
        said: dict[str, Any] = {
            name: getattr(self, name) for name in type(self).model_fields if name != "priority"
        }
        for name, kind in (
            ("dataset_id", DatasetId),
            ("source_id", DatasetId),
            ("mask_from", PruningId),
            ("weights", UploadId),
        ):
            said[name] = None if said[name] is None else kind(said[name])
        said["masks_from"] = tuple(map(PruningId, self.masks_from))
        ranks = self.mask is not MaskPolicy.SEARCH
        return PruneSpec(**said, embedder=embedder if ranks else None)

"""What rows keep as JSON, as the API shows it: the fields that are counted on, and maybe more."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field
from typing_extensions import TypedDict

from api.views.shapes import finite
from core.domain.supernets import LineageKind

MORE = ConfigDict(extra="allow")
Edge = tuple[str, int]
Cell = Annotated[
    list[list[Edge]], Field(description="Of each node its kept edges: operation, source.")
]


class ResultView(TypedDict, total=False):
    """What a job has made; which of these it has goes by its kind."""

    __pydantic_config__ = MORE  # type: ignore[misc]

    dataset_id: Annotated[UUID, Field(description="Of every kind but `group`.")]
    created: Annotated[bool, Field(description="`ingest`: false when the content was known.")]
    embed_job_id: Annotated[
        UUID | None, Field(description="`ingest`: the job that embeds the dataset.")
    ]
    embedder: Annotated[str, Field(description="Of jobs that embedded their dataset.")]
    neighbours: Annotated[int, Field(description="`rank`: how many are kept.")]
    search_id: Annotated[UUID, Field(description="`search`.")]
    model_id: Annotated[UUID, Field(description="`search`.")]
    supernet_id: Annotated[UUID, Field(description="`pretrain`; `search` that contributes.")]
    jobs: Annotated[int, Field(description="`group`: how many there were.")]


class SpaceView(TypedDict, total=False):
    """A search space."""

    __pydantic_config__ = MORE  # type: ignore[misc]

    channels: int
    layers: int
    nodes: int
    cells: str
    stem_multiplier: int
    input_channels: int
    stem_stride: int
    partial: int


class GenotypeView(TypedDict, total=False):
    """The cells that were found: node `k` of a cell with i inputs is state `k + i`, and an edge's
    source is a state."""

    __pydantic_config__ = MORE  # type: ignore[misc]

    normal: Cell
    reduction: Cell
    cells: str


class TrainedOnView(TypedDict, total=False):
    """A dataset that a supernet was trained on, which need not be registered here."""

    __pydantic_config__ = MORE  # type: ignore[misc]

    name: str
    sha256: str
    classes: int
    images: int


class LineageView(TypedDict, total=False):
    """Where a supernet's knowledge comes from. `parents` are the SHA-256 of the supernets that it
    was continued from."""

    __pydantic_config__ = MORE  # type: ignore[misc]

    kind: LineageKind
    datasets: list[TrainedOnView]
    parents: list[str]
    training: dict[str, Any]


Result = Annotated[ResultView, BeforeValidator(finite)]
Space = Annotated[SpaceView, BeforeValidator(finite)]
Genotype = Annotated[GenotypeView, BeforeValidator(finite)]
Lineage = Annotated[LineageView, BeforeValidator(finite)]

"""Inference as the Open Inference Protocol (version 2) spells it, and predictions for people."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from api.views.shapes import View
from core.domain.inference import Signature, Tensor

Parameters = Annotated[
    dict[str, Any], Field(description="`binary_data_size`, `binary_data`, `binary_data_output`.")
]


def whole(value: Any) -> Any:
    """JSON has one kind of number: `3.0` is 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Extent = Annotated[int, Field(ge=0, strict=True), BeforeValidator(whole)]


class InputTensorBody(BaseModel):
    """An input: its numbers in `data`, nested or in one row, or after the JSON as bytes."""

    model_config = ConfigDict(extra="forbid")
    name: str
    shape: list[Extent]
    datatype: Literal["FP32"]
    parameters: Parameters = {}
    data: list[Any] | None = None


class OutputChoiceBody(BaseModel):
    """An output that is wanted."""

    model_config = ConfigDict(extra="forbid")
    name: str
    parameters: Parameters = {}


class InferenceBody(BaseModel):
    """A batch for a model; without `outputs` all of them come back."""

    model_config = ConfigDict(extra="forbid")
    id: str | None = None
    parameters: Parameters = {}
    inputs: Annotated[list[InputTensorBody], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[OutputChoiceBody], Field(max_length=100)] = []


class OutputTensorView(View):
    """An output; its numbers in one row, or after the JSON as bytes."""

    name: str
    shape: list[int]
    datatype: Literal["FP32"]
    parameters: Annotated[Parameters, Field(default_factory=dict)]
    data: Annotated[
        list[float | None] | None, Field(description="Null stands for what is not finite.")
    ] = None


class InferenceView(View):
    """What the model made of the batch; `id` is the request's."""

    model_name: str
    id: str | None = None
    outputs: list[OutputTensorView]


class ServerMetadataView(View):
    """What answers, and which extensions of the protocol it has."""

    name: str
    version: str
    extensions: list[str]


class ServerLiveView(View):
    """The process answers."""

    live: Literal[True]


class ServerReadyView(View):
    """It can compute with models."""

    ready: Literal[True]


class TensorMetadataView(View):
    """An input or output; -1 stands for any extent."""

    name: str
    datatype: Literal["FP32"]
    shape: list[int]

    @classmethod
    def of(cls, tensor: Tensor) -> "TensorMetadataView":
        """The tensor, as the protocol has it."""
        return cls(name=tensor.name, datatype="FP32", shape=list(tensor.shape))


class ModelMetadataView(View):
    """What a model takes and answers."""

    name: str
    platform: str
    inputs: list[TensorMetadataView]
    outputs: list[TensorMetadataView]

    @classmethod
    def of(cls, name: UUID, signature: Signature) -> "ModelMetadataView":
        """The model under its id."""
        return cls(
            name=str(name),
            platform="onnx_onnxv1",
            inputs=[TensorMetadataView.of(signature.input)],
            outputs=[TensorMetadataView.of(each) for each in signature.outputs],
        )


class ModelReadyView(View):
    """The model is loaded."""

    name: str
    ready: Literal[True]


class ClassProbabilityView(View):
    """A class of the model's dataset."""

    name: str
    probability: Annotated[float | None, Field(ge=0)]


class AlikeImageView(View):
    """A training image that looks alike to the model, of the class `name`: `similarity` is the
    cosine of the features that its classifier sees, 1 for what looks the same."""

    name: str
    similarity: float | None
    href: str


class PredictionView(View):
    """What the model takes an image for: the most probable classes, the first most of all, and
    the training images that are most alike, if they were asked for and the model knows any."""

    model_id: UUID
    classes: list[ClassProbabilityView]
    neighbours: list[AlikeImageView]

"""What a finished model takes and answers, as its ONNX file says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of 32-bit floats; the first extent of its shape, -1, is the batch's."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """A model of one input; every output has a row for each of its rows."""

    input: Tensor
    outputs: tuple[Tensor, ...]

"""A trained supernet's tensors in the object store, without its classifier: nobody else's classes
are those."""

from collections.abc import Mapping

from safetensors.torch import save_file
from torch import Tensor

from core.pipelines import objects
from core.pipelines.context import Context

NAME = "supernet.safetensors"


def keep(context: Context, tensors: Mapping[str, Tensor]) -> tuple[str, str]:
    """Store the tensors as this attempt's supernet; their key and SHA-256."""
    path, key = context.scratch / NAME, context.key(NAME)
    trunk = {name: each for name, each in tensors.items() if not name.startswith("classifier.")}
    save_file({name: tensor.cpu().contiguous() for name, tensor in trunk.items()}, path)
    context.store.put(key, path)
    return key, objects.checksum(path)

"""Supernets that come in a file, and what such a file says of one that is registered."""

import math
from collections.abc import Iterator

from sqlalchemy.orm import Session

from core.data import manifests
from core.data.bundle import Bundle
from core.data.manifests import Manifest
from core.domain.supernets import LineageKind, Supernet
from core.errors import Detail
from core.nas.space import Space
from core.services import supernets

CHANNELS = 3  # of the images that every search shows its supernet
# Products of channels that an operation's kernels hold at least; the others hold none.
KERNELS = {"sep_conv": 2, "dil_conv": 1, "conv_1x1": 1, "conv_3x3": 9}


def check(bundle: Bundle) -> None:
    """Raise InvalidInput (`bad_bundle`) unless a search could ask for such a supernet.

    The alphas must be those of the space; the other tensors are checked where they are used.
    """
    problems = list(_problems(bundle))
    if problems:
        raise manifests.refusal(problems)


def register(
    session: Session, bundle: Bundle, *, key: str, sha256: str, size_bytes: int
) -> tuple[Supernet, bool]:
    """The supernet of a file that is in the store under `key`, and whether it is new here."""
    manifest = bundle.manifest
    return supernets.register(
        session,
        name=manifest.name,
        dataset_id=None,  # a stranger's word does not make it the source of a dataset here
        job_id=None,
        space=manifest.space,
        resolution=manifest.resolution,
        key=key,
        sha256=sha256,
        metrics=manifest.metrics,
        seconds=manifest.seconds,
        lineage={**manifest.lineage, "kind": LineageKind.IMPORT.value},
        size_bytes=size_bytes,
    )


def smallest(space: Space) -> int:
    """Numbers that a supernet of the space holds at least: the kernels of its mixed edges."""
    first, second = space.reduction_layers
    kernels = sum(
        count
        for name in space.operations
        for kind, count in KERNELS.items()
        if name.startswith(kind)
    )
    searched = [
        layer
        for layer in range(space.layers)
        if space.cell.reduction or layer not in (first, second)
    ]
    mixed = space.channels // space.partial
    widths = [mixed << ((layer >= first) + (layer >= second)) for layer in searched]
    return space.edges * kernels * sum(width**2 for width in widths)


def manifest_of(supernet: Supernet) -> Manifest:
    """What its bundle will say."""
    return Manifest(
        name=supernet.name,
        space=supernet.space,
        resolution=supernet.resolution,
        lineage=supernet.lineage,
        metrics=supernet.metrics,
        seconds=supernet.seconds,
    )


def _problems(bundle: Bundle) -> Iterator[Detail]:
    try:
        space = Space.from_dict(bundle.manifest.space)
    except (ValueError, TypeError) as error:
        yield Detail("manifest.space", "bad_space", f"{error}.")
        return
    if space.input_channels != CHANNELS:
        message = f"Its images have {space.input_channels} channels; searches show {CHANNELS}."
        yield Detail("manifest.space", "wrong_channels", message)
    # A claim of a vast network in a small file would take the memory of whoever starts from it.
    least, held = smallest(space), sum(math.prod(each) for each in bundle.shapes.values())
    if held < least:
        message = f"It holds {held:,} numbers; a supernet of its space has more than {least:,}."
        yield Detail("file", "too_small", message)
    shape = (space.edges, len(space.operations))
    for kind in space.kinds:
        name = f"alphas_{kind}"
        found = bundle.shapes.get(name)
        if found is None:
            yield Detail(name, "missing_tensor", f"There must be a tensor '{name}'.")
        elif found != shape:
            message = f"Its shape is {list(found)}; its space needs {list(shape)}."
            yield Detail(name, "wrong_shape", message)

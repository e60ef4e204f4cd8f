"""Supernets that come in a file, and what such a file says of one that is registered."""

from collections.abc import Iterator

from sqlalchemy.orm import Session

from core.data import bundle as files
from core.data.bundle import Bundle
from core.data.manifests import Manifest
from core.domain import keys
from core.domain.supernets import LineageKind, Supernet
from core.errors import Detail
from core.nas.space import Space
from core.services import supernets

CHANNELS = 3  # of the images that every search shows its supernet


def check(bundle: Bundle) -> None:
    """Raise InvalidInput (`bad_bundle`) unless a search could ask for such a supernet.

    The alphas must be those of the space; the other tensors are checked where they are used.
    """
    problems = list(_problems(bundle))
    if problems:
        raise files.refusal(problems)


def register(session: Session, bundle: Bundle, *, sha256: str) -> tuple[Supernet, bool]:
    """The supernet of a file that is in the store, and whether it is new here."""
    manifest = bundle.manifest
    return supernets.register(
        session,
        name=manifest.name,
        dataset_id=None,  # a stranger's word does not make it the source of a dataset here
        job_id=None,
        space=manifest.space,
        resolution=manifest.resolution,
        key=keys.supernet(sha256),
        sha256=sha256,
        metrics=manifest.metrics,
        seconds=manifest.seconds,
        lineage={**manifest.lineage, "kind": LineageKind.IMPORT.value},
    )


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
    shape = (space.edges, len(space.operations))
    for kind in space.kinds:
        name = f"alphas_{kind}"
        found = bundle.shapes.get(name)
        if found is None:
            yield Detail(name, "missing_tensor", f"There must be a tensor '{name}'.")
        elif found != shape:
            message = f"Its shape is {list(found)}; its space needs {list(shape)}."
            yield Detail(name, "wrong_shape", message)

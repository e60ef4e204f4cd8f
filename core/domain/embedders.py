"""The names of embedders: what a user may ask for, known without loading any of them."""

from dataclasses import dataclass
from uuid import UUID

TRUNK = "trunk"


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """An embedder that ships with the package; `version` is None when its weights decide it."""

    name: str
    version: str | None
    summary: str


@dataclass(frozen=True, slots=True)
class EmbedderEntry:
    """One embedder in the list of all; without a version it cannot be used here."""

    name: str
    version: str | None
    summary: str
    default: bool
    supernet_id: UUID | None = None

    @property
    def identifier(self) -> str | None:
        """What a job is asked with; None when it cannot be asked for."""
        return None if self.version is None else f"{self.name}@{self.version}"


BUILT_IN = (
    BuiltIn("oriented-energy", "1", "Oriented energies at three scales; needs no weights."),
    BuiltIn("resnet18", None, "ImageNet ResNet18, from a local file of weights."),
)


def of_trunk(supernet_id: UUID) -> str:
    """The identifier of a registered supernet's trunk."""
    return f"{TRUNK}@{supernet_id}"


def trunk_of(identifier: str) -> UUID | None:
    """The supernet whose trunk this identifier names; None for every other embedder.

    Raises ValueError for a trunk that is not spelled as `of_trunk` does: an embedding is kept and
    found under its identifier, so there is one spelling only.
    """
    name, _, version = identifier.partition("@")
    if name != TRUNK:
        return None
    try:
        supernet_id = UUID(version)
    except ValueError:
        supernet_id = None
    if supernet_id is None or str(supernet_id) != version:
        raise ValueError("write trunk@ and a supernet's id, in lower case and with hyphens")
    return supernet_id


def check(identifier: str) -> None:
    """Raise ValueError, saying what to write, unless this may name an embedder."""
    if trunk_of(identifier) is not None:
        return
    name, _, version = identifier.partition("@")
    known = {each.name: each for each in BUILT_IN}
    if name not in known:
        raise ValueError(f"known are {', '.join([*known, TRUNK])}")
    if not version:
        raise ValueError(f"write the version too, as in {name}@{known[name].version or '1-…'}")
    if known[name].version not in (None, version):
        raise ValueError(f"this is {name}@{known[name].version}")

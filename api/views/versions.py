"""Versions of a dataset as the API shows them, and what changed between two."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from pydantic import Field

from api.views.shapes import View

if TYPE_CHECKING:  # pyarrow, for those who ask
    from core.data.versions import Difference


class VersionView(View):
    """One of a family. Of a deleted one, `deleted_at` says when, and its classes and images are
    gone; its counts and its place stay."""

    id: UUID
    version: int
    parent_id: UUID | None
    name: str
    sha256: str
    licence: str | None
    source: str | None
    n_train: int
    n_test: int
    statistics_only: bool
    created_at: datetime
    deleted_at: datetime | None


class ImageView(View):
    """One image: its file's checksum, and where it lies. `path` is its name in the archive that it
    came in."""

    sha256: str
    path: str
    label: str
    split: str


class MoveView(View):
    """One image that both have, in other places."""

    before: ImageView
    after: ImageView


class ImagesView(View):
    """So many in all, and the first of them."""

    total: int
    first: list[ImageView]


class MovesView(View):
    """So many in all, and the first of them."""

    total: int
    first: list[MoveView]


Counts = Annotated[
    tuple[int, int] | None, Field(description="Train and test images; null: no such class.")
]


class ClassChangeView(View):
    """One class in either."""

    label: str
    before: Counts
    after: Counts


class DifferenceView(View):
    """What changed from the dataset `against` to this one.

    An image is its file: a picture that was saved anew is one removed and one added. Those in
    `relabelled` are in both, in other classes; those in `resplit` in other splits; an image may be
    in both lists. Each list holds the first 200.
    """

    dataset_id: UUID
    against: UUID
    unchanged: int
    added: ImagesView
    removed: ImagesView
    relabelled: MovesView
    resplit: MovesView
    classes_added: list[str]
    classes_removed: list[str]
    classes: list[ClassChangeView]

    @classmethod
    def of(cls, found: "Difference", *, dataset_id: UUID, against: UUID) -> "DifferenceView":
        """The difference, and what it is of."""
        return cls(
            dataset_id=dataset_id,
            against=against,
            unchanged=found.unchanged,
            added=ImagesView.model_validate(found.added),
            removed=ImagesView.model_validate(found.removed),
            relabelled=MovesView.model_validate(found.relabelled),
            resplit=MovesView.model_validate(found.resplit),
            classes_added=list(found.classes_added),
            classes_removed=list(found.classes_removed),
            classes=[ClassChangeView.model_validate(each) for each in found.classes],
        )

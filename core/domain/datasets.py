"""Datasets as the registry knows them: immutable, content-addressed, with their intake report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType
from uuid import UUID

from core.domain.identity import ProjectId
from core.errors import InvalidInput

DatasetId = NewType("DatasetId", UUID)

GROUP_PREFIX = "prefix:"
LONGEST_COLUMN = 1_000  # characters of its name
MOST_LEFT_OUT = 10_000


@dataclass(frozen=True, slots=True)
class IntakeOptions:
    """What the uploader decides.

    Attributes:
        seed: Of the draw of a test split, where none is given.
        test_share: Of each class's images, where none is given.
        group: Images of one group never straddle train and test: a column of the table beside
            the images names them, or `prefix:SEPARATOR` what stands before the separator in a
            file's name.
        unreadable_share: Of the images may be left out as unreadable; None for the server's own.
        label: The table's column that names the class; None for `label`, if there is a table.
        leave_out: Images, by their places in the upload from 0.
    """

    seed: int = 0
    test_share: float = 0.2
    group: str | None = None
    unreadable_share: float | None = None
    label: str | None = None
    leave_out: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raises InvalidInput (`bad_options`)."""
        if not 0 <= self.seed < 2**32:
            raise _bad("seed: give a whole number from 0 to 4,294,967,295.")
        if not 0 < self.test_share < 1:
            raise _bad("test_share: give a number between 0 and 1, such as 0.2.")
        if self.unreadable_share is not None and not 0 <= self.unreadable_share <= 1:
            raise _bad("unreadable_share: give a number from 0 to 1, such as 0.05.")
        for text in filter(None, (self.group, self.label)):
            if "\0" in text or len(text) > LONGEST_COLUMN:
                words = f"give at most {LONGEST_COLUMN} characters, none of them NUL."
                raise _bad(f"group, label: {words}")
        if len(self.leave_out) > MOST_LEFT_OUT or min(self.leave_out, default=0) < 0:
            raise _bad(f"leave_out: give at most {MOST_LEFT_OUT:,} places, from 0.")
        if self.group is not None and not self.group.removeprefix(GROUP_PREFIX):
            raise _bad("group: say what ends the prefix, as in prefix:_ for patient7_left.png.")
        if self.label is not None and not self.label.strip():
            raise _bad("label: give the name of a column, such as label.")


AS_USUAL = IntakeOptions()


def _bad(words: str) -> InvalidInput:
    return InvalidInput(words, code="bad_options")


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """A dataset's image: its place in its split, from 0."""

    split: str
    index: int


@dataclass(frozen=True, slots=True)
class Problem:
    """Something found at intake: `severity` is `error` (left out) or `warning` (kept).

    `also` names other places that have to do with it: an image's twin, a class of the same name.
    """

    severity: str
    code: str
    place: str
    message: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What intake saw: every file left out or worth a look, and how the split was made.

    Attributes:
        problems: Of each code no more than the first 1,000; `findings` has the true numbers.
        exact_duplicates: Images that show the very same as an earlier one.
        near_duplicates: Images that look like an earlier one without being the same.
        groups: Groups that the uploader has named.
        imbalance: Training images of the largest class for one of the smallest; None of reports
            older than this figure.
    """

    problems: tuple[Problem, ...]
    images_seen: int
    images_kept: int
    exact_duplicates: int
    split: str
    split_seed: int | None
    modes: Mapping[str, int]
    sizes: Mapping[str, int]
    groups: int = 0
    near_duplicates: int = 0
    imbalance: float | None = None
    findings: Mapping[str, int] = field(default_factory=dict)
    options: IntakeOptions = AS_USUAL


@dataclass(frozen=True, slots=True)
class Dataset:
    """An immutable set of labelled images; in a project the same content is the same dataset.

    Of one that is `statistics_only` there are class statistics by one embedder and no images:
    others can be compared with it, but nothing can be trained on it. `version` counts from 1 along
    its family: the datasets that were registered as later versions of one another, by `parent_id`.
    `report` is None where it was not asked for. `size_bytes` is what its images, or the
    class statistics in their place, take in the store.
    Of a deleted one there is no more than its name, its counts and its place in the family.
    """

    id: DatasetId
    project_id: ProjectId
    sha256: str
    name: str
    classes: tuple[str, ...]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    channels: int
    report: DatasetReport | None
    created_at: datetime
    statistics_only: bool = False
    licence: str | None = None
    source: str | None = None
    parent_id: DatasetId | None = None
    version: int = 1
    originals_sha256: str | None = None
    size_bytes: int = 0
    deleted_at: datetime | None = None

    @property
    def n_train(self) -> int:
        """Images in the train split."""
        return sum(self.train_counts)

    @property
    def n_test(self) -> int:
        """Images in the test split."""
        return sum(self.test_counts)


@dataclass(frozen=True, slots=True)
class Embedding:
    """One dataset seen by one embedder version: where its statistics are stored.

    `centre` is the mean feature of the sample that rankings compare (empty when unknown): no
    dataset lies nearer than its centre allows, so a registry of any size is searched by it first.
    """

    dataset_id: DatasetId
    embedder: str
    key: str
    sha256: str
    dimension: int
    samples: int
    seconds: float
    centre: tuple[float, ...] = ()


class Measure(StrEnum):
    """What a neighbour's distance rests on, the most telling first."""

    SAMPLES = "samples"  # exact transport between samples of both datasets
    CLASSES = "classes"  # exact transport between class statistics: no images were there
    ESTIMATE = "estimate"  # class statistics, corrected as the measured neighbours suggest


class Nearness(StrEnum):
    """Whether the nearest source deserves the name."""

    NEAR = "near"
    FAR = "far"
    UNKNOWN = "unknown"  # too few registered datasets to tell


class Hubness(StrEnum):
    """Whether distances are corrected for sources that are everybody's neighbour."""

    NONE = "none"
    LOCAL_SCALING = "local_scaling"


@dataclass(frozen=True, slots=True)
class ImagePair:
    """Two images that the transport plan matches, by their places in the train splits."""

    target_image: int
    source_image: int
    target_class: str
    source_class: str
    mass: float


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A ranked source for a dataset, with the evidence for its place.

    `coupling` is the class-to-class coupling matrix without its zeros, heaviest first:
    (target class, source class, mass). `features_part` and `labels_part` add up to the squared
    distance. `hub_share` is the share of the registry that has this source for its nearest;
    `scaled` is the distance after hubness correction, where one was asked for. `deleted` says that
    the source was deleted since: its classes and images are no longer told.
    """

    dataset_id: DatasetId
    dataset_name: str
    supernet_id: UUID | None
    distance: float
    interval: tuple[float, float]
    tied_with_nearest: bool
    features_part: float
    labels_part: float
    coupling: tuple[tuple[str, str, float], ...]
    measure: Measure = Measure.SAMPLES
    samples: tuple[int, int] = (0, 0)
    pairs: tuple[ImagePair, ...] = ()
    hub_share: float | None = None
    scaled: float | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """Is the nearest source near, by the standard of the registry itself?

    `nearest` is compared with the distance of each of `references` registered datasets to its own
    nearest other; `share` of them lie at least as far from theirs, `threshold` is the distance
    that 5 % exceed. All by transport between class statistics.
    """

    nearness: Nearness
    nearest: float
    threshold: float | None
    share: float | None
    references: int


@dataclass(frozen=True, slots=True)
class MapPoint:
    """A dataset's place on the map; distances on paper approximate distances measured. `deleted`
    as of a neighbour."""

    dataset_id: DatasetId
    dataset_name: str
    x: float
    y: float
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class DistanceMap:
    """The target, its neighbours and some of the rest of the registry, laid out in the plane.

    `stress` is the root of the share of squared distance that the layout gets wrong (Kruskal's
    stress-1): 0 is perfect, above 0.3 only the coarsest order should be read from it.
    """

    points: tuple[MapPoint, ...]
    stress: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """A dataset's neighbours, nearest first, under one embedder.

    The first `proven` of them are certain to be the nearest of all `sources` registered (under
    this embedder and sample size): nothing left unmeasured can lie nearer. The order of the
    others is the best that was found.
    """

    dataset_id: DatasetId
    embedder: str
    neighbours: tuple[Neighbour, ...]
    seconds: float
    settings: Mapping[str, Any]
    sources: int = 0
    proven: int = 0
    verdict: Verdict | None = None
    map: DistanceMap | None = None

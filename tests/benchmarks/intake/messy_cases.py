"""Thirty messy archives, and what must come of each, said before any of them is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.benchmarks.intake import messy_archives as archives
from tests.benchmarks.intake.messy_archives import LABELS, Deck
from tests.unit.data.builders import zip_bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """A dataset: images of each class that train and that test, and what the report tells."""

    counts: Mapping[str, tuple[int, int]]
    told: frozenset[str] = frozenset()

    def __str__(self) -> str:
        counts = ", ".join(f"{label} {a}+{b}" for label, (a, b) in sorted(self.counts.items()))
        return f"taken: {counts}" + (f"; told {', '.join(sorted(self.told))}" * bool(self.told))


@dataclass(frozen=True, slots=True)
class Refused:
    """No dataset: the code of the error, and of all that it lists."""

    code: str
    listed: frozenset[str]
    words: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"refused: {', '.join([self.code, *sorted(self.listed - {self.code})])}"


@dataclass(frozen=True, slots=True)
class Case:
    """One archive and what a person would expect of it."""

    name: str
    make: Callable[[Deck], bytes]
    expected: Taken | Refused


def even(train: int = 8, test: int = 2, *told: str, labels: Sequence[str] = LABELS) -> Taken:
    """As many images of each class."""
    return Taken(dict.fromkeys(labels, (train, test)), frozenset(told))


def refused(code: str, *more: str) -> Refused:
    """For this, and for what else is found on the way."""
    return Refused(code, frozenset((code, *more)))


UMLAUTS = ("Bär", "Känguru", "Löwe")
SCRIPTS = ("猫", "собака", "ñandú")
SPACED = ("red fox", "barn owl (young)", "R&B 100%")
CASES = (
    Case(
        "wrapped twice, with a readme",
        lambda d: zip_bytes({**d.folders("pets/pets/{label}/{n}.png"), "pets/README.txt": b"!"}),
        even(8, 2, "not_an_image"),
    ),
    Case("suffixes in mixed case", archives.suffixes, even()),
    Case(
        "unicode names",
        lambda d: zip_bytes(d.folders("写真/{label}/照片 {n} é.png", labels=SCRIPTS)),
        even(labels=SCRIPTS),
    ),
    Case(
        "decomposed names without the flag (macOS)",
        lambda d: archives.spelled(d.folders(labels=UMLAUTS), archives.accented("NFD")),
        even(labels=UMLAUTS),
    ),
    Case(
        "spaces and brackets",
        lambda d: zip_bytes(d.folders("my data (2)/{label}/IMG {n} [1].png", labels=SPACED)),
        even(labels=SPACED),
    ),
    Case(
        "a folder whose name ends with a space",
        lambda d: zip_bytes(d.folders(labels=("cat ", "dog", "owl"))),
        refused("bad_name"),
    ),
    Case("hidden files and __MACOSX", archives.junk, even(8, 2, "ignored_files")),
    Case(
        "mixed modes and formats",
        lambda d: zip_bytes(archives.each_otherwise(d, archives.MODES)),
        even(
            8,
            2,
            "image_animated",
            "image_cmyk",
            "image_deep",
            "image_rotated",
            "image_transparent",
        ),
    ),
    Case(
        "Training, valid and Testing",
        lambda d: archives.parts(d, {}, Training=10, valid=5, Testing=5),
        even(15, 5, "validation_folder"),
    ),
    Case(
        "train and test inside each class",
        lambda d: zip_bytes(
            {**d.folders("{label}/train/{n}.png"), **d.folders("{label}/test/{n}.png", 5)}
        ),
        even(10, 5),
    ),
    Case(
        "a folder beside train and test",
        lambda d: archives.parts(
            d,
            {f"unlabeled/{n}.png": data for n, data in enumerate(d.take(0, 5))},
            train=10,
            test=5,
        ),
        even(10, 5, "outside_split"),
    ),
    Case(
        "a flat test folder (Kaggle)", lambda d: archives.flat_test(d, 5), even(8, 2, "no_class")
    ),
    Case(
        "a flat test folder larger than train",
        lambda d: archives.flat_test(d, 15),
        refused("mostly_left_out", "no_class"),
    ),
    Case("classes in file names (Kaggle)", archives.names_as_labels, refused("only_splits")),
    Case("classes in labels.csv (Kaggle)", archives.other_table, refused("only_splits")),
    Case(
        "valid and READMEs (Roboflow)",
        archives.roboflow,
        even(15, 5, "validation_folder", "not_an_image"),
    ),
    Case(
        "backslashes (old Windows programs)",
        lambda d: archives.spelled(d.folders("{label}\\{n}.png"), str.encode),
        refused("unsafe_path"),
    ),
    Case(
        "cp437 names (Windows)",
        lambda d: archives.spelled(d.folders(labels=UMLAUTS), lambda name: name.encode("cp437")),
        even(labels=UMLAUTS),
    ),
    Case("one truncated image of 121", archives.truncated, even(32, 8, "bad_image")),
    Case("text files renamed .jpg", archives.texts, refused("bad_image")),
    Case("one huge image of 121", archives.huge, even(32, 8, "image_too_large")),
    Case("an empty class folder", archives.with_empty_folder, even(8, 2, "empty_class")),
    Case("one picture in two classes", archives.shared, even(8, 2, "conflicting_labels")),
    Case("tar with PAX names", archives.pax, even()),
    Case("tar.zst with ./ and without suffixes", archives.zstandard, even()),
    Case(
        "metadata.csv with BOM and semicolons (Excel)",
        lambda d: archives.table(d, "file_name;label", "{name};{label}", "utf-8-sig", LABELS),
        even(),
    ),
    Case(
        "metadata.csv in Latin-1 (Excel)",
        lambda d: archives.table(d, "file_name,label", "{name},{label}", "latin-1", UMLAUTS),
        refused("bad_encoding", "no_label"),
    ),
    Case(
        "two levels of class folders",
        archives.two_levels,
        Taken({"animals": (16, 4), "cars": (8, 2)}),
    ),
    Case(
        "one class only",
        lambda d: zip_bytes(d.folders("data/{label}/{n}.png", labels=("cat",))),
        refused("too_few_classes"),
    ),
    Case("zips in a zip", archives.zips_in_zip, refused("nested_archive", "empty_dataset")),
)

"""Several archives are the dataset that one archive of all their images is."""

from pathlib import Path

import pytest

from core.config import UploadLimits
from core.data import intake
from core.errors import BadArchive, InvalidInput, TooLarge
from tests.unit.data.builders import Files, encode, noise, tar_bytes, write, zip_bytes
from tests.unit.data.conftest import Prepare
from tests.unit.data.tables import CLASSED, MORE, SPLIT, csv_of, flat, rows, samples

HALVES = [dict(list(CLASSED.items())[n::2]) for n in range(2)]


def part(of: str, prefix: str = "") -> Files:
    return {
        prefix + name.split("/", 1)[1]: data for name, data in SPLIT.items() if name.startswith(of)
    }


def of_class(name: str, prefix: str = "") -> Files:
    return {prefix + each: data for each, data in CLASSED.items() if each.startswith(name)}


SAME = {
    "halves": {"a.zip": zip_bytes(HALVES[0]), "b.tar": tar_bytes(HALVES[1])},
    "a class each": {
        "1.zip": zip_bytes(of_class("cat")), "2.tgz": tar_bytes(of_class("dog"), "w:gz"),
    },
    "wrapped each in its own": {
        "1.zip": zip_bytes({f"one/{n}": d for n, d in HALVES[0].items()}),
        "2.zip": zip_bytes({f"two/more/{n}": d for n, d in HALVES[1].items()}),
    },
    "wrapped alike, a class each": {
        "1.zip": zip_bytes(of_class("cat", "all/")), "2.zip": zip_bytes(of_class("dog", "all/")),
    },
    "folders and samples": {
        "folders.zip": zip_bytes({**flat(HALVES[0]), "metadata.csv": csv_of(rows(HALVES[0]))}),
        "samples.tar": tar_bytes(samples("cls", HALVES[1])),
    },
    "parts of one split": {
        "train-1.zip": zip_bytes(HALVES[0]), "train-2.zip": zip_bytes(HALVES[1]),
    },
}  # fmt: skip


@pytest.mark.parametrize("files", SAME.values(), ids=SAME.keys())
def test_archives_together_are_one_dataset(files: Files, prepare: Prepare) -> None:
    contents = prepare(files)
    assert contents.sha256 == prepare(zip_bytes(CLASSED)).sha256
    assert contents.report.problems == ()


SPLITS = {
    "names": {"train.zip": zip_bytes(part("train")), "test.tar": tar_bytes(part("test"))},
    "names and wrapping": {
        "Training.zip": zip_bytes(part("train", "train/")),
        "val_1.zip": zip_bytes(part("test", "set/val/")),
    },
    "shards": {
        "train-0.tar": tar_bytes(samples("cls", dict(list(part("train", "x/").items())[::2]))),
        "train-1.tar": tar_bytes(samples("cls", dict(list(part("train", "x/").items())[1::2]))),
        "test-0.tar": tar_bytes(samples("cls", part("test", "x/"))),
    },
    "folders inside": {
        "train.zip": zip_bytes(dict(list(SPLIT.items())[::2])),
        "test.zip": zip_bytes(dict(list(SPLIT.items())[1::2])),
    },
    "other names": {
        "x.zip": zip_bytes(part("train", "train/")),
        "train.zip": zip_bytes({f"all/{n}": d for n, d in SPLIT.items() if n.startswith("test")}),
    },
}


@pytest.mark.parametrize("files", SPLITS.values(), ids=SPLITS.keys())
def test_archives_may_be_splits(files: Files, prepare: Prepare) -> None:
    assert prepare(files).sha256 == prepare(zip_bytes(SPLIT)).sha256


def test_the_same_names_in_two_archives_are_two_images(prepare: Prepare) -> None:
    more = {name: encode(noise(900 + n)) for n, name in enumerate(CLASSED)}
    more["cat/x.png"] = b""
    two = {"a.zip": zip_bytes(CLASSED), "b.zip": zip_bytes(more)}
    contents = prepare(two, unreadable_share=0.1)
    assert sum(contents.train_counts + contents.test_counts) == 24
    assert [each.place for each in contents.report.problems] == ["b.zip/cat/x.png"]


def test_a_stray_image_belongs_to_no_class(prepare: Prepare) -> None:
    two = {
        "1.zip": zip_bytes({"0.png": MORE, **{f"one/{n}": d for n, d in HALVES[0].items()}}),
        "2.zip": zip_bytes({f"two/{n}": d for n, d in HALVES[1].items()}),
    }
    contents = prepare(two)
    assert contents.sha256 == prepare(zip_bytes(CLASSED)).sha256
    assert [(p.code, p.place) for p in contents.report.problems] == [("no_class", "1.zip/0.png")]


def test_what_is_wrong_with_any_is_told_with_its_name(prepare: Prepare) -> None:
    with pytest.raises(BadArchive) as caught:
        prepare(
            {"a.zip": b"x", "b.zip": zip_bytes({"../x.png": b""}), "c.zip": zip_bytes(CLASSED)}
        )
    assert [(each.code, each.place) for each in caught.value.details] == [
        ("unsupported_archive", "a.zip"),
        ("unsafe_path", "b.zip/../x.png"),
    ]
    table = {**flat(), "metadata.csv": csv_of([*rows(), {"file_name": "1.png", "label": "con"}])}
    with pytest.raises(BadArchive) as caught:
        prepare(
            {
                "a.zip": zip_bytes(table),
                "b.zip": zip_bytes({**flat(), "metadata.csv": b"\xff\xfe"}),
            }
        )
    assert [(each.code, each.place) for each in caught.value.details][:2] == [
        ("bad_label", "a.zip/metadata.csv, line 14"),
        ("missing_file", "a.zip/metadata.csv, line 14"),
    ]
    data = bytearray(zip_bytes(CLASSED, 0))
    data[data.find(CLASSED["dog/2.png"]) + 30] ^= 1
    with pytest.raises(BadArchive) as caught:
        prepare({"a.zip": zip_bytes(CLASSED), "b.zip": bytes(data)})
    assert [each.place for each in caught.value.details] == ["b.zip/dog/2.png"]


def test_archives_share_one_archive_s_limits(prepare: Prepare, limits: UploadLimits) -> None:
    two = {"a.zip": zip_bytes(HALVES[0]), "b.zip": zip_bytes(HALVES[1])}
    with pytest.raises(TooLarge, match=r"^b\.zip: .* more than 5 entries"):
        prepare(two, limits=limits.model_copy(update={"entries": 11}))
    big = {f"{n}.tgz": tar_bytes(HALVES[n], "w:gz") for n in range(2)}
    size = len(tar_bytes(HALVES[0]))
    with pytest.raises(TooLarge, match=r"^1\.tgz: "):
        prepare(big, limits=limits.model_copy(update={"expanded_bytes": size * 3 // 2}))
    with pytest.raises(InvalidInput, match="not 17"):
        prepare({f"{n}.zip": zip_bytes(CLASSED) for n in range(17)})


def test_the_child_reads_several(tmp_path: Path, limits: UploadLimits) -> None:
    archives = [write(tmp_path / f"{n}.tgz", tar_bytes(HALVES[n], "w:gz")) for n in range(2)]
    prepared = intake.prepare(archives, tmp_path / "out", limits)
    alone = write(tmp_path / "upload", zip_bytes(CLASSED))
    assert prepared.sha256 == intake.prepare(alone, tmp_path / "one", limits).sha256
    assert len(list((tmp_path / "out").iterdir())) == 2

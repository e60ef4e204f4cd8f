"""The same images are the same dataset, whatever they came in; everything else is reported."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from core.config import UploadLimits
from core.data import packing, preparation
from core.data.prepared import PACKED_NAME, Contents
from core.domain.datasets import AS_USUAL
from core.domain.jobs import Progress
from core.errors import BadArchive
from tests.unit.data.builders import (
    Entry,
    Files,
    dataset,
    encode,
    noise,
    raw_zip,
    tar_bytes,
    zip_bytes,
)
from tests.unit.data.conftest import Prepare

HONEST = dataset(10)


def shuffled(files: Files) -> Files:
    items = list(files.items())
    random.Random(3).shuffle(items)
    return dict(items)


def renamed(files: Files) -> Files:
    return {f"wrap/{name.replace('.png', '-copy.png')}": data for name, data in files.items()}


SAME = {
    "stored": zip_bytes(HONEST, 0),
    "another order": zip_bytes(shuffled(HONEST)),
    "other file names": zip_bytes(renamed(HONEST)),
    "tar": tar_bytes(HONEST),
    "tar.gz": tar_bytes(shuffled(HONEST), "w:gz"),
    "with junk": zip_bytes({**HONEST, "__MACOSX/cat/._0.png": b"x", "cat/Thumbs.db": b"x"}),
}


@pytest.mark.parametrize("data", SAME.values(), ids=SAME.keys())
def test_the_same_images_are_the_same_dataset(
    data: bytes, prepare: Prepare, tmp_path: Path
) -> None:
    expected = prepare(zip_bytes(HONEST))
    packed = (tmp_path / "out" / PACKED_NAME).read_bytes()
    contents = prepare(data)
    assert contents.sha256 == expected.sha256
    assert (contents.train_counts, contents.test_counts) == ((8, 8), (2, 2))
    assert (tmp_path / "out" / PACKED_NAME).read_bytes() == packed


def other_class() -> Files:
    return {name.replace("dog", "wolf"): data for name, data in HONEST.items()}


def given_split() -> Files:
    return {f"{'test' if '/9' in name else 'train'}/{name}": data for name, data in HONEST.items()}


DIFFERENT = {
    "another image": {**HONEST, "cat/0.png": encode(noise(99))},
    "one more": {**HONEST, "cat/99.png": encode(noise(99))},
    "a copy more": {**HONEST, "cat/99.png": HONEST["cat/0.png"]},
    "another class name": other_class(),
    "another split": given_split(),
}


@pytest.mark.parametrize("files", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_other_content_is_another_dataset(files: Files, prepare: Prepare) -> None:
    assert prepare(zip_bytes(files)).sha256 != prepare(zip_bytes(HONEST)).sha256


def test_another_seed_is_another_split_and_dataset(prepare: Prepare) -> None:
    first, second = prepare(zip_bytes(HONEST)), prepare(zip_bytes(HONEST), seed=1)
    assert first.sha256 != second.sha256
    assert (first.report.split, first.report.split_seed) == ("stratified", 0)
    assert second.report.split_seed == 1


def test_a_given_split_is_kept(prepare: Prepare, tmp_path: Path) -> None:
    contents = prepare(zip_bytes(given_split()))
    assert (contents.report.split, contents.report.split_seed) == ("given", None)
    assert (contents.train_counts, contents.test_counts) == ((9, 9), (1, 1))
    packed = packing.read(tmp_path / "out" / PACKED_NAME)
    assert packed.split.tolist() == [0] * 18 + [1] * 2
    assert packed.labels.tolist() == [0] * 9 + [1] * 9 + [0, 1]


def test_grey_becomes_one_channel_and_a_single_colour_image_makes_three(prepare: Prepare) -> None:
    stacked = encode(noise(50)[..., None].repeat(3, axis=2))
    assert prepare(zip_bytes({**HONEST, "cat/99.png": stacked})).channels == 1
    contents = prepare(zip_bytes({**HONEST, "cat/99.png": encode(noise(51, (8, 8, 3)))}))
    assert contents.channels == 3
    assert contents.report.modes == {"L": 20, "RGB": 1}


def codes(contents: Contents) -> dict[str, str]:
    return {problem.code: problem.severity for problem in contents.report.problems}


def test_everything_odd_is_in_the_report(prepare: Prepare) -> None:
    files = {
        **HONEST,
        "README.md": b"hello",
        "cat/meta.json": b"{}",
        ".ipynb_checkpoints/cat.png": b"x",
        "cat/.hidden/1.png": b"x",
        "loose.png": encode(noise(60)),
        "cat/copy.png": HONEST["cat/1.png"],
        "dog/wrong.png": HONEST["cat/2.png"],
        "fish/1.png": encode(noise(61, (8, 8, 4))),
    }
    contents = prepare(zip_bytes(files))
    assert codes(contents) == {
        "not_an_image": "warning",
        "ignored_files": "warning",
        "no_class": "error",
        "conflicting_labels": "error",
        "single_image": "warning",
        "duplicate": "warning",
        "image_transparent": "warning",
    }
    assert contents.report.findings == dict.fromkeys(codes(contents), 1) | {
        "not_an_image": 2,
        "conflicting_labels": 2,
    }
    report = contents.report
    assert (report.images_seen, report.images_kept, report.exact_duplicates) == (24, 21, 2)
    assert report.sizes == {"8x8": 23}
    ignored = next(p for p in report.problems if p.code == "ignored_files")
    assert ignored.message.startswith("2 hidden")


def test_an_image_without_a_suffix_is_known_by_its_signature(prepare: Prepare) -> None:
    files = {name.removesuffix(".png"): data for name, data in HONEST.items()}
    contents = prepare(zip_bytes({**files, "cat/LICENSE": b"BM and other text"}))
    assert contents.report.images_seen == 20
    assert codes(contents) == {"not_an_image": "warning"}


def test_many_other_files_are_counted_not_all_listed(prepare: Prepare) -> None:
    contents = prepare(zip_bytes({**HONEST, **{f"cat/{i}.txt": b"x" for i in range(150)}}))
    assert len(contents.report.problems) == 101
    assert contents.report.problems[-1].message == "50 more files are not images."


def test_many_sizes_are_summed_up(prepare: Prepare) -> None:
    files = {f"{'cd'[i % 2]}/{i}.png": encode(noise(i, (8, 8 + i))) for i in range(60)}
    sizes = prepare(zip_bytes(files)).report.sizes
    assert len(sizes) == 51
    assert sum(sizes.values()) == 60


def test_progress_grows_and_reaches_the_end(tmp_path: Path, limits: UploadLimits) -> None:
    (tmp_path / "a").write_bytes(zip_bytes(HONEST))
    (tmp_path / "out").mkdir()
    seen: list[Progress] = []
    preparation.prepare(
        [tmp_path / "a"], tmp_path / "out", limits, AS_USUAL, resolution=16, report=seen.append
    )
    assert [progress.stage for progress in seen] == ["unpack", "decode", "write", "write"]
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_damage_in_one_file_hides_nothing_of_the_others(prepare: Prepare) -> None:
    entries = [Entry(name.encode(), data) for name, data in dataset(6).items()]
    entries[2] = replace(entries[2], crc=123)
    entries[7] = replace(entries[7], crc=321)
    entries.append(Entry(b"cat/torn.png", b"no image"))
    with pytest.raises(BadArchive) as caught:
        prepare(raw_zip(entries))
    found = {(each.place, each.code) for each in caught.value.details}
    damaged = {(entries[at].name.decode(), "corrupt_archive") for at in (2, 7)}
    assert found == damaged | {("cat/torn.png", "bad_image")}

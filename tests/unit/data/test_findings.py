"""Each thing worth a look, planted and found, and nothing found where nothing is."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import core.data
from core.data import advice, near_duplicates, reporting
from core.data.prepared import Contents
from core.domain.datasets import Problem
from tests.unit.data.builders import encode, zip_bytes
from tests.unit.data.conftest import Prepare


def photograph(seed: int, side: int = 96) -> np.ndarray:
    """Something smooth, as photographs are, other for every seed."""
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    image = Image.fromarray(rough).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image)


def saved_again(pixels: np.ndarray, side: int, quality: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).resize((side, side)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def photographs(per_class: int = 10, classes: str = "ab") -> dict[str, bytes]:
    return {
        f"{name}/{index}.png": encode(photograph(100 * number + index))
        for number, name in enumerate(classes)
        for index in range(per_class)
    }


def of(contents: Contents, *codes: str) -> list[tuple[str, str, tuple[str, ...]]]:
    found = contents.report.problems
    return [(each.code, each.place, each.also) for each in found if each.code in codes]


TWINS = ("near_duplicate", "near_conflict", "near_leak", "duplicate")


def test_nothing_is_found_where_nothing_is(prepare: Prepare) -> None:
    contents = prepare(zip_bytes(photographs()))
    assert contents.report.problems == ()
    assert (contents.report.near_duplicates, contents.report.imbalance) == (0, 1.0)


@pytest.mark.parametrize(("side", "quality"), [(96, 60), (64, 85), (200, 90)])
def test_a_picture_saved_again_is_a_twin(prepare: Prepare, side: int, quality: int) -> None:
    files = photographs()
    again = saved_again(photograph(3), side, quality)
    contents = prepare(zip_bytes({**files, "a/again.jpg": again}), seed=1)
    ((code, *places),) = of(contents, *TWINS)
    assert code in {"near_duplicate", "near_leak"}
    assert {places[0], *places[1]} == {"a/3.png", "a/again.jpg"}
    assert contents.report.near_duplicates == 1


def test_twins_of_other_classes_and_splits_are_named_as_such(prepare: Prepare) -> None:
    files = photographs()
    given: dict[str, bytes] = {f"train/{name}": data for name, data in files.items()}
    given |= {f"test/{name[0]}/t{seed}.png": encode(photograph(seed))
              for seed, name in ((900, "a"), (901, "b"))}  # fmt: skip
    given["test/a/leak.jpg"] = saved_again(photograph(5), 80, 80)
    given["train/b/wrong.jpg"] = saved_again(photograph(7), 80, 80)
    found = {code: {place, *also} for code, place, also in of(prepare(zip_bytes(given)), *TWINS)}
    assert found == {
        "near_leak": {"train/a/5.png", "test/a/leak.jpg"},
        "near_conflict": {"train/a/7.png", "train/b/wrong.jpg"},
    }


def test_exact_copies_are_named_and_are_no_twins(prepare: Prepare) -> None:
    files = photographs()
    contents = prepare(zip_bytes({**files, "a/copy.png": files["a/4.png"]}))
    ((code, place, also),) = of(contents, *TWINS)
    assert code == "duplicate"
    assert {place, *also} == {"a/4.png", "a/copy.png"}
    assert (contents.report.exact_duplicates, contents.report.near_duplicates) == (1, 0)


def test_pictures_that_hash_alike_are_looked_at() -> None:
    """Frequencies keep their order where everything is darker; what is seen is another thing."""
    bright = photograph(1, 32)
    images = np.stack([bright, bright // 2])
    rows = np.arange(2)
    one, other = near_duplicates.hashes(images, rows)
    assert np.bitwise_count(one ^ other) <= near_duplicates.BITS_APART
    assert list(near_duplicates.twins(images, rows, ["a", "b"])) == []


def test_each_image_is_told_of_once_however_many_are_alike() -> None:
    images = np.repeat(photograph(1, 32)[None], 300, 0)
    rows = np.arange(300)
    same = [str(each) for each in rows]
    assert list(near_duplicates.twins(images, rows, same)) == [(i, 0) for i in range(1, 300)]
    assert list(near_duplicates.twins(images, rows, ["same"] * 300)) == []


def test_classes_that_are_lost_or_nearly_share_a_name_or_are_small(prepare: Prepare) -> None:
    files = photographs(24, "a")
    files |= {f"golden retriever/{i}.png": encode(photograph(500 + i)) for i in range(2)}
    files |= {f"Golden_Retriever/{i}.png": encode(photograph(600 + i)) for i in range(2)}
    files |= {"broken/1.png": b"\x89PNG\r\n\x1a\nnothing"}
    contents = prepare(zip_bytes(files), unreadable_share=0.1)
    assert of(contents, "class_lost", "similar_classes", "imbalanced") == [
        ("class_lost", "broken", ()),
        ("similar_classes", "golden retriever", ("Golden_Retriever",)),
        ("imbalanced", "", ()),
    ]
    assert contents.report.imbalance == 19.0


def test_an_empty_folder_is_told_of(prepare: Prepare) -> None:
    folders = dict.fromkeys(("c/", "a/", "deep/", "deep/er/", "__MACOSX/", ".git/"), b"")
    contents = prepare(zip_bytes({**photographs(), **folders}))
    assert of(contents, "empty_class") == [
        ("empty_class", "c", ()),
        ("empty_class", "deep/er", ()),
    ]
    assert contents.classes == ("a", "b")


def test_of_each_kind_the_first_thousand_are_listed_and_all_counted() -> None:
    problems = [Problem("warning", code, str(n), "") for n in range(1_200) for code in "xy"]
    listed = list(reporting._first_of_each(problems))
    assert len(listed) == 2_000
    assert max(int(each.place) for each in listed) == 999


def test_there_is_advice_for_everything_that_can_be_found() -> None:
    """Every code that is written down as a finding in the package."""
    begun = r"(?:Problem\(\s*\"(?:error|warning)\",|_warning\(|\.warn\([^,]+,)"
    finding = re.compile(begun + r"\s*\"(\w+)\"")
    folder = Path(core.data.__file__).parent
    codes: set[str] = set()
    for path in folder.glob("*.py"):
        codes |= set(finding.findall(path.read_text()))
    assert {"near_leak", "imbalanced", "not_an_image", "test_redrawn", "duplicate_row"} <= codes
    missing = {code for code in codes if not advice.about(code)}
    assert missing == set()

"""The same images are the same dataset, as Parquet and as WebDataset samples too."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.data.prepared import ORIGINALS_NAME
from tests.unit.data.builders import Files, tar_bytes, zip_bytes
from tests.unit.data.conftest import Prepare
from tests.unit.data.tables import CLASSED, MORE, SPLIT, faults, samples, told


def features(classes: Sequence[str], **others: object) -> dict[bytes, bytes]:
    """What `datasets` writes beside the columns."""
    kinds = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": classes}}
    return {b"huggingface": json.dumps({"info": {"features": {**kinds, **others}}}).encode()}


def parquet_of(
    columns: Mapping[str, Sequence[object]],
    metadata: Mapping[bytes, bytes] | None = None,
    **options: object,
) -> bytes:
    table = pa.table(dict(columns)).replace_schema_metadata(dict(metadata or {}))
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def columns(files: Files = CLASSED) -> dict[str, Sequence[object]]:
    return {
        "image": [{"bytes": data, "path": name} for name, data in files.items()],
        "label": [["cat", "dog"].index(name.split("/")[-2]) for name in files],
    }


NAMED = [name.split("/")[-2] for name in CLASSED]
CAT_DOG = features(["cat", "dog"])
PARQUET = {
    "as datasets writes it": parquet_of(columns(), CAT_DOG),
    "small row groups": parquet_of(columns(), CAT_DOG, row_group_size=1),
    "with names": parquet_of({**columns(), "label": NAMED}),
    "plain bytes": parquet_of({"img": list(CLASSED.values()), "Label": NAMED}),
    "zstd": parquet_of({**columns(), "label": NAMED}, compression="zstd", use_dictionary=False),
    "checksums": parquet_of(columns(), CAT_DOG, write_page_checksum=True),
    "no paths": parquet_of({"image": [{"bytes": d} for d in CLASSED.values()], "label": NAMED}),
    "one column of named classes": parquet_of(
        {"image": columns()["image"], "kind": columns()["label"], "other": list(range(12))},
        features([], label={}, kind={"_type": "ClassLabel", "names": ["cat", "dog"]}),
    ),
    "categories": parquet_of(
        {"image": columns()["image"], "label": pa.array(NAMED).dictionary_encode()}
    ),
    "in a zip": zip_bytes({"data/train-00000-of-00001.parquet": parquet_of(columns(), CAT_DOG)}),
    "shards in a tar": tar_bytes(
        {
            f"set/data/train-{n:05}-of-00003-0a1b2c.parquet": parquet_of(
                {name: column[n::3] for name, column in columns().items()}, CAT_DOG
            )
            for n in range(3)
        }
    ),
}


@pytest.mark.parametrize("data", PARQUET.values(), ids=PARQUET.keys())
def test_parquet_is_as_good_as_folders(data: bytes, prepare: Prepare) -> None:
    expected, contents = prepare(zip_bytes(CLASSED)), prepare(data)
    assert contents.sha256 == expected.sha256
    assert contents.report.problems == ()


def part(of: str) -> dict[str, Sequence[object]]:
    return columns({name: data for name, data in SPLIT.items() if name.startswith(of)})


SPLIT_PARQUET = {
    "a column": parquet_of({**columns(SPLIT), "split": [n.split("/")[0] for n in SPLIT]}, CAT_DOG),
    "a column of numbers": parquet_of(
        {**columns(SPLIT), "split": [int(n.startswith("test")) for n in SPLIT]},
        features(["cat", "dog"], split={"_type": "ClassLabel", "names": ["train", "test"]}),
    ),
    "file names": zip_bytes(
        {
            "data/train-00000-of-00001.parquet": parquet_of(part("train"), CAT_DOG),
            "data/test-00000-of-00001.parquet": parquet_of(part("test"), CAT_DOG),
            "README.md": b"about",
        }
    ),
    "folder names": zip_bytes(
        {
            "default/train/0000.parquet": parquet_of(part("train"), CAT_DOG),
            "default/test/0000.parquet": parquet_of(part("test"), CAT_DOG),
        }
    ),
    "plain names": zip_bytes(
        {
            "Train.parquet": parquet_of(part("train"), CAT_DOG),
            "eval_1.parquet": parquet_of(part("test"), CAT_DOG),
        }
    ),
}


@pytest.mark.parametrize("data", SPLIT_PARQUET.values(), ids=SPLIT_PARQUET.keys())
def test_splits_by_parquet_are_splits_by_folders(data: bytes, prepare: Prepare) -> None:
    assert prepare(data).sha256 == prepare(zip_bytes(SPLIT)).sha256


@pytest.mark.parametrize(
    ("files", "options"),
    [
        (CLASSED, {}),
        (CLASSED, {"seed": 7, "test_share": 0.5}),
        (SPLIT, {}),
        ({**CLASSED, "cat/copy.png": CLASSED["cat/1.png"], "ünï cörn/1.png": MORE}, {"seed": 3}),
        (dict(list(CLASSED.items())[5:7]), {"seed": 5}),
    ],
    ids=["drawn", "drawn otherwise", "given", "a copy and a single image", "no test images"],
)
def test_what_is_stored_comes_back_as_the_same_dataset(
    files: Files, options: dict[str, float], prepare: Prepare, tmp_path: Path
) -> None:
    contents = prepare(zip_bytes(files), **options)
    stored = (tmp_path / "out" / ORIGINALS_NAME).read_bytes()
    again = prepare(stored)
    assert again.sha256 == contents.sha256
    assert (tmp_path / "out" / ORIGINALS_NAME).read_bytes() == stored
    packed = prepare(zip_bytes({"data/originals.parquet": stored}))
    assert packed.sha256 == contents.sha256


WEBDATASETS = {
    "cls": tar_bytes(samples("cls")),
    "txt": tar_bytes(samples("txt")),
    "json": tar_bytes(samples("json")),
    "tar.gz": tar_bytes(samples("cls"), "w:gz"),
    "zip": zip_bytes(samples("json", folder="shard/")),
    "line ends": tar_bytes(
        {name: data + b"\n" * name.endswith("cls") for name, data in samples("cls").items()}
    ),
    "in folders": tar_bytes(
        {f"{'ab'[int(name[:6]) % 2]}/{name}": data for name, data in samples("cls").items()}
    ),
}


@pytest.mark.parametrize("data", WEBDATASETS.values(), ids=WEBDATASETS.keys())
def test_webdatasets_are_as_good_as_folders(data: bytes, prepare: Prepare) -> None:
    expected, contents = prepare(zip_bytes(CLASSED)), prepare(data)
    assert contents.sha256 == expected.sha256
    assert contents.report.problems == ()


def test_a_webdataset_may_have_splits_groups_and_other_files(prepare: Prepare) -> None:
    files: dict[str, bytes] = {}
    for part in ("train", "test"):
        own = {name: data for name, data in SPLIT.items() if name.startswith(part)}
        files |= samples("cls", own, folder=f"{part}/")
    contents = prepare(tar_bytes({**files, "train/000000.txt": b"a cat on a mat"}))
    assert contents.sha256 == prepare(zip_bytes(SPLIT)).sha256
    assert told(contents) == [("warning", "not_an_image", "train/000000.txt")]
    rows = {
        name: json.dumps({"Kind": "ab"[n // 2 % 2], "who": n // 4, "split": None}).encode()
        if name.endswith("json")
        else data
        for n, (name, data) in enumerate(samples("json").items())
    }
    grouped = prepare(tar_bytes(rows), label="kind", group="who")
    assert grouped.report.groups == 6


@pytest.mark.parametrize(
    "files",
    [
        {**CLASSED, **{name.replace("png", "txt"): b"a note" for name in CLASSED}},
        {**CLASSED, **{name.replace("png", "json"): b'{"box": [1, 2]}' for name in CLASSED}},
        {**CLASSED, **dict.fromkeys([n.replace("png", "cls") for n in list(CLASSED)[1:]], b"x")},
    ],
    ids=["notes", "other objects", "one without"],
)
def test_files_beside_images_in_folders_may_be_notes(files: Files, prepare: Prepare) -> None:
    contents = prepare(zip_bytes(files))
    assert contents.sha256 == prepare(zip_bytes(CLASSED)).sha256
    assert {code for _, code, _ in told(contents)} == {"not_an_image"}


def test_everything_wrong_with_siblings_is_told_at_once(prepare: Prepare) -> None:
    wrong = {
        "000000.cls": b"\xff",
        "000001.cls": b"x" * 5_000,
        "000002.cls": b"a/b",
        "000003.cls": b"Dog",
        "000004.cls": b"  ",
        "000005.jpg": CLASSED["cat/0.png"],
    }
    found = faults(tar_bytes({**samples("cls"), **wrong}), prepare)
    assert found == [
        ("several_images", "000005.cls"),
        ("bad_encoding", "000000.cls"),
        ("bad_label", "000001.cls"),
        ("bad_label", "000002.cls"),
        ("duplicate_name", "000006.cls"),
        *(("duplicate_name", f"{n:06}.cls") for n in range(7, 12)),
        ("no_label", "000000.png"),
        ("no_label", "000001.png"),
        ("no_label", "000004.png"),
    ]
    broken = {**samples("json"), "000001.json": b"[]", "000002.json": b'{"label": 1.5}'}
    assert faults(tar_bytes(broken), prepare)[:2] == [
        ("bad_table", "000001.json"),
        ("bad_label", "000002.json"),
    ]

"""The same images are the same dataset by whatever table; what is wrong in one is told by line."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.config import UploadLimits
from core.data import metadata
from core.data.prepared import ORIGINALS_NAME, Contents
from core.errors import AppError, BadArchive, Detail, TooLarge
from tests.unit.data.builders import Files, dataset, encode, noise, tar_bytes, zip_bytes
from tests.unit.data.conftest import Prepare

CLASSED = dataset(6)
SPLIT = {f"{'test' if '/5' in name else 'train'}/{name}": data for name, data in CLASSED.items()}
MORE = encode(noise(77, (8, 8, 3)))
Row = Mapping[str, object]


def flat(files: Files = CLASSED) -> Files:
    """The images without their folders."""
    return {name.replace("/", "-"): data for name, data in files.items()}


def rows(files: Files = CLASSED) -> list[dict[str, str]]:
    """What the folders said."""
    return [{"file_name": name.replace("/", "-"), "label": name.split("/")[-2]} for name in files]


def csv_of(lines: Sequence[Row], delimiter: str = ",", **options: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), delimiter=delimiter, **options)
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def jsonl_of(lines: Iterable[Row]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def with_csv(lines: Sequence[Row], **options: str) -> bytes:
    return zip_bytes({**flat(), "metadata.csv": csv_of(lines, **options)})


TABLES = {
    "csv": with_csv(rows()),
    "csv of another order": with_csv(rows()[::-1]),
    "jsonl in a tar": tar_bytes({**flat(), "metadata.jsonl": jsonl_of(rows())}),
    "semicolons": with_csv(rows(), delimiter=";"),
    "tabs, CRLF": with_csv(rows(), delimiter="\t", lineterminator="\r\n"),
    "old Mac": with_csv(rows(), lineterminator="\r"),
    "byte order mark": zip_bytes({**flat(), "metadata.csv": b"\xef\xbb\xbf" + csv_of(rows())}),
    "other columns": with_csv([{**row, "caption": 'two\nlines, "so"'} for row in rows()]),
    "capitals": zip_bytes({**flat(), "Metadata.CSV": csv_of(rows()).replace(b"l", b"L", 1)}),
    "wrapped": zip_bytes(
        {f"all/{n}": d for n, d in {**flat(), "metadata.csv": csv_of(rows())}.items()}
    ),
    "a table of each half": zip_bytes(
        {
            **{f"{'ab'[i % 2]}/{name}": data for i, (name, data) in enumerate(flat().items())},
            "a/metadata.csv": csv_of(rows()[::2]),
            "b/metadata.jsonl": jsonl_of(rows()[1::2]),
        }
    ),
    "spaces and blank lines": zip_bytes(
        {
            **flat(),
            "metadata.csv": b"file_name, label\n\n"
            + b"".join(f"{r['file_name']} , {r['label']} \n,\n".encode() for r in rows()),
        }
    ),
    "folders inside": zip_bytes(
        {
            **{f"images/{name}": data for name, data in flat().items()},
            "metadata.csv": csv_of(
                [{**row, "file_name": f"./images/{row['file_name']}"} for row in rows()]
            ),
        }
    ),
}


@pytest.mark.parametrize("data", TABLES.values(), ids=TABLES.keys())
def test_a_table_is_as_good_as_folders(data: bytes, prepare: Prepare) -> None:
    expected, contents = prepare(zip_bytes(CLASSED)), prepare(data)
    assert contents.sha256 == expected.sha256
    assert contents.report.problems == ()


def split_rows(value: Mapping[str, str]) -> list[dict[str, str]]:
    return [{**row, "Split": value[row["file_name"].split("-")[0]]} for row in rows(SPLIT)]


SPLIT_TABLES = {
    "a table in each folder": {
        **{
            name.replace("/cat/", "/cat-").replace("/dog/", "/dog-"): d
            for name, d in SPLIT.items()
        },
        **{
            f"{part}/metadata.csv": csv_of(
                rows({n[len(part) + 1 :]: d for n, d in SPLIT.items() if n.startswith(part)})
            )
            for part in ("train", "test")
        },
    },
    "one table above": {
        **SPLIT,
        "metadata.csv": csv_of(
            [{"file_name": name, "label": name.split("/")[1]} for name in SPLIT]
        ),
    },
    "a column": {
        **flat(SPLIT),
        "metadata.csv": csv_of(split_rows({"train": "TRAINING", "test": "validation"})),
    },
    "a column that contradicts the folder": {
        **{f"train/{name}": data for name, data in flat(SPLIT).items()},
        "train/metadata.csv": csv_of(split_rows({"train": "train", "test": "test"})),
    },
    "a column beside class folders": {
        **{name.split("/", 1)[1]: data for name, data in SPLIT.items()},
        "metadata.csv": csv_of(
            [{"file_name": name.split("/", 1)[1], "split": name.split("/")[0]} for name in SPLIT]
        ),
    },
}


@pytest.mark.parametrize("files", SPLIT_TABLES.values(), ids=SPLIT_TABLES.keys())
def test_splits_by_tables_are_splits_by_folders(files: Files, prepare: Prepare) -> None:
    expected, contents = prepare(zip_bytes(SPLIT)), prepare(zip_bytes(files))
    assert contents.sha256 == expected.sha256
    assert contents.report.split in {"given", "validation_as_test"}


def test_the_label_column_can_be_chosen(prepare: Prepare) -> None:
    lines = [{**row, "label": "x", "Kind": row["label"]} for row in rows()]
    chosen = prepare(with_csv(lines), label="kind")
    assert chosen.sha256 == prepare(zip_bytes(CLASSED)).sha256
    assert chosen.report.options.label == "kind"
    for without in (zip_bytes(CLASSED), tar_bytes(samples("cls"))):
        assert ("no_label_column", "") in faults(without, prepare, label="kind")


def test_a_column_may_name_groups(prepare: Prepare) -> None:
    lines = [{**row, "patient": f"p{number // 3}"} for number, row in enumerate(rows())]
    contents = prepare(with_csv(lines), group="patient")
    assert contents.report.groups == 4
    assert {count % 3 for count in contents.test_counts} == {0}
    assert faults(with_csv(lines), prepare, group="doctor") == [("no_groups", "")]


def test_numbers_are_class_names(prepare: Prepare) -> None:
    lines = [{**row, "label": len(row["label"] * (row["label"] == "cat"))} for row in rows()]
    by_json = prepare(zip_bytes({**flat(), "metadata.jsonl": jsonl_of(lines)}))
    assert by_json.classes == ("0", "3")
    assert by_json.sha256 == prepare(with_csv(lines)).sha256


def details(data: bytes, prepare: Prepare, **options: object) -> Sequence[Detail]:
    with pytest.raises(BadArchive) as caught:
        prepare(data, **options)
    return caught.value.details


def faults(data: bytes, prepare: Prepare, **options: object) -> list[tuple[str, str]]:
    return [(each.code, each.place) for each in details(data, prepare, **options)]


def table(text: str | bytes, name: str = "metadata.csv") -> bytes:
    return zip_bytes({**flat(), name: text if isinstance(text, bytes) else text.encode()}, 0)


def test_everything_wrong_with_a_table_is_told_at_once_by_line(prepare: Prepare) -> None:
    text = "file_name,label,note\n" + "".join(
        f"{row['file_name']},{row['label']},\n" for row in rows()
    )
    wrong = [
        "cat-0.png,dog,\n",
        "cat-1.png\n",
        ",cat,\n",
        "../cat-1.png,cat,\n",
        "images\\cat-1.png,cat,\n",
        "gone.png,cat,\n",
        'cat-2.png,"Cat",\n',
        '"cat-3.png,c\nat",x,\n',
        "cat-3.png,cat/big,\n",
        "cat-3.png,con,\n",
        "cat-3.png,.cat,\n",
        'cat-3.png,"cat"",\n',
    ]
    found = faults(table(text + "".join(wrong)), prepare)
    assert found == [
        ("contradicting_rows", "metadata.csv, line 14"),
        ("ragged_row", "metadata.csv, line 15"),
        ("no_file_name", "metadata.csv, line 16"),
        ("unsafe_path", "metadata.csv, line 17"),
        ("unsafe_path", "metadata.csv, line 18"),
        ("duplicate_name", "metadata.csv, line 20"),
        ("bad_label", "metadata.csv, line 23"),
        ("contradicting_rows", "metadata.csv, line 23"),
        ("bad_label", "metadata.csv, line 24"),
        ("contradicting_rows", "metadata.csv, line 24"),
        ("bad_label", "metadata.csv, line 25"),
        ("contradicting_rows", "metadata.csv, line 25"),
        ("bad_table", "metadata.csv, line 26"),
        ("missing_file", "metadata.csv, line 19"),
        ("missing_file", "metadata.csv, line 21"),
    ]


BROKEN = {
    "latin-1": (csv_of(rows()) + "cät.png,x".encode("latin-1"),
        [("bad_encoding", "metadata.csv, line 14")]),
    "utf-16": (csv_of(rows()).decode().encode("utf-16"), [("bad_encoding", "metadata.csv")]),
    "a column twice": (b"file_name,label,Label\na.png,x,y\n",
        [("duplicate_column", "metadata.csv, line 1")]),
    "no label column": (csv_of([{"file_name": "cat-0.png", "kind": "x"}]),
        [("no_label_column", "metadata.csv")]),
    "no file column": (csv_of([{"file": "cat-0.png", "label": "x"}]),
        [("no_file_name_column", "metadata.csv")]),
    "an open quote": (csv_of(rows()) + b'cat-0.png,"cat\n' + b"cat-1.png,cat\n" * 20_000,
        [("bad_table", "metadata.csv, line 14")]),
    "no row that can be read": (b"file_name,label\n1.png\n",
        [("ragged_row", "metadata.csv, line 2"), ("empty_dataset", "")]),
    "a long row": (csv_of(rows()) + b"x," * 600_000 + b"\n",
        [("bad_table", "metadata.csv, line 14")]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_table_is_refused_where_it_breaks(
    text: bytes, expected: list[tuple[str, str]], prepare: Prepare
) -> None:
    assert faults(table(text), prepare)[: len(expected)] == expected


def test_broken_lines_of_json_are_told(prepare: Prepare) -> None:
    wrong = b'{\n["cat-0.png"]\n' + b"[" * 100_000 + b'\n{"file_name": 3}\n'
    odd = [{"file_name": "cat-0.png", "label": label} for label in (1.5, True, ["cat"], 10**30)]
    found = faults(table(jsonl_of(rows()) + wrong + jsonl_of(odd), "metadata.jsonl"), prepare)
    assert [place for code, place in found if code == "bad_table"] == [
        f"metadata.jsonl, line {line}" for line in (13, 14, 15)
    ]
    assert [code for code, place in found if place == "metadata.jsonl, line 16"] == [
        "no_file_name"
    ]
    assert [place for code, place in found if code == "bad_label"] == [
        f"metadata.jsonl, line {line}" for line in (17, 18, 19, 20)
    ]


ODD_NAMES = [
    "=HYPERLINK(A1)", "@SUM(A1)", "-2+3", "<b>", "日本語", "e\u0301te\u0301", "👩\u200d🚀", " cat",
    "0", "cat ", "cat.", "con", "LPT1.x", "a\x1bb", "a\u202eb", "a\nb", "x" * 256, "..", ".",
    ".cat", "a\\b", "C:cat", "__MACOSX", "a/../b",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_a_class_in_a_table_is_judged_as_a_folder(name: str, prepare: Prepare) -> None:
    """Folders that are passed over as junk, or that are steps to elsewhere, are no classes."""
    lines = [{**row, "label": row["label"].replace("dog", name)} for row in rows()]
    archive = zip_bytes({n.replace("dog", name): data for n, data in CLASSED.items()})
    tabled = zip_bytes({**flat(), "metadata.jsonl": jsonl_of(lines)})
    try:
        expected = prepare(archive).sha256
    except AppError:
        assert {code for code, _ in faults(tabled, prepare)} == {"bad_label"}
    else:
        assert prepare(tabled).sha256 == expected


def told(contents: Contents) -> list[tuple[str, str, str]]:
    return [(each.severity, each.code, each.place) for each in contents.report.problems]


def test_what_a_table_leaves_out_is_told_and_counts(prepare: Prepare) -> None:
    lines = [*rows(), {"file_name": "gone.png", "label": "cat"}, rows()[0]]
    data = zip_bytes({**flat(), "more.png": CLASSED["cat/0.png"], "metadata.csv": csv_of(lines)})
    contents = prepare(data, unreadable_share=0.1)
    assert told(contents)[:3] == [
        ("warning", "duplicate_row", "metadata.csv, line 15"),
        ("error", "missing_file", "metadata.csv, line 14"),
        ("error", "no_label", "more.png"),
    ]
    assert contents.sha256 == prepare(zip_bytes(CLASSED)).sha256
    assert faults(data, prepare) == [
        ("missing_file", "metadata.csv, line 14"),
        ("no_label", "more.png"),
    ]


def test_files_are_found_by_names_that_look_the_same(prepare: Prepare) -> None:
    files = {name.replace("cat", "chaté"): data for name, data in flat().items()}
    lines = [
        {**row, "file_name": row["file_name"].replace("cat", "CHATe\u0301")} for row in rows()
    ]
    contents = prepare(zip_bytes({**files, "metadata.csv": csv_of(lines)}))
    assert contents.sha256 == prepare(zip_bytes(CLASSED)).sha256


@pytest.mark.parametrize("name", ["metadata.csv", "cat/metadata.csv"])
def test_folders_make_up_for_a_table_without_classes(name: str, prepare: Prepare) -> None:
    captions = {name: csv_of([{"file_name": "0.png", "text": "a cat"}])}
    contents = prepare(zip_bytes({**CLASSED, **captions}), unreadable_share=1)
    assert ("warning", "no_label_column", name) in told(contents)
    assert contents.sha256 == prepare(zip_bytes(CLASSED)).sha256
    found = faults(zip_bytes({**CLASSED, **captions}), prepare, label="kind", unreadable_share=1)
    assert found == [("no_label_column", name)]


def test_a_table_may_not_be_endless(
    prepare: Prepare, limits: UploadLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = with_csv(rows() * 10)
    with pytest.raises(TooLarge, match="more than 100 rows"):
        prepare(data, limits=limits.model_copy(update={"entries": 100}))
    monkeypatch.setattr(metadata, "_TABLE_BYTES", 1_000)
    with pytest.raises(TooLarge, match="more than 1,000 bytes"):
        prepare(data)


def test_an_empty_table_is_passed_over(prepare: Prepare) -> None:
    for text in (b"", b"file_name,label\n", b"\n\n"):
        contents = prepare(zip_bytes({**CLASSED, "metadata.csv": text}))
        assert told(contents) == [("warning", "empty_table", "metadata.csv")]


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


def samples(kind: str, files: Files = CLASSED, folder: str = "") -> Files:
    """As WebDataset writes them: `000001.png` beside `000001.cls`."""
    contents = {"json": lambda label: json.dumps({"label": label, "width": 8})}
    found: dict[str, bytes] = {}
    for number, (name, data) in enumerate(files.items()):
        label = name.split("/")[-2]
        found[f"{folder}{number:06}.png"] = data
        found[f"{folder}{number:06}.{kind}"] = contents.get(kind, str)(label).encode()
    return found


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

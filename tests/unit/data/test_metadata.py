"""A table is as good as folders, and what is wrong in one is told by line."""

from collections.abc import Mapping

import pytest

from core.config import UploadLimits
from core.data import metadata
from core.errors import AppError, TooLarge
from tests.unit.data.builders import Files, tar_bytes, zip_bytes
from tests.unit.data.conftest import Prepare
from tests.unit.data.tables import (
    CLASSED,
    SPLIT,
    csv_of,
    faults,
    flat,
    jsonl_of,
    rows,
    samples,
    told,
    with_csv,
)

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
    assert found[0] == ("no_label_column", name)  # beside a missing file, if the row means one


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

"""Hostile Parquet files, tables and samples."""

import io
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.config import UploadLimits
from tests.unit.data.builders import (
    Entry,
    dataset,
    entries_of,
    raw_zip,
    tar_bytes,
    tar_member,
    zip_bytes,
)
from tests.unit.data.tables import CLASSED, csv_of, flat, jsonl_of, rows, samples, with_csv

IMAGES = list(dataset(3).values())
MANY = UploadLimits().entries + 1
CLASSES = ["cat"] * 3 + ["dog"] * 3


def parquet_of(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def honest(**columns: object) -> pa.Table:
    return pa.table({"image": IMAGES, "label": CLASSES, **columns})


HONEST = parquet_of(honest())
# One row group with as many of the least possible columns as a list can say to hold in 3 bytes.
MANY_COLUMNS = b"\x49\x1c\x19\xfc\xff\xff\x03" + b"\x3c\x76\x02\x26\x02\0\0" * 65_535 + b"\0\0"
HOSTILE = {
    "cut short": (HONEST[:-1], "bad_parquet"),
    "only a beginning": (b"PAR1", "bad_parquet"),
    "encrypted": (b"PARE" + HONEST[4:-4] + b"PARE", "bad_parquet"),
    "no footer": (HONEST[:-8] + bytes(4) + b"PAR1", "bad_parquet"),
    "a footer larger than the file": (HONEST[:-8] + b"\xff\xff\x0f\0PAR1", "bad_parquet"),
    "a footer of 2 GiB": (HONEST[:-8] + b"\xff\xff\xff\x7fPAR1", "archive_too_large"),
    "a footer of many columns": (
        b"PAR1" + MANY_COLUMNS + len(MANY_COLUMNS).to_bytes(4, "little") + b"PAR1",
        "archive_too_large",
    ),
    "a page of zeros": (
        parquet_of(pa.table({"image": [bytes(2**20)] * 40, "label": ["x"] * 40}),
            use_dictionary=False, compression="zstd"),
        "archive_too_large",
    ),
    "a page of labels": (
        parquet_of(pa.table({"image": [b"x"] * 40, "label": ["x" * 2**20] * 40}),
            use_dictionary=False, compression="zstd"),
        "archive_too_large",
    ),
    "one image again and again": (
        parquet_of(
            pa.table({
                "image": pa.DictionaryArray.from_arrays(
                    np.zeros(30_000, np.int32), pa.array([bytes(2**20)])),
                "label": ["x"] * 30_000,
            }),
            compression="zstd", store_schema=False, dictionary_pagesize_limit=2**21,
        ),
        "archive_too_large",
    ),
    "too many columns": (
        parquet_of(pa.table({f"c{n}": [n] for n in range(1_001)})), "archive_too_large"
    ),
    "too many rows": (
        parquet_of(pa.table({"image": [b""] * MANY, "label": ["x"] * MANY})), "too_many_files"
    ),
}  # fmt: skip


def table(text: bytes, name: str = "metadata.csv") -> bytes:
    """The images in one folder, with this table."""
    return zip_bytes({**flat(), name: text}, 0)


def labelled(label: str) -> bytes:
    """A table whose dogs are called so."""
    return with_csv([{**row, "label": row["label"].replace("dog", label)} for row in rows()])


def many_rows() -> bytes:
    """A table as long as one may be and longer, of files that are not there."""
    lines = b"".join(b"%d.png,cat\n" % number for number in range(60_000))
    return table(csv_of(rows()) + lines)


def nested_lists() -> bytes:
    """A Parquet file whose images are lists of lists."""
    return parquet_of(pa.table({"image": [[[[data]]] for data in IMAGES], "label": CLASSES}))


def same_key() -> bytes:
    """A WebDataset that has one file twice."""
    files = samples("cls")
    return tar_bytes(files, members=[tar_member(next(iter(files)), tarfile.REGTYPE)])


TABLES = {
    "53 formula": (labelled("=HYPERLINK(A1)"), "accepted"),
    "51 script": (labelled("<script>alert(1)</script>"), "bad_label"),
    "51 template": (labelled("{{7*7}}${jndi:x}"), "accepted"),
    "16 label with NUL": (labelled("d\0g"), "bad_label"),
    "16 label with a line": (labelled('dog\n"=1'), "bad_label"),
    "16 label climbs": (labelled("../dog"), "bad_label"),
    "1 file climbs": (table(csv_of(rows()) + b"../../etc/passwd,cat\n"), "unsafe_path"),
    "35 deep JSON": (
        table(jsonl_of(rows()) + b"[" * 1_000_000 + b"\n", "metadata.jsonl"), "bad_table"
    ),
    "35 giant field": (table(csv_of(rows()) + b"x" * 30 * 2**20 + b",cat\n"), "bad_table"),
    "35 not UTF-8": (table(csv_of(rows()) + b"\xff\xfe.png,cat\n"), "bad_encoding"),
    "9 many rows": (many_rows(), "too_many_files"),
    "15 sample twice": (same_key(), "duplicate_name"),
    "15 two images of a key": (
        tar_bytes({**samples("cls"), "000000.jpg": next(iter(CLASSED.values()))}), "several_images"
    ),
    "13 nested Parquet": (nested_lists(), "no_image_column"),
    "10 zip of Parquet that is a zip": (
        raw_zip([*entries_of(CLASSED), Entry(b"data/train.parquet", zip_bytes(CLASSED))]),
        "accepted",
    ),
}  # fmt: skip

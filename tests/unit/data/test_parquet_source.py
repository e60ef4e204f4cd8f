"""Parquet made by others: what is wrong is told, and none of it costs more than it weighs."""

import io
import random
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import UploadLimits
from core.data import parquet_pages, parquet_source
from core.errors import AppError, BadArchive, TooLarge
from tests.attacks.columns import CLASSES, HONEST, HOSTILE, IMAGES, honest, parquet_of
from tests.unit.data.builders import Files, dataset, tar_bytes, zip_bytes
from tests.unit.data.conftest import Prepare


def faults(data: bytes, prepare: Prepare, **options: object) -> list[tuple[str, str]]:
    with pytest.raises(BadArchive) as caught:
        prepare(data, **options)
    return [(each.code, each.place) for each in caught.value.details]


LACKING: dict[str, tuple[pa.Table, Sequence[tuple[str, str]]]] = {
    "images and classes": (
        pa.table({"x": [1, 2]}), [("no_image_column", ""), ("no_label_column", "")]
    ),
    "one column of images": (
        pa.table({"left": IMAGES, "right": IMAGES, "label": CLASSES}), [("no_image_column", "")]
    ),
    "images that are text": (pa.table({"image": CLASSES, "label": CLASSES}),
        [("no_image_column", "")]),
    "classes that are names": (honest(label=[[1]] * 6),
        [("bad_label", f"row {n}") for n in range(1, 7)]),
    "one column of each name": (
        pa.Table.from_arrays([pa.array(IMAGES), pa.array(CLASSES), pa.array(CLASSES)],
            names=["image", "label", "label"]),
        [("duplicate_column", "")],
    ),
    "names for all numbers": (
        pa.table({"image": IMAGES, "label": [0, 1, 0, 1, 5, -3]}).replace_schema_metadata(
            {b"huggingface": b'{"info": {"features": {"label": '
                b'{"_type": "ClassLabel", "names": ["a", "b"]}}}}'}),
        [("bad_label", "row 5"), ("bad_label", "row 6")],
    ),
    "good names": (honest(label=["cat"] * 3 + ["a/b", "con", "Cat"]),
        [("bad_label", "row 4"), ("bad_label", "row 5"), ("duplicate_name", "row 6")]),
    "images": (pa.table({"image": [{"bytes": None, "path": "/etc/passwd"}, *(
            {"bytes": data, "path": None} for data in IMAGES[1:])], "label": CLASSES}),
        [("no_image_bytes", "row 1")]),
}  # fmt: skip


@pytest.mark.parametrize(("table", "expected"), LACKING.values(), ids=LACKING.keys())
def test_what_a_file_lacks_is_told_by_row(
    table: pa.Table, expected: Sequence[tuple[str, str]], prepare: Prepare
) -> None:
    assert faults(parquet_of(table), prepare)[: len(expected)] == list(expected)


def test_every_shard_is_told_of(prepare: Prepare) -> None:
    shards = {
        "data/a.parquet": parquet_of(honest(label=["cat"] * 5 + [".dog"])),
        "data/b.parquet": parquet_of(pa.table({"text": ["x"]})),
        "data/cat\x1b.parquet": b"x",
    }
    assert faults(zip_bytes(shards), prepare)[:4] == [
        ("bad_name", "data/cat\\x1b.parquet"),
        ("bad_label", "data/a.parquet, row 6"),
        ("no_image_column", "data/b.parquet"),
        ("no_label_column", "data/b.parquet"),
    ]


def test_columns_can_be_chosen_and_group(prepare: Prepare) -> None:
    table = pa.table(
        {"photo": IMAGES, "note": [b"x"] * 6, "kind": CLASSES, "who": [1, 1, 1, 2, 2, 2]}
    )
    contents = prepare(parquet_of(table), label="Kind", group="WHO")
    assert contents.classes == ("cat", "dog")
    assert contents.report.groups == 2


@pytest.mark.parametrize("path", ["../../etc/passwd", "C:\\x.png", "a\x1b[31m.png", "", "x" * 300])
def test_what_a_file_calls_its_images_is_only_shown_when_harmless(
    path: str, prepare: Prepare
) -> None:
    images = [{"bytes": data, "path": path} for data in [*IMAGES, b"no image"]]
    table = pa.table({"image": images, "label": [*CLASSES, "dog"]})
    contents = prepare(parquet_of(table), unreadable_share=0.5)
    bad = [each.place for each in contents.report.problems if each.severity == "error"]
    assert bad == ["row 7"]


@pytest.mark.parametrize(("data", "code"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused_early(data: bytes, code: str, prepare: Prepare) -> None:
    with pytest.raises((BadArchive, TooLarge)) as caught:
        prepare(data)
    assert caught.value.stable_code == code


def test_a_column_under_a_false_name_is_held_to_its_limits_too(prepare: Prepare) -> None:
    """The footer names a column twice: its place in the schema decides which it is."""
    honest = {"data": [b"x"] * 40, "label": ["x"] * 40}
    bomb = parquet_of(
        pa.table({**honest, "image": [bytes(2**20)] * 40}),
        use_dictionary=False,
        compression="zstd",
    )
    at = bomb.rfind(b"image", 0, bomb.find(b"ARROW:schema"))
    false = bomb[:at] + b"nobod" + bomb[at + 5 :]
    assert pq.ParquetFile(io.BytesIO(false)).schema.column(2).path == "image"
    with pytest.raises(TooLarge, match="a page unpacks to"):
        prepare(false)


def test_an_image_may_be_no_larger_than_a_file(prepare: Prepare, limits: UploadLimits) -> None:
    small = limits.model_copy(update={"entry_bytes": 50})
    with pytest.raises(TooLarge, match="row 1: "):
        prepare(HONEST, limits=small)


@pytest.mark.parametrize("pack", [zip_bytes, tar_bytes, lambda files: zip_bytes(files, 0)])
def test_a_shard_may_be_larger_than_an_image(
    pack: Callable[[Files], bytes], prepare: Prepare, limits: UploadLimits
) -> None:
    small = limits.model_copy(update={"entry_bytes": max(map(len, IMAGES))})
    shard = {"data/train.parquet": HONEST}
    assert prepare(pack(shard), limits=small).sha256 == prepare(HONEST).sha256
    with pytest.raises(TooLarge, match=r"train\.png: "):
        prepare(pack({"data/train.png": HONEST}), limits=small)


def test_a_parquet_file_is_no_image_whatever_it_begins_with(prepare: Prepare) -> None:
    files = {**dataset(3), "cat/big.parquet": IMAGES[0]}
    found = prepare(zip_bytes(files)).report.problems
    assert [(each.code, each.place) for each in found] == [("not_an_image", "cat/big.parquet")]


def test_a_page_that_fails_its_checksum_is_refused(prepare: Prepare) -> None:
    data = bytearray(parquet_of(honest(), compression="none", write_page_checksum=True))
    data[data.find(IMAGES[2]) + 40] ^= 1
    with pytest.raises(BadArchive) as caught:
        prepare(bytes(data))
    assert caught.value.stable_code == "bad_parquet"


def test_flipped_bytes_are_a_dataset_or_a_refusal(prepare: Prepare) -> None:
    chance, refused = random.Random(11), 0
    for _ in range(150):
        data = bytearray(HONEST)
        for _ in range(chance.choice((1, 1, 2, 8))):
            # Most in the footer and the headers: images are tried elsewhere.
            data[-chance.randrange(1, 1_200)] = chance.randrange(256)
        try:
            prepare(bytes(data), unreadable_share=0.5)
        except AppError:
            refused += 1
    assert 0 < refused < 150


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.binary(max_size=3_000), min_size=1, max_size=60),
    st.sampled_from(["none", "snappy", "zstd"]),
    st.booleans(),
    st.sampled_from(["1.0", "2.0"]),
    st.integers(1, 20),
)
def test_pages_fill_their_columns(
    values: list[bytes], compression: str, use_dictionary: bool, version: str, rows: int
) -> None:
    """Headers and contents add up to what the writer says of the column, packed and unpacked."""
    data = parquet_of(
        pa.table({"image": [{"bytes": value, "path": None} for value in values]}),
        compression=compression,
        use_dictionary=use_dictionary,
        data_page_version=version,
        data_page_size=500,
        row_group_size=rows,
        write_page_checksum=True,
    )
    described = pq.ParquetFile(io.BytesIO(data)).metadata
    groups = map(described.row_group, range(described.num_row_groups))
    written = [group.column(n) for group in groups for n in range(group.num_columns)]
    footer = parquet_pages.footer_of(io.BytesIO(data), 2**20)
    assert footer is not None
    for chunk, told in zip(parquet_pages.chunks(footer), written, strict=True):
        assert told.path_in_schema == ("image.bytes", "image.path")[chunk.column]
        found = list(parquet_pages.pages(io.BytesIO(data), chunk))
        assert sum(page.header + page.packed for page in found) == told.total_compressed_size
        assert sum(page.header + page.unpacked for page in found) == told.total_uncompressed_size


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("test-00001-of-00002-8a1f2c.parquet", "test"),
        ("validation.parquet", "val"),
        ("plain_text/train/0000.parquet", "train"),
        ("Train_3.PARQUET", "train"),
        ("train/part/test.parquet", "test"),
        ("data/cats.parquet", None),
        ("0000.parquet", None),
        ("", None),
    ],
)
def test_a_shard_is_of_the_split_that_its_name_says(name: str, split: str | None) -> None:
    assert parquet_source.Shard(name, lambda: io.BytesIO()).split == split

"""The uploaded images as one Parquet file in the Hugging Face image layout."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_GROUP_BYTES = 8 * 1024**2  # larger ones take several times as long: their memory is always new
_GROUP_ROWS = 1_000
_READ_ROWS = 100


@dataclass(frozen=True, slots=True)
class Original:
    """One image as uploaded; `path` is its name in the archive, as data."""

    data: bytes
    path: str
    label: int
    label_name: str
    split: str
    sha256: str


def schema(classes: Sequence[str]) -> Any:
    """The columns, with the feature description that `datasets` reads."""
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
        **{
            name: {"dtype": "string", "_type": "Value"}
            for name in ("label_name", "split", "sha256")
        },
    }
    return pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("label", pa.int64()),
            ("label_name", pa.string()),
            ("split", pa.string()),
            ("sha256", pa.string()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )


def write(path: Path, classes: Sequence[str], rows: Iterable[Original]) -> None:
    """Write all rows in order, in row groups of bounded size."""
    own_schema = schema(classes)
    # Images are compressed already; a dictionary of them would only cost memory.
    with pq.ParquetWriter(
        path, own_schema, compression="none", use_dictionary=False, write_statistics=False
    ) as writer:
        for group in _groups(rows):
            table = _table(group, own_schema)
            group.clear()  # it is held once more while it is written
            writer.write_table(table)


def _table(group: Sequence[Original], own_schema: Any) -> Any:
    """Column by column: a dictionary for each row would take as long as decoding it."""
    data = pa.array([row.data for row in group], pa.binary())
    paths = pa.array([row.path for row in group], pa.string())
    columns = [
        pa.StructArray.from_arrays([data, paths], names=["bytes", "path"]),
        pa.array([row.label for row in group], pa.int64()),
        *(
            pa.array([getattr(row, name) for row in group], pa.string())
            for name in ("label_name", "split", "sha256")
        ),
    ]
    return pa.Table.from_arrays(columns, schema=own_schema)


def _groups(rows: Iterable[Original]) -> Iterator[list[Original]]:
    group: list[Original] = []
    size = 0
    for row in rows:
        group.append(row)
        size += len(row.data)
        del row  # or it would be held until the next one comes
        if size >= _GROUP_BYTES or len(group) >= _GROUP_ROWS:
            yield group
            group, size = [], 0
    if group:
        yield group


def columns(path: Path) -> tuple[list[int], list[str]]:
    """Every row's label and split, without reading the images."""
    table = pq.read_table(path, columns=["label", "split"], use_threads=False)
    return table["label"].to_pylist(), table["split"].to_pylist()


def group_sizes(path: Path) -> list[int]:
    """How many rows each row group has."""
    with pq.ParquetFile(path) as file:
        return [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)]


def stored_images(path: Path, group: int) -> Iterator[bytes]:
    """The image bytes of a row group, a few rows in memory at a time."""
    wanted: dict[str, Any] = {"row_groups": [group], "columns": ["image"], "use_threads": False}
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_READ_ROWS, **wanted):
            for image in batch.column("image"):
                yield image["bytes"].as_py()

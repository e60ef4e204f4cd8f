"""The same images in folders, beside tables and as samples."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

import pytest

from core.data.prepared import Contents
from core.errors import BadArchive
from tests.unit.data.builders import Files, dataset, encode, noise, zip_bytes
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
    """A CSV table of these rows."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), delimiter=delimiter, **options)
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def jsonl_of(lines: Iterable[Row]) -> bytes:
    """A line of JSON for each row."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def with_csv(lines: Sequence[Row], **options: str) -> bytes:
    """The images in one folder, with a table."""
    return zip_bytes({**flat(), "metadata.csv": csv_of(lines, **options)})


def samples(kind: str, files: Files = CLASSED, folder: str = "") -> Files:
    """As WebDataset writes them: `000001.png` beside `000001.cls`."""
    contents = {"json": lambda label: json.dumps({"label": label, "width": 8})}
    found: dict[str, bytes] = {}
    for number, (name, data) in enumerate(files.items()):
        label = name.split("/")[-2]
        found[f"{folder}{number:06}.png"] = data
        found[f"{folder}{number:06}.{kind}"] = contents.get(kind, str)(label).encode()
    return found


def faults(data: bytes, prepare: Prepare, **options: object) -> list[tuple[str, str]]:
    """Code and place of everything that an upload is refused for."""
    with pytest.raises(BadArchive) as caught:
        prepare(data, **options)
    return [(each.code, each.place) for each in caught.value.details]


def told(contents: Contents) -> list[tuple[str, str, str]]:
    """Severity, code and place of everything in the report."""
    return [(each.severity, each.code, each.place) for each in contents.report.problems]

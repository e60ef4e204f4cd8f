"""The header of a safetensors file: what names its tensors, and the texts beside them.

Eight bytes of length, then JSON; the tensors' bytes follow. Needs nothing but Python.
"""

import json
from collections.abc import Mapping
from typing import IO, Any

LENGTH_BYTES = 8
METADATA = "__metadata__"
LARGEST = 8 * 1024**2


def read(file: IO[bytes]) -> dict[str, Any]:
    """The header, which leaves the file where the tensors begin. Raises ValueError saying what is
    wrong with it."""
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if length > LARGEST:
        raise ValueError(f"a header of more than {LARGEST:,} bytes is not read")
    header = file.read(length)
    if len(header) != length or length == 0:
        raise ValueError("the file ends within its header")
    found = _object(header)
    metadata = found.setdefault(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata are not texts by name")
    return found


def write(file: IO[bytes], header: Mapping[str, Any]) -> None:
    """The header, so long that tensors which follow are aligned."""
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    encoded += b" " * (-len(encoded) % LENGTH_BYTES)
    file.write(len(encoded).to_bytes(LENGTH_BYTES, "little"))
    file.write(encoded)


def _object(header: bytes) -> dict[str, Any]:
    try:
        found = json.loads(header, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ValueError("its header is not JSON with every name once") from error
    if not isinstance(found, dict):
        raise ValueError("its header is not a JSON object")
    return found


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found

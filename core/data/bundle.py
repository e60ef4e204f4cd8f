"""A bundle: one safetensors file with a pretrained supernet and everything a registry asks of it.

The tensors are those of `core.nas.supernet.Supernet.state_dict()` without the classifier, floating
ones as bfloat16. The header's metadata hold one JSON manifest; its SHA-256 is over the tensors'
bytes. Hostile until checked: names, types, sizes, digest and every number are looked at here,
without torch. Whether the tensors are those of the manifest's space is known where the supernet
is built (`core.nas.warm_start`).
"""

import hashlib
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from core.data import manifests, tensor_file
from core.data.manifests import METADATA, Manifest, refusal
from core.data.tensor_file import Entry, Layout
from core.errors import CorruptObject, Detail

LARGEST_FILE = 256 * 1024**2
CLASSIFIER = "classifier."
ALPHAS = "alphas_"
# As the batch normalisations call them: variances are never below zero.
VARIANCE = "running_var"
# bfloat16: a sign, eight bits of exponent, seven of mantissa.
MAGNITUDE, EXPONENT, ONE = 0x7FFF, 0x7F80, 0x3F80
LARGEST = ONE + (40 << 7)  # 2^40: squared and summed still far from the end of the floats
LARGEST_COUNT = 2**53


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checked file's manifest and the shapes of its tensors."""

    manifest: Manifest
    shapes: Mapping[str, tuple[int, ...]]


def read(path: Path) -> Bundle:
    """What the file holds. Raises InvalidInput (`bad_bundle`) with what is wrong."""
    if path.stat().st_size > LARGEST_FILE:
        message = f"A bundle of more than {LARGEST_FILE:,} bytes is not read."
        raise refusal([Detail("file", "too_large", message)])
    try:
        layout = tensor_file.read(path)
    except ValueError as error:
        raise refusal([manifests.unreadable(error)]) from error
    manifest, digest, problems = manifests.loads(manifests.text_of(layout.metadata))
    with path.open("rb") as file:
        problems = [*problems, *_tensor_problems(layout, file, digest)]
    if manifest is None or problems:
        raise refusal(problems)
    return Bundle(manifest, {each.name: each.shape for each in layout.entries})


def is_bundle(path: Path) -> bool:
    """Whether a file of weights already is one. Raises CorruptObject for what is neither."""
    return METADATA in _trusted(path).metadata


def alphas(path: Path, kinds: Collection[str]) -> dict[str, list[list[float]]]:
    """The alphas in a file of weights of these kinds of cells: a row an edge, a column an
    operation. Any others that a stranger's file has may be as large as it is.

    Raises CorruptObject.
    """
    layout, found = _trusted(path), {}
    with path.open("rb") as file:
        for each in layout.entries:
            kind = each.name.removeprefix(ALPHAS)
            if each.name != kind and kind in kinds and each.kind != "I64":
                data = b"".join(layout.pieces(file, each))
                found[kind] = _floats(data, each).tolist()
    return found


def _floats(data: bytes, entry: Entry) -> npt.NDArray[np.float32]:
    if entry.kind == "BF16":
        wide = np.frombuffer(data, "<u2").astype("<u4") << 16
        return wide.view("<f4").reshape(entry.shape)
    return np.frombuffer(data, "<f4").reshape(entry.shape)


def write(path: Path, weights: Path, manifest: Manifest) -> None:
    """Make the bundle of a safetensors file of weights; the same weights make the same bytes.

    Raises CorruptObject for weights that `read` would not take, but for their width.
    """
    layout = _trusted(weights)
    kept = [each for each in layout.entries if not each.name.startswith(CLASSIFIER)]
    # The widest first, as the format's own writer has them: every tensor stays aligned.
    kept.sort(key=lambda each: (each.kind != "I64", each.name))
    digest, entries, at = hashlib.sha256(), [], 0
    with tempfile.TemporaryFile(dir=path.parent) as data, weights.open("rb") as file:
        for each in kept:
            start = at
            for piece in _converted(layout, file, each):
                digest.update(piece)
                at += data.write(piece)
            kind = "I64" if each.kind == "I64" else "BF16"
            entries.append(Entry(each.name, kind, each.shape, start, at))
        data.seek(0)
        text = manifests.dumps(manifest, sha256=digest.hexdigest())
        tensor_file.write(path, entries, {METADATA: text}, data)


def _trusted(path: Path) -> Layout:
    """The layout of a file that this service wrote itself."""
    try:
        return tensor_file.read(path)
    except ValueError as error:
        raise CorruptObject(f"stored weights cannot be read: {error}") from error


def _converted(layout: Layout, file: IO[bytes], entry: Entry) -> Iterator[bytes]:
    for piece in layout.pieces(file, entry):
        if entry.kind == "F32":
            piece = to_bfloat16(np.frombuffer(piece, "<u4")).tobytes()
        wrong = _problems_of(piece, entry)
        if wrong:
            raise CorruptObject(f"stored weights are unfit: '{entry.name}', {', '.join(wrong)}")
        yield piece


def to_bfloat16(bits: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint16]:
    """Bits of finite 32-bit floats to those of the nearest bfloat16, ties to even.

    NaN and infinities keep their exponent of all ones.
    """
    wide = bits.astype(np.uint64)
    rounded = (wide + 0x7FFF + ((wide >> 16) & 1)) >> 16
    special = (bits & 0x7F800000) == 0x7F800000
    return np.where(special, bits >> 16, rounded).astype("<u2")


def _tensor_problems(layout: Layout, file: IO[bytes], digest: str | None) -> Iterator[Detail]:
    if not layout.entries:
        yield Detail("file", "no_tensors", "It holds no tensor.")
    found = hashlib.sha256()
    for entry in layout.entries:
        codes: dict[str, str] = {}
        if entry.name.startswith(CLASSIFIER):
            codes["unexpected_tensor"] = "Leave the classifier out: each target has its own."
        if entry.kind not in {"BF16", "I64"}:
            codes["wrong_type"] = f"Its type is {entry.kind}; make it BF16, or I64 for counts."
        for piece in layout.pieces(file, entry):
            found.update(piece)
            codes |= _problems_of(piece, entry) if entry.kind != "F32" else {}
        yield from (Detail(entry.name, code, said) for code, said in codes.items())
    if digest is not None and found.hexdigest() != digest:
        yield Detail("file", "wrong_digest", "Its tensors are not those its manifest is about.")


def _problems_of(piece: bytes, entry: Entry) -> dict[str, str]:
    """What is wrong with these numbers, all of them whole or all bfloat16: words by code."""
    return _count_problems(piece) if entry.kind == "I64" else _float_problems(piece, entry.name)


def _float_problems(piece: bytes, name: str) -> dict[str, str]:
    bits = np.frombuffer(piece, "<u2")
    magnitudes = bits & MAGNITUDE
    if (magnitudes >= EXPONENT).any():
        return {"not_finite": "It holds NaN or infinity."}
    if (magnitudes > LARGEST).any():
        return {"out_of_range": "It holds values beyond 2^40."}
    if name.rpartition(".")[2] == VARIANCE and ((bits != magnitudes) & (magnitudes > 0)).any():
        return {"negative": "No variance is below zero."}
    return {}


def _count_problems(piece: bytes) -> dict[str, str]:
    counts = np.frombuffer(piece, "<i8")
    if ((counts < 0) | (counts > LARGEST_COUNT)).any():
        return {"out_of_range": "It is no count."}
    return {}

"""Bundles: what is written is read back, and a stranger's file is refused for what is wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from core.data import bundle, manifests, tensor_file, tensor_header
from core.data.manifests import Manifest
from core.errors import CorruptObject, InvalidInput
from tests.unit.data.bundle_files import DATASETS, LINEAGE, MANIFEST, TENSORS, encoded, raw

NAN, INFINITE = bytes.fromhex("c07f"), bytes.fromhex("80ff")


def manifest(**changes: Any) -> Manifest:
    terms = {
        "name": "tiny",
        "space": {"channels": 4},
        "resolution": 16,
        "lineage": LINEAGE,
        "metrics": {"valid_accuracy": 0.5},
        "seconds": 2.0,
    }
    return Manifest(**{**terms, **changes})


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    state = {
        "classifier.weight": torch.randn(3, 4, generator=generator),
        "classifier.bias": torch.zeros(3),
        "stem": torch.randn(4, 3, 3, 3, generator=generator),
        "norm.running_var": torch.rand(4, generator=generator),
        "norm.num_batches_tracked": torch.tensor(5),
        "empty": torch.zeros(0, 4),
    }
    save_file(state, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_what_is_written_is_read_back(tmp_path: Path, weights: Path) -> None:
    path, again = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    bundle.write(path, weights, manifest())
    bundle.write(again, weights, manifest())
    assert path.read_bytes() == again.read_bytes()
    found = bundle.read(path)
    assert found.manifest == manifest()
    before = load_file(weights)
    after = load_file(path)
    assert set(after) == {name for name in before if not name.startswith("classifier.")}
    for name, tensor in after.items():
        exact = before[name] if name.endswith("tracked") else before[name].bfloat16()
        assert torch.equal(tensor, exact)
        assert tensor.dtype == exact.dtype
        assert found.shapes[name] == tuple(tensor.shape)
    assert bundle.is_bundle(path)
    assert not bundle.is_bundle(weights)
    with safe_open(path, framework="numpy") as file:
        told = json.loads(file.metadata()[bundle.METADATA])
    assert (told["format"], told["name"]) == (manifests.FORMAT, "tiny")
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(
        each.name for each in (path, again, weights)
    )


def test_a_bundle_of_a_bundles_tensors_is_the_same(tmp_path: Path, weights: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    bundle.write(first, weights, manifest())
    bundle.write(second, first, manifest())
    assert first.read_bytes() == second.read_bytes()


@example([1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8), 2.0**-140, float("inf")])  # halves, to even
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=50))
def test_rounding_is_torchs(values: list[float]) -> None:
    wide = np.array(values, "<f4")
    expected = torch.from_numpy(wide.copy()).bfloat16().view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(bundle.to_bfloat16(wide.view("<u4")), expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3.4e38, -1.0])
def test_weights_that_no_one_would_take_are_not_written(tmp_path: Path, value: float) -> None:
    save_file({"norm.running_var": torch.tensor([value])}, tmp_path / "weights")
    with pytest.raises(CorruptObject, match=r"norm\.running_var"):
        bundle.write(tmp_path / "bundle", tmp_path / "weights", manifest())


def test_weights_that_cannot_be_read_are_not_written(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"no weights")
    with pytest.raises(CorruptObject):
        bundle.write(tmp_path / "bundle", tmp_path / "weights", manifest())


def refused(tmp_path: Path, content: bytes) -> set[tuple[str, str]]:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        bundle.read(path)
    assert caught.value.stable_code == "bad_bundle"
    return {(each.place, each.code) for each in caught.value.details}


def test_the_samples_are_good(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(encoded())
    found = bundle.read(tmp_path / "good")
    assert found.manifest.lineage == LINEAGE
    assert found.shapes["alphas_normal"] == (2, 2)


GOOD = encoded()
SHORT = b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        b"PK\x03\x04 a zip archive instead",
        GOOD[:7],
        GOOD[:100],  # within the header
        GOOD[:-1],  # within the last tensor
        GOOD + b"\0",
        (2**40).to_bytes(8, "little") + b"{}",
        (tensor_header.LARGEST + 1).to_bytes(8, "little") + b" " * 100,
        raw(b"[]"),
        raw(b"{" * 5000),
        raw(b'{"__metadata__":{"x":1}}'),
        raw(SHORT, b"\0\0\0"),
        raw(SHORT[:-1] + b"," + SHORT[1:], b"\0\0"),  # one name twice
        raw(b'{"a":{"dtype":"BF16","shape":[1]}}', b"\0\0"),
        raw(b'{"a":{"dtype":"BF16","shape":[-1],"data_offsets":[0,2]}}', b"\0\0"),
        raw(b'{"a":{"dtype":"BF16","shape":[true],"data_offsets":[0,2]}}', b"\0\0"),
        raw(b'{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,2]}}', b"\0\0"),
        raw(b'{"a":{"dtype":"BF16","shape":[0,%d],"data_offsets":[0,0]}}' % 10**30),
        raw(b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[2,4]}}', b"\0\0\0\0"),
        raw(b'{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}', b"\0" * 8),
        raw(b'{"a":{"dtype":["BF16"],"shape":[1],"data_offsets":[0,2]}}', b"\0\0"),
        encoded({"a": TENSORS["alphas_normal"], "n": ("I64", [], b"\0" * 8)})[:-2],
        encoded({"a": ("BF16", [1], b"\0\0"), "n": ("I64", [], b"\0" * 8)}),  # not aligned
    ],
)
def test_what_is_no_such_file(tmp_path: Path, content: bytes) -> None:
    assert refused(tmp_path, content) == {("file", "unreadable")}


@pytest.mark.parametrize(
    "name", ["../weights", "/etc/passwd", "a/b", "C:\\x", "", ".", "a..b", "a\nb", "é", "x" * 201]
)
def test_names_that_are_no_modules(tmp_path: Path, name: str) -> None:
    tensors = {**TENSORS, name: ("BF16", [1], b"\0\0")}
    assert refused(tmp_path, encoded(tensors)) == {("file", "unreadable")}


def test_a_file_without_a_manifest(tmp_path: Path) -> None:
    assert refused(tmp_path, raw(SHORT, b"\0\0")) == {("file", "no_manifest")}


def test_too_large_a_file_is_not_even_opened(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(bundle.LARGEST_FILE + 1)
    with pytest.raises(InvalidInput, match="is not read"):
        bundle.read(path)


@pytest.mark.parametrize(
    ("name", "tensor", "code"),
    [
        ("w", ("BF16", [2], b"\0\0" + NAN), "not_finite"),
        ("w", ("BF16", [2], b"\0\0" + INFINITE), "not_finite"),
        ("w", ("BF16", [1], bytes.fromhex("0178")), "out_of_range"),
        ("n.running_var", ("BF16", [1], bytes.fromhex("00bf")), "negative"),
        ("classifier.weight", ("BF16", [1], b"\0\0"), "unexpected_tensor"),
        ("w", ("F32", [1], b"\0" * 4), "wrong_type"),
        ("n", ("I64", [1], b"\xff" * 8), "out_of_range"),
    ],
)
def test_numbers_are_looked_at(
    tmp_path: Path, name: str, tensor: tuple[str, list[int], bytes], code: str
) -> None:
    tensors = {name: tensor, **TENSORS} if tensor[0] == "I64" else {**TENSORS, name: tensor}
    assert refused(tmp_path, encoded(tensors)) == {(name, code)}


def test_a_nan_beyond_the_first_piece_is_found(tmp_path: Path) -> None:
    numbers = b"\0\0" * tensor_file.PIECE + NAN
    tensors = {**TENSORS, "w": ("BF16", [tensor_file.PIECE + 1], numbers)}
    assert refused(tmp_path, encoded(tensors)) == {("w", "not_finite")}


def test_all_that_is_wrong_comes_at_once(tmp_path: Path) -> None:
    tensors = {**TENSORS, "w": ("BF16", [1], NAN)}
    found = refused(tmp_path, encoded(tensors, name="", resolution=4))
    assert found == {
        ("manifest.name", "invalid"),
        ("manifest.resolution", "invalid"),
        ("w", "not_finite"),
    }


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"sha256": "0" * 64}, "file"),
        ({"sha256": "x"}, "manifest.sha256"),
        ({"format": 2}, "manifest.format"),
        ({"name": "a\nb"}, "manifest.name"),
        ({"more": 1}, "manifest"),
        ({"space": {"channels": [4]}}, "manifest.space"),
        ({"space": {"channels": True}}, "manifest.space"),
        ({"resolution": 16.0}, "manifest.resolution"),
        ({"training": {"seconds": -1, "metrics": {}}}, "manifest.training"),
        ({"training": {"seconds": "1", "metrics": {}}}, "manifest.training"),
        ({"training": {"seconds": 1}}, "manifest.training"),
        ({"lineage": {"kind": "dataset"}}, "manifest.lineage"),
        ({"lineage": {**LINEAGE, "kind": ["dataset"]}}, "manifest.lineage.kind"),
        ({"lineage": {**LINEAGE, "datasets": []}}, "manifest.lineage.datasets"),
        ({"lineage": {**LINEAGE, "datasets": ["x"]}}, "manifest.lineage.datasets[0]"),
        (
            {"lineage": {**LINEAGE, "datasets": [{**DATASETS[0], "path": "/x"}]}},
            "manifest.lineage.datasets[0]",
        ),
        ({"lineage": {**LINEAGE, "parents": ["../x"]}}, "manifest.lineage.parents"),
        ({"lineage": {**LINEAGE, "training": 1}}, "manifest.lineage.training"),
    ],
)
def test_manifests_are_looked_at(tmp_path: Path, changes: dict[str, Any], place: str) -> None:
    ((found, _),) = refused(tmp_path, encoded(**changes))
    assert found == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "[" * 5000,
        json.dumps({**MANIFEST, "training": "NaN"}).replace('"NaN"', "NaN"),
        json.dumps({**MANIFEST, "training": "big"}).replace('"big"', "1e999"),
        json.dumps({**MANIFEST, "deep": json.loads("[" * 20 + "]" * 20)}),
        json.dumps({**MANIFEST, "padding": "x" * manifests.LARGEST}),
    ],
)
def test_manifests_that_are_none(tmp_path: Path, text: str) -> None:
    ((place, code),) = refused(tmp_path, encoded(manifest=text))
    assert place == "manifest"
    assert code in {"unreadable", "too_large"}


def test_licences_and_sources_are_kept(tmp_path: Path) -> None:
    datasets = [{**DATASETS[0], "licence": "CC0-1.0", "source": "https://example.org/"}]
    (tmp_path / "b").write_bytes(encoded(lineage={**LINEAGE, "datasets": datasets}))
    assert bundle.read(tmp_path / "b").manifest.lineage["datasets"] == datasets


def test_a_manifest_is_rewritten_without_a_look_at_the_tensors(
    tmp_path: Path, weights: Path
) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    bundle.write(first, weights, manifest())
    renamed = manifest(name="renamed")
    bundle.write(second, weights, renamed)
    manifests.rewrite(third, first, renamed)
    assert third.read_bytes() == second.read_bytes()
    assert manifests.read(third)[0] == renamed
    with pytest.raises(InvalidInput, match=r"manifest\.resolution"):
        manifests.rewrite(third, first, manifest(resolution=1))
    assert third.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("data", [b"", b"no bundle", raw(b"{}"), encoded(name="")])
def test_a_file_without_a_manifest_is_refused_alike(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(InvalidInput) as found:
        manifests.read(tmp_path / "file")
    codes = {(each.place, each.code) for each in found.value.details}
    assert refused(tmp_path, data) == codes


def test_alphas_are_read_in_both_widths(tmp_path: Path) -> None:
    values = torch.tensor([[0.5, -1.25, 3.0], [0.0, 2.0, -0.0625]])
    for kind in (torch.float32, torch.bfloat16):
        tensors = {"alphas_normal": values.to(kind), "alphas_vast": torch.ones(9, 9)}
        save_file({**tensors, "stem": torch.ones(3)}, tmp_path / "weights")
        assert bundle.alphas(tmp_path / "weights", ("normal",)) == {"normal": values.tolist()}

"""An owner's images become class statistics, and nothing of a single image is in them."""

import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.config import Settings
from core.data import class_statistics
from core.errors import InvalidInput
from core.execution import owned_images
from headstart import folders
from tests.unit.pipelines.conftest import striped_archive

EMBEDDER = "oriented-energy@1"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "stripes.zip"
    path.write_bytes(striped_archive(classes=3, seed=1))
    return path


def reduced(images: Path, tmp_path: Path, name: str, **terms: bool | str) -> Path:
    scratch = tmp_path / f"scratch-{name}"
    scratch.mkdir()
    out = tmp_path / f"{name}.safetensors"
    given = {"embedder": EMBEDDER, **terms}
    counts = owned_images.reduce(
        images, out, scratch=scratch, settings=Settings(device="cpu"), **given  # type: ignore[arg-type]
    )  # fmt: skip
    assert list(counts.values()) == [16, 16, 16]
    return out


def test_the_file_is_what_a_service_accepts(archive: Path, tmp_path: Path) -> None:
    found = class_statistics.read(reduced(archive, tmp_path, "named"))
    assert found.classes == ("class0", "class1", "class2")
    assert (found.embedder, found.counts) == (EMBEDDER, (16, 16, 16))


def test_no_samples_and_if_wanted_no_names(archive: Path, tmp_path: Path) -> None:
    out = reduced(archive, tmp_path, "anonymous", anonymous=True)
    assert set(load_file(out)) == set(class_statistics.SHAPES)
    assert class_statistics.read(out).classes == ("class 1", "class 2", "class 3")
    assert b"class0" not in out.read_bytes()
    named = load_file(reduced(archive, tmp_path, "named"))
    torch.testing.assert_close(load_file(out)["means"], named["means"], rtol=0, atol=0)


def test_a_folder_that_was_packed_is_as_good_as_an_archive(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    (folder / "train" / "class0" / "link.png").symlink_to(tmp_path / "stripes.zip")
    by_folder = reduced(folders.packed(folder, tmp_path / "packed.zip"), tmp_path, "folder")
    assert by_folder.read_bytes() == reduced(archive, tmp_path, "archive").read_bytes()


def test_a_trunk_lies_elsewhere(archive: Path, tmp_path: Path) -> None:
    trunk = "trunk@8c1f2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b"
    with pytest.raises(InvalidInput, match="another embedder"):
        reduced(archive, tmp_path, "trunk", embedder=trunk)

"""A supernet that went through a bundle is the same function, and a search starts from it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.data import bundle as files
from core.data.manifests import Manifest
from core.db.sessions import Sessions
from core.nas import warm_start
from core.nas.images import LabelledImages
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.services import supernets
from core.storage.local import LocalStore
from core.zoo import entry
from tests.unit.data.bundle_files import LINEAGE

SPACE = Space(channels=4, layers=3, nodes=2)


def images(seed: int = 0) -> LabelledImages:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (12, 3, 16, 16), dtype=torch.uint8, generator=generator)
    return LabelledImages.measured(pixels, torch.arange(12) % 3, 3)


@pytest.fixture
def original() -> Supernet:
    """A supernet that has seen images: its running statistics are not the fresh ones."""
    network = Supernet(SPACE, 5, torch.Generator().manual_seed(1))
    seen = images()
    with torch.no_grad():
        for _ in range(3):
            network(seen.normalise(seen.images))
        for alphas in network.alphas().values():
            alphas.mul_(500)
    return network.eval()


@pytest.fixture
def imported(
    original: Supernet, sessions: Sessions, store: LocalStore, tmp_path: Path
) -> dict[str, torch.Tensor]:
    """Its tensors as another service loads them, found among those any search may start from."""
    save_file(original.state_dict(), tmp_path / "weights")
    manifest = Manifest("net", SPACE.to_dict(), 16, LINEAGE, {}, 1.0)
    files.write(tmp_path / "bundle", tmp_path / "weights", manifest)
    entry.enter(tmp_path / "bundle", sessions=sessions, store=store)
    with sessions.read() as session:
        (start,) = supernets.shared(session)
    assert Space.from_dict(start.space) == SPACE
    with store.open(start.key) as stored:
        (tmp_path / "fetched").write_bytes(stored.read())
    return load_file(tmp_path / "fetched")


def test_its_function_is_the_originals_within_rounding(
    original: Supernet, imported: dict[str, torch.Tensor]
) -> None:
    seen = images(7)
    pixels = seen.normalise(seen.images)
    copy = Supernet(SPACE, 5, torch.Generator().manual_seed(2)).eval()
    copy.load_state_dict(imported, strict=False)
    with torch.no_grad():
        expected, found = original.features(pixels), copy.features(pixels)
        rounded = {
            name: tensor.bfloat16() if tensor.is_floating_point() else tensor
            for name, tensor in original.state_dict().items()
        }
        copy.load_state_dict(rounded)
        assert torch.equal(found, copy.features(pixels))
    # bfloat16 keeps eight bits of each number: half a step is 2^-9 of it.
    assert torch.linalg.norm(found - expected) < 0.02 * torch.linalg.norm(expected)


def test_a_search_starts_from_it(imported: dict[str, torch.Tensor]) -> None:
    train, valid = images(3), images(4)
    started = warm_start.begin(
        warm_start.Source(SPACE, imported),
        3,
        train,
        valid,
        head="closed_form",
        generator=torch.Generator().manual_seed(0),
        batch_size=6,
    )
    assert all(each.dtype == torch.float32 for each in started.parameters())
    assert torch.equal(started.get_parameter("stem"), imported["stem"].float())
    loss = torch.nn.functional.cross_entropy(started(train.normalise(train.images)), train.labels)
    loss.backward()
    assert loss.isfinite()


def test_a_bundle_of_another_network_is_refused_where_it_is_used(
    imported: dict[str, torch.Tensor],
) -> None:
    for wrong, said in (
        ({**imported, "more": torch.zeros(1)}, "unknown tensor 'more'"),
        ({**imported, "stem": torch.zeros(1)}, "'stem' is"),
        ({name: each for name, each in imported.items() if name != "stem"}, "missing tensor"),
    ):
        with pytest.raises(ValueError, match=said):
            warm_start.begin(
                warm_start.Source(SPACE, wrong),
                3,
                images(),
                images(),
                head="random",
                generator=torch.Generator().manual_seed(0),
                batch_size=6,
            )

"""Bundles enter a registry once, and leave it as they came."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.config import UploadLimits
from core.data import bundle as files
from core.db.sessions import Sessions
from core.domain import keys
from core.domain.identity import DEFAULT, PUBLIC
from core.domain.jobs import JobKind
from core.domain.supernets import Supernet, lineage
from core.errors import CorruptObject, InvalidInput, NotFound, TooLarge
from core.nas.space import Space
from core.nas.supernet import Supernet as Network
from core.pipelines import objects
from core.services import bundles, supernets, uploads
from core.storage.local import LocalStore
from core.zoo import entry
from tests.unit.data.bundle_files import LINEAGE, SPACE, TENSORS, encoded
from tests.unit.services.samples import dataset, queued


def test_a_file_is_registered_once(sessions: Sessions, store: LocalStore, good: Path) -> None:
    made, created = entry.enter(good, sessions=sessions, store=store)
    assert created
    sha256 = objects.checksum(good)
    assert (made.name, made.sha256, made.key) == ("tiny", sha256, keys.supernet(DEFAULT, sha256))
    assert (made.dataset_id, made.job_id, made.resolution) == (None, None, 16)
    assert made.lineage == {**LINEAGE, "kind": "import"}
    assert (made.seconds, made.metrics["valid_accuracy"]) == (2.5, 0.5)
    with store.open(made.key) as stored:
        assert stored.read() == good.read_bytes()
    assert entry.enter(good, sessions=sessions, store=store) == (made, False)
    with sessions.read() as session:
        assert [each.sha256 for each in supernets.shared(session)] == [sha256]


def test_many_at_once_are_one(sessions: Sessions, store: LocalStore, good: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        waiting = [
            pool.submit(entry.enter, good, sessions=sessions, store=store) for _ in range(4)
        ]
        found = [each.result() for each in waiting]
    assert sorted(created for _, created in found) == [False, False, False, True]
    assert len({supernet.id for supernet, _ in found}) == 1
    with sessions.read() as session:
        assert len(supernets.listing(session, limit=9)[0]) == 1


def test_room_is_found_once(sessions: Sessions, store: LocalStore, tmp_path: Path) -> None:
    """Four files come at once where two have room: what is refused leaves nothing behind."""
    paths = [tmp_path / str(number) for number in range(4)]
    for path in paths:
        path.write_bytes(encoded(name=path.name))
    size = paths[0].stat().st_size
    limits = UploadLimits(stored_bytes=2 * size)

    def entered(path: Path) -> bool:
        try:
            return entry.enter(path, sessions=sessions, store=store, limits=limits)[1]
        except TooLarge:
            return False

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(entered, paths)) == [False, False, True, True]
    assert len(list(store.listing(""))) == 2
    with sessions.read() as session:
        assert uploads.used_bytes(session) == 2 * size
    for path in paths:  # what is there already needs no room
        with suppress(TooLarge):
            _, created = entry.enter(path, sessions=sessions, store=store, limits=limits)
            assert not created


def test_the_package_s_supernets_are_nobody_s_to_answer_for(
    sessions: Sessions, store: LocalStore, good: Path
) -> None:
    everybodys = sessions.within(PUBLIC)
    assert entry.enter(good, sessions=everybodys, store=store)[1]
    with sessions.read() as session:
        assert supernets.shared(session) != ()
        assert uploads.used_bytes(session) == 0


def test_who_comes_second_gets_the_first(
    sessions: Sessions, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that both looked before either wrote: the database decides."""
    bundle, sha256 = files.read(good), objects.checksum(good)
    with sessions.begin() as session:
        first, _ = bundles.register(session, bundle, key="k", sha256=sha256, size_bytes=5)
    looked = supernets.find
    answers = iter([lambda *_: None, looked])
    monkeypatch.setattr(supernets, "find", lambda *given: next(answers)(*given))
    with sessions.begin() as session:
        assert bundles.register(session, bundle, key="k", sha256=sha256, size_bytes=5) == (
            first,
            False,
        )


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (encoded(space={**SPACE, "channels": 3}), ("manifest.space", "bad_space")),
        (encoded(space={**SPACE, "rooms": 3}), ("manifest.space", "bad_space")),
        (encoded(space={**SPACE, "input_channels": 1}), ("manifest.space", "wrong_channels")),
        (encoded(space={**SPACE, "nodes": 2}), ("alphas_normal", "wrong_shape")),
        (encoded(space={**SPACE, "channels": 512, "layers": 64}), ("file", "too_small")),
        (encoded({n: t for n, t in TENSORS.items() if n != "alphas_reduction"}),
         ("alphas_reduction", "missing_tensor")),
    ],
)  # fmt: skip
def test_what_no_search_could_use_is_refused(
    sessions: Sessions, store: LocalStore, tmp_path: Path, content: bytes, found: tuple[str, str]
) -> None:
    path = tmp_path / "unfit"
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        entry.enter(path, sessions=sessions, store=store)
    assert caught.value.stable_code == "bad_bundle"
    assert (caught.value.details[0].place, caught.value.details[0].code) == found
    assert not store.exists(keys.supernet(DEFAULT, objects.checksum(path)))
    with sessions.read() as session:
        assert supernets.shared(session) == ()


@pytest.mark.parametrize(
    "space",
    [
        Space(channels=2, layers=3, nodes=1, cells="s2"),
        Space(channels=16, layers=5),
        Space(channels=16, layers=3, partial=4),
        Space(channels=32, layers=4, cells="nas-bench-201"),
    ],
)
def test_no_supernet_is_smaller_than_the_least(space: Space) -> None:
    state = Network(space, 2, torch.Generator().manual_seed(0)).state_dict()
    held = sum(each.numel() for name, each in state.items() if "classifier" not in name)
    # And none is so much larger that a small file could ask for a vast one.
    assert held / 5 < bundles.smallest(space) < held


def trained(sessions: Sessions, store: LocalStore, path: Path, **changes: Any) -> Supernet:
    """A supernet that a job here left in the store, with its classifier and 32 bits."""
    state = {"classifier.bias": torch.zeros(2), "norm.num_batches_tracked": torch.tensor(3)}
    alphas = torch.tensor([[0.3, -0.7], [1.1, 0.2]])
    state |= {"alphas_normal": alphas, "alphas_reduction": -alphas, "stem": torch.ones(1000)}
    save_file(state, path)
    with sessions.begin() as session:
        source = dataset(session)
        terms: dict[str, Any] = {
            "name": "trained here",
            "dataset_id": source.id,
            "job_id": queued(session, kind=JobKind.PRETRAIN).id,
            "space": SPACE,
            "resolution": 16,
            "key": "supernets/one",
            "sha256": objects.checksum(path),
            "metrics": {"valid_accuracy": 0.25},
            "seconds": 3.0,
            "lineage": lineage([source], training={"steps": 9}),
        }
        made, _ = supernets.register(session, **{**terms, **changes})
    store.put("supernets/one", path)
    return made


def test_from_a_job_to_a_file_and_back(
    sessions: Sessions, store: LocalStore, tmp_path: Path
) -> None:
    weights, path = tmp_path / "weights", tmp_path / "bundle"
    supernet = trained(sessions, store, weights)
    entry.bundle_of(supernet, path, store=store)
    assert files.read(path).manifest == bundles.manifest_of(supernet)
    before, after = load_file(weights), load_file(path)
    assert set(after) == set(before) - {"classifier.bias"}
    assert torch.equal(after["alphas_normal"], before["alphas_normal"].bfloat16())
    imported, created = entry.enter(path, sessions=sessions, store=store)
    assert created
    assert imported.lineage["datasets"] == supernet.lineage["datasets"]
    again = tmp_path / "again"
    entry.bundle_of(imported, again, store=store)  # the very file, not one made anew
    assert again.read_bytes() == path.read_bytes()
    assert not list(tmp_path.glob("*.weights"))


def test_what_the_store_lost_or_broke_does_not_leave(
    sessions: Sessions, store: LocalStore, tmp_path: Path
) -> None:
    broken = trained(sessions, store, tmp_path / "weights", sha256="0" * 64)
    with pytest.raises(CorruptObject):
        entry.bundle_of(broken, tmp_path / "bundle", store=store)
    with pytest.raises(NotFound):
        entry.bundle_of(broken, tmp_path / "bundle", store=LocalStore(tmp_path / "elsewhere"))
    assert sorted(each.name for each in tmp_path.glob("bundle*")) == []

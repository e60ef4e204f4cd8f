"""The sources' cache: appended to, reopened, shared, and made again when anything is wrong."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.ot import neighbourhoods
from core.ot.embedded_dataset import EmbeddedDataset, build
from core.ot.neighbourhoods import Yardstick
from core.ot.source_block import SourceBlock, concatenate, summarise
from core.pipelines import block_files, block_folder
from core.pipelines.block_files import BlockFiles

SAMPLES = 20


def key_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


NUMBERS = {key_of(number): number for number in range(200)}


def source(number: int, *, dimension: int = 3) -> EmbeddedDataset:
    """A small dataset of its own; every fourth is of statistics alone."""
    generator = torch.Generator().manual_seed(number)
    labels = torch.arange(8) % (1 + number % 3)
    features = torch.randn(8, dimension, generator=generator) + number
    made = build(features, labels, "abc")
    return made.without_samples() if number % 4 == 3 else made


class Sources:
    """Hands out sources and remembers which."""

    def __init__(self) -> None:
        self.fetched: list[int] = []

    def __call__(self, key: str) -> EmbeddedDataset:
        self.fetched.append(NUMBERS[key])
        return source(NUMBERS[key])


def files(folder: Path, *, dimension: int = 3, samples: int = SAMPLES) -> BlockFiles:
    return BlockFiles(folder, dimension=dimension, samples=samples)


def keys(numbers: Sequence[int]) -> list[str]:
    return [key_of(number) for number in numbers]


def holds(block: SourceBlock, rows: Sequence[int], numbers: Sequence[int]) -> None:
    """These rows are these sources, to the last bit."""
    expected = concatenate([summarise(source(number), samples=SAMPLES) for number in numbers])
    found = block.take(list(rows))
    for field in fields(SourceBlock):
        there, wanted = getattr(found, field.name), getattr(expected, field.name)
        assert there.dtype == wanted.dtype, field.name
        assert np.array_equal(there, wanted), field.name


def test_what_is_loaded_is_what_was_summarised(tmp_path: Path) -> None:
    block, rows = files(tmp_path).load(keys([5, 3, 9]), Sources())
    holds(block, rows.tolist(), [5, 3, 9])
    assert len(block) == 3
    assert block.dimension == 3


def test_it_is_only_appended_to_and_read_again_without_its_sources(tmp_path: Path) -> None:
    files(tmp_path).load(keys([0, 1, 2]), Sources())
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.bin")}
    again = Sources()
    block, rows = files(tmp_path).load(keys([2, 7, 0, 2, 8]), again)
    assert again.fetched == [7, 8]
    assert rows.tolist() == [2, 3, 0, 2, 4]
    holds(block, range(5), [0, 1, 2, 7, 8])
    for name, content in before.items():
        assert (tmp_path / name).read_bytes().startswith(content), name
    nothing = Sources()
    holds(files(tmp_path).load(keys([8]), nothing)[0], range(5), [0, 1, 2, 7, 8])
    assert nothing.fetched == []


def test_an_older_block_stays_as_it_was_while_others_append(tmp_path: Path) -> None:
    block, _ = files(tmp_path).load(keys([0, 1]), Sources())
    files(tmp_path).load(keys([2, 3, 4]), Sources())
    assert len(block) == 2
    holds(block, [0, 1], [0, 1])
    files(tmp_path, samples=7).load(keys([5]), Sources())  # thrown away and made anew
    holds(block, [0, 1], [0, 1])


def test_blocks_in_memory_can_be_changed_but_not_the_files(tmp_path: Path) -> None:
    block, _ = files(tmp_path).load(keys([0, 1]), Sources())
    block.class_signatures[:] = np.nan
    holds(files(tmp_path).load(keys([0, 1]), Sources())[0], [0, 1], [0, 1])


def test_no_keys_no_sources(tmp_path: Path) -> None:
    block, rows = files(tmp_path).load([], Sources())
    assert (len(block), len(rows), block.dimension) == (0, 0, 3)


def test_sources_are_written_down_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_files, "AT_ONCE", 2)

    def failing(key: str) -> EmbeddedDataset:
        if NUMBERS[key] == 4:
            raise OSError("the store is away")
        return source(NUMBERS[key])

    with pytest.raises(OSError, match="away"):
        files(tmp_path).load(keys(range(7)), failing)
    rest = Sources()
    block, rows = files(tmp_path).load(keys(range(7)), rest)
    assert rest.fetched == [4, 5, 6]
    holds(block, rows.tolist(), range(7))


@pytest.mark.parametrize("written", range(13))
def test_what_a_killed_writer_left_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    files(tmp_path).load(keys([0, 1]), Sources())
    honest, calls = block_folder.write, 0

    def dying(path: Path, at: int, content: bytes) -> None:
        nonlocal calls
        if calls == written:
            honest(path, at, content[: len(content) // 2])
            raise KeyboardInterrupt
        calls += 1
        honest(path, at, content)

    monkeypatch.setattr(block_folder, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        files(tmp_path).load(keys([2, 5, 6]), Sources())
    monkeypatch.setattr(block_folder, "write", honest)
    again = Sources()
    block, _ = files(tmp_path).load(keys([0, 1, 8]), again)
    assert again.fetched == [8]
    holds(block, range(3), [0, 1, 8])


def damage_index(folder: Path, **changes: object) -> None:
    path = folder / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGES = {
    "no index": lambda folder: (folder / "index.json").unlink(),
    "half an index": lambda folder: (folder / "index.json").write_text('{"about": {"form'),
    "binary": lambda folder: (folder / "index.json").write_bytes(b"\xff\x00\xfe"),
    "another value": lambda folder: (folder / "index.json").write_text("[1, 2]"),
    "no sizes": lambda folder: damage_index(folder, bytes={}),
    "sizes in a list": lambda folder: damage_index(folder, bytes=[1, 2]),
    "sizes in words": lambda folder: damage_index(folder, bytes={"second_moments": "many"}),
    "too many sources": lambda folder: damage_index(folder, sources=3),
    "too few sources": lambda folder: damage_index(folder, sources=1),
    "less than none": lambda folder: damage_index(folder, sources=-1),
    "no end of sources": lambda folder: damage_index(folder, sources=float("inf")),
    "no keys": lambda folder: (folder / "keys.bin").unlink(),
    "a key twice": lambda folder: (folder / "keys.bin").write_bytes(bytes(64)),
    "an array cut": lambda folder: (folder / "class_factors.bin").write_bytes(b"\x00"),
    "an array gone": lambda folder: (folder / "sample_labels.bin").unlink(),
    "a folder instead": lambda folder: (
        (folder / "index.json").unlink(), (folder / "index.json").mkdir()
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_cache_is_made_again(tmp_path: Path, name: str) -> None:
    files(tmp_path).load(keys([0, 1]), Sources())
    DAMAGES[name](tmp_path)
    again = Sources()
    block, rows = files(tmp_path).load(keys([1, 6]), again)
    assert again.fetched == [1, 6]
    assert rows.tolist() == [0, 1]
    holds(block, range(2), [1, 6])
    nothing = Sources()
    files(tmp_path).load(keys([1, 6]), nothing)
    assert nothing.fetched == []


def test_what_was_made_for_other_settings_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = files(tmp_path)
    block, _ = first.load(keys([0, 1]), Sources())
    first.yardstick(block)
    again = Sources()
    files(tmp_path, samples=5).load(keys([0, 1]), again)
    assert again.fetched == [0, 1]
    assert not (tmp_path / "yardstick.json").exists()
    monkeypatch.setattr(block_folder, "FORMAT", block_folder.FORMAT + 1)
    files(tmp_path, samples=5).load(keys([0]), again)
    assert again.fetched == [0, 1, 0]


def test_sources_of_another_dimension_never_get_in(tmp_path: Path) -> None:
    files(tmp_path).load(keys([0, 1]), Sources())
    with pytest.raises(ValueError, match="4 feature dimensions, the block 3"):
        files(tmp_path).load(keys([2]), lambda _: source(2, dimension=4))
    with pytest.raises(ValueError, match="one feature dimension"):
        files(tmp_path).load(keys([2, 4]), lambda key: source(4, dimension=3 + NUMBERS[key] // 4))
    again = Sources()
    block, _ = files(tmp_path).load(keys([0, 1, 2]), again)
    assert again.fetched == [2]
    holds(block, range(3), [0, 1, 2])


def test_loaders_at_once_agree(tmp_path: Path) -> None:
    # Threads, but with an open file each: to the lock they are as good as processes.
    wanted = [range(0, 12), range(6, 18), range(12, 24), range(3, 20)]
    fetched = [Sources() for _ in wanted]
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(
                lambda numbers, sources: files(tmp_path).load(keys(numbers), sources),
                wanted,
                fetched,
            )
        )
    for numbers, (block, rows) in zip(wanted, found, strict=True):
        holds(block, rows.tolist(), numbers)
    assert sorted(number for each in fetched for number in each.fetched) == list(range(24))


class Ruler:
    """Stands in for the measurement, which has tests of its own; counts."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, block: SourceBlock) -> Yardstick:
        self.sizes.append(len(block))
        return Yardstick(np.array([0, 1]), np.array([1, 0]), np.array([1.5, len(block)]))


def test_a_yardstick_is_measured_again_when_the_registry_has_grown_by_a_tenth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbourhoods, "measure", ruler := Ruler())
    for count, measured in ((20, 20), (20, 20), (21, 20), (22, 20), (23, 23), (25, 23), (26, 26)):
        block, _ = files(tmp_path).load(keys(range(count)), Sources())
        found = files(tmp_path).yardstick(block)
        assert found.distances.tolist() == [1.5, measured]
        assert found.nearest.dtype == np.int64
    assert ruler.sizes == [20, 23, 26]


@pytest.mark.parametrize("content", ["", "[]", '{"size": 2}', '{"size": "x"}', "\x00"])
def test_a_damaged_yardstick_is_measured_again(tmp_path: Path, content: str) -> None:
    block, _ = files(tmp_path).load(keys([0, 1]), Sources())
    (tmp_path / "yardstick.json").write_text(content)
    found = files(tmp_path).yardstick(block)
    expected = neighbourhoods.measure(block)
    assert found.nearest.tolist() == expected.nearest.tolist() == [1, 0]
    again = files(tmp_path).yardstick(block)
    assert again.distances.tolist() == expected.distances.tolist()


def test_yardsticks_written_at_once_do_not_get_in_each_other_s_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbourhoods, "measure", Ruler())
    block, _ = files(tmp_path).load(keys([0, 1]), Sources())
    path = tmp_path / "yardstick.json"

    def measured(_: int) -> list[float]:
        path.unlink(missing_ok=True)
        return files(tmp_path).yardstick(block).distances.tolist()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(measured, range(200))) == [[1.5, 2.0]] * 200


def test_the_cache_may_vanish_between_jobs(tmp_path: Path) -> None:
    folder = tmp_path / "blocks" / "some-embedder@1"
    files(folder).load(keys([0]), Sources())
    shutil.rmtree(tmp_path / "blocks")
    again = Sources()
    block, _ = files(folder).load(keys([0]), again)
    assert again.fetched == [0]
    holds(block, [0], [0])


def but(*numbers: int) -> Callable[[Iterable[str]], set[str]]:
    gone = {key_of(number) for number in numbers}
    return lambda known: set(known) - gone


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_what_is_forgotten_is_in_no_file_and_the_rest_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(block_folder, "_CHUNK", chunk)
    older, _ = files(tmp_path).load(keys(range(8)), Sources())
    names = {path.name for path in tmp_path.iterdir()}
    assert block_folder.forget(tmp_path, but(2, 3, 7)) == 3
    assert {path.name for path in tmp_path.iterdir()} == names
    whole = b"".join(path.read_bytes() for path in tmp_path.glob("*.bin"))
    for number in range(8):
        one = summarise(source(number), samples=SAMPLES)
        for secret in (bytes.fromhex(key_of(number)), one.class_signatures.tobytes()):
            assert (secret in whole) == (number not in (2, 3, 7))
    holds(older, range(8), range(8))  # in use: as it was
    again = Sources()
    block, rows = files(tmp_path).load(keys([6, 0, 2, 9]), again)
    assert again.fetched == [2, 9]
    holds(block, rows.tolist(), [6, 0, 2, 9])
    assert len(block) == 7


def test_nothing_to_forget_changes_nothing(tmp_path: Path) -> None:
    files(tmp_path).load(keys([0, 1]), Sources())
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.[bj]*")}
    assert block_folder.forget(tmp_path, but(5)) == 0
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.[bj]*")} == before
    assert block_folder.forget(tmp_path / "absent", but()) == 0
    (tmp_path / "index.json").write_text("[]")
    assert block_folder.forget(tmp_path, but(5)) == 0
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]  # who knows what was in it


def test_all_may_be_forgotten(tmp_path: Path) -> None:
    files(tmp_path).load(keys([0, 1]), Sources())
    assert block_folder.forget(tmp_path, but(0, 1)) == 2
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    block, rows = files(tmp_path).load(keys([1]), Sources())
    holds(block, rows.tolist(), [1])


def test_a_yardstick_of_other_rows_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbourhoods, "measure", ruler := Ruler())
    running = files(tmp_path)
    older, _ = running.load(keys(range(4)), Sources())
    block_folder.forget(tmp_path, but(0))
    assert not (tmp_path / "yardstick.json").exists()
    running.yardstick(older)  # a job that had begun before
    fresh = files(tmp_path)
    block, _ = fresh.load(keys([1, 2, 3, 4]), Sources())
    fresh.yardstick(block)
    fresh.yardstick(block)
    assert ruler.sizes == [4, 4]


@pytest.mark.parametrize("written", range(30))
def test_killed_while_forgetting_it_is_whole_or_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    files(tmp_path).load(keys([0, 1, 2]), Sources())
    left = [written]

    def dying(honest: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == -1:
                raise KeyboardInterrupt
            return honest(*args, **named)

        return act

    with monkeypatch.context() as patched:
        patched.setattr(block_folder, "_keep", dying(block_folder._keep))
        for name in ("replace", "unlink"):
            patched.setattr(Path, name, dying(getattr(Path, name)))
        with contextlib.suppress(KeyboardInterrupt):
            block_folder.forget(tmp_path, but(1))
    block_folder.forget(tmp_path, but(1))
    held = b"".join(path.read_bytes() for path in tmp_path.glob("*.*"))
    assert bytes.fromhex(key_of(1)) not in held
    assert summarise(source(1), samples=SAMPLES).class_signatures.tobytes() not in held
    block, rows = files(tmp_path).load(keys([0, 2]), Sources())
    holds(block, rows.tolist(), [0, 2])
    assert bytes.fromhex(key_of(1)) not in (tmp_path / "keys.bin").read_bytes()
    assert not list(tmp_path.glob("*.new"))

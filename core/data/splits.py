"""Who trains and who tests: deterministic, stratified, and blind to archive order.

Images with the same pixels belong to one group, and so do those of which the uploader says so. A
group never has two splits; the same pixels never have two labels.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from core.data.layout import TEST, TRAIN


def stratified(
    labels: Sequence[str], groups: Sequence[str], *, seed: int, share: float
) -> tuple[str, ...]:
    """A split for each image: per class, about `share` of the images test, at least one trains.

    Groups go to test in the order of a hash of seed and group, as long as no class of theirs gets
    more than its share, so the same images get the same split in whatever order they come. A
    class of two or more groups gets at least one test image, unless its groups are too large to
    move, or share classes with others that are full.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    wanted = {
        label: min(max(1, round(share * total)), total - 1)
        for label, total in Counter(labels).items()
    }
    splits = [TRAIN] * len(labels)
    for group in sorted(members, key=lambda group: _draw(seed, group)):
        own = Counter(labels[index] for index in members[group])
        if all(count <= wanted[label] for label, count in own.items()):
            for label, count in own.items():
                wanted[label] -= count
            for index in members[group]:
                splits[index] = TEST
    return tuple(splits)


def joined(names: Sequence[str], *keys: Sequence[str | None]) -> tuple[str, ...]:
    """A group for each image: all that share a value of any of the keys, directly or by others.

    The group's name is the smallest of its images' own `names`, which are to outlast what the
    keys are made by (a decoder, say): the draw goes by it.
    """
    above = list(range(len(names)))

    def top(index: int) -> int:
        while above[index] != index:
            above[index] = above[above[index]]
            index = above[index]
        return index

    for key in keys:
        first: dict[str, int] = {}
        for index, value in enumerate(key):
            if value is not None:
                one, other = top(index), top(first.setdefault(value, index))
                smaller, larger = sorted((one, other), key=lambda each: (names[each], each))
                above[larger] = smaller
    return tuple(names[top(index)] for index in range(len(names)))


def conflicting(labels: Sequence[str], groups: Sequence[str]) -> frozenset[int]:
    """Images whose pixels also appear under another label: nobody can tell which is right."""
    seen: dict[str, set[str]] = defaultdict(set)
    for label, group in zip(labels, groups, strict=True):
        seen[group].add(label)
    return frozenset(index for index, group in enumerate(groups) if len(seen[group]) > 1)


def leaked(splits: Sequence[str | None], groups: Sequence[str]) -> frozenset[int]:
    """Test images whose pixels are also in train."""
    train = {group for split, group in zip(splits, groups, strict=True) if split == TRAIN}
    return frozenset(
        index
        for index, (split, group) in enumerate(zip(splits, groups, strict=True))
        if split == TEST and group in train
    )


def repeats(groups: Collection[str]) -> int:
    """How many images show what an earlier one shows already."""
    return len(groups) - len(set(groups))


def _draw(seed: int, group: str) -> bytes:
    return hashlib.sha256(f"{seed}:{group}".encode()).digest()

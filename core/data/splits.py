"""Who trains and who tests: deterministic, stratified, and blind to archive order.

Images with the same pixels form one group; a group never has two labels or two splits.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence

from core.data.layout import TEST, TRAIN

TEST_SHARE = 0.2


def stratified(
    labels: Sequence[str], groups: Sequence[str], *, seed: int, share: float = TEST_SHARE
) -> tuple[str, ...]:
    """A split for each image: per class, about `share` of the images test, at least one trains.

    Groups go to test in the order of a hash of seed and group, so the same images get the same
    split in whatever order they come. A class of two or more distinct images gets at least one
    test image, unless its groups are too large to move.
    """
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, key in enumerate(zip(labels, groups, strict=True)):
        members[key].append(index)
    by_class: dict[str, list[str]] = defaultdict(list)
    for label, group in members:
        by_class[label].append(group)
    splits = [TRAIN] * len(labels)
    for label, own in by_class.items():
        total = sum(len(members[label, group]) for group in own)
        wanted = min(max(1, round(share * total)), total - 1)
        for group in sorted(own, key=lambda group: _draw(seed, group)):
            chosen = members[label, group]
            if len(chosen) <= wanted:
                wanted -= len(chosen)
                for index in chosen:
                    splits[index] = TEST
    return tuple(splits)


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

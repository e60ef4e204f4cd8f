"""Keys: what the product spells is accepted, what could leave the store is not."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import keys as product
from core.domain.identity import DEFAULT, PUBLIC, ProjectId
from core.domain.jobs import JobId
from core.errors import InvalidInput
from core.storage.keys import MAX_KEY_BYTES, checked

OWN = ProjectId(UUID(int=2**127))
SPELLED = [
    product.originals(OWN, "a" * 64),
    product.packed(DEFAULT, "a" * 64, 32),
    product.embedding(PUBLIC, "a" * 64, "default-1", "b" * 64),
    product.supernet(PUBLIC, "c" * 64),
    product.attempt(OWN, JobId(UUID(int=7)), 3, "model.onnx"),
]


@pytest.mark.parametrize("key", SPELLED)
def test_the_products_own_keys_are_accepted(key: str) -> None:
    assert checked(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "..",
        "a/..",
        "../a",
        "a/./b",
        "a//b",
        "a/",
        "a\\b",
        "a\nb",
        "a\0b",
        "\ud800",
        "a/.partial-0123",
        "x" * 201,
        "é" * 101,
        "/".join(["x" * 100] * 9),
    ],
)
def test_unsafe_keys_are_refused_with_a_stable_code(key: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked(key)
    assert caught.value.stable_code == "invalid_key"


def test_the_message_does_not_repeat_a_long_key() -> None:
    with pytest.raises(InvalidInput) as caught:
        checked("x" * (MAX_KEY_BYTES + 1))
    assert len(caught.value.message) < 200


@given(st.text(max_size=40))
def test_an_accepted_key_stays_below_its_root(key: str) -> None:
    try:
        parts = checked(key).split("/")
    except InvalidInput:
        return
    assert not {"", ".", ".."} & set(parts)
    assert "\0" not in key

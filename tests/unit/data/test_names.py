"""What a name may hold is judged over all of it; marks count for each of its parts."""

import pytest

from core.config import UploadLimits
from core.data import names

MARKS = "\u0315\u0323"


@pytest.mark.parametrize(
    ("name", "piled"),
    [
        ("e" + MARKS * 15, False),  # 30, as many as a letter may have
        ("e" + MARKS * 15 + "\u0315", True),
        ("e" + MARKS * 10 + "/" + MARKS * 10, False),  # two parts share no letter
        ("plain/e" + MARKS * 16 + "/plain.png", True),
        ("e" + MARKS * 15 + "e" + MARKS * 15, False),
        ("日" * 80, False),
    ],
)
def test_marks_pile_up_on_one_letter_of_one_part(name: str, piled: bool) -> None:
    why = names.blemish_of(names.parts_of(name), UploadLimits())
    assert (why is not None and "accents on one letter" in why) is piled


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("Stra\u00dfe", "STRASSE", True),
        ("e\u0301", "\u00c9", True),
        ("\u03b1\u0345", "\u1fb3", True),
        ("cat", "cab", False),
    ],
)
def test_folding_is_that_of_a_careful_reader(one: str, other: str, alike: bool) -> None:
    assert (names.fold(one) == names.fold(other)) is alike

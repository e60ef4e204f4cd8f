"""Figures in words and Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

NEVER, UNKNOWN = "never", "-"
WIDTH = 160


def times(value: float) -> str:
    """A speed-up; 0 is never."""
    return NEVER if value == 0 else f"x{value:.2f}"


def points(value: float) -> str:
    """A difference of shares."""
    return f"{100 * value:+.1f}"


def percent(value: float) -> str:
    """A share."""
    return f"{100 * value:.0f} %"


def signed(value: float) -> str:
    """A correlation."""
    return f"{value:+.2f}"


def bracket(bounds: Sequence[float] | None, spelled: Any) -> str:
    """An interval, or that there is none."""
    return "[no interval]" if bounds is None else f"[{spelled(bounds[0])}, {spelled(bounds[1])}]"


def filled(*paragraphs: str) -> str:
    """Paragraphs broken at the same width, whatever was put into them."""
    whole = (" ".join(each.split()) for each in paragraphs)
    return "\n\n".join(
        textwrap.fill(each, WIDTH, break_long_words=False, break_on_hyphens=False)
        for each in whole
    )


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    rows = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)

"""The few SVG words every picture is made of.

Pages forbid inline styles and scripts, and show pictures on light and on dark grounds: so colour
comes from presentation attributes, ink is `currentColor`, data colours are mid-tones that read on
both, and nothing needs an id (several pictures share one page).
"""

import re
from collections.abc import Iterable
from html import escape

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
BLUE, ORANGE, GREEN, VIOLET, ROSE, TEAL, AMBER, SLATE = (
    "#3b82f6",
    "#ea7317",
    "#16a34a",
    "#8b5cf6",
    "#e0457b",
    "#0d9aa8",
    "#c99106",
    "#7b8798",
)
SERIES = (BLUE, ORANGE, GREEN, VIOLET, ROSE, TEAL, AMBER, SLATE)

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
Attribute = str | float | int | None


def plain(value: object) -> str:
    """Text safe to put in a picture: escaped, without characters that XML forbids."""
    return escape(_NOT_XML.sub("\ufffd", str(value)), quote=True)


def number(value: float) -> str:
    """A coordinate, as short as a hundredth of a pixel allows."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def element(tag: str, *children: str, **attributes: Attribute) -> str:
    """One element; `stroke_width=2` becomes `stroke-width="2"`, `None` leaves one out."""
    spelled = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    inside = "".join(children)
    return f"<{tag}{spelled}>{inside}</{tag}>" if inside else f"<{tag}{spelled}/>"


def text(content: object, x: float, y: float, **attributes: Attribute) -> str:
    """A line of text in the page's own ink, vertically centred on `y`."""
    chosen: dict[str, Attribute] = {"fill": "currentColor", "dominant_baseline": "central"}
    return element("text", plain(content), x=x, y=y, **(chosen | attributes))


def tip(content: object) -> str:
    """The tooltip of the element it is put in."""
    return element("title", plain(content))


def document(
    width: float,
    height: float,
    *,
    title: str,
    kind: str,
    body: Iterable[str],
    description: str = "",
    role: str = "img",
) -> str:
    """A whole picture: scales to its place, carries its accessible name and description. One with
    links in it is no `img`, for nobody would find them: give another role."""
    return element(
        "svg",
        element("title", plain(title)),
        element("desc", plain(description)) if description else "",
        *body,
        xmlns="http://www.w3.org/2000/svg",
        role=role,
        class_=f"picture {kind}",
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        font_family=FONT,
        font_size=12,
    )


def shorten(content: str, limit: int) -> str:
    """The text itself, or as much of it as fits and an ellipsis."""
    return content if len(content) <= limit else content[: max(1, limit - 1)] + "…"


def text_width(content: str, size: float = 12) -> float:
    """About how wide a line of text is drawn, in pixels."""
    return len(content) * size * 0.58


def _attribute(value: Attribute) -> str:
    if isinstance(value, int | float):
        return number(float(value))
    return plain(value)

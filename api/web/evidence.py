"""A ranking's evidence in sentences, the same on pages and in the terminal."""

from api.web import words

COMMON_NEIGHBOUR = 0.25
# Kruskal's stress-1: from where on a layout is called rough, and when hardly to be trusted.
ROUGH, POOR = 0.1, 0.3
MEASURES = {"samples": "", "classes": "class statistics only", "estimate": "estimated"}


def certainty(*, proven: int, shown: int, sources: int) -> str:
    """How much of a list is certain; nothing is said of rankings that never claimed anything."""
    if not shown or not sources:
        return ""
    if proven >= shown:
        first = "This neighbour is" if shown == 1 else f"All {shown} neighbours are"
        return f"{first} certain: {_rest(sources - shown)}."
    if not proven:
        return "No place is certain: the order is the best that was found."
    first = "The first is" if proven == 1 else f"The first {proven} are"
    others = "other is" if shown - proven == 1 else "others is"
    return f"{first} certain; the order of the {others} the best that was found."


def _rest(left: int) -> str:
    if not left:
        return "there are no other sources"
    if left == 1:
        return "the one other source is not nearer"
    return f"none of the {left:,} other sources is nearer"


def verdict(
    *,
    nearness: str,
    nearest: float,
    threshold: float | None,
    share: float | None,
    references: int,
) -> str:
    """Whether the nearest is near, with the numbers behind it."""
    if nearness == "unknown" or share is None:
        return f"Too few registered datasets ({references}) to say whether the nearest is near."
    if nearness == "far":
        said = f"Nothing registered is near: {_of(1 - share, references)} lie closer to their own"
    else:
        far = _of(share, references)
        said = f"The nearest is near: {far} lie at least as far from their own"
    numbers = f"distance {nearest:.3g} by class statistics"
    if threshold is not None:
        numbers += f"; far is beyond {threshold:.3g}"
    return f"{said} nearest neighbour ({numbers})."


def _of(share: float, count: int) -> str:
    # Not "the": of a large registry only some were asked.
    if share <= 0:
        return f"none of {count:,} registered datasets"
    if share >= 1:
        return f"all of {count:,} registered datasets"
    return f"{words.share(share)} of {count:,} registered datasets"


def measure(kind: object, samples: tuple[int, int] | list[int] = (0, 0)) -> str:
    """What a distance rests on."""
    said = MEASURES.get(str(kind), str(kind))
    if said or not all(samples):
        return said
    return f"{samples[0]:,} and {samples[1]:,} images"


def tie(*, place: int, tied: bool, corrected: bool) -> str:
    """A note on a source that the data do not tell from the nearest; `place` counts from 1."""
    if not tied or place == 1:
        return ""
    return "tied with the nearest by distance" if corrected else "tied with the nearest"


def hub(share: float | None, *, nearness: str | None) -> str:
    """A note on a source that is everybody's neighbour, where enough are registered to tell."""
    if share is None or share < COMMON_NEIGHBOUR or nearness in (None, "unknown"):
        return ""
    return f"is the nearest of {words.share(share)} of registered datasets: a common neighbour"


def layout(stress: float) -> str:
    """How far to trust a map."""
    if stress > POOR:
        return "read only the coarsest order from it"
    return "a rough picture" if stress > ROUGH else "a faithful picture"

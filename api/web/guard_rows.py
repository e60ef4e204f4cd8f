"""The guard against collapse in words: what it looks at, its thresholds, and what it has done."""

from collections.abc import Mapping, Sequence
from typing import Any

from api.web import metrics
from core.nas.guard_config import DECIDED, LAG, GuardConfig

COLLAPSED = "collapsed:"
SETTLED = "converged: the same cells"


def config(spec: Mapping[str, Any]) -> GuardConfig | None:
    """The guard that a search has; None where it has none."""
    training = metrics.mapping(spec.get("training"))
    if not training.get("guard", True):
        return None
    usual = GuardConfig()
    guard = GuardConfig(max_skips=training.get("max_skips", usual.max_skips))
    return guard.within(training.get("epochs", 1))


def rule(guard: GuardConfig | None) -> str:
    """What it looks at after every epoch, and what it takes for a collapse."""
    if guard is None:
        return "The guard is off: nothing ends a search that collapses."
    said = (
        "After every epoch the guard counts the skip connections of the normal cell that outweigh "
        f"their edge's next operation {DECIDED:g}-fold: more than {guard.max_skips} for "
        f"{guard.patience} epochs in a row are a collapse."
    )
    if guard.eigenvalue_every:
        said += (
            f" From {100 * guard.eigenvalue_from:.0f} % of the epochs on it measures the "
            "curvature of the validation loss: more than "
            f"{1 / guard.growth:g}-fold growth in {LAG} epochs is one, too."
        )
    return said


def verdict(guard: GuardConfig | None, rows: Sequence[Mapping[str, Any]]) -> str:
    """What it saw last, and whether it stepped in; empty where it has seen nothing."""
    if guard is None or not rows:
        return ""
    last = rows[-1]
    seen = []
    if (skips := metrics.number(last.get("decided_skips"))) is not None:
        seen.append(f"{skips:.0f} of at most {guard.max_skips} lead")
    curvatures = [found for row in rows if (found := metrics.number(row.get("eigenvalue")))]
    if curvatures:
        seen.append(f"curvature {curvatures[-1]:.3g}")
    told = f"After epoch {last.get('epoch')}: {', '.join(seen)}. " if seen else ""
    stopped = last.get("stopped")
    if not isinstance(stopped, str):
        return f"{told}It has not stepped in."
    if stopped.startswith(COLLAPSED):
        return f"{told}It ended the search and set the alphas back to before it {stopped}."
    if stopped.startswith(SETTLED):
        return f"{told}It ended the search, which had {stopped}."
    return f"{told}It did not step in; the search ended of itself ({stopped})."

"""What the parts of a search job are worth, in epochs of search, and how many compete.

Known to who computes them and to who says beforehand what they will take.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from core.domain.searches import SearchSpec, Selection, StartPolicy, TradeOffs

# Sources by their distance, and supernets of several datasets, that enter a race.
NEAREST: Final = 2
SHARED: Final = 2
RACE: Final = 0.1  # of the search's epochs, at most, are for the race
STEP: Final = 0.1  # a step of a choice costs about a tenth of an epoch of search
PERTURBED: Final = 40  # decisions on the edges of two cells of four nodes
SAMPLES: Final = 12  # genotypes drawn by the alphas
CHILDREN: Final = 12  # and evolved from the best
SCREENED: Final = 32  # genotypes drawn by the alphas for a pre-screen
# Epochs of search that a pre-screen of one of them costs, as measured (at most).
PRESCREEN: Final[Mapping[Selection, float]] = {
    Selection.JACOBIAN: 0.02,
    Selection.FISHER_RAO: 0.04,
}
TRADED: Final = 36  # genotypes scored for a set of trade-offs, those above included
POPULATION: Final = 12  # parents of trade-offs; as many a refinement begins with
ROUNDS: Final = 3  # of a refinement, each of so many new genotypes and a tuning
PROPOSED: Final = 6
FRONT: Final = 5  # genotypes whose errors are measured again in a round, about
TUNED: Final = 0.15  # epochs of search that a tuning costs, as measured (at most)
MORE: Final = 2  # epochs of retraining for one that a search saves: half of its seconds, about
SPENT: Final = "budget: what is left of it is kept for the retraining"


def spent(history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a search with these records ended by its budget; one that failed may have none."""
    return any(each.get("stopped") == SPENT for each in history[-1:])


def race(spec: SearchSpec) -> float:
    """Epochs of search that a race for the start may cost."""
    raced = spec.policy is StartPolicy.RACE
    return RACE * spec.training.epochs * len(spec.rates(warm=False)) if raced else 0.0


def choice(spec: SearchSpec) -> float:
    """Epochs of search that choosing the cells is worth."""
    if spec.genotype is not None:
        return 0.0
    if spec.selection is Selection.BEST_OF:
        steps = PERTURBED + 3 + SAMPLES + CHILDREN
    elif spec.selection is Selection.PERTURBATION:
        steps = 1 + PERTURBED
    else:
        steps = 1
    screens = SCREENED * PRESCREEN.get(spec.selection, 0.0)
    if not spec.objectives:
        return screens + STEP * steps
    if spec.trade_offs is TradeOffs.REFINED:
        scored = max(POPULATION, steps) + ROUNDS * (PROPOSED + FRONT)
        return screens + STEP * scored + ROUNDS * TUNED
    return screens + STEP * max(TRADED, steps)

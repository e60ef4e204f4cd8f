"""What a search will probably take, as the API shows it."""

from uuid import UUID

from api.views.shapes import View
from api.views.stored import Space


class IntervalView(View):
    """What is expected, and where four of five lie: a tenth below `low`, a tenth above `high`."""

    expected: float
    low: float
    high: float


class StartView(View):
    """A supernet that the search may begin from; without an id a cold start. `lead` are accuracy
    points over cold before any step, where there is history enough to tell."""

    supernet_id: UUID | None
    name: str
    dataset_name: str | None
    lead: IntervalView | None


class TrialView(View):
    """What will be tried: `starts` in their order, a search for each learning rate, a retraining.
    A search that has nothing more to gain ends before its last epoch."""

    policy: str
    starts: list[StartView]
    method: str
    space: Space
    resolution: int
    batch_size: int
    steps_per_epoch: int
    learning_rates: list[float]
    epochs: int
    retrain_epochs: int
    selection: str


class SavingView(View):
    """What warm starts were worth in finished searches here: `won` of so many `races`, `points` of
    accuracy by which the best led a cold start before any step, `seconds` of searching that this
    search saves by ending earlier (its retraining is given about half of them). Null where too few
    have finished to tell, and `seconds` where the search may not end early."""

    races: int
    won: int
    points: IntervalView | None
    seconds: IntervalView | None


class BasisView(View):
    """On what the estimate rests: finished `searches` on that `device`, and the `model` of cost
    behind them."""

    searches: int
    device: str
    model: str


class EstimateView(View):
    """Seconds of computing, without the wait in the queue, and bytes at the peak. Those of a GPU
    are zero where workers compute on CPUs. `least_seconds` is the smallest budget for a model."""

    dataset_id: UUID
    seconds: IntervalView
    gpu_seconds: IntervalView
    host_bytes: IntervalView
    gpu_bytes: IntervalView
    least_seconds: IntervalView
    saving: SavingView
    trial: TrialView
    basis: BasisView

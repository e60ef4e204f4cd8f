"""Progress and its ETA from work units, so that a slow stage does not look like a stuck one."""

import time
from dataclasses import dataclass, field

from core.domain.jobs import JobRecord, Progress
from core.pipelines.context import Context


@dataclass(slots=True)
class Meter:
    """Counts units done of a known total; `skip` counts those an earlier attempt has done."""

    context: Context
    total: float
    done: float = 0.0
    _worked: float = 0.0
    _started: float = field(default_factory=time.perf_counter)

    @property
    def fraction(self) -> float:
        """How far the work is, in 0..1."""
        return min(self.done / self.total, 1.0)

    def skip(self, units: float) -> None:
        """Count units that cost this attempt nothing."""
        self.done += units

    def begin(self, stage: str) -> None:
        """Say which stage starts. Raises Stopped."""
        self.context.report(Progress(stage, self.fraction, self._eta()))

    def advance(self, stage: str, units: float, record: JobRecord | None = None) -> None:
        """Count units done in this attempt and report. Raises Stopped."""
        self.done += units
        self._worked += units
        self.context.report(Progress(stage, self.fraction, self._eta()), record)

    def _eta(self) -> float | None:
        if not self._worked:
            return None
        elapsed = time.perf_counter() - self._started
        return elapsed / self._worked * max(self.total - self.done, 0.0)

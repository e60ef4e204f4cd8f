"""No test here waits, and none reads the profiles of whoever runs it."""

from pathlib import Path

import pytest

from headstart._sync import jobs, running
from headstart.patience import Patience


class Pauses(list[float]):
    """The pauses that were made, none of which takes time; and the time that it is by them."""

    now = 0.0

    def sleep(self, seconds: float) -> None:
        self.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that says nothing."""
    for name in ("URL", "KEY", "PROFILE"):
        monkeypatch.delenv(f"HEADSTART_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    """All the time that there is in a test."""
    made = Pauses()
    monkeypatch.setattr(running, "sleep", made.sleep)
    monkeypatch.setattr(jobs, "monotonic", made.clock)
    monkeypatch.setitem(Patience.__init__.__kwdefaults__, "clock", made.clock)
    return made

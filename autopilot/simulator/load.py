"""Load: how busy one chute is, from the requests it holds and the background it started with."""

from dataclasses import dataclass
from math import exp

# One feed batch stands for one minute of the platform, whatever the interval between batches: a
# demonstration then shows in seconds what takes the platform a quarter of an hour.
_WINDOWS = {"5m": 5, "15m": 15, "1h": 60}


class Means:
    """Exponentially weighted means of one quantity over the feed's three windows."""

    def __init__(self, start: float) -> None:
        self._values = dict.fromkeys(_WINDOWS, start)

    def add(self, sample: float) -> None:
        """Take in the value of one batch."""
        for window, minutes in _WINDOWS.items():
            before = self._values[window]
            self._values[window] = before + (1 - exp(-1 / minutes)) * (sample - before)

    def fields(self, name: str) -> dict[str, float]:
        """The three means as the feed's columns."""
        return {f"{name}_{window}": value for window, value in self._values.items()}

    def sums(self, name: str) -> dict[str, float]:
        """The same as totals over each window."""
        return {
            f"{name}_{window}": value * _WINDOWS[window] for window, value in self._values.items()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A chute's instances, what each can hold, and the share other users keep busy."""

    instances: int
    slots: int
    background: float = 0.0
    background_rate_limit: float = 0.0


class Load:
    """One chute's slots, and the means that its feed row shows."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.in_flight = 0
        self.utilization = fleet.background
        self.utilization_means = Means(fleet.background)
        self.rate_limit_means = Means(fleet.background_rate_limit)
        self._slots = fleet.instances * fleet.slots
        others = self._slots * fleet.background
        # Room for one stays, or a chute busy with others could never be tried at all.
        self._room = max(1, int(self._slots - others))
        self._others = others
        limited = others * fleet.background_rate_limit
        self.request_means = Means(others)
        self.limited_means = Means(limited)
        self._others_limited = limited
        self._peak = 0
        self._requests = 0
        self._limited = 0

    @property
    def cold(self) -> bool:
        """Whether no instance runs."""
        return self.fleet.instances == 0

    @property
    def full(self) -> bool:
        """Whether another request would find no slot."""
        return self.in_flight >= self._room

    def enter(self) -> None:
        """A request takes a slot."""
        self.in_flight += 1
        self._requests += 1
        self._peak = max(self._peak, self.in_flight)

    def leave(self) -> None:
        """It gives the slot back."""
        self.in_flight -= 1

    def refuse(self) -> None:
        """A request was turned away for want of a slot."""
        self._requests += 1
        self._limited += 1

    def settle(self) -> None:
        """Close the books of one batch: its busiest moment, and the share it turned away."""
        busy = self._peak / self._slots if self._slots else 0.0
        self.utilization = min(1.0, self.fleet.background + busy)
        self.utilization_means.add(self.utilization)
        requests = self._others + self._requests
        limited = self._others_limited + self._limited
        self.request_means.add(requests)
        self.limited_means.add(limited)
        self.rate_limit_means.add(
            limited / requests if requests else self.fleet.background_rate_limit
        )
        self._peak = self.in_flight
        self._requests = self._limited = 0

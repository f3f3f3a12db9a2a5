"""Counts this process's requests under way that the last feed cannot know of."""

from collections.abc import Mapping


class InFlight:
    """By model, those that began since the last sample of the feed and have not ended."""

    def __init__(self) -> None:
        self._sample: float | None = None
        self._epoch = 0
        self._counts: dict[str, int] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """How many there are, by model; it goes on being counted."""
        return self._counts

    def sampled(self, timestamp: float | None) -> None:
        """The feed is of `timestamp`: if that is a new one, it knows of all that is under way."""
        if timestamp != self._sample:
            self._sample = timestamp
            self._epoch += 1
            self._counts = {}

    def began(self, model: str) -> int:
        """A request goes to `model`; the value is for `ended`."""
        self._counts[model] = self._counts.get(model, 0) + 1
        return self._epoch

    def ended(self, model: str, epoch: int) -> None:
        """The request to `model` that began in `epoch` is over."""
        if epoch != self._epoch:
            return
        left = self._counts[model] - 1
        if left:
            self._counts[model] = left
        else:
            del self._counts[model]

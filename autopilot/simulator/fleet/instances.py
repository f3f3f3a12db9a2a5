"""One instance of a chute: what runs on it shares its pace, which falls as more runs.

Work is counted in tokens of an answer; reading a prompt is worth a fraction of a token for each of its
own. All that runs advances at one pace, so that one clock of work, which goes faster or slower, says
when each is due: nothing has to be reckoned again for each when another comes or leaves.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from simpy import Environment, Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What an instance is made of.

    `pace` is in tokens a second of an answer that is alone, `reading` how many tokens of a prompt take
    as long as one of an answer, and `opening` the tokens in whose time any request begins. With all
    `slots` taken each answer takes `1 + strain` times as long.
    `queue` is how many may wait in the instance beyond `slots`.
    """

    pace: float
    reading: float
    opening: float
    slots: int
    strain: float
    queue: int = 0

    def pace_of(self, running: float) -> float:
        """Tokens a second of each of so many."""
        others = max(running - 1.0, 0.0) / max(self.slots - 1, 1)
        return self.pace / (1.0 + self.strain * others)

    def to_read(self, prompt_tokens: float) -> float:
        """The work until the first token, in tokens of an answer."""
        return self.opening + prompt_tokens / self.reading


class Job:
    """One request on an instance: the events of its first and its last token, if somebody waits."""

    __slots__ = ("answering", "done", "first", "reading")

    def __init__(
        self,
        *,
        reading: float,
        answering: float,
        first: Event | None = None,
        done: Event | None = None,
    ) -> None:
        self.reading = reading
        self.answering = answering
        self.first = first
        self.done = done


class Instance:
    """Runs jobs; `left` is called when one has ended, before its `done`."""

    def __init__(
        self, env: Environment, engine: Engine, left: Callable[["Instance"], None]
    ) -> None:
        self.running = 0
        self.draining = False
        self._env = env
        self._engine = engine
        self._left = left
        self._paces = [engine.pace_of(running) for running in range(engine.slots + 1)]
        self._waiting: deque[Job] = deque()
        self._due: list[tuple[float, int, Job, bool]] = []
        self._number = 0
        self._work = 0.0
        self._at = 0.0
        self._alarm = 0

    @property
    def here(self) -> int:
        """How many run or wait."""
        return self.running + len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether another would be refused."""
        return self.here >= self._engine.slots + self._engine.queue

    def take(self, job: Job) -> None:
        """Begin with it, or have it wait. Not to be called when full."""
        if self.running >= self._engine.slots:
            self._waiting.append(job)
            return
        self._advance()
        self._begin(job)
        self._set_alarm()

    def _begin(self, job: Job) -> None:
        self.running += 1
        self._push(self._work + job.reading, job, first=True)

    def _push(self, due: float, job: Job, *, first: bool) -> None:
        self._number += 1
        heapq.heappush(self._due, (due, self._number, job, first))

    def _advance(self) -> None:
        now = self._env.now
        self._work += (now - self._at) * self._paces[self.running]
        self._at = now

    def _set_alarm(self) -> None:
        """Wake when the next is due. An alarm that was set before no longer counts."""
        self._alarm += 1
        if self._due:
            seconds = max(self._due[0][0] - self._work, 0.0) / self._paces[self.running]
            alarm = self._env.timeout(seconds, self._alarm)
            alarm.callbacks.append(self._woken)

    def _woken(self, alarm: Event) -> None:
        if alarm.value != self._alarm:
            return
        due, _, job, first = heapq.heappop(self._due)
        # Just there, and not where rounding would put it: else it might be due again and again.
        self._work = due
        self._at = self._env.now
        if first:
            self._push(due + job.answering, job, first=False)
            if job.first is not None:
                job.first.succeed()
        else:
            self._end(job)
        self._set_alarm()

    def _end(self, job: Job) -> None:
        self.running -= 1
        self._left(self)
        if self._waiting:
            self._begin(self._waiting.popleft())
        if job.done is not None:
            job.done.succeed()

"""One chute: its instances, whom it refuses, what it remembers of prompts, how it grows and shrinks.

It refuses and does not queue when all instances are full, as the platform does. A busy chute that may
grow starts an instance, which takes minutes; instances come and go by themselves as well.
"""

from collections import OrderedDict
from enum import Enum
from operator import attrgetter
from random import Random

from simpy import Environment

from autopilot.simulator.fleet.instances import Instance, Job
from autopilot.simulator.fleet.start import Origin

SAMPLE_SECONDS = 5.0
"""How often the figures of a chute are noted: means in the feed are exact on this grid."""

SCALE_SECONDS = 60.0
"""How often the platform looks whether a chute should grow or shrink."""

GROW_ABOVE, SHRINK_BELOW = 0.75, 0.35
"""Utilization in the last five minutes at which that happens."""

COLD_START = (90.0, 240.0)
"""Seconds until a new instance takes requests: least and most."""

INSTANCE_HOURS = 6.0
"""Mean life of an instance; another is started when it goes."""

CACHE_SECONDS = 900.0
"""How long a prompt stays in a chute's cache."""

CACHE_ENTRIES = 150
"""Prompts that an instance's memory keeps: what was used longest ago goes first."""


class Offer(Enum):
    """What became of a request."""

    TAKEN = "taken"
    FULL = "full"
    COLD = "cold"


class FleetChute:
    """The chute of `origin`, in virtual time. `random` decides how long its instances live."""

    def __init__(self, env: Environment, origin: Origin, random: Random) -> None:
        self.origin = origin
        self.asked = 0
        self.refused = 0
        self._busy = 0
        self._here = 0
        self._env = env
        self._random = random
        self._instances: list[Instance] = []
        self._starting = 0
        self._cache: OrderedDict[bytes, tuple[int, float]] = OrderedDict()
        self._busy_seconds = 0.0
        self._slot_seconds = 0.0
        self._settled_at = 0.0
        self._notes: list[tuple[float, float, int, int]] = [(0.0, 0.0, 0, 0)]
        for _instance in range(origin.instances):
            self._add()

    @property
    def active(self) -> int:
        """Instances that take requests."""
        return sum(not instance.draining for instance in self._instances)

    @property
    def load(self) -> float:
        """Share of all slots that would be taken with one more request; infinite without any."""
        slots = self.active * self.origin.engine.slots
        return (self._here + 1) / slots if slots else float("inf")

    def gauge(self, random: Random) -> float:
        """How full one instance is, whichever: `utilization_current` of the feed."""
        if not self._instances:
            return 0.0
        return random.choice(self._instances).running / self.origin.engine.slots

    def offer(self, job: Job) -> Offer:
        """Have the least busy instance take it, if one can."""
        self.asked += 1
        active = [instance for instance in self._instances if not instance.draining]
        if not active:
            self.refused += 1
            return Offer.COLD
        instance = min(active, key=attrgetter("here"))
        if instance.full:
            self.refused += 1
            return Offer.FULL
        self._settle()
        was = instance.running
        instance.take(job)
        self._busy += instance.running - was
        self._here += 1
        return Offer.TAKEN

    def cached(self, client: bytes, prefix_tokens: int) -> int:
        """How many of the tokens that were in the conversation before need not be read again."""
        known = self._cache.get(client)
        if known is None or self._env.now - known[1] > CACHE_SECONDS:
            return 0
        return min(known[0], prefix_tokens)

    def remember(self, client: bytes, tokens: int) -> None:
        """A conversation of so many tokens was here."""
        self._cache[client] = (tokens, self._env.now)
        self._cache.move_to_end(client)
        if len(self._cache) > CACHE_ENTRIES * max(len(self._instances), 1):
            self._cache.popitem(last=False)

    def note(self) -> None:
        """Note the figures. To be called every `SAMPLE_SECONDS`, the first time after as long."""
        self._settle()
        self._notes.append((self._busy_seconds, self._slot_seconds, self.asked, self.refused))

    def utilization(self, seconds: float) -> float:
        """Mean share of slots taken in the last `seconds`; what was before the start is as others'."""
        notes = self._notes
        steps = min(round(seconds / SAMPLE_SECONDS), len(notes) - 1)
        missing = seconds - steps * SAMPLE_SECONDS
        busy, slots, _, _ = notes[-1]
        busy_then, slots_then, _, _ = notes[-1 - steps]
        before = missing * self.origin.slots
        whole = slots - slots_then + before
        return (busy - busy_then + before * self.origin.others) / whole if whole else 0.0

    def refusals(self, seconds: float) -> float:
        """Share of requests refused in the last `seconds`."""
        notes = self._notes
        then = notes[-1 - min(round(seconds / SAMPLE_SECONDS), len(notes) - 1)]
        asked = notes[-1][2] - then[2]
        return (notes[-1][3] - then[3]) / asked if asked else 0.0

    def totals(self) -> tuple[float, float]:
        """Seconds of slots that were taken, and that there were, until now."""
        self._settle()
        return self._busy_seconds, self._slot_seconds

    def allowance(self) -> int:
        """How many instances may still be added."""
        added = max(len(self._instances) + self._starting - self.origin.instances, 0)
        return max(self.origin.allowance - added, 0)

    def scale(self) -> None:
        """Grow or shrink by an instance, if it is time to."""
        busy = self.utilization(300.0)
        if busy > GROW_ABOVE and self.allowance():
            self._start()
        elif busy < SHRINK_BELOW and self.active > self.origin.instances:
            self._drain(next(i for i in reversed(self._instances) if not i.draining))

    def _start(self) -> None:
        self._starting += 1
        ready = self._env.timeout(self._random.uniform(*COLD_START))
        ready.callbacks.append(lambda _event: self._started())

    def _started(self) -> None:
        self._starting -= 1
        self._add()

    def _add(self) -> None:
        self._settle()
        instance = Instance(self._env, self.origin.engine, self._left)
        self._instances.append(instance)
        life = self._env.timeout(self._random.expovariate(1 / (INSTANCE_HOURS * 3600.0)))
        life.callbacks.append(lambda _event: self._gone(instance))

    def _gone(self, instance: Instance) -> None:
        if instance in self._instances and not instance.draining:
            self._drain(instance)
            self._start()

    def _drain(self, instance: Instance) -> None:
        """No more requests; what runs there is carried to its end."""
        instance.draining = True
        if not instance.here:
            self._settle()
            self._instances.remove(instance)

    def _left(self, instance: Instance) -> None:
        self._settle()
        self._here -= 1
        if instance.here == instance.running:
            # Nobody waits there to take its slot.
            self._busy -= 1
        if instance.draining and not instance.here:
            self._instances.remove(instance)

    def _settle(self) -> None:
        seconds = self._env.now - self._settled_at
        self._busy_seconds += seconds * self._busy
        self._slot_seconds += seconds * len(self._instances) * self.origin.engine.slots
        self._settled_at = self._env.now

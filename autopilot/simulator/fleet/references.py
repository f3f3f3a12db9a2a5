"""Strategies to compare with: chance, one model for ever, and one that sees what nobody can see."""

from collections.abc import Callable, Mapping

from zope.interface import implementer

from autopilot.interfaces import IPlan, ISelector
from autopilot.policy.scene import Moment, Scene
from autopilot.simulator.fleet.crowd import chance

Load = Callable[[str], float]
"""How full a model is at this very moment, with one more request."""


class _Silent:
    """What a plan need not say that nobody asks to explain itself."""

    def terms(self, name: str, moment: Moment) -> Mapping[str, float]:  # noqa: ARG002 - none
        """See `IPlan`."""
        return {}

    def disadvantage(self, name: str, rival: str, moment: Moment) -> float:  # noqa: ARG002 - none
        """See `IPlan`: none is better than another."""
        return 0.0


@implementer(IPlan)
class _Shuffled(_Silent):
    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def order(self, moment: Moment) -> tuple[str, ...]:
        """See `IPlan`."""
        names = list(self._names)
        chance(moment.seed).shuffle(names)
        return tuple(names)


@implementer(ISelector)
class Chance:
    """Any order is as good as any other."""

    name = "random"

    def plan(self, scene: Scene) -> IPlan:
        """See `ISelector`."""
        return IPlan(_Shuffled(scene.names))


@implementer(IPlan)
class _Fixed(_Silent):
    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def order(self, moment: Moment) -> tuple[str, ...]:  # noqa: ARG002 - the same at every moment
        """See `IPlan`."""
        return self._names


@implementer(ISelector)
class Static:
    """The order of the contract as it is at the start, for ever: a client that has named a model."""

    name = "static"

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def plan(self, scene: Scene) -> IPlan:
        """See `ISelector`."""
        for name in scene.names:
            self._places.setdefault(name, len(self._places))
        return IPlan(_Fixed(tuple(sorted(scene.names, key=self._places.__getitem__))))


@implementer(IPlan)
class _Seeing:
    def __init__(self, names: tuple[str, ...], load: Load) -> None:
        self._names = names
        self._load = load

    def order(self, moment: Moment) -> tuple[str, ...]:
        """See `IPlan`."""
        names = list(self._names)
        # Equals are told apart by chance, or all of them would go to the first.
        chance(moment.seed).shuffle(names)
        return tuple(sorted(names, key=self._load))

    def terms(self, name: str, moment: Moment) -> Mapping[str, float]:  # noqa: ARG002 - as above
        """See `IPlan`."""
        return {"load": self._load(name)}

    def disadvantage(self, name: str, rival: str, moment: Moment) -> float:  # noqa: ARG002 - as above
        """See `IPlan`."""
        return min(max(self._load(name) - self._load(rival), 0.0), 1.0)


@implementer(ISelector)
class Oracle:
    """Least loaded first, with present knowledge of all that runs everywhere."""

    name = "oracle"

    def __init__(self, load: Load) -> None:
        self._load = load

    def plan(self, scene: Scene) -> IPlan:
        """See `ISelector`."""
        return IPlan(_Seeing(scene.names, self._load))

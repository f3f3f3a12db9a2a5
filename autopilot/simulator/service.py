"""Service: the one place where the simulator's parts meet and get a port and a clock."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

from twisted.application.internet import TimerService
from twisted.application.service import MultiService, Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorTime

from autopilot.simulator.catalogue import Catalogue, fault_models, healthy_models, listed_models
from autopilot.simulator.config import SimulatorConfig
from autopilot.simulator.evidence import Attestation
from autopilot.simulator.faults import FaultBoard
from autopilot.simulator.feed import Feed
from autopilot.simulator.resources import Platform
from autopilot.simulator.site import SimulatorSite
from autopilot.simulator.world import World

# Twisted's own 50 makes the rest of a burst wait a second for its second SYN.
_BACKLOG = 1024


def utc_now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)


class _Listener(Service):
    """Holds the port, and takes the connections down with it."""

    def __init__(self, site: SimulatorSite, config: SimulatorConfig, reactor: IReactorTCP) -> None:
        self._site = site
        self._config = config
        self._reactor = reactor
        self.bound: IListeningPort | None = None

    def startService(self) -> None:
        """Bind at once, so that a caller knows the port on return."""
        super().startService()
        self.bound = self._reactor.listenTCP(
            self._config.port,
            self._site,  # type: ignore[arg-type]  # IReactorTCP wants a factory of any protocol
            backlog=_BACKLOG,
            interface=self._config.host,
        )

    def stopService(self) -> Deferred[None]:
        """Close the port, then cut what came through it."""
        super().stopService()
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        bound, self.bound = self.bound, None
        closed = None if bound is None else bound.stopListening()
        if closed is not None:
            await closed
        await self._site.cut()


class Simulator(MultiService):
    """A running platform: its parts are open to in-process tests, its port is known once started."""

    def __init__(self, world: World, listener: _Listener, host: str) -> None:
        super().__init__()
        self.world = world
        self._listener = listener
        self._host = host
        listener.setServiceParent(self)

    @property
    def port(self) -> int:
        """The port that is bound; with port 0 in the config, the one that was free."""
        bound = self._listener.bound
        if bound is None:
            raise RuntimeError("the simulator has not been started")
        return cast("IPv4Address | IPv6Address", bound.getHost()).port

    @property
    def base_url(self) -> str:
        """Where both the platform's planes are, without a slash at the end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"


def make_simulator(
    config: SimulatorConfig, reactor: IReactorTCP, now: Callable[[], datetime] = utc_now
) -> Simulator:
    """Build a simulator; nothing is opened or timed before it is started."""
    clock = IReactorTime(reactor)
    faulty = fault_models(config.slots)
    if config.models is None:
        catalogue = Catalogue([*healthy_models(config.slots), *faulty])
    else:
        catalogue = Catalogue(listed_models(config.models, config.slots), unlisted=faulty)
    feed = Feed(
        catalogue=catalogue,
        loaded=config.utilization,
        restamp=config.restamp,
        slots=config.slots,
        now=now,
    )
    faults = FaultBoard()
    world = World(
        catalogue=catalogue,
        feed=feed,
        pace=config.pace,
        clock=clock,
        now=now,
        attestation=Attestation(
            catalogue=catalogue, feed=feed, faults=faults, seconds=clock.seconds
        ),
        faults=faults,
    )
    site = SimulatorSite(Platform(world), clock)
    simulator = Simulator(world, _Listener(site, config, reactor), config.host)
    batches = TimerService(config.feed_interval, feed.write_batch)
    batches.clock = clock
    batches.setServiceParent(simulator)
    return simulator

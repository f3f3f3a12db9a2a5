"""The order of a run: in every round each gateway is started, looked at, and stopped, one by one.

Rounds are interleaved, so that a machine that grows slower does so for everybody.
"""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import figures
from accounting import GATEWAY_CORE
from figures import KIB, Bench, Figures
from ours import Autopilot, Direct
from peer import Absent, NotStartedError, Peer
from processes import free_ports
from programs import HOME, LoadError, Upstream

QUICK_LEAVES_OUT = (
    "bodies of 16 and 150 KiB; requests and a second round with TLS; some numbers of streams; and for "
    "all but autopilot and nginx TLS, memory with open streams and the most streams without a gap"
)

_SIZES = (16, 150)
_ALWAYS = frozenset({"autopilot", "nginx"})
_FAULTS = (LoadError, NotStartedError, OSError, subprocess.SubprocessError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is to be done: rounds, and the seconds of a window."""

    rounds: int
    seconds: float
    quick: bool

    def whole(self, peer: Peer) -> bool:
        """Whether this gateway has every figure."""
        several = isinstance(peer, Autopilot) and peer.workers > 1
        return peer.name in _ALWAYS or not (self.quick or several)

    def tls(self, peer: Peer, number: int) -> bool:
        """Whether it is looked at with a TLS upstream, in the round of that number."""
        return peer.speaks_tls and self.whole(peer) and (number == 1 or not self.quick)

    @property
    def steps(self) -> Sequence[int]:
        """Numbers of streams that are tried."""
        return figures.QUICK_STEPS if self.quick else figures.STEPS


@dataclass(kw_only=True)
class Account:
    """What is known of one gateway. `absent` says why there is nothing."""

    peer: Peer
    version: str = ""
    absent: str | None = None
    interval: float = figures.INTERVAL
    rounds: list[Figures] = field(default_factory=list)
    streams: dict[str, float | None] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def raw(self) -> dict[str, Any]:
        """For `raw.json`."""
        return {
            "version": self.version,
            "absent": self.absent,
            "interval_ms": self.interval * 1e3,
            "rounds": self.rounds,
            "streams": self.streams,
            "failures": self.failures,
        }


class Progress:
    """Lines on the screen, each with the time since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        """One line."""
        seconds = round(time.monotonic() - self._start)
        print(f"{seconds // 60:3d}:{seconds % 60:02d}  {text}", flush=True)


def install(peers: Sequence[Peer], progress: Progress) -> list[Account]:
    """Make them usable; those that cannot be are absent and stay in the account."""
    accounts = []
    HOME.mkdir(parents=True, exist_ok=True)
    for peer in peers:
        account = Account(peer=peer)
        try:
            version = peer.install(HOME)
        except _FAULTS as fault:
            version = Absent(reason=_words(fault))
        if isinstance(version, Absent):
            account.absent = version.reason
        else:
            account.version = version
        progress.say(f"{peer.name}: {account.absent or account.version}")
        accounts.append(account)
    return accounts


class Visits:
    """A run over installed gateways, before one upstream in plaintext and one with TLS."""

    def __init__(
        self, accounts: Sequence[Account], plain: Upstream, tls: Upstream, plan: Plan
    ) -> None:
        self._accounts = [account for account in accounts if account.absent is None]
        self._plain = plain
        self._tls = tls
        self._plan = plan
        self._progress = Progress()

    def run(self) -> None:
        """All rounds, then the searches, which do not profit from being repeated."""
        for number in range(1, self._plan.rounds + 1):
            for account in self._accounts:
                self._progress.say(f"round {number}/{self._plan.rounds}  {account.peer.name}")
                account.rounds.append({})
                self._visit(account, self._plain, self._look)
                if self._plan.tls(account.peer, number):
                    self._visit(account, self._tls, self._look_through_tls)
        for account in self._accounts:
            if self._plan.whole(account.peer):
                self._visit(account, self._plain, self._search)
            if not any(account.rounds):
                account.absent = (
                    "; ".join(dict.fromkeys(account.failures)) or "nothing could be measured"
                )

    def _visit(
        self, account: Account, upstream: Upstream, look: Callable[[Account, Bench], None]
    ) -> None:
        try:
            with self._running(account, upstream) as bench:
                look(account, bench)
        except _FAULTS as fault:
            # A figure's own faults are noted where it is taken: this one is of the gateway.
            self._failed(account, "start with TLS" if upstream.ca else "start", fault)

    @contextmanager
    def _running(self, account: Account, upstream: Upstream) -> Iterator[Bench]:
        (port,) = free_ports(1)
        running = account.peer.running(
            port=port,
            upstream=upstream.port,
            ca=upstream.ca,
            home=HOME,
            log=HOME / "logs" / f"{account.peer.name}.log",
            cpu=GATEWAY_CORE,
        )
        with running as pids:
            alone = isinstance(account.peer, Direct)
            yield Bench(
                peer=account.peer,
                port=upstream.port if alone else port,
                pids=[upstream.pid] if alone else pids,
                upstream=upstream,
                seconds=self._plan.seconds,
                interval=account.interval,
            )

    def _look(self, account: Account, bench: Bench) -> None:
        if isinstance(account.peer, Autopilot) and account.peer.workers > 1:
            # There is no core left for more clients than one of ours can serve: cost and balance only.
            self._figure(account, "idle", lambda: figures.idle_memory(bench))
            self._figure(account, "balance", lambda: figures.balance(bench))
            self._figure(account, "chunks", lambda: figures.chunk_cost(bench))
            return
        # Before any request, and that of the probe is one.
        if not isinstance(account.peer, Direct):
            self._figure(account, "idle", lambda: figures.idle_memory(bench))
        paced = self._paced(account, bench)
        if not isinstance(account.peer, Direct) and self._plan.whole(account.peer):
            self._figure(account, "memory", lambda: figures.memory(paced))
        self._figure(account, "chunks", lambda: figures.chunk_cost(paced))
        self._figure(account, "one connection", lambda: figures.one_connection(paced))
        self._figure(account, "requests", lambda: figures.request_cost(paced))
        if not self._plan.quick:
            for size in _SIZES:
                self._figure(account, f"requests of {size} KiB", partial(_sized, paced, size))
        self._figure(account, "first byte", lambda: figures.first_byte(paced))
        if isinstance(account.peer, Direct) and len(account.rounds) == 1:
            self._figure(account, "alone", lambda: figures.upstream_alone(paced))

    def _look_through_tls(self, account: Account, bench: Bench) -> None:
        self._figure(account, "TLS, chunks", lambda: _of_tls(figures.chunk_cost(bench)))
        if not self._plan.quick:
            self._figure(account, "TLS, requests", lambda: _of_tls(figures.request_cost(bench)))

    def _search(self, account: Account, bench: Bench) -> None:
        self._progress.say(f"most streams  {account.peer.name}")
        account.streams = figures.most_streams(bench, self._plan.steps)
        self._progress.say(f"      {account.streams}")

    def _paced(self, account: Account, bench: Bench) -> Bench:
        """The same, at an interval that the gateway can carry; found in the first round."""
        if not account.peer.fast and len(account.rounds) == 1:
            try:
                account.interval = figures.slow_interval(bench)
            except _FAULTS as fault:
                self._failed(account, "pace", fault)
        return replace(bench, interval=account.interval)

    def _figure(self, account: Account, title: str, look: Callable[[], Figures]) -> None:
        try:
            seen = look()
        except _FAULTS as fault:
            self._failed(account, title, fault)
            return
        account.rounds[-1] |= {name: round(value, 4) for name, value in seen.items()}
        worded = ", ".join(f"{name} {value:.4g}" for name, value in seen.items())
        self._progress.say(f"      {title}: {worded}")

    def _failed(self, account: Account, title: str, fault: BaseException) -> None:
        account.failures.append(f"{title}: {_words(fault)}")
        self._progress.say(f"      {title}: FAILED, {_words(fault)}")


def chosen(everybody: Sequence[Peer], only: str) -> list[Peer]:
    """Those that `only` names, or all.

    Raises:
        ValueError: it names one that is not there.
    """
    names = {part.strip() for part in only.split(",") if part.strip()}
    if unknown := names - {peer.name for peer in everybody}:
        raise ValueError(f"no gateway is called {', '.join(sorted(unknown))}")
    return [peer for peer in everybody if not names or peer.name in names]


def _sized(bench: Bench, size: int) -> Figures:
    seen = figures.request_cost(bench, size * KIB)
    return {f"json_{size}k_us": seen["json_us"], f"json_{size}k_cpu": seen["json_cpu"]}


def _of_tls(seen: Figures) -> Figures:
    return {f"tls_{name}": value for name, value in seen.items()}


def _words(fault: BaseException) -> str:
    """The fault in one line without paths of this machine."""
    line = " ".join(str(fault).split()) or type(fault).__name__
    return line.replace(str(HOME.parent), "").replace(str(Path.home()), "~")[:300]

"""Fakes that implement the house's interfaces: an upstream and a downstream without any HTTP.

They record what is done to them, and refuse what the real ones would not survive: a second `begin`, a
byte before it, an end after the end.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from autopilot.interfaces import (
    IDownstream,
    IPictureSource,
    IPlan,
    ISelector,
    IStickyStore,
    IUpstream,
    IUpstreamBody,
    IUpstreamResponse,
)
from autopilot.policy.catalog import Catalog, Chute, Model, Utilization
from autopilot.policy.ending import BodyEnd, End
from autopilot.policy.picture import Picture
from autopilot.policy.ranking import Candidate, score
from autopilot.policy.scene import Moment, Scene

Fields = Sequence[tuple[bytes, bytes]]

JSON_FIELDS: Fields = ((b"Content-Type", b"application/json"),)
PLAIN_FIELDS: Fields = ((b"Content-Type", b"text/plain"),)
STREAM_FIELDS: Fields = ((b"Content-Type", b"text/event-stream"),)


T = TypeVar("T")


def at_once(parse: Callable[[bytes], T], body: bytes) -> Deferred[T]:
    """Parsing without a thread: for reactors in memory, which have none."""
    parsed: Deferred[T] = execute(parse, body)
    return parsed


class MisuseError(Exception):
    """The code under test did what the real object would not survive."""


@implementer(IUpstreamResponse)
class FakeResponse:
    """An answer that the test sends piece by piece with `send` and `end`.

    Its bytes say nothing to the router unless the test gives it the header fields of a stream.
    """

    def __init__(
        self, status: int = 200, fields: Fields = PLAIN_FIELDS, length: int | None = None
    ) -> None:
        self.status = status
        self.fields = fields
        self.length = length
        self.body: IUpstreamBody | None = None
        self.paused = False
        self.pauses = 0
        self.aborted = False
        self.discarded = False
        self._early: list[bytes] = []
        self._early_end: BodyEnd | None = None

    def send(self, *parts: bytes) -> "FakeResponse":
        """Have `parts` arrive, now or as soon as they are asked for."""
        for part in parts:
            if self.body is None:
                self._early.append(part)
            else:
                self.body.received(part)
        return self

    def end(self, end: BodyEnd = BodyEnd.COMPLETE) -> "FakeResponse":
        """End the body, now or as soon as it is asked for."""
        if self.body is None:
            self._early_end = end
        else:
            self.body.ended(end)
        return self

    def deliver(self, body: IUpstreamBody) -> None:
        """See `IUpstreamResponse`."""
        if self.body is not None or self.discarded:
            raise MisuseError("a body can be delivered once")
        self.body = body
        for part in self._early:
            body.received(part)
        if self._early_end is not None:
            body.ended(self._early_end)

    def pause(self) -> None:
        """See `IUpstreamResponse`."""
        self.paused = True
        self.pauses += 1

    def resume(self) -> None:
        """See `IUpstreamResponse`."""
        self.paused = False

    def abort(self) -> None:
        """See `IUpstreamResponse`."""
        self.aborted = True

    def discard(self, heard: Callable[[bytes], None] | None) -> None:
        """See `IUpstreamResponse`. What was sent so far is heard at once."""
        self.discarded = True
        if heard is not None and self._early:
            heard(b"".join(self._early))


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """One call of `FakeUpstream.post`, and the Deferred with which the test answers it."""

    path: str
    fields: Fields
    body: bytes
    fresh: bool
    answer: Deferred[IUpstreamResponse] = field(default_factory=Deferred)


@implementer(IUpstream)
class FakeUpstream:
    """An upstream that answers with `scripted` results in their order, or waits for the test.

    A result is a response, or an exception to fail with; None leaves the call open.
    """

    def __init__(self, *scripted: FakeResponse | Exception | None) -> None:
        self.posted: list[Posted] = []
        self.cancelled = 0
        self._scripted = list(scripted)

    def post(
        self, path: str, fields: Fields, body: bytes, *, fresh: bool
    ) -> Deferred[IUpstreamResponse]:
        """See `IUpstream`."""
        answer: Deferred[IUpstreamResponse] = Deferred(self._cancel)
        posted = Posted(path=path, fields=fields, body=body, fresh=fresh, answer=answer)
        self.posted.append(posted)
        result = self._scripted.pop(0) if self._scripted else None
        if isinstance(result, Exception):
            posted.answer.errback(result)
        elif result is not None:
            posted.answer.callback(result)
        return posted.answer

    def _cancel(self, _answer: Deferred[IUpstreamResponse]) -> None:
        self.cancelled += 1


@implementer(IDownstream)
class FakeDownstream:
    """A client that keeps everything it is sent. `end` is None, `finished` or `broken`."""

    def __init__(self) -> None:
        self.lost_as = End.CLIENT_GONE
        self.status: int | None = None
        self.fields: Fields = ()
        self.length: int | None = None
        self.parts: list[bytes] = []
        self.end: str | None = None
        self.producer: IPushProducer | None = None

    @property
    def received(self) -> bytes:
        """The body so far."""
        return b"".join(self.parts)

    @property
    def answer(self) -> tuple[int | None, bytes]:
        """Status and body so far."""
        return self.status, self.received

    def header(self, name: bytes) -> list[bytes]:
        """The values of a header field; `name` in lower case."""
        return [value for key, value in self.fields if key.lower() == name]

    def begin(self, status: int, fields: Fields, length: int | None) -> None:
        """See `IDownstream`."""
        if self.status is not None:
            raise MisuseError("begin was called twice")
        self.status, self.fields, self.length = status, fields, length

    def write(self, data: bytes) -> None:
        """See `IDownstream`."""
        if self.status is None or self.end is not None:
            raise MisuseError("a byte outside of begin and end")
        self.parts.append(data)

    def register_producer(self, producer: IPushProducer) -> None:
        """See `IDownstream`."""
        self.producer = producer

    def finish(self) -> None:
        """See `IDownstream`."""
        self._end("finished")

    def break_off(self) -> None:
        """See `IDownstream`."""
        self._end("broken")

    def _end(self, end: str) -> None:
        if self.status is None or self.end is not None:
            raise MisuseError("an end outside of begin and end")
        self.end = end


@implementer(IStickyStore)
class FakeSticky:
    """A store far away: the test answers each of `asked`, and sees what was `written` to it."""

    def __init__(self) -> None:
        self.asked: list[Deferred[str | None]] = []
        self.cancelled = 0
        self.written: list[tuple[str, str]] = []

    def get(self, key: bytes) -> Deferred[str | None]:  # noqa: ARG002 - there is one client
        """See `IStickyStore`."""
        self.asked.append(Deferred(self._cancel))
        return self.asked[-1]

    def peek(self, key: bytes) -> Deferred[str | None]:
        """See `IStickyStore`: the test answers it as it answers `get`."""
        return self.get(key)

    def put(self, key: bytes, model: str) -> None:  # noqa: ARG002 - as in `get`
        """See `IStickyStore`."""
        self.written.append(("put", model))

    def forget(self, key: bytes, model: str) -> None:  # noqa: ARG002 - as in `get`
        """See `IStickyStore`."""
        self.written.append(("forget", model))

    def _cancel(self, _asked: Deferred[str | None]) -> None:
        self.cancelled += 1


@implementer(IPictureSource)
class FixedPicture:
    """A picture source that the test sets."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture


@implementer(IPlan)
class FixedPlan:
    """Has one order for every moment; `asked` are the moments for which it was asked."""

    def __init__(self, order: tuple[str, ...]) -> None:
        self._order = order
        self.asked: list[Moment] = []

    def order(self, moment: Moment) -> tuple[str, ...]:
        """See `IPlan`."""
        self.asked.append(moment)
        return self._order

    def terms(self, name: str, moment: Moment) -> Mapping[str, float]:  # noqa: ARG002
        """See `IPlan`: the place."""
        return {"place": float(self._order.index(name))}

    def disadvantage(self, name: str, rival: str, moment: Moment) -> float:  # noqa: ARG002
        """See `IPlan`: all or nothing."""
        return float(self._order.index(name) > self._order.index(rival))


@implementer(ISelector)
class AlphabeticSelector:
    """Orders by name, to be told from every real selector; `plans` are those it has made."""

    name = "alphabetic"

    def __init__(self) -> None:
        self.plans: list[FixedPlan] = []

    def plan(self, scene: Scene) -> IPlan:
        """See `ISelector`."""
        self.plans.append(FixedPlan(tuple(sorted(scene.names))))
        return IPlan(self.plans[-1])


def picture_of(*names: str, fetched_at: float = 0.0) -> Picture:
    """A fresh picture in which `names` are the catalogue and the order. Chute ids are `chute-NAME`."""
    models = tuple(
        Model(id=name, chute_id=f"chute-{name}", document=b'{"id":"%s"}' % name.encode())
        for name in names
    )
    return Picture(
        catalog=Catalog(models),
        catalog_fetched_at=fetched_at,
        utilization=Utilization(chutes=()),
        utilization_fetched_at=fetched_at,
        candidates=tuple(_candidate(name) for name in names),
    )


def _candidate(name: str) -> Candidate:
    chute = Chute(name=name, chute_id=f"chute-{name}", active_instance_count=1.0)
    return Candidate(name=name, score=score(chute), chute=chute)

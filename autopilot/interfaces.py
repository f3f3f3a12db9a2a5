"""The contracts between the rooms. Each is declared by the one who needs it, for the reason given."""

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import Attribute, Interface

from autopilot.policy.ending import BodyEnd, End
from autopilot.policy.picture import Picture
from autopilot.policy.scene import Moment, Scene

Seconds = Callable[[], float]
"""A clock: seconds since some moment. Which clock is said where it is asked for."""


class IPlan(Interface):
    """How a strategy orders the models of one scene: made once for many requests.

    All of it is a function of the scene and the moment: it reads no clock, and remembers nothing that
    another request could notice. A name that is not in the scene is never asked for.
    """

    def order(moment: Moment) -> tuple[str, ...]:
        """All names of the scene, each once, best first.

        On the path of every request: 20 microseconds for a hundred models is the most it may take.
        """

    def terms(name: str, moment: Moment) -> Mapping[str, float]:
        """What the place of `name` was made of, for people who ask why: finite numbers by name."""

    def disadvantage(name: str, rival: str, moment: Moment) -> float:
        """How much worse `name` is than `rival`: 0 is not at all, 1 is not worth having.

        It is a share of what a request costs its client in whatever the strategy saves: time, money
        or refusals. It is compared with the share that a prompt cache saves.
        """


class ISelector(Interface):
    """A strategy that orders models, found by `twisted.plugin` and chosen by `SELECTOR` or a client."""

    name: str = Attribute("What it is called: lower-case, unique among the plug-ins found.")

    def plan(scene: Scene) -> IPlan:
        """How to order the models of `scene`.

        Called when the picture has changed, so that it may take its time: a strategy that knows no
        more than the picture makes its order here, and gives it to every request.
        """


class IPictureSource(Interface):
    """Where the published picture is read: all that the request path knows of the control plane."""

    picture: Picture = Attribute("The last published picture; replaced whole, never changed.")


class IStickyStore(Interface):
    """Where the router remembers which model served a client last.

    Stickiness is a saving, not a promise, so that no trouble of a store may cost an answer: nothing
    here raises, and what cannot be found out in time is not known. A store keeps its own clock, since
    the time of a shared one is not ours.
    """

    def get(key: bytes) -> str | Deferred[str | None] | None:
        """The model of the client that is known by `key`, None if there is none or it is not known.

        It is a Deferred only where it has to be waited for, which costs more than looking into a table.
        That never fails, unless it is cancelled: then with CancelledError, as the client is gone.
        """

    def peek(key: bytes) -> str | Deferred[str | None] | None:
        """As `get`, for somebody who only wants to know: it prolongs, forgets and counts nothing."""

    def put(key: bytes, model: str) -> None:
        """`model` has served the client. Nobody waits for this to be done."""

    def forget(key: bytes, model: str) -> None:
        """`model` has failed: drop the client's place if it is still there. Nobody waits for this."""


class IDownstream(Interface):
    """The client's side of one exchange, as the data plane needs it: neither Klein nor a `Request`.

    `begin` is the commit: before it the engine may still turn to another candidate, after it never.
    Every method may be called when the client has already gone; it then does nothing.
    """

    lost_as: End = Attribute("How the answer has ended if the connection is lost now.")

    def begin(status: int, fields: Sequence[tuple[bytes, bytes]], length: int | None) -> None:
        """Send status and header fields; `length` is the body's, if it is known."""

    def write(data: bytes) -> None:
        """Send a part of the body as it is."""

    def register_producer(producer: IPushProducer) -> None:
        """Have `producer` paused while the client does not read."""

    def finish() -> None:
        """End a complete answer."""

    def break_off() -> None:
        """End an incomplete answer visibly.

        All that was written is delivered, then the connection closes without the last chunk; to an
        HTTP/1.0 client, which takes a close for a clean end, it is reset.
        """


class IUpstreamBody(Interface):
    """What is done with the bytes of an upstream answer."""

    def received(data: bytes) -> None:
        """Some bytes arrived."""

    def ended(end: BodyEnd) -> None:
        """The body is over. Called exactly once."""


class IUpstreamResponse(Interface):
    """An answer whose header fields are here and whose body has not been asked for yet.

    One of `deliver` and `discard` must be called, or the connection stays open until the answer is
    garbage.
    """

    status: int = Attribute("The final status, 200 to 599.")
    fields: Sequence[tuple[bytes, bytes]] = Attribute("The header fields as they came.")
    length: int | None = Attribute("The body's length in bytes, where it is known.")

    def deliver(body: IUpstreamBody) -> None:
        """Start to hand the bytes to `body`."""

    def pause() -> None:
        """Stop reading from upstream. Does nothing once the body is over."""

    def resume() -> None:
        """Go on reading. Does nothing once the body is over."""

    def abort() -> None:
        """Close the connection now: nobody wants the rest. `ended` may still be called."""

    def discard(heard: Callable[[bytes], None] | None) -> None:
        """Nobody wants the body: keep the connection if the rest of it is small and quick.

        `heard` is called with the beginning of it, if it could be read.
        """


class IUpstream(Interface):
    """The other end of an attempt, as the engine needs it."""

    def post(
        path: str, fields: Sequence[tuple[bytes, bytes]], body: bytes, *, fresh: bool
    ) -> Deferred[IUpstreamResponse]:
        """Send a request and wait for the header fields of its answer.

        `fresh`: over a new connection, because an old one is suspect.

        Raises:
            AttemptFailed: with the outcome, when there is no answer.
            CancelledError: when the returned Deferred was cancelled, which closes the connection.
        """

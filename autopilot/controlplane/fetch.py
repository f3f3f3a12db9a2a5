"""One request to the platform, bounded in time and size: its answer, or one word for why not."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer

from autopilot.http_client import WireResponse

_OK = 200
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class FetchFault(StrEnum):
    """Why a fetch brought nothing. The names are metric labels."""

    STATUS = "status"
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    ENCODING = "encoding"
    BROKEN = "broken"
    CONNECT = "connect"


class FetchError(Exception):
    """A fetch brought nothing; `fault` says why."""

    def __init__(self, fault: FetchFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked. `body` must be able to produce twice, see `autopilot.http_client`."""

    url: str
    method: str = "GET"
    fields: Sequence[tuple[str, str]] = ()
    body: IBodyProducer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer of whatever status. `fields` are as they came, `body` is decoded."""

    status: int
    fields: Sequence[tuple[bytes, bytes]]
    body: bytes


Wanted = Callable[[int], bool]
"""Whether the body of an answer with this status is worth reading."""


async def fetch(
    client: HTTPClient, url: str, *, clock: IReactorTime, within: float, max_bytes: int
) -> bytes:
    """The body of `url`, at most `max_bytes` after decoding, `within` seconds in all.

    Redirects are not followed. Cancelling closes the connection. The body of a refusal is not read.

    Raises:
        FetchError: no body was had.
    """
    question = Question(url=url)
    answer = await _ask(client, question, clock, within, max_bytes, lambda status: status == _OK)
    return answer.body


async def ask(
    client: HTTPClient, question: Question, *, clock: IReactorTime, within: float, max_bytes: int
) -> Answer:
    """The answer to `question`, refusals included, within the bounds of `fetch`.

    Raises:
        FetchError: there was no whole answer; its fault is never `STATUS`.
    """
    return await _ask(client, question, clock, within, max_bytes, lambda _status: True)


async def _ask(  # noqa: PLR0917 - the arguments of its two callers, and what sets them apart
    client: HTTPClient,
    question: Question,
    clock: IReactorTime,
    within: float,
    max_bytes: int,
    wanted: Wanted,
) -> Answer:
    deadline = clock.seconds() + within
    headers = Headers()
    for name, value in question.fields:
        headers.addRawHeader(name, value)
    try:
        requesting: Deferred[Any] = client.request(
            question.method,
            question.url,
            headers=headers,
            data=cast("bytes | None", question.body),
            allow_redirects=False,
            unbuffered=True,
        )
        response = await _expire(requesting, clock, within)
    except (FetchError, CancelledError):
        raise
    except Exception:  # noqa: BLE001 - Twisted has a dozen ways to say so, and none matters here
        raise FetchError(FetchFault.CONNECT) from None
    wire: WireResponse = response.original
    body = _Body(_judge(wire, wanted), max_bytes)
    wire.deliverBody(body)
    whole: bytes = await _expire(body.whole, clock, max(deadline - clock.seconds(), 0))
    fields = [(n, v) for n, values in wire.wire_headers.getAllRawHeaders() for v in values]
    return Answer(status=wire.code, fields=fields, body=whole)


def _expire(deferred: Deferred[Any], clock: IReactorTime, seconds: float) -> Deferred[Any]:
    def late(_result: object, _seconds: float) -> Failure:
        return Failure(FetchError(FetchFault.TIMEOUT))

    return deferred.addTimeout(seconds, clock, onTimeoutCancel=late)


def _judge(response: WireResponse, wanted: Wanted) -> "_Plain | _Gzip | FetchFault":
    """How the body is to be decoded, or why it is not wanted."""
    if not wanted(response.code):
        return FetchFault.STATUS
    encodings: Sequence[bytes] = response.wire_headers.getRawHeaders(b"content-encoding", [])
    names = b",".join(encodings).strip().lower()
    if names in {b"", b"identity"}:
        return _Plain()
    return _Gzip() if names in {b"gzip", b"x-gzip"} else FetchFault.ENCODING


class _Plain:
    complete = True

    def decode(self, data: bytes, room: int) -> bytes:
        return data[: room + 1]


class _Gzip:
    """Decodes no more than is wanted: a bomb costs `room + 1` bytes, not what it claims to hold."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)

    @property
    def complete(self) -> bool:
        # A second member would have to be decoded too; no server of feeds sends one.
        return self._inflate.eof and not self._inflate.unused_data

    def decode(self, data: bytes, room: int) -> bytes:
        return self._inflate.decompress(data, room + 1)


class _Body(Protocol):
    """Collects a body up to its limit. `whole` fires with it; cancelling it closes the connection."""

    def __init__(self, decoder: _Plain | _Gzip | FetchFault, max_bytes: int) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _whole: self._close())
        self._decoder = decoder
        self._parts: list[bytes] = []
        self._room = max_bytes
        self._done = False

    def connectionMade(self) -> None:
        if isinstance(self._decoder, FetchFault):
            self.fail(self._decoder)

    def dataReceived(self, data: bytes) -> None:
        if self._done or isinstance(self._decoder, FetchFault):
            return
        try:
            part = self._decoder.decode(data, self._room)
        except zlib.error:
            self.fail(FetchFault.ENCODING)
            return
        self._parts.append(part)
        self._room -= len(part)
        if self._room < 0:
            self.fail(FetchFault.TOO_LARGE)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._done:
            return
        decoder = self._decoder
        if reason.check(ResponseDone) and not isinstance(decoder, FetchFault) and decoder.complete:
            self._done = True
            self.whole.callback(b"".join(self._parts))
        else:
            self.fail(FetchFault.BROKEN)

    def fail(self, fault: FetchFault) -> None:
        """End the fetch for `fault`, unless it has ended."""
        if not self._done:
            self._close()
            self.whole.errback(FetchError(fault))

    def _close(self) -> None:
        self._done = True
        self._parts.clear()
        if self.transport is not None:
            self.transport.stopProducing()  # type: ignore[attr-defined]

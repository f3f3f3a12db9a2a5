"""Cut everywhere: one good stream cut at every byte, and the right answer from the offset alone.

The oracle knows three offsets of the recorded bytes: the end of the head, the end of the first event
with content, and the end of the last chunk.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from lab_bench import SHORT, Lab, Router, chat_body, opened, request, request_id
from lab_client import PRODUCTION
from lab_exchange import GOOD, GOOD_STREAM
from lab_facts import DEFAULT, FULL, QUICK, Facts, Scenario
from lab_wire import End, unchunked, without_event
from twisted.internet.defer import DeferredSemaphore, ensureDeferred, gatherResults

from autopilot.simulator.misbehaving.answers import DONE, LAST_CHUNK, chunk, delta, head
from autopilot.simulator.misbehaving.steps import Fin, Rst, Script, Send, Stall, Step

WORDS = 36
"""Events with content: with role, end and [DONE] about 40, about 6 kB."""

_AT_ONCE = 24
_STALLS_AT_ONCE = 150
_SHOWN = 12


class Cut(StrEnum):
    """How the stream is cut."""

    FIN = "FIN"
    RST = "RST"
    STALL = "stall"


class Right(StrEnum):
    """What has to come of it."""

    FAIL_OVER = "fo"
    BREAK = "break"
    CLEAN = "clean"
    REFUSE = "refusal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One good answer on the wire, and where in it what begins."""

    wire: bytes
    head_end: int
    content_end: int

    def body(self, offset: int) -> bytes:
        """The bytes of the body that the first `offset` bytes on the wire hold."""
        return unchunked(self.wire[self.head_end : offset])[0]

    def right(self, offset: int, *, second: bool) -> Right:
        """What must come of a cut there. `second`: another candidate is left."""
        if offset >= len(self.wire):
            return Right.CLEAN
        if second:
            return Right.FAIL_OVER if offset < self.content_end else Right.BREAK
        return Right.BREAK if self.body(offset) else Right.REFUSE


def record() -> Recording:
    """The stream that is cut: mostly an event in a chunk, some cut in two, some in one chunk."""
    words = [delta(content=f" word {n} of the answer") for n in range(WORDS)]
    parts = [delta(role="assistant"), b": a comment\n\n", words[0][:50], words[0][50:], words[1]]
    parts += [words[2] + words[3], words[4][:-1], words[4][-1:] + words[5]]
    parts += [*words[6:], delta(finish="stop"), DONE]
    top = head(200, b"X-Lab: cut", chunked=True)
    wire, content_end = top, 0
    for place, part in enumerate(parts):
        wire += chunk(part)
        if place == _FIRST_CONTENT:
            # The blank line that makes the event whole stands before the CRLF of its chunk.
            content_end = len(wire) - len(b"\r\n")
    return Recording(wire=wire + LAST_CHUNK, head_end=len(top), content_end=content_end)


_FIRST_CONTENT = 3
"""The place, among the chunks, of that which completes the first event with content."""


def offsets(recording: Recording, sample: int) -> Sequence[int]:
    """Every offset, or about `sample` of them and all those at which the right answer changes."""
    last = len(recording.wire)
    if not sample or sample > last:
        return range(last + 1)
    edges = {0, recording.head_end, recording.content_end, last}
    near = {edge + step for edge in edges for step in (-2, -1, 0, 1, 2)}
    spread = range(0, last, max(last // sample, 1))
    return sorted(offset for offset in near | set(spread) if 0 <= offset <= last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the client got, and the router's own account of it."""

    status: int | None
    body: bytes
    end: End
    attempts: int
    chosen_second: bool


def wrong(recording: Recording, offset: int, cut: Cut, *, second: bool, seen: Seen) -> str | None:
    """Why this is not the right answer; None if it is."""
    right = recording.right(offset, second=second)
    sent = recording.body(offset)
    if right is Right.FAIL_OVER:
        good = seen.status == _OK and seen.body == GOOD_STREAM and seen.end is End.CLEAN
        return None if good and seen.chosen_second and seen.attempts == 2 else "no failover"  # noqa: PLR2004
    if seen.attempts != 1:
        return f"{seen.attempts} attempts"
    if right is Right.REFUSE:
        expected = 504 if cut is Cut.STALL else 502
        refused = seen.status == expected and seen.end is End.CLEAN and b'"error"' in seen.body
        return None if refused else f"status {seen.status}, {seen.end}"
    if right is Right.CLEAN:
        whole = seen.body == sent and seen.end is End.CLEAN
        return None if whole else f"{len(seen.body)} bytes, {seen.end}"
    return _not_broken(sent, cut, seen)


_OK = 200


def _not_broken(sent: bytes, cut: Cut, seen: Seen) -> str | None:
    if seen.end is not End.CUT_FIN:
        return f"not broken: {seen.end}"
    bare, code = without_event(seen.body)
    if not sent.endswith(b"\n\n"):
        return None if seen.body == sent else "not the bytes that were sent, inside an event"
    wanted = "upstream_stalled" if cut is Cut.STALL else "upstream_broken"
    if bare != sent:
        return f"{len(bare)} bytes instead of {len(sent)}"
    return None if code == wanted else f"event {code}"


def script(recording: Recording, offset: int, cut: Cut) -> Script:
    """The recording up to there, and then the cut."""
    ends: dict[Cut, Step] = {Cut.FIN: Fin(), Cut.RST: Rst(), Cut.STALL: Stall()}
    return (Send(recording.wire[:offset]), ends[cut])


async def try_one(lab: Lab, router: Router, play: Script, *, second: bool) -> Seen:
    """One cut on the wire."""
    upstream = lab.upstream
    first, good = upstream.bind(play), upstream.bind(GOOD) if second else ""
    rid = request_id()
    try:
        client = await opened(router)
        client.send(request(chat_body(f"{first},{good}" if good else first), rid=rid))
        await client.until_answered()
        answer, end = client.answer, client.end
        # Not with a FIN, after which the port would be kept for a minute: a full sweep needs more
        # ports than there are.
        client.cut()
        line = await router.log_of(rid) or {}
        return Seen(
            status=answer.status if answer else None,
            body=answer.body if answer else b"",
            end=end,
            attempts=len(line.get("attempts", ())),
            chosen_second=bool(answer)
            and bool(good)
            and answer is not None
            and answer.value("x-chutes-autopilot-selected") == good,
        )
    finally:
        upstream.unbind(first, good)


async def sweep(lab: Lab, *, cut: Cut, second: bool) -> Facts:
    """Cut at every offset of the sample, many at once; with short deadlines in any case."""
    if not PRODUCTION:
        return await _sweep(lab, lab.main, cut=cut, second=second)
    async with lab.router(f"cuts-{cut}-{second}", SHORT, lasting=True) as router:
        return await _sweep(lab, router, cut=cut, second=second)


async def _sweep(lab: Lab, router: Router, *, cut: Cut, second: bool) -> Facts:
    recording = record()
    sample = {QUICK: 60, DEFAULT: 1200, FULL: 0}[lab.level]
    if cut is Cut.STALL:
        sample = {QUICK: 30, DEFAULT: 600, FULL: 0}[lab.level]
    if not second:
        sample //= 3
    deviating: list[str] = []
    rights: Counter[str] = Counter()
    slots = DeferredSemaphore(_STALLS_AT_ONCE if cut is Cut.STALL else _AT_ONCE)

    async def one(offset: int) -> None:
        play = script(recording, offset, cut)
        seen = await try_one(lab, router, play, second=second)
        rights[recording.right(offset, second=second)] += 1
        why = wrong(recording, offset, cut, second=second, seen=seen)
        if why is not None:
            deviating.append(f"{offset}: {why}")

    def begin(offset: int) -> object:
        return ensureDeferred(one(offset))

    tried = list(_cuts(recording, sample))
    await gatherResults([slots.run(begin, offset) for offset in tried], consumeErrors=True)
    kind = f"{cut}, {'U2 left' if second else 'last'}"
    lab.notes[f"cuts: {kind}"] = {"tried": len(tried), "of": len(recording.wire) + 1, **rights}
    return {
        "deviations": len(deviating),
        "which": deviating[:_SHOWN],
        "tried": len(tried),
    }


def _cuts(recording: Recording, sample: int) -> Iterator[int]:
    yield from offsets(recording, sample)


ROWS: tuple[Scenario, ...] = tuple(
    Scenario(
        row="cut",
        name=f"every offset, {cut}, {'U2 left' if second else 'last'}",
        expected={"deviations": 0, "which": []},
        look=partial(sweep, cut=cut, second=second),
        alone=True,
    )
    for cut in Cut
    for second in (True, False)
)

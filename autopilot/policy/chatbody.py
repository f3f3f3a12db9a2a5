"""The request body: what it asks for, and where in its bytes the model is named.

The body goes upstream with only that value replaced, and in routed modes without the members that were
said to the router. A round trip through objects could not promise that: `1e400`, 60-digit integers,
white space and duplicate keys below the top level would change, and the platform bills byte-equal bodies
cheaper (`research/PLATFORM.md`, "Requests").
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from autopilot.policy.conversation import READERS, needs_in, session_in
from autopilot.policy.errors import Code, Refusal
from autopilot.policy.jsonspans import (
    MAX_MEMBERS,
    Member,
    Members,
    Reader,
    TooManyMembersError,
    byte_offsets,
    cuts,
    read_members,
    read_value,
)
from autopilot.policy.needs import Needs

MAX_MODEL_CHARS = 1024
"""Longest `model`: some twenty names of the usual 45 characters, whatever MAX_MODEL_LIST_ITEMS says."""

MAX_MODELS = 1_000
"""Most names that are read of `models`; how many may be asked for is the operator's to say."""

MAX_PROVIDER_BYTES = 256 * 1024
"""Longest `provider`, twice as long as one with every list full: it is read once to find its end, and
again for what it says, in which time nobody else is served."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ONCE = frozenset({"model", "models", "provider"})
_READERS: Mapping[str, Reader] = {
    **READERS,
    **dict.fromkeys(("model", "models", "stream"), read_value),
    # Read when it is asked for, from its place: only routed modes do.
    "provider": lambda text, at: (None, read_value(text, at)[1]),
}
Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatBody:
    """A well-formed body; spans are in bytes of `raw`.

    `model` is None where `models` is the list. `start` and `end` bound what names the model: the value
    of `model`, or the whole member `models` where there is no `model`, and then `naming` must stand
    before the name. `cuts` are the spans that are not for upstream in routed modes.
    """

    raw: bytes
    model: str | None
    models: tuple[str, ...] = ()
    stream: bool = False
    needs: Needs = field(default_factory=Needs)
    session: str | None = None
    start: int
    end: int
    naming: bytes = b""
    cuts: tuple[Span, ...] = ()
    provider_at: Span | None = None

    @property
    def provider(self) -> object:
        """The value of the member `provider`; None if it is absent or null.

        Raises:
            Refusal: `invalid_wish` for one that is longer than `MAX_PROVIDER_BYTES`, or says something
                twice.
        """
        if self.provider_at is None:
            return None
        start, end = self.provider_at
        if end - start > MAX_PROVIDER_BYTES:
            raise Refusal(
                Code.INVALID_WISH,
                f"The request's 'provider' is longer than {MAX_PROVIDER_BYTES} bytes.",
                param="provider",
            )
        return json.loads(self.raw[start:end], parse_int=float, object_pairs_hook=_said_once)

    def with_model(self, name: str) -> bytes:
        """`raw` with `name` as its model, without `cuts`, and every other byte as it was."""
        edits = [(start, end, b"") for start, end in self.cuts]
        edits.append((self.start, self.end, self._named(name)))
        edits.sort()
        raw = memoryview(self.raw)
        parts: list[bytes | memoryview] = []
        at = 0
        for start, end, instead in edits:
            parts += [raw[at:start], instead]
            at = end
        return b"".join([*parts, raw[at:]])

    def renamed(self, name: str) -> "ChatBody":
        """The same body with `name` as its model, for a direct request: nothing is cut."""
        named = self._named(name)
        moved = len(named) - (self.end - self.start)

        def new(span: Span) -> Span:
            return span if span[0] < self.start else (span[0] + moved, span[1] + moved)

        raw = memoryview(self.raw)
        return replace(
            self,
            raw=b"".join((raw[: self.start], named, raw[self.end :])),
            model=name,
            end=self.end + moved,
            cuts=tuple(new(span) for span in self.cuts),
            provider_at=None if self.provider_at is None else new(self.provider_at),
        )

    def _named(self, name: str) -> bytes:
        return self.naming + json.dumps(name).encode()


def parse_body(raw: bytes) -> ChatBody:
    """The body of a chat or completion request.

    Raises:
        Refusal: `invalid_json`, `invalid_body`, `missing_model`, or `invalid_wish` for `models` that is
            no list of names. No message holds a byte of `raw`.
    """
    text, members = _read(raw)
    if members is None:
        raise Refusal(Code.INVALID_BODY, "The request body is not a JSON object.")
    once = _once(members.placed)
    model, models, provider = once.get("model"), once.get("models"), once.get("provider")
    names = () if models is None else _checked_models(models.value)
    asked = None if model is None or model.value is None else _checked_model(model.value)
    if asked is None and not names:
        raise Refusal(
            Code.MISSING_MODEL,
            "The request names no 'model'. Use the alias, one model id, or a comma-separated list.",
            param="model",
        )
    named, naming, unwanted = (0, 0), b"", [models, provider]
    if model is not None:
        named = (model.start, model.end)
    elif models is not None:
        named, naming, unwanted = (models.key, models.end), b'"model": ', [provider]
    said = [] if provider is None else [(provider.start, provider.end)]
    cut = cuts([member for member in unwanted if member is not None])
    spans = _in_bytes(text, [named, *cut, *said])
    return ChatBody(
        raw=raw,
        model=asked,
        models=names,
        stream=members.values.get("stream") is True,
        needs=needs_in(members.values, text, len(raw)),
        session=session_in(members.values),
        start=spans[0][0],
        end=spans[0][1],
        naming=naming,
        cuts=tuple(spans[1 : 1 + len(cut)]),
        provider_at=spans[-1] if said else None,
    )


def _said_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of the provider. Of two members of one name the first would be a wish that is ignored."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise Refusal(
            Code.INVALID_WISH,
            "The request's 'provider' says something twice: one of its members is repeated.",
            param="provider",
        )
    return members


def _read(raw: bytes) -> tuple[str, Members | None]:
    # Raised outside of the except clauses: the errors caught there hold the whole body, and would
    # travel on as the context of the refusal.
    try:
        text = raw.decode("utf-8")
        return text, read_members(text, _READERS, _ONCE)
    except RecursionError:
        refusal = Refusal(Code.INVALID_BODY, "The request body is nested too deeply.")
    except TooManyMembersError:
        refusal = Refusal(
            Code.INVALID_BODY, f"The request body has more than {MAX_MEMBERS} top-level members."
        )
    except ValueError:
        refusal = Refusal(
            Code.INVALID_JSON,
            "The request body is not valid JSON: one object in UTF-8, without a byte order mark, NaN "
            "or Infinity, is expected.",
        )
    raise refusal


def _once(members: list[Member]) -> dict[str, Member]:
    """Those that may not be repeated, by name."""
    once: dict[str, Member] = {}
    for member in members:
        if member.name in once:
            raise Refusal(
                Code.INVALID_BODY,
                f"The request body has more than one '{member.name}'.",
                param=member.name,
            )
        once[member.name] = member
    return once


def _in_bytes(text: str, spans: list[Span]) -> list[Span]:
    if text.isascii():
        return spans
    places = sorted({place for span in spans for place in span})
    offset = dict(zip(places, byte_offsets(text, places), strict=True))
    return [(offset[start], offset[end]) for start, end in spans]


def _checked_model(value: object) -> str:
    if isinstance(value, str) and (problem := _problem(value)) is None:
        return value
    if not isinstance(value, str):
        problem = "is not a string"
    raise Refusal(Code.INVALID_BODY, f"The request's 'model' {problem}.", param="model")


def _checked_models(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    # Its length first: the largest body holds millions.
    if isinstance(value, list) and len(value) > MAX_MODELS:
        problem = f"has more than {MAX_MODELS} names"
    elif not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        problem = "is not a list of model names"
    else:
        problems = (_problem(name) for name in value)
        found = next((problem for problem in problems if problem is not None), None)
        if found is None:
            return tuple(value)
        problem = f"has a name that {found}"
    raise Refusal(Code.INVALID_WISH, f"The request's 'models' {problem}.", param="models")


def _problem(name: str) -> str | None:
    if not name:
        return "is empty"
    if len(name) > MAX_MODEL_CHARS:
        return f"is longer than {MAX_MODEL_CHARS} characters"
    return "holds control characters" if _CONTROL.search(name) else None

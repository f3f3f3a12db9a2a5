"""Inputs for the policy room: JSON as somebody may really spell it, and feeds as nobody should send them.

Everything is generated as *text*, so that spellings survive which no round trip through objects keeps.
"""

import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st

steady = settings(deadline=None)
"""For every property here: a slow machine is no failure."""

_SPACE = st.text(alphabet=" \t\n\r", max_size=3)
_ODD_NUMBERS = st.sampled_from(
    [
        "-0",
        "1.0",
        "1E+2",
        "1e400",
        "-1e400",
        "0.1000000000000000055511151231257827",
        "1208925819614629174706176",
        "9" * 60,
        "7" * 5000,
    ]
)
_NUMBERS = (
    _ODD_NUMBERS
    | st.integers().map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
)
_TEXTS = st.text(alphabet=st.characters(), max_size=8)
MODEL_KEYS = ('"model"', '"mod\\u0065l"', '"\\u006dodel"', '"\\u006D\\u006f\\u0064\\u0065\\u006c"')
"""The one key that counts, as JSON allows it to be written."""


def escaped(text: str) -> str:
    """`text` as a JSON string in which every UTF-16 unit is an escape."""
    units = text.encode("utf-16-be", "surrogatepass")
    return '"' + "".join(f"\\u{unit:04X}" for (unit,) in struct.iter_unpack(">H", units)) + '"'


@st.composite
def spelled(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """A JSON string for a text of `texts`: plain, with some escapes, or nothing but escapes."""
    text = draw(texts)
    surrogates = any("\ud800" <= character <= "\udfff" for character in text)
    as_it_stands = json.dumps(text, ensure_ascii=surrogates)
    return draw(st.sampled_from([as_it_stands, json.dumps(text), escaped(text)]))


@st.composite
def _member(draw: st.DrawFn, keys: st.SearchStrategy[str], value: str) -> str:
    return f"{draw(_SPACE)}{draw(keys)}{draw(_SPACE)}:{draw(_SPACE)}{value}{draw(_SPACE)}"


@st.composite
def _array(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(values, max_size=4))
    return "[" + ",".join(f"{draw(_SPACE)}{item}{draw(_SPACE)}" for item in items) + "]"


@st.composite
def _object(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    # Nested `model` and `stream` keys, repeated ones included, are the prompt's own business.
    keys = spelled(_TEXTS) | st.sampled_from([*MODEL_KEYS, '"stream"'])
    items = draw(st.lists(values, max_size=4))
    return "{" + ",".join(draw(_member(keys, item)) for item in items) + "}"


json_values: st.SearchStrategy[str] = st.recursive(
    st.sampled_from(["null", "true", "false", "[]", "{}"]) | _NUMBERS | spelled(_TEXTS),
    lambda inner: _array(inner) | _object(inner),
    max_leaves=8,
)
"""Any JSON value, as text."""

model_names = st.text(
    alphabet=st.characters(exclude_categories=["Cc"]), min_size=1, max_size=20
) | st.sampled_from(
    ["a,b", "zai-org/GLM-5-TEE:latency", 'say "\\"', "模型", "\U0001f600", "\ud800"]
)
"""Names that a body may carry: short, and without control characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpelledBody:
    """A body known in three pieces: before, of and after the value of its top-level `model`."""

    prefix: bytes
    value: bytes
    suffix: bytes
    model: str
    streams: tuple[str, ...]

    @property
    def raw(self) -> bytes:
        return self.prefix + self.value + self.suffix


@st.composite
def chat_bodies(draw: st.DrawFn) -> SpelledBody:
    """Well-formed bodies with exactly one top-level `model`, at any place, in any spelling."""
    other_keys = spelled(_TEXTS.filter(lambda text: text not in {"model", "stream"}))
    values = draw(st.lists(json_values, max_size=3))
    members = [draw(_member(other_keys, value)) for value in values]
    streams: tuple[str, ...] = tuple(
        draw(st.lists(st.sampled_from(["true", "false", "null", "1", '"true"']), max_size=2))
    )
    members += [draw(_member(st.just('"stream"'), value)) for value in streams]
    cut = draw(st.integers(min_value=0, max_value=len(members)))
    before, after = members[:cut], members[cut:]
    key = draw(st.sampled_from(MODEL_KEYS))
    head = "".join(f"{member}," for member in before)
    prefix = f"{draw(_SPACE)}{{{head}{draw(_SPACE)}{key}{draw(_SPACE)}:{draw(_SPACE)}"
    tail = "".join(f",{member}" for member in after)
    suffix = f"{draw(_SPACE)}{tail}}}{draw(_SPACE)}"
    value = draw(spelled(model_names))
    return SpelledBody(
        prefix=prefix.encode(),
        value=value.encode(),
        suffix=suffix.encode(),
        model=json.loads(value),
        streams=streams,
    )


_FRAGMENTS = (
    *("{", "}", "[", "]", ":", ",", " ", '"', "\\", "\\u00", '"model"', '"a"', '"stream"'),
    *("null", "true", "NaN", "-Infinity", "Infinity", "1e400", "1" * 5000, "\ufeff", "é", "\x00"),
    *('{"model":"m"', '"model":"m",', '{"model":', '"mod\\u0065l":'),
)

json_like_bytes: st.SearchStrategy[bytes] = (
    st.binary(max_size=40)
    | st.lists(st.sampled_from(_FRAGMENTS), max_size=10).map(lambda parts: "".join(parts).encode())
    | json_values.map(str.encode)
    | json_values.map(lambda text: f'{{"model":{text}}}'.encode())
    | json_values.map(lambda text: text.encode("utf-16"))
    | chat_bodies().map(lambda body: body.raw[:-1])
)
"""Bytes on both sides of the border between JSON and noise."""

_FIGURES = st.sampled_from(
    [
        *("null", "true", "false", '"1"', "[]", "{}", "NaN", "Infinity", "-Infinity", "-1", "-0.0"),
        *("0", "0.0", "0.5", "1", "1.0", "2", "8", "9", "1e308", "1.7e308", "1e400", "5e-324"),
        *("3" * 400, "3" * 5000, "9007199254740993", "-1e-400"),
    ]
) | st.floats(min_value=0, max_value=2).map(repr)
_COUNTS = (
    st.integers(min_value=0, max_value=60).map(str)
    | st.sampled_from(["1", "1", "2.5", "40", "0", "-1", "null", "true", '"4"', "1e308", "NaN"])
    | _FIGURES
)
_FIELDS = (
    "utilization_current",
    "utilization_5m",
    "utilization_15m",
    "utilization_1h",
    "rate_limit_ratio_5m",
    "rate_limit_ratio_15m",
    "rate_limit_ratio_1h",
    "scale_allowance",
)
PUBLIC_NAMES = ("org/a", "org/b-TEE", "org/c-TEE", "org/d:x,y", "org/é-TEE", "org/e-tee")
CHUTE_IDS = ("chute-1", "chute-2", "chute-3")
_NAMES = st.sampled_from(PUBLIC_NAMES * 3 + ("[private chute]", "", " org/a", "org/a\n", "x" * 257))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a feed: its name and chute, and the whole of it as JSON text."""

    name: str
    chute_id: str
    text: str


@st.composite
def feed_rows(draw: st.DrawFn) -> Row:
    """A row of the utilization feed with anything at all in its figures."""
    name, chute_id = draw(_NAMES), draw(st.sampled_from(CHUTE_IDS))
    members = {"name": json.dumps(name), "chute_id": json.dumps(chute_id)}
    if draw(st.integers(min_value=0, max_value=9)):
        members["active_instance_count"] = draw(_COUNTS)
    members |= draw(st.fixed_dictionaries({}, optional=dict.fromkeys(_FIELDS, _FIGURES)))
    members["scalable"] = draw(st.sampled_from(["true", "false", "null", "1", '"true"']))
    return Row(
        name=name,
        chute_id=chute_id,
        text="{" + ",".join(f'"{key}":{value}' for key, value in members.items()) + "}",
    )


def feed(rows: list[Row]) -> bytes:
    """The feed that holds these rows."""
    return f"[{','.join(row.text for row in rows)}]".encode()


def captured(name: str) -> bytes:
    """A capture of the live platform; the test is skipped where there is none."""
    folder = os.environ.get("AUTOPILOT_CAPTURES")
    if not folder:
        pytest.skip("AUTOPILOT_CAPTURES does not name a folder with captures of the platform")
    return (Path(folder) / name).read_bytes()


catalogues: st.SearchStrategy[dict[str, str | None]] = st.dictionaries(
    st.sampled_from(PUBLIC_NAMES), st.sampled_from([*CHUTE_IDS, None]), max_size=6
)
"""Model ids with their chute ids; an empty one is a catalogue that was never fetched."""

"""The sticky table against a slow model of itself, and the key by which a client is known."""

import hmac
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.stickiness import StickyTable, client_key, prefer

from .strategies import steady

KEYS = (b"k1", b"k2", b"k3", b"k4", b"k5")
MODELS = ("org/a", "org/b")
SECRET = b"s" * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One use of the table. Moments are whole seconds, so that edges are met often."""

    action: str
    key: bytes
    model: str
    wait: int


steps = st.lists(
    st.builds(
        Step,
        action=st.sampled_from(["get", "put", "put", "forget"]),
        key=st.sampled_from(KEYS),
        model=st.sampled_from(MODELS),
        wait=st.integers(min_value=0, max_value=4),
    ),
    max_size=40,
)


class SlowTable:
    """The same promises, kept by a list that has the least recently used entry first."""

    def __init__(self, ttl: int, max_entries: int) -> None:
        self.ttl = ttl
        self.max_entries = max_entries
        self.entries: list[tuple[bytes, str, float]] = []

    def _take(self, key: bytes) -> tuple[bytes, str, float] | None:
        for entry in self.entries:
            if entry[0] == key:
                self.entries.remove(entry)
                return entry
        return None

    def get(self, key: bytes, now: float) -> str | None:
        entry = self._take(key)
        if entry is None or now - entry[2] >= self.ttl:
            return None
        self.entries.append(entry)
        return entry[1]

    def put(self, key: bytes, model: str, now: float) -> None:
        self._take(key)
        if self.ttl and self.max_entries:
            self.entries.append((key, model, now))
            self.entries = self.entries[-self.max_entries :]

    def forget(self, key: bytes, model: str) -> None:
        self.entries = [entry for entry in self.entries if entry[:2] != (key, model)]


@steady
@given(
    script=steps,
    ttl=st.integers(min_value=0, max_value=6),
    max_entries=st.integers(min_value=0, max_value=4),
)
def test_the_table_is_bounded_forgets_in_time_and_drops_the_least_recently_used(
    script: list[Step], ttl: int, max_entries: int
) -> None:
    table = StickyTable(ttl=ttl, max_entries=max_entries)
    slow = SlowTable(ttl, max_entries)
    written: dict[bytes, float] = {}
    now = 0.0
    for step in script:
        now += step.wait
        if step.action == "put":
            table.put(step.key, step.model, now=now)
            slow.put(step.key, step.model, now)
            written[step.key] = now
        elif step.action == "forget":
            table.forget(step.key, step.model)
            slow.forget(step.key, step.model)
        else:
            found = table.get(step.key, now=now)
            assert found == slow.get(step.key, now)
            assert found is None or now < written[step.key] + ttl
        assert len(table) == len(slow.entries) <= max_entries


@pytest.mark.parametrize(("ttl", "max_entries"), [(0, 10), (10, 0), (0, 0)])
def test_a_nought_turns_the_table_off(ttl: float, max_entries: int) -> None:
    table = StickyTable(ttl=ttl, max_entries=max_entries)
    table.put(b"k", "org/a", now=0.0)
    assert table.get(b"k", now=0.0) is None
    assert len(table) == 0


def test_an_entry_ends_with_its_last_moment_and_reading_does_not_prolong_it() -> None:
    table = StickyTable(ttl=10, max_entries=10)
    table.put(b"k", "org/a", now=5.0)
    assert table.get(b"k", now=14.999) == "org/a"
    assert table.get(b"k", now=15.0) is None
    assert len(table) == 0


def test_writing_prolongs_an_entry() -> None:
    table = StickyTable(ttl=10, max_entries=10)
    table.put(b"k", "org/a", now=0.0)
    table.put(b"k", "org/b", now=9.0)
    assert table.get(b"k", now=18.0) == "org/b"


def test_reading_an_entry_keeps_it_from_being_dropped() -> None:
    table = StickyTable(ttl=10, max_entries=2)
    table.put(b"old", "org/a", now=0.0)
    table.put(b"new", "org/b", now=1.0)
    table.get(b"old", now=2.0)
    table.put(b"newest", "org/a", now=3.0)
    assert [table.get(key, now=3.0) for key in (b"old", b"new", b"newest")] == [
        "org/a",
        None,
        "org/a",
    ]


def test_what_points_elsewhere_by_now_is_not_forgotten() -> None:
    table = StickyTable(ttl=10, max_entries=2)
    table.put(b"k", "org/b", now=1.0)
    table.forget(b"k", "org/a")
    assert table.get(b"k", now=2.0) == "org/b"
    table.forget(b"k", "org/b")
    assert table.get(b"k", now=2.0) is None


@steady
@given(
    candidates=st.lists(st.sampled_from("abcdef"), unique=True),
    sticky=st.none() | st.sampled_from("abcdefgh"),
)
def test_a_sticky_candidate_goes_first_and_the_others_keep_their_order(
    candidates: list[str], sticky: str | None
) -> None:
    preferred = prefer(sticky, candidates)
    assert sorted(preferred) == sorted(candidates)
    if sticky in candidates:
        assert preferred[0] == sticky
        assert [name for name in candidates if name != sticky] == list(preferred[1:])
    else:
        assert list(preferred) == candidates


def test_a_client_is_known_by_its_token_and_only_without_one_by_its_address() -> None:
    by_token = client_key(SECRET, token=b"t", address="192.0.2.1")
    assert by_token == client_key(SECRET, token=b"t", address="192.0.2.2")
    by_address = client_key(SECRET, token=None, address="192.0.2.1")
    assert by_address != client_key(SECRET, token=None, address="192.0.2.2")
    assert by_address == client_key(SECRET, token=b"", address="192.0.2.1")
    assert by_token != by_address


@steady
@given(text=st.text())
def test_no_token_can_be_chosen_to_equal_an_address(text: str) -> None:
    texts = (text, f"address:{text}", f"token:{text}")
    by_address = {client_key(SECRET, token=None, address=each) for each in texts}
    by_token = {client_key(SECRET, token=each.encode(), address="") for each in texts if each}
    assert not by_address & by_token


@steady
@given(token=st.binary(min_size=1))
def test_a_key_is_a_hash_that_nobody_without_the_secret_can_make(token: bytes) -> None:
    key = client_key(SECRET, token=token, address="")
    assert len(key) == 32
    assert key == hmac.new(SECRET, b"token:" + token, "sha256").digest()
    assert key != client_key(b"x" * 32, token=token, address="")

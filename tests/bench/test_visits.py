"""A run takes gateways in turn, and one that fails is told of and never left out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import figures
import pytest
from figures import Bench, Figures
from ours import ALIAS, Autopilot, Direct, body, files, model_for
from peer import MODEL, Absent, NotStartedError, Peer
from programs import LoadError, Upstream
from visits import Plan, Progress, Visits, chosen, install

from autopilot.policy.catalog import parse_catalog, parse_utilization

PLAIN = Upstream(port=1, ca=None, pid=1)
TLS = Upstream(port=2, ca=Path("authority.pem"), pid=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One that starts nothing; `broken` says why it cannot."""

    name: str
    broken: str = ""
    missing: str = ""
    fast: bool = True
    speaks_tls: bool = True

    def headers(self, *, upstream: int, tls: bool) -> dict[str, str]:  # noqa: ARG002 - the interface's
        return {}

    def install(self, home: Path) -> str | Absent:  # noqa: ARG002 - the interface's
        return Absent(reason=self.missing) if self.missing else "7"

    @contextmanager
    def running(self, **_all: object) -> Iterator[list[int]]:
        if self.broken:
            raise NotStartedError(self.broken)
        yield [1]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was looked at; the figures themselves are made up."""
    looked: list[str] = []

    def fake(title: str) -> None:
        def look(bench: Bench, *_size: int) -> Figures:
            looked.append(f"{bench.peer.name} {title}{' tls' if bench.upstream.ca else ''}")
            if (bench.peer.name, title) == ("b", "one_connection"):
                raise LoadError("no answer")
            return {"json_us": 1.0, "json_cpu": 1.0, title: 2.0}

        monkeypatch.setattr(figures, title, look)

    titles = ("idle_memory", "memory", "chunk_cost", "request_cost", "one_connection", "first_byte")
    for title in (*titles, "upstream_alone"):
        fake(title)
    monkeypatch.setattr(figures, "slow_interval", lambda _bench: 0.5)
    monkeypatch.setattr(
        figures, "most_streams", lambda _bench, steps: dict.fromkeys(map(str, steps), 1.0)
    )
    return looked


def visit(*peers: Peer, rounds: int = 2, quick: bool = False) -> dict[str, dict[str, object]]:
    accounts = install(peers, Progress())
    Visits(accounts, PLAIN, TLS, Plan(rounds=rounds, seconds=1, quick=quick)).run()
    return {account.peer.name: account.raw() for account in accounts}


def test_rounds_are_interleaved(seen: list[str]) -> None:
    visit(Direct(), Gateway(name="a"), Gateway(name="b"))
    order = [each.split()[0] for each in seen if each.endswith(" chunk_cost")]
    assert order == ["direct", "a", "b", "direct", "a", "b"]


def test_figures_are_kept_round_by_round_and_those_over_tls_by_names_of_their_own(
    seen: list[str],
) -> None:
    found = visit(Gateway(name="a"))["a"]
    assert "a chunk_cost tls" in seen
    rounds = found["rounds"]
    assert isinstance(rounds, list)
    assert len(rounds) == 2
    names = {"chunk_cost", "tls_chunk_cost", "json_16k_us", "json_150k_us", "memory"}
    assert all(names <= set(each) for each in rounds)


@pytest.mark.usefixtures("seen")
def test_a_figure_that_fails_costs_no_other() -> None:
    found = visit(Gateway(name="b"), rounds=1)["b"]
    assert found["failures"] == ["one connection: no answer"]
    assert found["absent"] is None
    rounds = found["rounds"]
    assert isinstance(rounds, list)
    assert "first_byte" in rounds[0]


@pytest.mark.usefixtures("seen")
def test_who_cannot_be_installed_or_started_is_absent_with_the_reason() -> None:
    found = visit(Gateway(name="a", missing="no network"), Gateway(name="b", broken="port taken"))
    assert found["a"]["absent"] == "no network"
    assert str(found["b"]["absent"]).startswith("start: port taken")


@pytest.mark.usefixtures("seen")
def test_a_slow_gateway_is_given_an_interval_that_it_can_carry() -> None:
    found = visit(Gateway(name="a", fast=False), Gateway(name="c"))
    assert found["a"]["interval_ms"] == 500.0
    assert found["c"]["interval_ms"] == 20.0


def test_a_quick_run_leaves_out_what_it_says(seen: list[str]) -> None:
    found = visit(Gateway(name="a"), Gateway(name="nginx"), quick=True)
    assert "a memory" not in seen
    assert "nginx memory" in seen
    assert seen.count("nginx chunk_cost tls") == 1
    assert not any(each.startswith("a ") and each.endswith(" tls") for each in seen)
    assert found["a"]["streams"] == {}
    assert found["nginx"]["streams"] == dict.fromkeys(map(str, figures.QUICK_STEPS), 1.0)
    assert "a idle_memory" in seen


def test_only_those_that_are_named_are_chosen() -> None:
    everybody = (Direct(), Gateway(name="a"), Gateway(name="b"))
    assert [peer.name for peer in chosen(everybody, "b, direct")] == ["direct", "b"]
    assert len(chosen(everybody, "")) == 3
    with pytest.raises(ValueError, match="called c, d"):
        chosen(everybody, "a,d,c")


def test_the_router_is_asked_for_its_alias_and_the_others_for_the_model() -> None:
    assert model_for(Autopilot()) == ALIAS
    assert model_for(Direct()) == model_for(Gateway(name="a")) == MODEL


@pytest.mark.parametrize("size", [1024, 150 * 1024])
def test_a_body_has_its_size_and_says_whether_it_wants_a_stream(size: int, tmp_path: Path) -> None:
    path = body(MODEL, size=size, stream=True, folder=tmp_path)
    assert path.stat().st_size == size
    assert b'"stream": true' in path.read_bytes()


def test_the_router_finds_one_model_with_room_in_what_the_upstream_serves() -> None:
    served = files()
    (model,) = parse_catalog(served["_v1_models"].encode()).catalog.models
    (chute,) = parse_utilization(served["_chutes_utilization"].encode()).utilization.chutes
    assert model.id == chute.name == MODEL
    assert model.chute_id == chute.chute_id
    assert chute.active_instance_count > 0

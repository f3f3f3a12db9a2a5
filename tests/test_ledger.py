"""Counts that several processes share: a limit is the service's, and the dead carry nothing."""

import os

from autopilot.ledger import Ledger, SharedCells


def test_alone_a_process_counts_for_itself() -> None:
    ledger = Ledger()
    ledger.add_request(1)
    ledger.add_request(1)
    ledger.add_request(-1)
    ledger.has_connections(5)
    assert (ledger.requests, ledger.connections, ledger.surplus) == (1, 5, 0)


def test_each_adds_to_what_all_carry() -> None:
    cells = SharedCells.make(3)
    first, second, third = (cells.ledger(slot) for slot in range(3))
    first.add_request(2)
    second.add_request(3)
    third.has_connections(7)
    assert [ledger.requests for ledger in (first, second, third)] == [5, 5, 5]
    assert first.connections == 7
    cells.close()


def test_the_cells_are_those_of_another_process_too() -> None:
    cells = SharedCells.make(2)
    child = os.fork()
    if child == 0:
        SharedCells(cells.descriptor, 2).ledger(1).add_request(4)
        os._exit(0)
    os.waitpid(child, 0)
    assert cells.ledger(0).requests == 4
    cells.close()


def test_who_leaves_carries_nothing_any_more_and_neither_does_its_successor() -> None:
    cells = SharedCells.make(2)
    place = cells.ledger(1)
    place.enter(4711)
    place.add_request(3)
    place.has_connections(3)
    assert cells.ledger(0).processes == (4711,)
    place.leave()
    assert (cells.ledger(0).requests, cells.ledger(0).processes) == (0, ())
    place.enter(4712)
    assert place.requests == 0
    cells.close()


def test_a_surplus_is_over_whoever_has_the_fewest_and_accepts() -> None:
    cells = SharedCells.make(3)
    first, second, third = (cells.ledger(slot) for slot in range(3))
    first.has_connections(5)
    second.has_connections(2)
    assert first.surplus == 0
    first.accepts(True)
    second.accepts(True)
    # The third has none, and does not accept.
    assert (first.surplus, second.surplus, third.surplus) == (3, 0, -2)
    second.accepts(False)
    assert first.surplus == 0
    cells.close()

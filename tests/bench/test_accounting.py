"""Processor time and memory are those of the processes that are asked about, and of no others."""

import os
import sys

import pytest
from accounting import Cost, Spent, pinned, rss_kib

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="read from Linux's /proc")


def test_what_was_spent_is_the_sum_over_threads_old_and_new() -> None:
    before = Spent({"1/1": Cost(100, 10), "1/2": Cost(50, 0)})
    after = Spent({"1/1": Cost(130, 15), "1/2": Cost(50, 0), "1/3": Cost(7, 1)})
    assert after.since(before) == Cost(37, 6)


def test_a_thread_that_has_ended_takes_nothing_away() -> None:
    before = Spent({"1/1": Cost(100, 10), "1/2": Cost(50, 20)})
    assert Spent({"1/1": Cost(130, 10)}).since(before) == Cost(30, 0)


def test_this_process_has_spent_something_and_more_after_work() -> None:
    before = Spent.by([os.getpid()])
    while Spent.by([os.getpid()]).since(before).ran == 0:
        sum(range(10_000))


def test_this_process_has_memory_and_one_that_is_not_there_has_none() -> None:
    nobody = 2**22 + 1  # above the largest number that Linux gives
    assert rss_kib([os.getpid()]) > 1_000
    assert rss_kib([nobody]) == 0
    assert Spent.by([nobody]).since(Spent({})) == Cost()


def test_a_command_is_pinned_to_a_core_or_to_none() -> None:
    assert pinned(1) == ("taskset", "--cpu-list", "1")
    assert pinned(None) == ()

"""Processor time and memory are those of the processes that are asked about, and of no others."""

import os
import sys

import pytest
from accounting import Spent, pinned, rss_kib

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="read from Linux's /proc")


def test_what_was_spent_is_the_sum_over_threads_old_and_new() -> None:
    before = Spent({"1/1": 100, "1/2": 50})
    assert Spent({"1/1": 130, "1/2": 50, "1/3": 7}).since(before) == 37


def test_a_thread_that_has_ended_takes_nothing_away() -> None:
    assert Spent({"1/1": 130}).since(Spent({"1/1": 100, "1/2": 50})) == 30


def test_this_process_has_spent_something_and_more_after_work() -> None:
    before = Spent.by([os.getpid()])
    while Spent.by([os.getpid()]).since(before) == 0:
        sum(range(10_000))


def test_this_process_has_memory_and_one_that_is_not_there_has_none() -> None:
    nobody = 2**22 + 1  # above the largest number that Linux gives
    assert rss_kib([os.getpid()]) > 1_000
    assert rss_kib([nobody]) == 0
    assert Spent.by([nobody]).since(Spent({})) == 0


def test_a_command_is_pinned_to_a_core_or_to_none() -> None:
    assert pinned(1) == ("taskset", "--cpu-list", "1")
    assert pinned(None) == ()

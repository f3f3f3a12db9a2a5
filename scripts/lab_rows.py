"""All scenarios, in the contract's order, and what is shown elsewhere."""

import lab_answer_rows
import lab_body_rows
import lab_client_rows
import lab_cuts
import lab_feed_rows
import lab_head_rows
import lab_json_rows
import lab_pool_rows
import lab_process_rows
import lab_request_rows
import lab_slow_rows
import lab_status_rows
from lab_facts import Scenario
from lab_report import Elsewhere

SCENARIOS: tuple[Scenario, ...] = (
    *lab_pool_rows.ROWS,
    *lab_head_rows.ROWS,
    *lab_body_rows.ROWS,
    *lab_answer_rows.ROWS,
    *lab_status_rows.ROWS,
    *lab_client_rows.ROWS,
    *lab_slow_rows.ROWS,
    *lab_request_rows.ROWS,
    *lab_json_rows.ROWS,
    *lab_feed_rows.ROWS,
    *lab_process_rows.ROWS,
    *lab_cuts.ROWS,
)

_ENGINE = "tests/dataplane/test_engine.py::"
_CLIENT = "tests/test_http_client.py::"
_ENDS = "tests/web/test_ends.py::"

ELSEWHERE: tuple[Elsewhere, ...] = (
    Elsewhere(
        row="1-4",
        name="U1 cannot be reached, U2 can",
        shown=_ENGINE + "test_without_an_answer_the_next_candidate_is_tried",
    ),
    Elsewhere(
        row="1-4",
        name="the next candidate is tried over a fresh connection, no model rests",
        shown=_ENGINE
        + "test_failing_to_reach_the_origin_rests_no_model_and_is_tried_over_a_fresh_connection",
    ),
    Elsewhere(
        row="1",
        name="a refusal is noticed at once",
        shown=_CLIENT + "test_a_refusal_is_noticed_within_a_twentieth_of_a_second",
    ),
    Elsewhere(
        row="3",
        name="NXDOMAIN",
        shown="tests/dataplane/test_upstream.py::"
        "test_every_way_of_having_no_answer_has_one_outcome",
    ),
    Elsewhere(
        row="3",
        name="a resolver that hangs",
        shown=_CLIENT + "test_a_resolver_that_hangs_ends_at_the_connect_deadline",
    ),
    Elsewhere(
        row="3",
        name="a resolver that hangs: other hosts unaffected",
        shown=_CLIENT + "test_while_the_resolver_hangs_for_one_host_the_others_are_served",
    ),
    Elsewhere(
        row="19",
        name="every split of a stream: nothing lost, repeated or out of order",
        shown="tests/dataplane/test_relay.py::"
        "test_any_body_in_any_pieces_is_held_within_the_bound_and_sent_exactly",
    ),
    Elsewhere(
        row="40",
        name="ranking is total and independent of the order of the rows",
        shown="tests/policy/test_ranking.py",
    ),
    Elsewhere(
        row="45",
        name="an exception before commit",
        shown=_ENDS + "test_an_exception_just_before_commit_is_an_internal_error",
    ),
    Elsewhere(
        row="45",
        name="an exception after commit",
        shown=_ENDS + "test_an_exception_while_the_answer_is_written_breaks_it",
    ),
    Elsewhere(
        row="45",
        name="an exception in the body protocol",
        shown="tests/dataplane/test_body_exceptions.py",
    ),
    Elsewhere(
        row="45",
        name="an exception in metrics",
        shown=_ENDS + "test_a_metric_that_fails_costs_no_answer",
    ),
    Elsewhere(
        row="45",
        name="an exception in the log observer",
        shown="tests/test_logs.py::"
        "test_an_event_that_cannot_be_written_never_raises_whatever_is_wrong_with_it",
    ),
)
"""What one shared origin or a process that is left alone cannot show on the wire: its test."""

"""Whatever has failed, a list of candidates is only rearranged: none is lost, and none is left out."""

from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.rest import Cause, RestTable
from tests.policy.strategies import steady
from tests.policy.test_rest import play

NAMES = st.sampled_from([f"model-{number}" for number in range(8)])
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["failed", "succeeded", "asked", "returned", "catalog"]),
        NAMES,
        st.sampled_from(Cause),
        st.floats(0, 400),
    ),
    max_size=60,
)


@steady
@given(EVENTS, st.lists(NAMES, unique=True, min_size=1), st.floats(0, 1000))
def test_no_list_is_emptied_and_the_resting_go_last_in_their_order(
    events: list[tuple[str, str, Cause, float]], candidates: list[str], later: float
) -> None:
    """The lists are any choice of any models, of which the table may know none or all."""
    table = RestTable()
    now = play(table, events) + later
    arranged = list(table.arrange(candidates, now=now))
    assert arranged
    assert sorted(arranged) == sorted(candidates)
    resting = [name for name in candidates if table.resting(name, now=now)]
    assert arranged == [name for name in candidates if name not in resting] + resting


@steady
@given(st.lists(NAMES, unique=True, min_size=1), st.sampled_from(Cause))
def test_a_list_of_which_all_rest_is_asked_in_its_own_order(
    candidates: list[str], cause: Cause
) -> None:
    table = RestTable()
    for name in reversed(candidates):
        table.failed(name, cause, now=0)
    assert list(table.arrange(candidates, now=1)) == candidates

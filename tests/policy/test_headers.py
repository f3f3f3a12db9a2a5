"""Which header fields cross the proxy, and what may stand in those that are made here."""

from urllib.parse import unquote_to_bytes
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.headers import (
    REQUEST_ID,
    SELECTED,
    SHOULD_RETRY,
    bearer_token,
    downstream_fields,
    field_value,
    nominated,
    request_id,
    upstream_fields,
)

from .strategies import steady

Fields = list[tuple[bytes, bytes]]

HOP_BY_HOP = (
    b"Connection",
    b"Keep-Alive",
    b"Proxy-Authenticate",
    b"Proxy-Authorization",
    b"Proxy-Connection",
    b"TE",
    b"Trailer",
    b"Transfer-Encoding",
    b"Upgrade",
)
OURS_UPSTREAM = (
    b"X-Chutes-Autopilot-Selected",
    b"X-Chutes-Autopilot-Selector",
    b"X-Chutes-Autopilot-Anything",
    b"Host",
    b"Content-Length",
    b"Accept-Encoding",
    b"X-Forwarded-For",
    b"X-Forwarded-Proto",
    b"X-Forwarded-Anything",
    b"Forwarded",
    b"X-Real-IP",
    b"X-Request-ID",
)
OURS_DOWNSTREAM = (b"Content-Length", b"X-Request-ID", b"X-Chutes-Autopilot-Selected")
CROSSING = (
    b"Authorization",
    b"Content-Type",
    b"Cookie",
    b"Set-Cookie",
    b"X-Chutes-InvocationID",
    b"X-Custom",
    b"X-Forward",
    b"Hosted",
)


@st.composite
def in_any_case(draw: st.DrawFn, name: bytes) -> bytes:
    return draw(st.sampled_from([name, name.lower(), name.upper(), name.swapcase()]))


names = st.sampled_from([*HOP_BY_HOP, *OURS_UPSTREAM, *OURS_DOWNSTREAM, *CROSSING]).flatmap(
    in_any_case
)
values = st.sampled_from([b"1", b"a, b", b"", b"\xe9"])
field_lists = st.lists(st.tuples(names, values), max_size=12)
nominations = st.lists(
    st.lists(st.sampled_from([b"close", b"", *CROSSING]).flatmap(in_any_case), max_size=3),
    max_size=2,
)


def lowered(names_in: tuple[bytes, ...]) -> set[bytes]:
    return {name.lower() for name in names_in}


@steady
@given(fields=field_lists, named=nominations, data=st.data())
def test_upstream_gets_all_that_is_not_of_this_hop_or_ours_in_its_order(
    fields: Fields, named: list[list[bytes]], data: st.DataObject
) -> None:
    for group in named:
        separator = data.draw(st.sampled_from([b",", b", ", b"\t,  "]))
        place = data.draw(st.integers(min_value=0, max_value=len(fields)))
        fields = [*fields[:place], (b"Connection", separator.join(group)), *fields[place:]]
    stays = lowered(HOP_BY_HOP) | lowered(OURS_UPSTREAM)
    for name, value in fields:
        if name.lower() == b"connection":
            stays |= {item.strip().lower() for item in value.split(b",")}
    expected = [(name, value) for name, value in fields if name.lower() not in stays]
    assert upstream_fields(fields, request_id=b"id") == [
        *expected,
        (b"Accept-Encoding", b"identity"),
        (b"x-request-id", b"id"),
    ]


@steady
@given(fields=field_lists, selected=st.none() | st.text(), stops_retries=st.booleans())
def test_the_client_gets_all_that_is_not_of_that_hop_or_ours_in_its_order(
    fields: Fields, selected: str | None, *, stops_retries: bool
) -> None:
    stays = lowered(HOP_BY_HOP) | lowered(OURS_DOWNSTREAM)
    expected = [(name, value) for name, value in fields if name.lower() not in stays]
    if stops_retries:
        expected.append((SHOULD_RETRY, b"false"))
    if selected is not None:
        expected.append((SELECTED, field_value(selected)))
    crossed = downstream_fields(fields, selected=selected, stops_retries=stops_retries)
    assert crossed == expected


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_a_field_of_one_hop_never_crosses(name: bytes) -> None:
    for spelling in (name, name.lower(), name.upper()):
        fields = [(spelling, b"x"), (b"X-Custom", b"y")]
        assert spelling not in dict(upstream_fields(fields, request_id=b"id"))
        assert downstream_fields(fields, selected=None) == [(b"X-Custom", b"y")]


def test_what_connection_names_stays_here_though_it_is_named_in_another_field() -> None:
    fields = [
        (b"X-Secret-Hop", b"1"),
        (b"connection", b"close, x-SECRET-hop"),
        (b"X-Other-Hop", b"2"),
        (b"X-Kept", b"3"),
        (b"Connection", b"\tX-Other-Hop ,,"),
    ]
    assert upstream_fields(fields, request_id=b"id")[:-2] == [(b"X-Kept", b"3")]
    assert nominated([b"close, x-SECRET-hop", b"\tX-Other-Hop"]) == {
        b"close",
        b"x-secret-hop",
        b"x-other-hop",
    }


def test_repeated_fields_cross_as_often_as_they_came() -> None:
    fields = [(b"Set-Cookie", b"a=1"), (b"X-Custom", b"1"), (b"set-cookie", b"b=2")]
    assert downstream_fields(fields, selected=None) == fields
    assert upstream_fields(fields, request_id=b"id")[:-2] == fields


def test_upstream_is_asked_for_plain_bytes_and_told_one_request_id() -> None:
    fields = [(b"accept-encoding", b"gzip"), (b"X-Request-Id", b"a"), (b"x-request-id", b"b")]
    assert upstream_fields(fields, request_id=b"mine") == [
        (b"Accept-Encoding", b"identity"),
        (REQUEST_ID, b"mine"),
    ]


def test_a_word_against_retrying_replaces_upstreams_own() -> None:
    fields = [(b"X-Should-Retry", b"true"), (b"Retry-After", b"1")]
    assert downstream_fields(fields, selected=None) == fields
    assert downstream_fields(fields, selected=None, stops_retries=True) == [
        (b"Retry-After", b"1"),
        (b"x-should-retry", b"false"),
    ]


def test_only_a_routed_answer_names_a_model_and_upstream_cannot_name_one() -> None:
    fields = [(b"X-Chutes-Autopilot-Selected", b"forged")]
    assert downstream_fields(fields, selected=None) == []
    assert downstream_fields(fields, selected="org/a") == [
        (b"x-chutes-autopilot-selected", b"org/a")
    ]


def is_uuid(text: bytes) -> bool:
    return str(UUID(text.decode("ascii"))).encode("ascii") == text


@steady
@given(offered=st.binary(max_size=4) | st.binary(min_size=126, max_size=130) | st.just(b"req-1"))
def test_a_clients_id_is_kept_if_it_is_visible_and_short_enough(offered: bytes) -> None:
    usable = 1 <= len(offered) <= 128 and all(0x21 <= byte <= 0x7E for byte in offered)
    if usable:
        assert request_id([offered]) == offered
    else:
        assert is_uuid(request_id([offered]))


@pytest.mark.parametrize("length", [1, 127, 128])
def test_an_id_of_up_to_128_characters_is_kept(length: int) -> None:
    assert request_id([b"~" * length]) == b"~" * length


@pytest.mark.parametrize(
    "offered",
    [
        [],
        [b""],
        [b"a" * 129],
        [b"a b"],
        [b" a"],
        [b"a\n"],
        [b"a\r\nx-evil: 1"],
        [b"\x7f"],
        [b"\xc3\xa9"],
        [b"a", b"b"],
        [b"a", b"a"],
    ],
)
def test_any_other_id_is_replaced_by_a_new_uuid(offered: list[bytes]) -> None:
    first, second = request_id(offered), request_id(offered)
    assert is_uuid(first)
    assert first != second


@steady
@given(text=st.text(alphabet=st.characters()))
def test_a_field_value_made_here_is_visible_ascii_whatever_the_text(text: str) -> None:
    value = field_value(text)
    assert all(0x21 <= byte <= 0x7E for byte in value)
    if "%" not in text:
        assert unquote_to_bytes(value) == text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("zai-org/GLM-5-TEE:latency", b"zai-org/GLM-5-TEE:latency"),
        ("a,100%", b"a,100%"),
        ("a b\r\nx: y", b"a%20b%0D%0Ax:%20y"),
        ("é模", b"%C3%A9%E6%A8%A1"),
        ("", b""),
    ],
)
def test_a_visible_name_stands_as_it_is_and_others_are_percent_encoded(
    text: str, value: bytes
) -> None:
    assert field_value(text) == value


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        ([b"Bearer cpk_1"], b"cpk_1"),
        ([b"bearer   cpk_1 "], b"cpk_1"),
        ([b"BEARER a b"], b"a b"),
        ([b"Basic dTpw", b"Bearer cpk_1", b"Bearer cpk_2"], b"cpk_1"),
        ([b"Bearer ", b"Bearer cpk_2"], b"cpk_2"),
        ([], None),
        ([b""], None),
        ([b"Bearer"], None),
        ([b"Bearer "], None),
        ([b"Bearercpk_1"], None),
        ([b"cpk_1"], None),
        ([b"Basic Bearer"], None),
    ],
)
def test_a_token_is_that_of_the_first_bearer_field(
    authorization: list[bytes], token: bytes | None
) -> None:
    assert bearer_token(authorization) == token

"""Feeds from bytes: what is kept, what is dropped and counted, and what is no feed at all."""

import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.catalog import (
    PRIVATE_NAME,
    FeedError,
    FeedFault,
    ParsedCatalog,
    ParsedUtilization,
    RowFault,
    parse_catalog,
    parse_utilization,
)

from .strategies import Row, captured, feed, feed_rows, json_like_bytes, json_values, steady

GOOD = '{"name":"org/good","chute_id":"c","active_instance_count":2,"utilization_5m":0.5}'
DEEP = b'{"a":' * 15_000

RATIOS = (
    "utilization_current",
    "utilization_5m",
    "utilization_15m",
    "utilization_1h",
    "rate_limit_ratio_5m",
    "rate_limit_ratio_15m",
    "rate_limit_ratio_1h",
    "scale_allowance",
)


def models(*entries: str) -> bytes:
    return f'{{"object":"list","data":[{",".join(entries)}]}}'.encode()


def names(parsed: ParsedUtilization) -> list[str]:
    return [chute.name for chute in parsed.utilization.chutes]


def fault_of(parse: Callable[[bytes], object], body: bytes) -> FeedFault:
    with pytest.raises(FeedError) as caught:
        parse(body)
    return caught.value.fault


@pytest.mark.parametrize("parse", [parse_catalog, parse_utilization])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><h1>502</h1></html>",
        b'[{"name":"org/a","active_instance_count":1}',
        b"[]]",
        b"\xef\xbb\xbf[]",
        "[]".encode("utf-16"),
        b'["\xff"]',
        DEEP,
        b"[" * 15_000,
    ],
    ids=["empty", "html", "cut", "trailing", "bom", "utf-16", "not utf-8", "deep {", "deep ["],
)
def test_what_is_no_json_is_no_feed(
    parse: Callable[[bytes], ParsedCatalog | ParsedUtilization], body: bytes
) -> None:
    assert fault_of(parse, body) is FeedFault.BAD_JSON


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"null", FeedFault.WRONG_SHAPE),
        (b"[]", FeedFault.WRONG_SHAPE),
        (b"{}", FeedFault.WRONG_SHAPE),
        (b'{"data":{}}', FeedFault.WRONG_SHAPE),
        (b'{"detail":"Not Found"}', FeedFault.WRONG_SHAPE),
        (b'{"data":[]}', FeedFault.EMPTY),
        (b'{"data":[null,{"id":7},{"id":""}]}', FeedFault.NO_USABLE_ROW),
    ],
)
def test_an_answer_that_is_no_catalogue_is_told_by_its_fault(body: bytes, fault: FeedFault) -> None:
    assert fault_of(parse_catalog, body) is fault


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"null", FeedFault.WRONG_SHAPE),
        (b"{}", FeedFault.WRONG_SHAPE),
        (b'"x"', FeedFault.WRONG_SHAPE),
        (b"[]", FeedFault.NO_USABLE_ROW),
        (b'[null,5,"x",[],{}]', FeedFault.NO_USABLE_ROW),
    ],
)
def test_an_answer_that_is_no_feed_is_told_by_its_fault(body: bytes, fault: FeedFault) -> None:
    assert fault_of(parse_utilization, body) is fault


@steady
@given(
    body=json_like_bytes
    | json_values.map(lambda text: f'{{"data":[{text}]}}'.encode())
    | json_values.map(
        lambda text: f'{{"data":[{{"id":"m","x":{text},"chute_id":{text}}}]}}'.encode()
    )
    | json_values.map(lambda text: f'[{{"name":"m","active_instance_count":{text}}}]'.encode())
    | json_values.map(
        lambda text: f'[{{"name":"m","active_instance_count":1,"timestamp":{text}}}]'.encode()
    )
)
def test_no_bytes_raise_anything_but_a_feed_error(body: bytes) -> None:
    for parse in (parse_catalog, parse_utilization):
        try:
            parse(body)
        except FeedError:
            continue


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("null", RowFault.BAD_ROW),
        ("[]", RowFault.BAD_ROW),
        ('{"active_instance_count":1}', RowFault.BAD_ID),
        ('{"name":null,"active_instance_count":1}', RowFault.BAD_ID),
        ('{"name":7,"active_instance_count":1}', RowFault.BAD_ID),
        ('{"name":"","active_instance_count":1}', RowFault.BAD_ID),
        ('{"name":"org/a\\r\\nx-evil: 1","active_instance_count":1}', RowFault.BAD_ID),
        ('{"name":"\\ud800","active_instance_count":1}', RowFault.BAD_ID),
        (f'{{"name":"{"x" * 257}","active_instance_count":1}}', RowFault.BAD_ID),
        ('{"name":"org/a"}', RowFault.BAD_COUNT),
        ('{"name":"org/a","active_instance_count":null}', RowFault.BAD_COUNT),
        ('{"name":"org/a","active_instance_count":true}', RowFault.BAD_COUNT),
        ('{"name":"org/a","active_instance_count":"3"}', RowFault.BAD_COUNT),
        ('{"name":"org/a","active_instance_count":-1}', RowFault.BAD_COUNT),
        ('{"name":"org/a","active_instance_count":NaN}', RowFault.BAD_COUNT),
        ('{"name":"org/a","active_instance_count":1e400}', RowFault.BAD_COUNT),
        (f'{{"name":"org/a","active_instance_count":{"1" * 5000}}}', RowFault.BAD_COUNT),
    ],
)
def test_a_bad_row_costs_that_row_and_not_the_feed(row: str, fault: RowFault) -> None:
    parsed = parse_utilization(f"[{row},{GOOD},{row}]".encode())
    assert names(parsed) == ["org/good"]
    assert parsed.dropped == {fault: 2}


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("null", RowFault.BAD_ROW),
        ('"org/a"', RowFault.BAD_ROW),
        ("{}", RowFault.BAD_ID),
        ('{"id":""}', RowFault.BAD_ID),
        ('{"id":["org/a"]}', RowFault.BAD_ID),
        ('{"id":"org/a\\r\\nx-evil: 1"}', RowFault.BAD_ID),
        ('{"id":" org/a"}', RowFault.BAD_ID),
        (f'{{"id":"{"x" * 257}"}}', RowFault.BAD_ID),
        ('{"id":"org/good","chute_id":"other"}', RowFault.DUPLICATE_ID),
    ],
)
def test_a_bad_entry_costs_that_entry_and_not_the_catalogue(entry: str, fault: RowFault) -> None:
    parsed = parse_catalog(models('{"id":"org/good","chute_id":"first"}', entry))
    assert [(model.id, model.chute_id) for model in parsed.catalog.models] == [
        ("org/good", "first")
    ]
    assert parsed.dropped == {fault: 1}


@pytest.mark.parametrize(
    "value",
    [
        *("null", "true", "false", '"0.5"', "[]", "{}", "NaN", "Infinity", "-Infinity"),
        *("-0.5", "-1", "1e400", "9" * 400, "9" * 5000),
    ],
)
def test_what_is_no_finite_number_from_nought_up_counts_as_missing(value: str) -> None:
    figures = ",".join(f'"{field}":{value}' for field in RATIOS)
    row = f'{{"name":"org/a","active_instance_count":1,{figures}}}'
    [chute] = parse_utilization(f"[{row}]".encode()).utilization.chutes
    assert {field: getattr(chute, field) for field in RATIOS} == dict.fromkeys(RATIOS)


@pytest.mark.parametrize("value", ["0", "1", "0.5", "1.75", "1e308", "9007199254740993", "5e-324"])
def test_every_other_number_is_kept_as_it_is_over_one_too(value: str) -> None:
    fields = (*RATIOS, "active_instance_count")
    figures = ",".join(f'"{field}":{value}' for field in fields)
    [chute] = parse_utilization(f'[{{"name":"org/a",{figures}}}]'.encode()).utilization.chutes
    kept = {field: getattr(chute, field) for field in fields}
    assert kept == dict.fromkeys(fields, float(value))


@pytest.mark.parametrize("field", RATIOS)
def test_every_figure_is_read_from_the_field_of_its_name(field: str) -> None:
    row = f'{{"name":"org/a","active_instance_count":1,"{field}":0.5}}'
    [chute] = parse_utilization(f"[{row}]".encode()).utilization.chutes
    assert {other for other in RATIOS if getattr(chute, other) is not None} == {field}


@pytest.mark.parametrize("value", ["null", "1", '"true"', "false", "[true]"])
def test_only_true_is_scalable(value: str) -> None:
    row = '{"name":"org/a","active_instance_count":1,"scalable":%s}'
    [unsaid] = parse_utilization(f"[{row % value}]".encode()).utilization.chutes
    [said] = parse_utilization(f"[{row % 'true'}]".encode()).utilization.chutes
    assert (unsaid.scalable, said.scalable) == (False, True)


def test_rows_that_share_a_name_are_all_kept() -> None:
    private = f'{{"name":"{PRIVATE_NAME}","active_instance_count":1}}'
    parsed = parse_utilization(f"[{private},{GOOD},{private},{GOOD}]".encode())
    assert names(parsed) == [PRIVATE_NAME, "org/good", PRIVATE_NAME, "org/good"]
    assert not parsed.dropped


@steady
@given(rows=st.lists(feed_rows(), max_size=10), bad=st.data())
def test_every_row_is_either_kept_or_counted(rows: list[Row], bad: st.DataObject) -> None:
    texts = [row.text for row in rows]
    for junk in bad.draw(st.lists(json_values, max_size=3)):
        texts.insert(bad.draw(st.integers(min_value=0, max_value=len(texts))), junk)
    parsed = parse_utilization(f"[{','.join([*texts, GOOD])}]".encode())
    assert len(parsed.utilization.chutes) + sum(parsed.dropped.values()) == len(texts) + 1
    assert names(parsed)[-1] == "org/good"


@steady
@given(rows=st.lists(feed_rows(), min_size=1, max_size=6))
def test_no_kept_figure_is_negative_or_not_finite(rows: list[Row]) -> None:
    try:
        chutes = parse_utilization(feed(rows)).utilization.chutes
    except FeedError:
        return
    for chute in chutes:
        for field in (*RATIOS, "active_instance_count"):
            value = getattr(chute, field)
            assert value is None or (type(value) is float and 0 <= value < math.inf)


@pytest.mark.parametrize(
    ("timestamps", "expected"),
    [
        (['"2026-02-18T05:48:08.5"'], 1771393688.5),
        (['"2026-02-18T05:48:08.5+00:00"'], 1771393688.5),
        (['"2026-02-18T05:48:08.5+01:00"'], 1771390088.5),
        (['"2026-02-18T05:48:07"', '"2026-02-18T05:48:08"', '"soon"'], 1771393688.0),
        (['"yesterday"', "7", "null", '""', '"\\ud800"', '"0001-01-01T00:00:00+24:00"'], None),
    ],
)
def test_the_feeds_own_time_is_the_newest_of_its_claims_in_utc(
    timestamps: list[str], expected: float | None
) -> None:
    rows = [
        f'{{"name":"org/a","active_instance_count":1,"timestamp":{text}}}' for text in timestamps
    ]
    parsed = parse_utilization(f"[{','.join(rows)}]".encode())
    assert parsed.utilization.timestamp == expected


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose own time is far from UTC."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "XYZ-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
def test_the_feeds_own_time_is_the_same_on_every_machine() -> None:
    row = '{"name":"org/a","active_instance_count":1,"timestamp":"2026-02-18T05:48:08.5"}'
    assert parse_utilization(f"[{row}]".encode()).utilization.timestamp == 1771393688.5


def test_a_model_keeps_fields_that_nobody_here_knows() -> None:
    entry = '{"id":"org/a","chute_id":"c1","price":null,"é":{"new":[1,2.5,"\\u2028"]}}'
    [model] = parse_catalog(models(entry)).catalog.models
    assert json.loads(model.document) == json.loads(entry)


@steady
@given(value=json_values)
def test_a_models_document_is_json_that_any_client_can_read(value: str) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    entry = f'{{"id":"org/a","x":{value},"y":[NaN,-Infinity,1e400]}}'
    [model] = parse_catalog(models(entry)).catalog.models
    document = json.loads(model.document.decode("ascii"), parse_constant=refuse)
    assert document["y"] == [None, None, None]


def test_a_catalogue_is_looked_up_by_id_and_by_chute_id() -> None:
    parsed = parse_catalog(models('{"id":"org/b","chute_id":"c1"}', '{"id":"org/a","chute_id":7}'))
    catalog = parsed.catalog
    assert [model.id for model in catalog.models] == ["org/b", "org/a"]
    assert len(catalog) == 2
    assert catalog.by_id["org/a"].chute_id is None
    assert {key: model.id for key, model in catalog.by_chute_id.items()} == {"c1": "org/b"}


def test_the_captured_catalogue_is_read_whole() -> None:
    text = captured("models_2026-02-18.json")
    parsed = parse_catalog(text)
    raw: list[dict[str, Any]] = json.loads(text)["data"]
    assert (len(parsed.catalog), sum(parsed.dropped.values())) == (61, 0)
    assert [json.loads(model.document) for model in parsed.catalog.models] == raw
    assert len(parsed.catalog.by_chute_id) == 61


def test_the_captured_feed_is_read_whole() -> None:
    parsed = parse_utilization(captured("utilization_2026-02-18.json"))
    assert (len(parsed.utilization.chutes), sum(parsed.dropped.values())) == (538, 0)
    assert names(parsed).count(PRIVATE_NAME) == 442
    assert len({chute.chute_id for chute in parsed.utilization.chutes}) == 538
    assert parsed.utilization.timestamp == pytest.approx(1771393688.568123)


@pytest.mark.parametrize("parse", [parse_catalog, parse_utilization])
@pytest.mark.parametrize("row", [b"{}", b"[]"])
def test_more_rows_than_any_platform_has_are_refused_unread(
    parse: Callable[[bytes], object], row: bytes
) -> None:
    body = b"[" + b",".join([row] * 20_000) + b"]"
    with pytest.raises(FeedError) as caught:
        parse(body)
    assert caught.value.fault is FeedFault.TOO_MANY_ROWS

"""Rows 33 to 38: bodies that are no JSON, or say what cannot be meant, or must arrive as they are."""

from functools import partial

from lab_bench import Lab, opened, request
from lab_exchange import GOOD
from lab_facts import Facts, Scenario, any_of, at_most
from lab_request_rows import refusal_of


def _json_body(model: str, rest: str) -> bytes:
    return ('{"model": "' + model + '"' + rest + "}").encode("utf-8", "surrogatepass")


def _refused_bodies() -> list[Scenario]:
    deep = 100_000
    ok_codes = any_of("invalid_json", "invalid_body")
    cases: tuple[tuple[str, str, bytes, object, object], ...] = (
        ("33", "an empty body", b"", "invalid_json", None),
        ("33", "no JSON", b"{nope", "invalid_json", None),
        ("33", "trailing garbage", b'{"model": "a"} x', "invalid_json", None),
        ("33", "an array", b"[]", "invalid_body", None),
        ("33", "a string", b'"x"', "invalid_body", None),
        ("33", "null", b"null", "invalid_body", None),
        ("33", "no model", b"{}", "missing_model", "model"),
        ("34", "100 000 times [", b"[" * deep, ok_codes, None),
        ("34", '100 000 times {"a":', b'{"a":' * deep, ok_codes, None),
        (
            "34",
            "deep inside",
            b'{"model":"a","x":' + b"[" * deep + b"]" * deep + b"}",
            ok_codes,
            None,
        ),
        ("35", "NaN", b'{"model": "a", "x": NaN}', "invalid_json", None),
        ("35", "Infinity", b'{"model": "a", "x": Infinity}', "invalid_json", None),
        ("35", "-Infinity", b'{"model": "a", "x": -Infinity}', "invalid_json", None),
        ("36", "two models", b'{"model": "a", "model": "b"}', "invalid_body", "model"),
        (
            "36",
            "two models, one escaped",
            b'{"model": "a", "mod\\u0065l": "b"}',
            "invalid_body",
            "model",
        ),
        ("37", "invalid UTF-8", b'{"model": "\xff"}', "invalid_json", None),
        ("37", "a byte order mark", b'\xef\xbb\xbf{"model": "a"}', "invalid_json", None),
        ("37", "UTF-16", '{"model": "a"}'.encode("utf-16"), "invalid_json", None),
        ("38", "an empty model", b'{"model": ""}', "invalid_body", "model"),
        ("38", "a number", b'{"model": 7}', "invalid_body", "model"),
        ("38", "a list", b'{"model": ["a"]}', "invalid_body", "model"),
        ("38", "10 kB", b'{"model": "' + b"a" * 10_000 + b'"}', "invalid_body", "model"),
        ("38", "CR and LF", b'{"model": "a\\r\\nX: b"}', "invalid_body", "model"),
        ("38", "a comma", b'{"model": ","}', "invalid_model_list", "model"),
        ("38", "nine items", b'{"model": "1,2,3,4,5,6,7,8,9"}', "invalid_model_list", "model"),
        ("38", "../", b'{"model": "../x"}', "unknown_model", "model"),
        ("38", "?x=", b'{"model": "a?x=1"}', "unknown_model", "model"),
        ("38", "unicode", '{"model": "modèle"}'.encode(), "unknown_model", "model"),
    )
    rows = []
    for row, name, body, code, param in cases:
        expected = {
            "status": 400,
            "code": code,
            "shape": "application/json",
            "end": "clean",
            "U asked": 0,
            "selected header": None,
            **({"param": param} if param else {}),
            **({"ms": at_most(50)} if row == "34" else {}),
        }
        wire = request(body, "Connection: close")
        rows.append(
            Scenario(
                row=row,
                name=name,
                expected=expected,
                look=partial(refusal_of, wire=wire),
                alone=True,
                repeats=True,
            )
        )
    return rows


_KEPT: tuple[tuple[str, str, str], ...] = (
    ("35", "1e400", ', "x": 1e400'),
    ("35", "2**80", f', "x": {2**80}'),
    ("35", "many digits", ', "x": 0.1000000000000000055511151231257827'),
    ("35", "a lone surrogate, escaped", ', "x": "\\ud800"'),
    ("35", "white space and escapes", ' ,\n "x" :\t"\\u0041\\/" '),
    ("36", "a second model in a nested object", ', "x": {"model": "other", "model": "other"}'),
    ("33", "another Content-Type", ', "x": 1'),
)


async def _kept(lab: Lab, rest: str, *, routed: bool, media: str) -> Facts:
    name = lab.upstream.bind(GOOD)
    asked = lab.upstream.asked[name]
    written = f"{name}, {name}," if routed else name
    wire = request(_json_body(written, rest))
    client = await opened(lab.main)
    client.send(wire.replace(b"application/json", media.encode(), 1))
    await client.until_answered()
    client.leave()
    return {
        "status": client.answer.status if client.answer else None,
        "arrived as sent": [each.body for each in asked] == [_json_body(name, rest)],
    }


async def _digits(lab: Lab) -> Facts:
    name = lab.upstream.bind(GOOD)
    client = await opened(lab.main)
    body = _json_body(name, ', "x": ' + "7" * 5000)
    client.send(request(body))
    await client.until_answered()
    client.leave()
    answer = client.answer
    return {
        "status": answer.status if answer else None,
        "as sent": [each.body == body for each in lab.upstream.asked[name]] in ([], [True]),
    }


ROWS: tuple[Scenario, ...] = (
    *_refused_bodies(),
    *(
        Scenario(
            row=row,
            name=f"{name}, {'routed' if routed else 'direct'}",
            expected={"status": 200, "arrived as sent": True},
            look=partial(
                _kept,
                rest=rest,
                routed=routed,
                media="text/plain" if row == "33" else "application/json",
            ),
            repeats=True,
        )
        for row, name, rest in _KEPT
        for routed in (False, True)
    ),
    Scenario(
        row="35",
        name="an integer of 5000 digits",
        expected={"status": any_of(200, 400), "as sent": True},
        look=_digits,
        repeats=True,
    ),
)

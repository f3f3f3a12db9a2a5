"""Refusals: a closed table of codes, always in OpenAI's shape."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.errors import Code, ErrorBody, Refusal

from .strategies import steady

PROMISED = {
    "invalid_json": 400,
    "invalid_body": 400,
    "missing_model": 400,
    "invalid_model_list": 400,
    "unknown_model": 400,
    "invalid_wish": 400,
    "impossible_wish": 400,
    "bad_request": 400,
    "missing_authorization": 401,
    "unauthorized": 401,
    "model_not_allowed": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "request_too_large": 413,
    "uri_too_long": 414,
    "headers_too_large": 431,
    "internal_error": 500,
    "upstream_connect_error": 502,
    "upstream_connection_lost": 502,
    "upstream_protocol_error": 502,
    "upstream_body_error": 502,
    "overloaded": 503,
    "draining": 503,
    "no_candidates": 503,
    "not_ready": 503,
    "upstream_connect_timeout": 504,
    "upstream_header_timeout": 504,
    "upstream_first_body_byte_timeout": 504,
}


def test_codes_and_statuses_are_the_promised_ones() -> None:
    assert {code.text: code.status for code in Code} == PROMISED


@pytest.mark.parametrize("code", Code)
def test_a_refusal_is_an_openai_error_with_all_four_keys(code: Code) -> None:
    body = Refusal(code, "Because.").body
    assert body.status == code.status
    kind = "invalid_request_error" if code.status < 500 else "server_error"
    assert json.loads(body.render()) == {
        "error": {"message": "Because.", "type": kind, "param": None, "code": code.text}
    }


def test_a_refusal_names_the_field_it_is_about() -> None:
    body = Refusal(Code.MISSING_MODEL, "m", param="model").body
    assert json.loads(body.render())["error"]["param"] == "model"


def test_a_refusal_carries_its_message_to_the_client_and_not_into_a_log() -> None:
    refusal = Refusal(Code.UNKNOWN_MODEL, "The catalogue knows no model named 'canary'.")
    assert "canary" in refusal.body.message
    assert "canary" not in f"{refusal}{refusal!r}{refusal.args}"


@steady
@given(
    status=st.integers(min_value=400, max_value=599),
    code=st.text(alphabet=st.characters()),
    message=st.text(alphabet=st.characters()),
    param=st.none() | st.text(alphabet=st.characters()),
)
def test_any_text_makes_an_ascii_document_that_says_it(
    status: int, code: str, message: str, param: str | None
) -> None:
    rendered = ErrorBody(status=status, code=code, message=message, param=param).render()
    assert rendered.isascii()
    error = json.loads(rendered)["error"]
    # Two lone surrogates side by side are read back as the one character that they spell.
    assert error == json.loads(
        json.dumps({"message": message, "type": error["type"], "param": param, "code": code})
    )
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")

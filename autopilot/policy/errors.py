"""Every refusal of our own, in OpenAI's error shape: a closed table of codes and statuses.

A message is written for the person who reads it, and never holds a body, a key or an address.
"""

import json
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

_FIRST_SERVER_STATUS = 500


class Code(Enum):
    """A stable error code and the status it goes with."""

    INVALID_JSON = "invalid_json", HTTPStatus.BAD_REQUEST
    INVALID_BODY = "invalid_body", HTTPStatus.BAD_REQUEST
    MISSING_MODEL = "missing_model", HTTPStatus.BAD_REQUEST
    INVALID_MODEL_LIST = "invalid_model_list", HTTPStatus.BAD_REQUEST
    UNKNOWN_MODEL = "unknown_model", HTTPStatus.BAD_REQUEST
    INVALID_WISH = "invalid_wish", HTTPStatus.BAD_REQUEST
    IMPOSSIBLE_WISH = "impossible_wish", HTTPStatus.BAD_REQUEST
    BAD_REQUEST = "bad_request", HTTPStatus.BAD_REQUEST
    MISSING_AUTHORIZATION = "missing_authorization", HTTPStatus.UNAUTHORIZED
    UNAUTHORIZED = "unauthorized", HTTPStatus.UNAUTHORIZED
    MODEL_NOT_ALLOWED = "model_not_allowed", HTTPStatus.FORBIDDEN
    NOT_FOUND = "not_found", HTTPStatus.NOT_FOUND
    METHOD_NOT_ALLOWED = "method_not_allowed", HTTPStatus.METHOD_NOT_ALLOWED
    REQUEST_TIMEOUT = "request_timeout", HTTPStatus.REQUEST_TIMEOUT
    REQUEST_TOO_LARGE = "request_too_large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    URI_TOO_LONG = "uri_too_long", HTTPStatus.REQUEST_URI_TOO_LONG
    HEADERS_TOO_LARGE = "headers_too_large", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    INTERNAL_ERROR = "internal_error", HTTPStatus.INTERNAL_SERVER_ERROR
    UPSTREAM_CONNECT_ERROR = "upstream_connect_error", HTTPStatus.BAD_GATEWAY
    UPSTREAM_CONNECTION_LOST = "upstream_connection_lost", HTTPStatus.BAD_GATEWAY
    UPSTREAM_PROTOCOL_ERROR = "upstream_protocol_error", HTTPStatus.BAD_GATEWAY
    UPSTREAM_BODY_ERROR = "upstream_body_error", HTTPStatus.BAD_GATEWAY
    NOT_READY = "not_ready", HTTPStatus.SERVICE_UNAVAILABLE
    OVERLOADED = "overloaded", HTTPStatus.SERVICE_UNAVAILABLE
    NO_CANDIDATES = "no_candidates", HTTPStatus.SERVICE_UNAVAILABLE
    DRAINING = "draining", HTTPStatus.SERVICE_UNAVAILABLE
    UPSTREAM_CONNECT_TIMEOUT = "upstream_connect_timeout", HTTPStatus.GATEWAY_TIMEOUT
    UPSTREAM_HEADER_TIMEOUT = "upstream_header_timeout", HTTPStatus.GATEWAY_TIMEOUT
    UPSTREAM_FIRST_BODY_BYTE_TIMEOUT = (
        "upstream_first_body_byte_timeout",
        HTTPStatus.GATEWAY_TIMEOUT,
    )

    def __init__(self, text: str, status: HTTPStatus) -> None:
        self.text = text
        self.status = int(status)


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault of the program
    """An answer of our own instead of a model's.

    `param` names the offending request field; `retry_after` is in seconds.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(code.text)
        self.code = code
        self.body = ErrorBody(
            status=code.status,
            code=code.text,
            message=message,
            param=param,
            retry_after=retry_after,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBody:
    """OpenAI's `{"error": {...}}` with all four keys, whatever the code.

    `retry_after`, in seconds, goes into the header of that name.
    """

    status: int
    code: str
    message: str
    param: str | None = None
    retry_after: int | None = None

    def render(self) -> bytes:
        """The JSON document, ASCII only, so that a lone surrogate in a name cannot break it."""
        kind = "server_error" if self.status >= _FIRST_SERVER_STATUS else "invalid_request_error"
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return json.dumps({"error": error}).encode("ascii")

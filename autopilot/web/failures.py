"""How a Klein app says in OpenAI's error shape what went wrong: one function for all of them."""

from typing import cast

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from autopilot.policy.errors import Code, ErrorBody, Refusal
from autopilot.web.server import NOTHING_HERE, AutopilotRequest

_log = Logger(namespace="autopilot.web")


def answer_failure(request: IRequest, failure: Failure) -> bytes:
    """The body that says why `request` has no other answer; its status and fields are set."""
    answering = cast("AutopilotRequest", request)
    error = failure.value
    if isinstance(error, Refusal):
        body = error.body
    elif isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        answering.setHeader(b"allow", allowed.encode("ascii"))
        body = Refusal(Code.METHOD_NOT_ALLOWED, f"This route accepts {allowed} only.").body
    elif isinstance(error, HTTPException) and error.code is not None and error.code < 500:  # noqa: PLR2004
        body = Refusal(Code.NOT_FOUND, NOTHING_HERE).body
    else:
        _log.failure("unexpected error", failure)
        body = internal_error()
    return answering.prepare(body.status, body.render())


def internal_error() -> ErrorBody:
    """What is said of a fault of our own."""
    return Refusal(Code.INTERNAL_ERROR, "The router failed to handle this request.").body

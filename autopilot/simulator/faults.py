"""Faults: the ways the platform fails, as names, as refusals in data, as a board of what is set."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

FAULT_MODEL_PREFIX = "faults/"


class Fault(StrEnum):
    """One way to fail; the value is what a person writes in a model name or a control request."""

    CAPACITY_429 = "capacity-429"
    ACCOUNT_429 = "account-429"
    HTML_429 = "html-429"
    COLD_503 = "cold-503"
    DISABLED_503 = "disabled-503"
    EXHAUSTED_500 = "exhausted-500"
    NO_INFRASTRUCTURE_500 = "no-infrastructure-500"
    HTML_502 = "html-502"
    HTML_504 = "html-504"
    INVALID_400 = "invalid-400"
    TOKEN_401 = "token-401"  # noqa: S105 - the name of a fault
    FORBIDDEN_403 = "forbidden-403"
    QUOTA_402 = "quota-402"
    NOT_FOUND_404 = "not-found-404"
    UNPROCESSABLE_422 = "unprocessable-422"
    REDIRECT_307 = "redirect-307"
    DROP = "drop"
    HEADER_STALL = "header-stall"
    FIRST_BYTE_STALL = "first-byte-stall"
    EMPTY_200 = "empty-200"
    EMPTY_204 = "empty-204"
    ERROR_FIRST = "error-first"
    BARE_ERROR_FIRST = "bare-error-first"
    RESET_MID = "reset-mid"
    FIN_MID = "fin-mid"
    STALL_MID = "stall-mid"
    TRUNCATED = "truncated"
    LATE_ERROR = "late-error"
    DRIP = "drip"
    GZIP = "gzip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A whole answer that is no answer: a status with a `detail`, or an edge page if it has none.

    A `detail` that is a string may name `{model}` and `{chute_id}`.
    """

    status: int
    detail: str | Mapping[str, Any] | tuple[Mapping[str, Any], ...] | None = None
    location: str | None = None


CAPACITY = Refusal(status=429, detail="Infrastructure is at maximum capacity, try again later")
COLD = Refusal(status=503, detail="No instances available (yet) for chute_id='{chute_id}'")
MODEL_NOT_FOUND = Refusal(status=404, detail="model not found: {model}")
BAD_TOKEN = Refusal(status=401, detail="Invalid token.")
NO_TOKEN = Refusal(status=429)

REFUSALS: Mapping[Fault, Refusal] = MappingProxyType(
    {
        Fault.CAPACITY_429: CAPACITY,
        Fault.ACCOUNT_429: Refusal(
            status=429, detail="Free models limit reached for today, add balance to continue."
        ),
        Fault.HTML_429: NO_TOKEN,
        Fault.COLD_503: COLD,
        Fault.DISABLED_503: Refusal(status=503, detail="This chute is currently disabled."),
        Fault.EXHAUSTED_500: Refusal(
            status=500, detail="exhausted all available targets to no avail"
        ),
        Fault.NO_INFRASTRUCTURE_500: Refusal(
            status=500, detail="No infrastructure available to serve request"
        ),
        Fault.HTML_502: Refusal(status=502),
        Fault.HTML_504: Refusal(status=504),
        Fault.INVALID_400: Refusal(
            status=400, detail="Invalid request: temperature must not be negative"
        ),
        Fault.TOKEN_401: BAD_TOKEN,
        Fault.FORBIDDEN_403: Refusal(
            status=403, detail="This account may not use the requested chute."
        ),
        # The real text holds a payment address, so that a router that logs it is found out.
        Fault.QUOTA_402: Refusal(
            status=402,
            detail={
                "message": "Quota exceeded and balance is $0.00, pay to 5SimulatedPaymentAddress",
                "quota_reset_timestamp": "2030-01-01T00:00:00+00:00",
            },
        ),
        Fault.NOT_FOUND_404: MODEL_NOT_FOUND,
        Fault.UNPROCESSABLE_422: Refusal(
            status=422,
            detail=(
                {
                    "type": "missing",
                    "loc": ["body", "messages"],
                    "msg": "Field required",
                    "input": None,
                },
            ),
        ),
        # RFC 2606: a name that can never resolve, should somebody follow it.
        Fault.REDIRECT_307: Refusal(
            status=307,
            detail="Temporary Redirect",
            location="https://elsewhere.invalid/v1/chat/completions",
        ),
    }
)


def fault_called(name: str) -> Fault | None:
    """The fault of this name, if there is one."""
    try:
        return Fault(name)
    except ValueError:
        return None


def fault_of(model: str) -> Fault | None:
    """The fault that a model of the form `faults/<name>` stands for."""
    name = model.removeprefix(FAULT_MODEL_PREFIX)
    return None if name == model else fault_called(name)


@dataclass(slots=True, kw_only=True)
class _Set:
    fault: Fault
    times: int | None


class FaultBoard:
    """What has been set on which model, and how often it will still happen."""

    def __init__(self) -> None:
        self._set: dict[str, _Set] = {}

    def put(self, model: str, fault: Fault, times: int | None) -> None:
        """Let a model fail so many times; with None until it is cleared."""
        self._set[model] = _Set(fault=fault, times=times)

    def take(self, model: str) -> Fault | None:
        """The fault for one request to the model, counting it; a set fault hides a named one."""
        entry = self._set.get(model)
        if entry is None:
            return fault_of(model)
        if entry.times is not None:
            entry.times -= 1
            if entry.times == 0:
                del self._set[model]
        return entry.fault

    def peek(self, model: str) -> Fault | None:
        """The fault the model has now, without counting."""
        entry = self._set.get(model)
        return fault_of(model) if entry is None else entry.fault

    def clear(self, model: str | None = None) -> None:
        """Forget one model's fault, or all."""
        if model is None:
            self._set.clear()
        else:
            self._set.pop(model, None)

    def listing(self) -> dict[str, dict[str, str | int | None]]:
        """What is set, as the control route shows it."""
        return {
            model: {"fault": entry.fault.value, "times": entry.times}
            for model, entry in self._set.items()
        }

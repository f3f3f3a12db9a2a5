"""Evidence: attestation answers in the right shape, made of nothing, and every way to be refused one."""

from base64 import b64encode
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256, shake_256
from string import hexdigits
from typing import Any

from autopilot.simulator.catalogue import Catalogue, Model, chute_id_for
from autopilot.simulator.faults import Fault, FaultBoard
from autopilot.simulator.feed import Feed
from autopilot.simulator.wire import compact

_NONCE_DIGITS = 64
# Shared by all callers, as on the platform.
_CALLS = 60
_CALLS_PER = 60.0

# Intel TDX DCAP quote, version 4: header 48 bytes, TD report 584 bytes ending in 64 of report data,
# then the length of the signature data and the data itself.
_QUOTE_HEADER = (
    (4).to_bytes(2, "little")
    + (2).to_bytes(2, "little")
    + (0x81).to_bytes(4, "little")
    + bytes(4)
    + bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
    + bytes(20)
)
_REPORT_BEFORE_DATA = 520
_SIGNATURE = 4300
# With eight cards the evidence of one instance is the real thing's 100 kB.
_CARDS = 8
_CARD_CERTIFICATE = 4096
_CARD_EVIDENCE = 4608
_CERTIFICATE = 1200
_SHOWN_INSTANCES = 3

_FAULTY = {Fault.HTML_502, Fault.HTML_504}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A status and what goes in the body."""

    status: int
    body: dict[str, Any]

    def encoded(self) -> bytes:
        """The body's bytes."""
        return compact(self.body)


class Attestation:
    """The platform's evidence desk."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        feed: Feed,
        faults: FaultBoard,
        seconds: Callable[[], float],
    ) -> None:
        self._catalogue = catalogue
        self._feed = feed
        self._faults = faults
        self._seconds = seconds
        self._calls: deque[float] = deque(maxlen=_CALLS)

    def evidence(self, name: str, nonce: str | None) -> Reply:
        """The answer for a chute's id or name."""
        if nonce is None:
            missing = {
                "type": "missing",
                "loc": ["query", "nonce"],
                "msg": "Field required",
                "input": None,
            }
            return Reply(status=422, body={"detail": [missing]})
        if self._limited():
            return _refusal(429, "Rate limit exceeded. Try again later.")
        if len(nonce) != _NONCE_DIGITS:
            return _refusal(
                400, f"Nonce must be exactly 64 hex characters (32 bytes), got {len(nonce)}"
            )
        if not set(nonce) <= set(hexdigits):
            return _refusal(400, "Nonce must be a valid hexadecimal string")
        model = self._catalogue.find(name)
        if model is None:
            other = self._feed.public_chutes().get(name)
            if other is None:
                return _refusal(404, "Chute not found")
            return _not_tee(other)
        return self._of(model, nonce)

    def _of(self, model: Model, nonce: str) -> Reply:
        if not model.tee:
            return _not_tee(model.chute_id)
        if not model.evidence_ready:
            return _refusal(400, "Instances requires chutes_version >= 0.6.0 to retrieve evidence.")
        # What takes a model's edge down takes its attestation down too.
        if self._faults.peek(model.id) in _FAULTY:
            return _refusal(502, "Attestation service unavailable. Try again later.")
        running = min(self._feed.load(model).fleet.instances, _SHOWN_INSTANCES)
        instances = [_instance(f"{model.chute_id}/{place}", nonce) for place in range(running)]
        return Reply(status=200, body={"evidence": instances, "failed_instance_ids": []})

    def _limited(self) -> bool:
        now = self._seconds()
        if len(self._calls) == _CALLS and now - self._calls[0] < _CALLS_PER:
            return True
        self._calls.append(now)
        return False


def _refusal(status: int, detail: str) -> Reply:
    return Reply(status=status, body={"detail": detail})


def _not_tee(chute_id: str) -> Reply:
    return _refusal(400, f"Chute {chute_id} is not TEE-enabled")


def _instance(seed: str, nonce: str) -> dict[str, Any]:
    certificate = _noise(f"{seed}/certificate", _CERTIFICATE)
    return {
        "quote": _quote(seed, nonce, certificate),
        "gpu_evidence": [
            {
                "arch": "HOPPER",
                "certificate": _noise(f"{seed}/card/{card}", _CARD_CERTIFICATE),
                "evidence": _noise(f"{seed}/card/{card}/{nonce}", _CARD_EVIDENCE),
            }
            for card in range(_CARDS)
        ],
        "instance_id": chute_id_for(seed),
        "certificate": certificate,
    }


def _quote(seed: str, nonce: str, certificate: str) -> str:
    """A quote whose report data holds the nonce, bound to the certificate by a hash."""
    bound = sha256(bytes.fromhex(nonce) + certificate.encode()).digest()
    report = shake_256(f"{seed}/report".encode()).digest(_REPORT_BEFORE_DATA)
    signature = shake_256(f"{seed}/{nonce}".encode()).digest(_SIGNATURE)
    size = len(signature).to_bytes(4, "little")
    quote = _QUOTE_HEADER + report + bound + bytes.fromhex(nonce) + size + signature
    return b64encode(quote).decode()


def _noise(seed: str, size: int) -> str:
    return b64encode(shake_256(seed.encode()).digest(size)).decode()

"""Asks the platform for a chute's evidence: one bounded request, and its outcome as a value.

Nothing routes by evidence yet; `scripts/verify_live.py` reports it. What an outcome is worth is said in
`autopilot.policy.evidence`.
"""

import secrets
from urllib.parse import quote, urlencode

from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorTime

from autopilot.controlplane.fetch import Question, ask
from autopilot.policy.evidence import (
    NONCE_DIGITS,
    EvidenceOutcome,
    Judgement,
    judge_evidence,
    nonce_fault,
)

MAX_EVIDENCE_BYTES = 8 * 1024 * 1024
"""Largest answer that is read: about 80 instances of 100 kB; the largest fleet seen has 40."""


class NonceError(ValueError):
    """The platform would refuse the nonce; `outcome` says how. Nothing was sent."""

    def __init__(self, outcome: EvidenceOutcome) -> None:
        super().__init__(outcome.value)
        self.outcome = outcome


def new_nonce() -> str:
    """A nonce that nobody can have foreseen."""
    return secrets.token_hex(NONCE_DIGITS // 2)


def evidence_question(api_url: str, chute: str, nonce: str | None) -> Question:
    """The request for the evidence of `chute`, an id or a name, with any nonce or none.

    `api_url` is the base of the control plane, without a slash at its end.
    """
    query = "" if nonce is None else "?" + urlencode({"nonce": nonce})
    return Question(url=f"{api_url}/chutes/{quote(chute, safe='')}/evidence{query}")


async def fetch_evidence(
    client: HTTPClient,
    api_url: str,
    chute: str,
    *,
    nonce: str,
    clock: IReactorTime,
    within: float,
    max_bytes: int = MAX_EVIDENCE_BYTES,
) -> Judgement:
    """What the platform has to show for `chute`, `within` seconds in all.

    Raises:
        NonceError: the nonce is none. All callers share 60 requests a minute, so it costs none.
        FetchError: there was no whole answer.
    """
    fault = nonce_fault(nonce)
    if fault is not None:
        raise NonceError(fault)
    answer = await ask(
        client,
        evidence_question(api_url, chute, nonce),
        clock=clock,
        within=within,
        max_bytes=max_bytes,
    )
    return judge_evidence(answer.status, answer.body)

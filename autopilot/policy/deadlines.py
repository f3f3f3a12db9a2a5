"""How long each phase of an attempt may take, in seconds.

The platform withholds headers until the first chunk of a stream, and until the whole answer of a
request that is not streamed (`research/PLATFORM.md`, "What an answer means").
"""

from dataclasses import dataclass

PREFILL_SECONDS_PER_KIB = 0.060
"""Added to the header deadline: a long prompt prefills slowly, and that is no fault."""

_KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """The limits of one attempt; `first_body_byte` counts from the headers of a 2xx.

    `idle` is how long a body may be silent once it flows; `total`, where there is one, bounds the whole
    request from its arrival.
    """

    headers: float
    completion: float
    first_body_byte: float
    idle: float = 120.0
    total: float | None = None

    def until_headers(self, *, stream: bool, body_bytes: int, last: bool) -> float:
        """How long the header fields may take.

        `last`: no other candidate is left to be faster, so a slow one is waited for as long as a
        first byte would be.
        """
        if not stream:
            return self.completion
        patience = self.headers + PREFILL_SECONDS_PER_KIB * body_bytes / _KIB
        return max(patience, self.first_body_byte) if last else patience

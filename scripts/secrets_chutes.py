"""The platform's own key shapes, as a plug-in of detect-secrets."""

import re
from typing import ClassVar

from detect_secrets.plugins.base import RegexBasedDetector


class ChutesKeyDetector(RegexBasedDetector):
    """An API key or an OAuth token of Chutes; see "Hosts and endpoints" in `research/PLATFORM.md`.

    The first part of an API key is enough: one that was cut off has leaked as well. Whatever stands
    before it may belong to an escape or a colour. What follows `cak_` is undocumented, so it is anything
    that is long enough to be random, and stands alone.
    """

    secret_type = "Chutes key"  # noqa: S105 - the name of a kind
    denylist: ClassVar[tuple[re.Pattern[str], ...]] = (
        re.compile(
            r"cpk_[0-9a-f]{32}(?:\.[0-9a-f]{32}(?:\.[0-9a-z]{32})?)?",
            re.IGNORECASE,
        ),
        re.compile(r"(?<![A-Za-z0-9])cak_[0-9A-Za-z._~+/-]{20,}"),
    )

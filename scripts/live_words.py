"""What may be kept of a live answer: a list of what is harmless, since no list of secrets is ever whole.

Everything here is the platform's own vocabulary (`research/PLATFORM.md`), never something that a user or
an account could have written.
"""

import re
from http import HTTPStatus

TEXT = "[text]"
"""What stands in the place of a string that is not known to be harmless."""

REMOVED = "[removed]"
"""What stands in the place of a header value that is not known to be harmless."""

FIELD = re.compile(r"[a-z]{1,16}(?:_[a-z]{1,16}){0,5}(?:_\d{1,2}[mhd])?")
"""A key of an object that is kept: words, and at most a window of time."""

HEADERS = {
    "cache-control": re.compile(r"(?:no-cache|no-store|public|private|max-age=\d{1,8}|, ?)+"),
    "content-type": re.compile(r"[a-z]+/[a-z-]+(?:; ?charset=[A-Za-z0-9-]{1,10})?"),
    "retry-after": re.compile(r"\d{1,5}"),
    "server": re.compile(r"nginx|uvicorn|cloudflare"),
    "x-should-retry": re.compile(r"true|false"),
}
"""Header fields whose value is kept, if it looks like this."""

NAMED_HEADERS = {
    "set-cookie",
    "x-chutes-invocationid",
    "x-chutes-quota-remaining",
    "x-chutes-quota-total",
    "x-chutes-quota-used",
    "x-chutes-rl-user",
}
"""Header fields of which only the presence is kept. All others are left out."""

DETAILS = re.compile(
    r"""
      Infrastructure\ is\ at\ maximum\ capacity,\ try\ again\ later
    | No\ instances\ available\ \(yet\)\ for\ chute_id='[0-9a-f-]{36}'
    | This\ chute\ is\ currently\ disabled\.
    | exhausted\ all\ available\ targets\ to\ no\ avail
    | No\ infrastructure\ available\ to\ serve\ request
    | No\ result\ returned\ from\ upstream
    | Invalid\ token\.
    | No\ matching\ chute\ found!
    | Not\ Found
    | Field\ required
    | Nonce\ must\ be\ exactly\ 64\ hex\ characters\ \(32\ bytes\),\ got\ \d{1,3}
    | Nonce\ must\ be\ a\ valid\ hexadecimal\ string
    | Chute\ [0-9a-f-]{36}\ is\ not\ TEE-enabled
    | Instances\ requires\ chutes_version\ >=\ \d{1,2}\.\d{1,2}\.\d{1,2}\ to\ retrieve\ evidence\.
    | Chute\ not\ found
    | Rate\ limit\ exceeded\.\ Try\ again\ later\.
    | Attestation\ service\ unavailable\.(?:\ Try\ again\ later\.)?
    """,
    re.VERBOSE,
)
"""Texts of refusals that hold nothing but what is written here, and ids, which are replaced."""

DETAIL_BEGINS = (
    "Free models limit reached",
    "Invalid request:",
    "model not found:",
    "No instances available",
    "Attestation service unavailable.",
)
"""Texts of which the beginning is kept: after it the platform may quote the request or the account."""

WORD = re.compile(r"[A-Za-z][a-z0-9_.-]{0,30}|(?:[A-Z][a-z]{1,15}){2,4}|HOPPER|BLACKWELL")
WORD_FIELDS = {
    "action_taken",
    "arch",
    "finish_reason",
    "input_modalities",
    "loc",
    "object",
    "output_modalities",
    "owned_by",
    "quantization",
    "role",
    "supported_features",
    "supported_sampling_parameters",
    "type",
}
"""Fields whose strings are names from the platform's own small sets."""

NAME = re.compile(r"[\w.-]{1,64}(?:/[\w.-]{1,64})?", re.ASCII)
NAME_FIELDS = {"id", "model", "name", "root"}
"""Fields that may hold the name of a public model."""

ID_FIELDS = {"chute_id", "instance_id", "failed_instance_ids"}

MOMENT_FIELDS = {"timestamp"}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?")

QUOTE_FIELD = "quote"

UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

ACCOUNT = re.compile(
    r"(?i)user|account|balance|credit|phone|quota|email|wallet|payment|customer|owner_id"
)
"""Names of fields in which a number may say something of the one who asked."""

SUSPECT = re.compile(
    r"""
      (?i:c[pa]k_) | (?i:bearer) | (?i:sk-)    # keys and tokens
    | @                                        # e-mail
    | \d{1,3}(?:\.\d{1,3}){3}                  # IPv4
    | :.*:                                     # IPv6, and most things with a port
    | [0-9a-fA-F]{12,}                         # hashes, ids, payment addresses
    | 0x[0-9a-fA-F]{6,}
    | (?=[A-Za-z]*\d)[A-Za-z0-9]{20,}          # base58, base64, tokens
    | \$
    """,
    re.VERBOSE,
)
"""A name or word that holds one of these is not kept, whatever field it stands in."""

_TITLES = "|".join(re.escape(f"{status.value} {status.phrase}") for status in HTTPStatus)
EDGE_PAGE = re.compile(
    rf"<html>\s*<head><title>(?P<title>{_TITLES})</title></head>\s*<body>\s*"
    r"<center><h1>(?P=title)</h1></center>\s*<hr><center>(?:nginx|cloudflare)</center>\s*"
    r"</body>\s*</html>\s*"
)
"""The edge's page. One that looks otherwise is not kept."""

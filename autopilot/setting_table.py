"""The table of settings: names, defaults, limits and purposes, for reading, help and documents alike."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from autopilot import setting_values

_DAY_MS = 86_400_000
_GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One variable: its default as a user would write it, how it is read, what it is for.

    `secret`: its value is shown nowhere.
    """

    name: str
    default: str
    accepts: str
    parse: Callable[[str], Any]
    help: str
    secret: bool = False

    @property
    def field(self) -> str:
        """The field of `Settings` that it fills."""
        return self.name.lower().removesuffix("_ms").removesuffix("_secs")


def _whole(name: str, default: int, low: int, high: int, purpose: str) -> Spec:
    return Spec(
        name=name,
        default=str(default),
        accepts=f"a whole number from {low} to {high}",
        parse=partial(setting_values.integer, low=low, high=high),
        help=purpose,
    )


def _duration(name: str, default: int, purpose: str, *, low: int = 1) -> Spec:
    return Spec(
        name=name,
        default=str(default),
        accepts=f"whole milliseconds from {low} to {_DAY_MS}",
        parse=partial(setting_values.milliseconds, low=low, high=_DAY_MS),
        help=purpose,
    )


def _list(name: str, default: str, accepts: str, parse: Callable[[str], Any], purpose: str) -> Spec:
    return Spec(name=name, default=default, accepts=accepts, parse=parse, help=purpose)


_A_URL = "an http:// or https:// URL without user information or fragment"
_AN_ADDRESS = f"IPv4:port or [IPv6]:port, port 0 (any free one) to {setting_values.MAX_PORT}"
_A_SWITCH = "true or false (also 1, 0, yes, no)"
_LEVELS = ("debug", "info", "warn", "error", "critical")
_FORMATS = ("json", "text")
_FASTEST_REFRESH_MS = 50
_MOST_WORKERS = 256
_SHORTEST_SECRET = 16

SPECS: tuple[Spec, ...] = (
    _list(
        "LISTEN_ADDR",
        "0.0.0.0:8080",
        _AN_ADDRESS,
        setting_values.listen_address,
        "Address and port to listen on.",
    ),
    _list(
        "BACKEND_BASE_URL",
        "https://llm.chutes.ai",
        f"{_A_URL} or query, and without the /v1 of its routes",
        setting_values.base_url,
        "Where requests are sent; /v1/chat/completions is appended.",
    ),
    _list(
        "MODELS_URL",
        "https://llm.chutes.ai/v1/models",
        _A_URL,
        setting_values.url,
        "Where the model catalogue is fetched.",
    ),
    _duration(
        "MODELS_REFRESH_MS", 300_000, "Time between catalogue fetches.", low=_FASTEST_REFRESH_MS
    ),
    _list(
        "UTILIZATION_URL",
        "https://api.chutes.ai/chutes/utilization",
        _A_URL,
        setting_values.url,
        "Where the utilization feed is fetched.",
    ),
    _duration(
        "UTILIZATION_REFRESH_MS", 5_000, "Time between feed fetches.", low=_FASTEST_REFRESH_MS
    ),
    _duration("CONTROL_PLANE_TIMEOUT_MS", 10_000, "Deadline of one catalogue or feed fetch."),
    _whole(
        "CONTROL_PLANE_MAX_BYTES",
        4_194_304,
        1_024,
        _GIB,
        "Largest catalogue or feed accepted, in bytes after decoding.",
    ),
    _duration(
        "READYZ_MAX_SNAPSHOT_AGE_MS",
        20_000,
        "Age of the last good feed fetch beyond which /readyz is 503.",
    ),
    _duration(
        "READYZ_MAX_ALLOWLIST_AGE_MS",
        600_000,
        "Age of the last good catalogue fetch beyond which /readyz is 503.",
    ),
    _whole("MAX_REQUEST_BYTES", 8_388_608, 1, _GIB, "Largest request body accepted, in bytes."),
    _whole("MAX_MODEL_LIST_ITEMS", 8, 1, 64, "Most models in a comma-separated list."),
    _whole(
        "MAX_ATTEMPTS", 3, 1, 64, "Most candidates tried for an alias; a list is tried to its end."
    ),
    _duration("UPSTREAM_CONNECT_TIMEOUT_MS", 2_000, "Deadline of name resolution and connection."),
    _duration(
        "UPSTREAM_HEADER_TIMEOUT_MS",
        10_000,
        "Deadline of a streamed answer's headers; 60 ms per KiB of request body are added.",
    ),
    _duration(
        "UPSTREAM_COMPLETION_TIMEOUT_MS",
        600_000,
        "Deadline of an answer's headers when it is not streamed: they come with the whole answer.",
    ),
    _duration(
        "UPSTREAM_FIRST_BODY_BYTE_TIMEOUT_MS",
        120_000,
        "Deadline of the first body byte after the headers of a 2xx.",
    ),
    _whole(
        "UPSTREAM_MAX_IDLE_CONNECTIONS",
        128,
        1,
        10_000,
        "Most idle connections kept; below the number of concurrent requests, connections churn.",
    ),
    _duration(
        "STREAM_IDLE_TIMEOUT_MS",
        120_000,
        "How long an answer may be silent once it flows.",
    ),
    _duration(
        "REQUEST_TIMEOUT_MS",
        0,
        "Deadline of a whole request, its answer included; 0 is none.",
        low=0,
    ),
    _duration(
        "CLIENT_HEADER_TIMEOUT_MS",
        10_000,
        "How long a client may take for its header fields, from accept.",
    ),
    _duration("CLIENT_BODY_TIMEOUT_MS", 60_000, "How long a client may take for its body."),
    _duration("KEEPALIVE_TIMEOUT_MS", 75_000, "How long a client may be idle between requests."),
    _duration(
        "CLIENT_STALL_TIMEOUT_MS",
        60_000,
        "How long a client may take no byte of what is there for it before it is cut off.",
    ),
    _whole(
        "MAX_CONCURRENT_REQUESTS",
        1_024,
        1,
        1_000_000,
        "Most requests carried at once; more get 503.",
    ),
    _whole(
        "MAX_CONNECTIONS",
        0,
        0,
        1_000_000,
        "Most client connections; 0 derives it from the limit of open files.",
    ),
    Spec(
        name="WORKERS",
        default="1",
        accepts=f"a whole number from 1 to {_MOST_WORKERS}, or auto: one for each core",
        parse=partial(setting_values.workers, high=_MOST_WORKERS),
        help="Processes that serve; with more than one, another watches over them.",
    ),
    Spec(
        name="REQUIRE_AUTHORIZATION",
        default="false",
        accepts=_A_SWITCH,
        parse=setting_values.boolean,
        help="Refuse requests without a Bearer token before their body is read.",
    ),
    Spec(
        name="ADMIN_TOKEN",
        default="",
        accepts=f"at least {_SHORTEST_SECRET} visible ASCII characters",
        parse=partial(setting_values.token, shortest=_SHORTEST_SECRET),
        help="Who brings it as a Bearer token may see how the router chooses, under /autopilot/.",
        secret=True,
    ),
    _list(
        "ADMIN_LISTEN_ADDR",
        "",
        _AN_ADDRESS,
        setting_values.other_listen_address,
        "Where /autopilot/ is served instead, and nothing else; empty is none.",
    ),
    _duration(
        "DRAIN_READINESS_LAG_MS",
        0,
        "How long to go on accepting connections after /readyz says draining.",
        low=0,
    ),
    _duration(
        "DRAIN_GRACE_MS",
        30_000,
        "How long answers under way may take to end when the router stops.",
        low=0,
    ),
    Spec(
        name="STICKY_TTL_SECS",
        default="1800",
        accepts="whole seconds from 0 (off) to 86400",
        parse=partial(setting_values.seconds, low=0, high=86_400),
        help="How long a client is kept on the model that served it last.",
    ),
    _whole(
        "STICKY_MAX_ENTRIES",
        10_000,
        0,
        10_000_000,
        "Most clients remembered by a process; 0 turns stickiness off.",
    ),
    Spec(
        name="STICKY_URL",
        default="",
        accepts="redis:// or rediss://, then [[user]:password@]host[:port][/database]",
        parse=setting_values.redis_url,
        help="The Redis in which workers and replicas share who is kept where; empty is none.",
        secret=True,
    ),
    Spec(
        name="STICKY_SECRET",
        default="",
        accepts=f"at least {_SHORTEST_SECRET} characters",
        parse=partial(setting_values.secret, shortest=_SHORTEST_SECRET),
        help="Keys the hashes of clients in STICKY_URL, which needs it; the same for all who share.",
        secret=True,
    ),
    Spec(
        name="TRUST_PROXY_HEADERS",
        default="false",
        accepts=_A_SWITCH,
        parse=setting_values.boolean,
        help="Read X-Forwarded-For from peers in TRUSTED_PROXY_CIDRS.",
    ),
    _list(
        "TRUSTED_PROXY_CIDRS",
        "",
        "comma-separated networks such as 10.0.0.0/8,fd00::/8",
        setting_values.networks,
        "Whose X-Forwarded-For is believed.",
    ),
    _list(
        "SELECTOR",
        "capacity",
        "the name of an installed selector",
        str.lower,
        "The strategy that orders the models. Recommended: balanced. Simulated at 0.7 of the load, "
        "capacity had 0.4 % of requests refused with a feed every minute and 5 % with one every half "
        "hour, balanced 0.01 % with either (research/SELECTION.md).",
    ),
    _list(
        "SHADOW_SELECTOR",
        "",
        "the name of an installed selector",
        str.lower,
        "Another strategy that is asked beside and never followed: metrics tell how it would have fared.",
    ),
    _list(
        "MODEL_ALIASES",
        "chutesai/AutoPilot",
        "one or more comma-separated names",
        setting_values.names,
        "Names of a model that let the router choose.",
    ),
    _list(
        "ALLOW_MODELS",
        "",
        "comma-separated globs of model ids, such as deepseek-ai/*,*-TEE",
        setting_values.globs,
        "The only models that may be asked, by anybody and however they are named; empty allows all.",
    ),
    _list(
        "DENY_MODELS",
        "",
        "comma-separated globs of model ids, such as *-Guard-*",
        setting_values.globs,
        "Models that may not be asked, those in ALLOW_MODELS included.",
    ),
    Spec(
        name="REQUIRE_TEE",
        default="false",
        accepts=_A_SWITCH,
        parse=setting_values.boolean,
        help="Allow only models of which the catalogue says that they compute confidentially.",
    ),
    _list(
        "MAX_PRICE",
        "",
        "prompt=DOLLARS, completion=DOLLARS or both with a comma between, for a million tokens",
        setting_values.price_limit,
        "Allow only models of which the catalogue says that they cost no more; empty is no limit.",
    ),
    _list(
        "CORS_ALLOW_ORIGINS",
        "",
        "comma-separated origins such as https://example.org, or *",
        setting_values.origins,
        "Web origins that may call the router from a browser; empty turns CORS off.",
    ),
    Spec(
        name="LOG_LEVEL",
        default="info",
        accepts="one of " + ", ".join(_LEVELS),
        parse=partial(setting_values.choice, among=_LEVELS),
        help="Least important log lines written.",
    ),
    Spec(
        name="LOG_FORMAT",
        default="json",
        accepts="one of " + ", ".join(_FORMATS),
        parse=partial(setting_values.choice, among=_FORMATS),
        help="One JSON object a line, or text for reading at a terminal.",
    ),
)

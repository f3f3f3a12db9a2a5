"""Environment variables become one frozen `Settings` value, or a list of everything wrong with them.

One table, `SPECS`, is the source of names, defaults, limits, `--help` and `.env.example`. Durations are
whole milliseconds (or seconds, where the name says `_SECS`) in the environment and float seconds in
`Settings`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from autopilot import setting_values
from autopilot.setting_values import ListenAddress, Network

_DAY_MS = 86_400_000
_GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that can be set. Fields are the variables' names in lower case, less their unit."""

    listen_addr: ListenAddress
    backend_base_url: str
    models_url: str
    models_refresh: float
    utilization_url: str
    utilization_refresh: float
    control_plane_timeout: float
    control_plane_max_bytes: int
    readyz_max_snapshot_age: float
    readyz_max_allowlist_age: float
    max_request_bytes: int
    max_model_list_items: int
    max_attempts: int
    upstream_connect_timeout: float
    upstream_header_timeout: float
    upstream_completion_timeout: float
    upstream_first_body_byte_timeout: float
    upstream_max_idle_connections: int
    stream_idle_timeout: float
    request_timeout: float
    sticky_ttl: float
    sticky_max_entries: int
    trust_proxy_headers: bool
    trusted_proxy_cidrs: tuple[Network, ...]
    selector: str
    model_aliases: tuple[str, ...]
    cors_allow_origins: tuple[str, ...]
    log_level: str
    log_format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One variable: its default as a user would write it, how it is read, what it is for."""

    name: str
    default: str
    accepts: str
    parse: Callable[[str], Any]
    help: str

    @property
    def field(self) -> str:
        """The field of `Settings` that it fills."""
        return self.name.lower().removesuffix("_ms").removesuffix("_secs")


class SettingsError(Exception):
    """Every fault of the environment at once; the text has one line for each.

    `accepted` holds the fields that are well, so that a caller who checks more can go on.
    """

    def __init__(self, faults: list[str], accepted: Mapping[str, Any]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults
        self.accepted = accepted


def load(environ: Mapping[str, str]) -> Settings:
    """The settings in `environ`. An empty value counts as unset, as Compose and Kubernetes write it.

    Raises:
        SettingsError: one or more values cannot be accepted.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for spec in SPECS:
        text = environ.get(spec.name, "").strip() or spec.default
        try:
            values[spec.field] = spec.parse(text)
        except ValueError:
            faults.append(f"{spec.name}={_shown(text)!r} is not accepted: expected {spec.accepts}")
    if values.get("trust_proxy_headers") and values.get("trusted_proxy_cidrs") == ():
        faults.append(
            "TRUST_PROXY_HEADERS='true' is not accepted alone: TRUSTED_PROXY_CIDRS names none"
        )
    if faults:
        raise SettingsError(faults, values)
    return Settings(**values)


def env_example() -> str:
    """The text of `.env.example`: every variable with its default and what it accepts."""
    lines = ["# Every setting with its default. Copy to .env and uncomment what you change.", ""]
    for spec in SPECS:
        lines += [
            f"# {spec.help}",
            f"# Accepts {spec.accepts}.",
            f"#{spec.name}={spec.default}",
            "",
        ]
    return "\n".join(lines[:-1]) + "\n"


def help_text() -> str:
    """The settings as `twistd autopilot --help` lists them."""
    lines = ["Settings are read from the environment:"]
    for spec in SPECS:
        lines += [
            f"  {spec.name}={spec.default}",
            f"      {spec.help} Accepts {spec.accepts}.",
        ]
    return "\n".join(lines)


def _shown(text: str) -> str:
    # What stands before an "@" may be a password, however mangled the URL around it is.
    return f"[hidden]@{text.rpartition('@')[2]}" if "@" in text else text


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
_LEVELS = ("debug", "info", "warn", "error", "critical")
_FORMATS = ("json", "text")
_FASTEST_REFRESH_MS = 50

SPECS: tuple[Spec, ...] = (
    _list(
        "LISTEN_ADDR",
        "0.0.0.0:8080",
        f"IPv4:port or [IPv6]:port, port 0 (any free one) to {setting_values.MAX_PORT}",
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
    Spec(
        name="STICKY_TTL_SECS",
        default="1800",
        accepts="whole seconds from 0 (off) to 86400",
        parse=partial(setting_values.seconds, low=0, high=86_400),
        help="How long a client is kept on the model that served it last.",
    ),
    _whole("STICKY_MAX_ENTRIES", 10_000, 0, 10_000_000, "Most clients remembered; 0 turns it off."),
    Spec(
        name="TRUST_PROXY_HEADERS",
        default="false",
        accepts="true or false (also 1, 0, yes, no)",
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
        "The strategy that orders the models.",
    ),
    _list(
        "MODEL_ALIASES",
        "chutesai/AutoPilot",
        "one or more comma-separated names",
        setting_values.names,
        "Names of a model that let the router choose.",
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

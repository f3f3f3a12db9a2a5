"""Environment variables become one frozen `Settings` value, or a list of everything wrong with them.

The table of `autopilot.setting_table` is the source of names, defaults, limits, `--help` and
`.env.example`. Durations are whole milliseconds (or seconds, where the name says `_SECS`) in the
environment, and float seconds in `Settings`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autopilot.setting_table import SPECS
from autopilot.setting_values import ListenAddress, Network, PriceLimit, RedisAddress


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
    client_header_timeout: float
    client_body_timeout: float
    keepalive_timeout: float
    client_stall_timeout: float
    max_concurrent_requests: int
    max_connections: int
    workers: int
    require_authorization: bool
    admin_token: str = field(repr=False)
    admin_listen_addr: ListenAddress | None
    drain_readiness_lag: float
    drain_grace: float
    sticky_ttl: float
    sticky_max_entries: int
    sticky_url: RedisAddress | None = field(repr=False)
    sticky_secret: str = field(repr=False)
    trust_proxy_headers: bool
    trusted_proxy_cidrs: tuple[Network, ...]
    selector: str
    shadow_selector: str
    model_aliases: tuple[str, ...]
    allow_models: tuple[str, ...]
    deny_models: tuple[str, ...]
    require_tee: bool
    max_price: PriceLimit
    cors_allow_origins: tuple[str, ...]
    log_level: str
    log_format: str


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
            shown = "[hidden]" if spec.secret else repr(_shown(text))
            faults.append(f"{spec.name}={shown} is not accepted: expected {spec.accepts}")
    if values.get("trust_proxy_headers") and values.get("trusted_proxy_cidrs") == ():
        faults.append(
            "TRUST_PROXY_HEADERS='true' is not accepted alone: TRUSTED_PROXY_CIDRS names none"
        )
    if values.get("sticky_url") is not None and values.get("sticky_secret") == "":
        faults.append("STICKY_URL=[hidden] is not accepted alone: STICKY_SECRET is empty")
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

"""The environment: defaults, limits, and every fault at once in words that give nothing away."""

import os
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path

import pytest

from autopilot.setting_table import SPECS
from autopilot.setting_values import ListenAddress, PriceLimit, RedisAddress
from autopilot.settings import Settings, SettingsError, env_example, help_text, load

ROOT = Path(__file__).parents[1]
DAY_MS = 86_400_000
GIB = 1 << 30

DEFAULTS = Settings(
    listen_addr=ListenAddress(host="0.0.0.0", port=8080),  # noqa: S104 - the documented default
    backend_base_url="https://llm.chutes.ai",
    models_url="https://llm.chutes.ai/v1/models",
    models_refresh=300.0,
    utilization_url="https://api.chutes.ai/chutes/utilization",
    utilization_refresh=5.0,
    control_plane_timeout=10.0,
    control_plane_max_bytes=4_194_304,
    readyz_max_snapshot_age=20.0,
    readyz_max_allowlist_age=600.0,
    max_request_bytes=8_388_608,
    max_model_list_items=8,
    max_attempts=3,
    upstream_connect_timeout=2.0,
    upstream_header_timeout=10.0,
    upstream_completion_timeout=600.0,
    upstream_first_body_byte_timeout=120.0,
    upstream_max_idle_connections=128,
    stream_idle_timeout=120.0,
    request_timeout=0.0,
    client_header_timeout=10.0,
    client_body_timeout=60.0,
    keepalive_timeout=75.0,
    client_stall_timeout=60.0,
    max_concurrent_requests=1024,
    max_connections=0,
    workers=1,
    require_authorization=False,
    admin_token="",
    admin_listen_addr=None,
    drain_readiness_lag=0.0,
    drain_grace=30.0,
    sticky_ttl=1800.0,
    sticky_max_entries=10_000,
    sticky_url=None,
    sticky_secret="",
    trust_proxy_headers=False,
    trusted_proxy_cidrs=(),
    selector="capacity",
    shadow_selector="",
    model_aliases=("chutesai/AutoPilot",),
    allow_models=(),
    deny_models=(),
    require_tee=False,
    max_price=PriceLimit(),
    cors_allow_origins=(),
    log_level="info",
    log_format="json",
)

VARIABLES = [
    "LISTEN_ADDR",
    "BACKEND_BASE_URL",
    "MODELS_URL",
    "MODELS_REFRESH_MS",
    "UTILIZATION_URL",
    "UTILIZATION_REFRESH_MS",
    "CONTROL_PLANE_TIMEOUT_MS",
    "CONTROL_PLANE_MAX_BYTES",
    "READYZ_MAX_SNAPSHOT_AGE_MS",
    "READYZ_MAX_ALLOWLIST_AGE_MS",
    "MAX_REQUEST_BYTES",
    "MAX_MODEL_LIST_ITEMS",
    "MAX_ATTEMPTS",
    "UPSTREAM_CONNECT_TIMEOUT_MS",
    "UPSTREAM_HEADER_TIMEOUT_MS",
    "UPSTREAM_COMPLETION_TIMEOUT_MS",
    "UPSTREAM_FIRST_BODY_BYTE_TIMEOUT_MS",
    "UPSTREAM_MAX_IDLE_CONNECTIONS",
    "STREAM_IDLE_TIMEOUT_MS",
    "REQUEST_TIMEOUT_MS",
    "CLIENT_HEADER_TIMEOUT_MS",
    "CLIENT_BODY_TIMEOUT_MS",
    "KEEPALIVE_TIMEOUT_MS",
    "CLIENT_STALL_TIMEOUT_MS",
    "MAX_CONCURRENT_REQUESTS",
    "MAX_CONNECTIONS",
    "WORKERS",
    "REQUIRE_AUTHORIZATION",
    "ADMIN_TOKEN",
    "ADMIN_LISTEN_ADDR",
    "DRAIN_READINESS_LAG_MS",
    "DRAIN_GRACE_MS",
    "STICKY_TTL_SECS",
    "STICKY_MAX_ENTRIES",
    "STICKY_URL",
    "STICKY_SECRET",
    "TRUST_PROXY_HEADERS",
    "TRUSTED_PROXY_CIDRS",
    "SELECTOR",
    "SHADOW_SELECTOR",
    "MODEL_ALIASES",
    "ALLOW_MODELS",
    "DENY_MODELS",
    "REQUIRE_TEE",
    "MAX_PRICE",
    "CORS_ALLOW_ORIGINS",
    "LOG_LEVEL",
    "LOG_FORMAT",
]

BOUNDS = {
    "MODELS_REFRESH_MS": (50, DAY_MS),
    "UTILIZATION_REFRESH_MS": (50, DAY_MS),
    "CONTROL_PLANE_TIMEOUT_MS": (1, DAY_MS),
    "CONTROL_PLANE_MAX_BYTES": (1024, GIB),
    "READYZ_MAX_SNAPSHOT_AGE_MS": (1, DAY_MS),
    "READYZ_MAX_ALLOWLIST_AGE_MS": (1, DAY_MS),
    "MAX_REQUEST_BYTES": (1, GIB),
    "MAX_MODEL_LIST_ITEMS": (1, 64),
    "MAX_ATTEMPTS": (1, 64),
    "UPSTREAM_CONNECT_TIMEOUT_MS": (1, DAY_MS),
    "UPSTREAM_HEADER_TIMEOUT_MS": (1, DAY_MS),
    "UPSTREAM_COMPLETION_TIMEOUT_MS": (1, DAY_MS),
    "UPSTREAM_FIRST_BODY_BYTE_TIMEOUT_MS": (1, DAY_MS),
    "UPSTREAM_MAX_IDLE_CONNECTIONS": (1, 10_000),
    "STREAM_IDLE_TIMEOUT_MS": (1, DAY_MS),
    "REQUEST_TIMEOUT_MS": (0, DAY_MS),
    "CLIENT_HEADER_TIMEOUT_MS": (1, DAY_MS),
    "CLIENT_BODY_TIMEOUT_MS": (1, DAY_MS),
    "KEEPALIVE_TIMEOUT_MS": (1, DAY_MS),
    "CLIENT_STALL_TIMEOUT_MS": (1, DAY_MS),
    "MAX_CONCURRENT_REQUESTS": (1, 1_000_000),
    "MAX_CONNECTIONS": (0, 1_000_000),
    "DRAIN_READINESS_LAG_MS": (0, DAY_MS),
    "DRAIN_GRACE_MS": (0, DAY_MS),
    "STICKY_TTL_SECS": (0, 86_400),
    "STICKY_MAX_ENTRIES": (0, 10_000_000),
}
NUMBERS = [(name, low, high) for name, (low, high) in BOUNDS.items()]
URLS = ["BACKEND_BASE_URL", "MODELS_URL", "UTILIZATION_URL"]


def field_of(name: str) -> str:
    return name.lower().removesuffix("_ms").removesuffix("_secs")


def loaded(name: str, text: str) -> object:
    return getattr(load({name: text}), field_of(name))


def faults_of(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(environ)
    return caught.value.faults


def fault_of(name: str, text: str) -> str:
    (fault,) = faults_of({name: text})
    assert fault.startswith(f"{name}=")
    return fault


def test_without_an_environment_every_default_is_the_documented_one() -> None:
    assert load({}) == DEFAULTS


def test_the_variables_are_the_documented_ones_and_each_fills_one_field() -> None:
    assert [spec.name for spec in SPECS] == VARIABLES
    assert [field_of(name) for name in VARIABLES] == [field.name for field in fields(Settings)]


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_a_blank_value_counts_as_unset(blank: str) -> None:
    assert load(dict.fromkeys(VARIABLES, blank)) == DEFAULTS


def test_other_variables_are_not_looked_at() -> None:
    assert load({"PATH": "/bin", "MAX_ATTEMPT": "x", "max_attempts": "x"}) == DEFAULTS


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_each_default_may_be_written_out(spec: object) -> None:
    assert load({getattr(spec, "name", ""): getattr(spec, "default", "")}) == DEFAULTS


@pytest.mark.parametrize(("name", "low", "high"), NUMBERS)
def test_both_ends_of_a_range_are_accepted(name: str, low: int, high: int) -> None:
    scale = 1000 if name.endswith("_MS") else 1
    assert loaded(name, str(low)) == low / scale
    assert loaded(name, str(high)) == high / scale


@pytest.mark.parametrize(("name", "low", "high"), NUMBERS)
def test_one_beyond_a_range_is_refused_and_the_range_is_named(
    name: str, low: int, high: int
) -> None:
    for text in (str(low - 1), str(high + 1)):
        fault = fault_of(name, text)
        assert f"{text!r}" in fault
        assert str(low) in fault
        assert str(high) in fault


@pytest.mark.parametrize(
    "text", ["x", "1.0", "1e3", "+3", "-1", "3 3", "0x3", "3_0", "٣", "³", "9" * 5000, "NaN"]
)
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    for name in BOUNDS:
        assert "whole" in fault_of(name, text)


def test_blanks_around_a_value_do_not_matter() -> None:
    assert load({"MAX_ATTEMPTS": " 5\n"}).max_attempts == 5


NAMES_OF_SELECTORS = {"SELECTOR", "SHADOW_SELECTOR"}
"""Which names are accepted is not known before plug-ins are looked for."""


def test_all_faults_are_listed_at_once_each_with_name_value_and_what_is_accepted() -> None:
    bad = {
        spec.name: "\x00"
        for spec in SPECS
        if spec.name not in {*NAMES_OF_SELECTORS, "MODEL_ALIASES"}
    }
    bad |= {"MODEL_ALIASES": ",", "MAX_ATTEMPTS": "0", "LOG_LEVEL": "loud"}
    faults = faults_of(bad)
    assert [fault.partition("=")[0] for fault in faults] == [
        name for name in VARIABLES if name not in NAMES_OF_SELECTORS
    ]
    assert "MAX_ATTEMPTS='0' is not accepted: expected a whole number from 1 to 64" in faults
    assert (
        "LOG_LEVEL='loud' is not accepted: expected one of debug, info, warn, error, critical"
        in faults
    )


def test_the_text_of_the_error_has_a_line_for_each_fault() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"MAX_ATTEMPTS": "0", "LOG_FORMAT": "xml"})
    assert str(caught.value).splitlines() == caught.value.faults
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("[::]:8080", "::", 8080),
        ("[::1]:0", "::1", 0),
        ("0.0.0.0:65535", "0.0.0.0", 65535),  # noqa: S104 - an example
    ],
)
def test_a_listen_address_is_ipv4_or_bracketed_ipv6(text: str, host: str, port: int) -> None:
    assert load({"LISTEN_ADDR": text}).listen_addr == ListenAddress(host=host, port=port)


@pytest.mark.parametrize(
    "text",
    [
        "8080",
        ":8080",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:http",
        "localhost:80",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[127.0.0.1]:80",
        "[]:80",
        "1.2.3:80",
        "1.2.3.4.5:80",
    ],
)
def test_another_listen_address_is_refused(text: str) -> None:
    assert "IPv4:port or [IPv6]:port" in fault_of("LISTEN_ADDR", text)


@pytest.mark.parametrize("text", ["0.0.0.0/0:8080", "10.0.0.0/8:80", "[::/0]:80"])
def test_a_network_is_no_listen_address(text: str) -> None:
    fault_of("LISTEN_ADDR", text)


def test_the_operator_may_have_an_address_of_his_own() -> None:
    found = load({"ADMIN_LISTEN_ADDR": "[::1]:9"}).admin_listen_addr
    assert found == ListenAddress(host="::1", port=9)
    assert "IPv4:port or [IPv6]:port" in fault_of("ADMIN_LISTEN_ADDR", "localhost:80")


def test_the_operators_token_is_long_fits_a_header_and_is_never_shown() -> None:
    token = "marked-token-16c"
    settings = load({"ADMIN_TOKEN": token})
    assert settings.admin_token == token
    assert token not in repr(settings)
    for text in (
        token[:-1],
        "marked-tok\u00e9n-of-16",
        "marked token of 16",
        "marked-token\x00of-16",
    ):
        fault = fault_of("ADMIN_TOKEN", text)
        assert "marked" not in fault
        assert "at least 16 visible ASCII characters" in fault


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize(
    "text",
    ["http://127.0.0.1:9090", "https://[::1]:443/a/b", "http://h", "https://h.example:65535/v2"],
)
def test_an_http_url_is_accepted_as_it_is(name: str, text: str) -> None:
    assert loaded(name, text) == text


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize(
    "text",
    [
        "llm.chutes.ai",
        "//llm.chutes.ai",
        "ftp://llm.chutes.ai",
        "https://",
        "https:///path",
        "https://:443",
        "https://user@host",
        "https://:pass@host",
        "https://@host",
        "https://host#part",
        "https://host:0",
        "https://host:65536",
        "https://host:x",
        "https://ho st",
        "https://host/a b",
        "https://host/\u00e9",
        "https://h\u00f6st",
        "https://[::1",
        "https://ho\nst",
        "https://host\x7f",
    ],
)
def test_another_url_is_refused(name: str, text: str) -> None:
    assert "http:// or https:// URL" in fault_of(name, text)


def test_a_base_url_loses_its_slash_and_may_hold_no_query() -> None:
    assert load({"BACKEND_BASE_URL": "https://h/base/"}).backend_base_url == "https://h/base"
    fault_of("BACKEND_BASE_URL", "https://h/?a=b")
    assert load({"MODELS_URL": "https://h/m?a=b"}).models_url == "https://h/m?a=b"


@pytest.mark.parametrize("text", ["https://h?", "https://h/?", "https://h#", "https://h/v?#"])
def test_a_base_url_may_hold_no_empty_query_or_fragment_either(text: str) -> None:
    fault_of("BACKEND_BASE_URL", text)


@pytest.mark.parametrize(
    "text",
    [
        "https://marked-user:marked-pass@host/path",
        "https://marked-pass@host",
        "https://marked-user:marked@pass@host",
        "ftp://marked-user:marked-pass@host",
        "https://user@host,https://marked-user:marked-pass@host",
    ],
)
def test_user_information_in_a_url_is_never_shown(text: str) -> None:
    for name in [*URLS, "CORS_ALLOW_ORIGINS"]:
        fault = fault_of(name, text)
        assert "marked" not in fault
        assert "host" in fault


@pytest.mark.parametrize(
    "text", ["marked-user:marked-pass@host", "https:/marked-user:marked-pass@host"]
)
def test_user_information_in_a_url_with_a_slip_is_not_shown_either(text: str) -> None:
    assert "marked" not in fault_of("BACKEND_BASE_URL", text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, True) for text in ("true", "TRUE", "1", "yes", "Yes")),
        *((text, False) for text in ("false", "0", "no", "No")),
    ],
)
def test_a_switch_is_a_word_for_yes_or_no(text: str, *, value: bool) -> None:
    environ = {"TRUST_PROXY_HEADERS": text, "TRUSTED_PROXY_CIDRS": "10.0.0.0/8"}
    assert load(environ).trust_proxy_headers is value


def test_trust_in_nobody_is_a_fault() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"TRUST_PROXY_HEADERS": "true"})
    (fault,) = caught.value.faults
    assert "TRUSTED_PROXY_CIDRS" in fault


@pytest.mark.parametrize("text", ["https://h/v1", "https://h/v1/"])
def test_the_base_url_of_the_sdks_is_named_as_one_path_too_many(text: str) -> None:
    assert "/v1" in fault_of("BACKEND_BASE_URL", text)


@pytest.mark.parametrize("text", ["on", "off", "2", "y", "true,"])
def test_another_word_is_no_switch(text: str) -> None:
    assert "true or false" in fault_of("TRUST_PROXY_HEADERS", text)


def test_networks_are_listed_with_commas_and_their_host_bits_are_ignored() -> None:
    text = " 10.1.2.3/8 ,fd00::/8,192.168.1.1, 10.1.2.3/8,"
    assert load({"TRUSTED_PROXY_CIDRS": text}).trusted_proxy_cidrs == (
        ip_network("10.0.0.0/8"),
        ip_network("fd00::/8"),
        ip_network("192.168.1.1/32"),
    )


@pytest.mark.parametrize("text", ["10.0.0.0/33", "host", "10.0.0.0/8;fd00::/8", "fd00::/129"])
def test_what_is_no_network_is_refused(text: str) -> None:
    assert "networks" in fault_of("TRUSTED_PROXY_CIDRS", text)


def test_aliases_are_trimmed_kept_in_order_and_named_once() -> None:
    assert load({"MODEL_ALIASES": " a/B ,c,, a/B"}).model_aliases == ("a/B", "c")


@pytest.mark.parametrize("text", [",", " , ,"])
def test_at_least_one_alias_is_needed(text: str) -> None:
    assert "one or more" in fault_of("MODEL_ALIASES", text)


def test_models_are_allowed_and_denied_by_globs() -> None:
    text = " org/*, *-TEE,org/*,"
    assert load({"ALLOW_MODELS": text}).allow_models == ("org/*", "*-TEE")
    assert load({"DENY_MODELS": "[a-c]?/*"}).deny_models == ("[a-c]?/*",)
    assert "globs" in fault_of("DENY_MODELS", "a\x00b")


@pytest.mark.parametrize(
    ("text", "prompt", "completion"),
    [
        ("prompt=0.5,completion=2", 0.5, 2.0),
        (" completion = 1e1 ,", None, 10.0),
        ("prompt=0", 0.0, None),
    ],
)
def test_the_highest_price_has_two_parts(
    text: str, prompt: float | None, completion: float | None
) -> None:
    limit = load({"MAX_PRICE": text}).max_price
    assert limit == PriceLimit(prompt=prompt, completion=completion)


@pytest.mark.parametrize(
    "text",
    [
        *("1", "prompt", "prompt=", "prompt=x", "prompt=-1", "prompt=nan", "prompt=inf"),
        *("image=1", "prompt=1,prompt=2", "prompt=1;completion=2", "Prompt=1"),
    ],
)
def test_another_price_is_refused(text: str) -> None:
    assert "prompt=DOLLARS" in fault_of("MAX_PRICE", text)


def test_origins_are_urls_without_a_path_or_a_star() -> None:
    text = "https://a.example,http://127.0.0.1:3000"
    assert load({"CORS_ALLOW_ORIGINS": text}).cors_allow_origins == tuple(text.split(","))
    assert load({"CORS_ALLOW_ORIGINS": "*"}).cors_allow_origins == ("*",)


@pytest.mark.parametrize(
    "text",
    ["https://a.example/", "a.example", "null", "https://a.example?x", "*,b", "file://x"],
)
def test_another_origin_is_refused(text: str) -> None:
    assert "origins" in fault_of("CORS_ALLOW_ORIGINS", text)


MARKED = "marked-pass"
SHARED = 2 * MARKED


def redis(**parts: object) -> RedisAddress:
    given: dict[str, object] = {"host": "h", "port": 6379, "tls": False, "database": 0}
    return RedisAddress(**(given | {"username": None, "password": None} | parts))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("redis://h", redis()),
        ("redis://h/", redis()),
        ("rediss://h:7000/15", redis(tls=True, port=7000, database=15)),
        ("redis://:marked%2Dpass@h", redis(password=MARKED)),
        ("redis://u%C3%A9:marked-pass@h", redis(username="ué", password=MARKED)),
        (
            "redis://u:marked-pass@[::1]:1/0",
            redis(host="::1", port=1, username="u", password=MARKED),
        ),
    ],
)
def test_a_redis_url_names_server_user_and_database(text: str, address: RedisAddress) -> None:
    assert load({"STICKY_URL": text, "STICKY_SECRET": SHARED}).sticky_url == address


@pytest.mark.parametrize(
    "text",
    [
        "h:6379",
        "http://:marked-pass@h",
        "unix:///run/redis.sock",
        "redis://",
        "redis://:6379",
        "redis://h:0",
        "redis://h:65536",
        "redis://h/x",
        "redis://h/65536",
        "redis://h/-1",
        "redis://h/0/1",
        "redis://marked@h",
        "redis://marked:@h",
        "redis://:marked%FF@h",
        "redis://h?password=marked",
        "redis://h#marked",
        "redis://:mar ked@h",
        "redis://:mark\u00e9d@h",
    ],
)
def test_another_redis_url_is_refused_and_not_shown(text: str) -> None:
    (fault,) = faults_of({"STICKY_URL": text, "STICKY_SECRET": SHARED})
    assert fault.startswith("STICKY_URL=[hidden] is not accepted: expected redis:// or rediss://")
    assert "mar" not in fault


def test_a_shared_store_needs_a_secret_of_some_length_which_is_not_shown() -> None:
    (fault,) = faults_of({"STICKY_URL": "redis://:marked-pass@h"})
    assert "STICKY_SECRET" in fault
    assert "marked" not in fault
    short = {"STICKY_URL": "redis://:marked-pass@h", "STICKY_SECRET": SHARED[:15]}
    (fault,) = faults_of(short)
    assert fault == "STICKY_SECRET=[hidden] is not accepted: expected at least 16 characters"
    assert load({"STICKY_SECRET": SHARED}).sticky_url is None


def test_settings_can_be_printed_without_their_secrets() -> None:
    settings = load({"STICKY_URL": "redis://marked:marked-pass@marked", "STICKY_SECRET": SHARED})
    assert "marked" not in repr(settings)
    assert "marked-" not in repr(redis(username="marked-user", password=MARKED))


def test_workers_are_a_number_or_one_for_each_core() -> None:
    assert load({"WORKERS": "3"}).workers == 3
    assert load({"WORKERS": "Auto"}).workers == len(os.sched_getaffinity(0))
    for text in ("0", "-1", "257", "all"):
        assert "auto" in fault_of("WORKERS", text)


def test_words_are_taken_in_any_case() -> None:
    settings = load({"SELECTOR": "Capacity", "LOG_LEVEL": "DEBUG", "LOG_FORMAT": "Text"})
    assert (settings.selector, settings.log_level, settings.log_format) == (
        "capacity",
        "debug",
        "text",
    )


@pytest.mark.parametrize("level", ["debug", "info", "warn", "error", "critical"])
def test_every_level_is_accepted(level: str) -> None:
    assert load({"LOG_LEVEL": level}).log_level == level


@pytest.mark.parametrize(("name", "text"), [("LOG_LEVEL", "warning"), ("LOG_FORMAT", "xml")])
def test_another_word_is_refused(name: str, text: str) -> None:
    assert "one of" in fault_of(name, text)


def test_the_example_file_is_what_the_settings_make_of_it() -> None:
    assert (ROOT / ".env.example").read_bytes() == env_example().encode()


def test_the_example_file_sets_nothing_and_uncommented_sets_every_default() -> None:
    lines = env_example().splitlines()
    assert not [line for line in lines if line and not line.startswith("#")]
    assignments = [line[1:].partition("=") for line in lines if line[1:2].isupper()]
    assert [name for name, _, _ in assignments] == VARIABLES
    assert load({name: value for name, _, value in assignments}) == DEFAULTS


def test_the_help_names_every_variable_with_its_default_and_what_it_accepts() -> None:
    text = help_text()
    for spec in SPECS:
        assert f"  {spec.name}={spec.default}\n" in text
        assert f"Accepts {spec.accepts}." in text

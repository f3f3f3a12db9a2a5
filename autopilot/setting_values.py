"""How the text of one setting becomes a value; every function raises ValueError for what it refuses."""

import math
import os
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, unquote, urlsplit

Network = IPv4Network | IPv6Network

MAX_PORT = 65_535
_MAPPED_PREFIX = 96
_REDIS_PORT = 6379
_MOST_DATABASES = 65_535
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """Where the router listens. `host` is an IP address, without brackets."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """A database of a Redis server, and as whom to ask it. `host` is without brackets."""

    host: str
    port: int
    tls: bool
    database: int
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLimit:
    """US dollars for a million tokens; None is no limit."""

    prompt: float | None = None
    completion: float | None = None


def integer(text: str, *, low: int, high: int) -> int:
    """A whole number in decimal digits."""
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise ValueError
    return int(text)


def workers(text: str, *, high: int) -> int:
    """A number of processes; `auto` is one for each core that this process may use."""
    if text.lower() == "auto":
        return min(len(os.sched_getaffinity(0)), high)
    return integer(text, low=1, high=high)


def milliseconds(text: str, *, low: int, high: int) -> float:
    """Whole milliseconds, as seconds."""
    return integer(text, low=low, high=high) / 1000


def seconds(text: str, *, low: int, high: int) -> float:
    """Whole seconds."""
    return float(integer(text, low=low, high=high))


def boolean(text: str) -> bool:
    """A word for yes or no."""
    if text.lower() not in _BOOLEANS:
        raise ValueError
    return _BOOLEANS[text.lower()]


def choice(text: str, *, among: tuple[str, ...]) -> str:
    """One of `among`, in any case."""
    if text.lower() not in among:
        raise ValueError
    return text.lower()


def items(text: str) -> tuple[str, ...]:
    """What stands between commas, each once, blanks trimmed."""
    return tuple(dict.fromkeys(item for part in text.split(",") if (item := part.strip())))


def names(text: str) -> tuple[str, ...]:
    """At least one item."""
    names = items(text)
    if not names or not text.isprintable():
        raise ValueError
    return names


def globs(text: str) -> tuple[str, ...]:
    """Patterns of model ids, in which `*`, `?` and `[...]` are wildcards."""
    if not text.isprintable():
        raise ValueError
    return items(text)


def price_limit(text: str) -> PriceLimit:
    """`prompt=DOLLARS`, `completion=DOLLARS`, or both with a comma between."""
    prices: dict[str, float] = {}
    for item in items(text):
        name, equals, amount = item.partition("=")
        name, dollars = name.strip(), float(amount)
        if name not in {"prompt", "completion"} or name in prices or not equals:
            raise ValueError
        if not math.isfinite(dollars) or dollars < 0:
            raise ValueError
        prices[name] = dollars
    return PriceLimit(**prices)


def origins(text: str) -> tuple[str, ...]:
    """Web origins (RFC 6454): scheme, host and port; or `*`."""
    for origin in (origins := items(text)):
        if origin != "*":
            parts = http_url(origin)
            if parts.path or parts.query:
                raise ValueError
    return origins


def networks(text: str) -> tuple[Network, ...]:
    """IP networks; host bits are ignored, and an IPv4-mapped network is its IPv4 network."""
    return tuple(_unmapped(ip_network(item, strict=False)) for item in items(text))


def _unmapped(network: Network) -> Network:
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < _MAPPED_PREFIX:
        return network
    return IPv4Network((mapped, network.prefixlen - _MAPPED_PREFIX))


def http_url(text: str) -> SplitResult:
    """The parts of an absolute URL that can be fetched as it is."""
    parts = urlsplit(text)
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or parts.username is not None
        or "#" in text
        or parts.port == 0  # reading .port raises ValueError beyond 65535
        or not text.isascii()
        or not text.isprintable()
        or " " in text
    ):
        raise ValueError
    return parts


def url(text: str) -> str:
    """An absolute URL."""
    http_url(text)
    return text


def base_url(text: str) -> str:
    """An absolute URL that a path may be appended to."""
    http_url(text)
    base = text.rstrip("/")
    if "?" in text or base.endswith("/v1"):
        raise ValueError
    return base


def redis_url(text: str) -> RedisAddress | None:
    """`redis[s]://[[user]:password@]host[:port][/database]`; None for an empty text.

    What a URL cannot hold may be percent-encoded in user and password.
    """
    if not text:
        return None
    parts = urlsplit(text)
    database = parts.path.removeprefix("/")
    username = unquote(parts.username or "", errors="strict") or None
    password = unquote(parts.password or "", errors="strict") or None
    if (
        parts.scheme not in {"redis", "rediss"}
        or not parts.hostname
        or (parts.username is not None and password is None)
        or "#" in text
        or "?" in text
        or parts.port == 0
        or not text.isascii()
        or not text.isprintable()
        or " " in text
    ):
        raise ValueError
    return RedisAddress(
        host=parts.hostname,
        port=_REDIS_PORT if parts.port is None else parts.port,
        tls=parts.scheme == "rediss",
        database=integer(database, low=0, high=_MOST_DATABASES) if database else 0,
        username=username,
        password=password,
    )


def secret(text: str, *, shortest: int) -> str:
    """Something that cannot be guessed, or nothing."""
    if text and len(text) < shortest:
        raise ValueError
    return text


def token(text: str, *, shortest: int) -> str:
    """A secret that fits into a header field, or nothing."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError
    return secret(text, shortest=shortest)


def other_listen_address(text: str) -> ListenAddress | None:
    """A listen address; None for an empty text."""
    return listen_address(text) if text else None


def listen_address(text: str) -> ListenAddress:
    """`IPv4:port` or `[IPv6]:port`."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or (":" in host and not bracketed):
        raise ValueError
    host = host[1:-1] if bracketed else host
    if bracketed is not (ip_address(host).version == 6):  # noqa: PLR2004
        raise ValueError
    return ListenAddress(host=host, port=integer(port, low=0, high=MAX_PORT))

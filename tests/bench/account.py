"""A raw account made by hand, of numbers that are easy to divide."""

from copy import deepcopy
from typing import Any

META: dict[str, Any] = {
    "when": "2026-01-02 03:04 UTC",
    "machine": "a machine, 2 cores, 4 GiB",
    "system": "a system",
    "python": "CPython 3.11.0",
    "twisted": "Twisted 1",
    "router": "1.0 (commit abc)",
    "load": "0.10",
    "rounds": 2,
    "seconds": 4.0,
    "only": "",
    "left_out": "",
}


def peer(*rounds: dict[str, float], **other: Any) -> dict[str, Any]:
    return {
        "version": "1.2",
        "absent": None,
        "interval_ms": 20.0,
        "rounds": list(rounds),
        "streams": {},
        "failures": [],
        **other,
    }


_RAW: dict[str, Any] = {
    "meta": META,
    "peers": {
        "direct": peer(
            {
                "chunk_us": 10.0,
                "json_us": 8.0,
                "requests_per_second": 30_000.0,
                "alone_per_second": 60_000.0,
                "one_p50_ms": 0.1,
                "one_p99_ms": 0.2,
                "delay_p99_us": 500.0,
            },
            {
                "chunk_us": 12.0,
                "json_us": 8.0,
                "requests_per_second": 30_000.0,
                "one_p50_ms": 0.3,
                "one_p99_ms": 0.4,
                "delay_p99_us": 500.0,
            },
        ),
        "autopilot": peer(
            {
                "chunk_us": 40.0,
                "chunk_cpu": 0.4,
                "tls_chunk_us": 60.0,
                "delay_p99_us": 1_500.0,
                "json_us": 400.0,
                "json_cpu": 1.0,
                "requests_per_second": 2_500.0,
                "one_p50_ms": 0.6,
                "one_p99_ms": 2.2,
                "rss_idle_kib": 51_200,
                "rss_held_kib": 76_200,
                "rss_after_kib": 76_200,
            },
            {
                "chunk_us": 44.0,
                "chunk_cpu": 0.4,
                "tls_chunk_us": 60.0,
                "delay_p99_us": 1_500.0,
                "json_us": 400.0,
                "json_cpu": 1.0,
                "requests_per_second": 2_500.0,
                "one_p50_ms": 0.8,
                "one_p99_ms": 2.4,
                "rss_idle_kib": 51_200,
                "rss_held_kib": 76_200,
                "rss_after_kib": 76_200,
            },
            streams={"100": 22.0, "300": 30.0, "500": 39.9, "750": 41.0},
        ),
        "nginx": peer(
            {
                "chunk_us": 21.0,
                "tls_chunk_us": 25.0,
                "json_us": 20.0,
                "json_cpu": 0.5,
                "requests_per_second": 25_000.0,
                "one_p50_ms": 0.2,
                "one_p99_ms": 0.3,
                "rss_idle_kib": 10_240,
            },
            {"chunk_us": 21.0},
        ),
        "vllm-router": peer({"chunk_us": 30.0}),
        "smg": peer({"chunk_us": 28.0}, failures=["memory: 3 requests failed"]),
        "litellm": peer(
            {"chunk_us": 1_000.0, "delay_p99_us": 900_000.0, "json_us": 5_000.0}, interval_ms=500.0
        ),
        "portkey": peer(version="", absent="npm has no network"),
    },
}


def raw() -> dict[str, Any]:
    """A copy of its own for each test."""
    return deepcopy(_RAW)

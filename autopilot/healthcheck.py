"""Healthcheck: one GET of /readyz at the address that the router was told to listen on.

`python -m autopilot.healthcheck` is what the container image runs, which has no curl. It reads
LISTEN_ADDR as the router does, so that a change of port needs no second place. Exit code 0 is ready, 1
is anything else; one line says which, as `docker inspect` shows it.
"""

import os
import sys
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address

from autopilot.setting_table import SPECS
from autopilot.setting_values import ListenAddress

TIMEOUT_SECONDS = 2.0
"""Below the timeout of the image's HEALTHCHECK, so that the line is still written."""

_MAX_SHOWN = 200
_OK = 200
_ANY = {4: "127.0.0.1", 6: "::1"}


def target(environ: Mapping[str, str]) -> ListenAddress:
    """Where to ask: the address of LISTEN_ADDR, or loopback where that means every address.

    Raises:
        ValueError: LISTEN_ADDR is not an address, or leaves the port to the kernel.
    """
    spec = next(spec for spec in SPECS if spec.name == "LISTEN_ADDR")
    listen: ListenAddress = spec.parse(environ.get(spec.name, "").strip() or spec.default)
    if listen.port == 0:
        raise ValueError
    address = ip_address(listen.host)
    host = _ANY[address.version] if address.is_unspecified else listen.host
    return ListenAddress(host=host, port=listen.port)


def check(environ: Mapping[str, str]) -> tuple[bool, str]:
    """Whether the router is ready, and a line that says what was seen."""
    try:
        asked = target(environ)
    except ValueError:
        return False, "LISTEN_ADDR names no port that could be asked"
    connection = HTTPConnection(asked.host, asked.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        text = answer.read(_MAX_SHOWN).decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        return False, f"no answer from port {asked.port}: {type(error).__name__}"
    finally:
        connection.close()
    return answer.status == _OK, f"{answer.status} {' '.join(text.split())}"


if __name__ == "__main__":
    ready, line = check(os.environ)
    print(line)  # noqa: T201 - this is the answer
    sys.exit(0 if ready else 1)

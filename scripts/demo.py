"""The demo: a whole platform on one machine, and things to paste that make it talk.

Starts the simulator on a free port and the router in front of it on 127.0.0.1:8080, and waits for
Ctrl-C. What the two write is in `logs/demo/`. Settings of the router may be given as words, such as
`SELECTOR=balanced`.
"""

import shlex
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Event

from processes import HOST, ROOT, Process, free_ports, is_free, is_ready, router, simulator

from autopilot.setting_table import SPECS

PORT = 8080
READY_SECONDS = 20.0

ADMIN_TOKEN = "demo-admin-token"  # noqa: S105 - it opens nothing but the demo, which is on loopback
LOGS = ROOT / "logs" / "demo"

OWN = ("ADMIN_LISTEN_ADDR", "BACKEND_BASE_URL", "LISTEN_ADDR", "MODELS_URL", "UTILIZATION_URL")
"""Settings that make it the demo, and are not to be changed."""

_LOOK_SECONDS = 0.1

_INVITATION = """\
The router is on {url}, a simulated Chutes behind it. Paste this into another terminal:

curl -sN {url}/v1/chat/completions -H 'Authorization: Bearer demo' -H 'Content-Type: application/json' \
-d '{{"model":"chutesai/AutoPilot","stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}'

Or this, for the OpenAI SDK:

{python} - <<'END'
from openai import OpenAI

client = OpenAI(base_url="{url}/v1", api_key="demo")
stream = client.chat.completions.create(
    model="chutesai/AutoPilot",
    messages=[{{"role": "user", "content": "Hello"}}],
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)

print()
END

Or ask it what it would do, and why:

echo '{{"model":"chutesai/AutoPilot:tee","messages":[{{"role":"user","content":"Hello"}}]}}' | \
ADMIN_TOKEN={token} {command} explain --url {url} -

Also there: {url}/v1/models (names like faults/cold-503 fail as they say) and {url}/metrics
Logs: {logs}/   Ctrl-C ends both."""


def main(words: Sequence[str]) -> int:
    """Run until told to stop. The exit code is 0 then, and 1 if something went wrong before.

    `words` are settings, as NAME=VALUE; the exit code is 2 if they are something else.
    """
    try:
        settings = _settings(words)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    stop = Event()
    # A flag instead of an exception: there is then no moment at which a child could be forgotten.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda _number, _frame: stop.set())
    if not is_free(PORT):
        print(
            f"Something else listens on port {PORT} already. End it, then try again.",
            file=sys.stderr,
        )
        return 1
    (upstream,) = free_ports(1)
    with ExitStack() as stack:
        # The router is started last, so it is stopped first.
        children = [
            stack.enter_context(simulator(upstream, log=LOGS)),
            stack.enter_context(router(PORT, upstream, LOGS, **settings)),
        ]
        return _watch(children, stop, token=settings["ADMIN_TOKEN"])


def _settings(words: Sequence[str]) -> dict[str, str]:
    """Those of the router.

    Raises:
        ValueError: one of `words` is no setting, or the demo's own.
    """
    settings = {"DRAIN_GRACE_MS": "1000", "ADMIN_TOKEN": ADMIN_TOKEN}
    accepted = {spec.name for spec in SPECS}.difference(OWN)
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in accepted:
            raise ValueError(
                f"{word!r} is not accepted: expected a setting of the router as NAME=VALUE, such as "
                f"SELECTOR=balanced; {', '.join(OWN)} are the demo's own."
            )
        settings[name] = value
    return settings


def _watch(children: list[Process], stop: Event, *, token: str) -> int:
    invited = False
    late = time.monotonic() + READY_SECONDS
    while not stop.is_set():
        for child in children:
            if child.exit_code is not None:
                return _failed(child, f"ended by itself with exit code {child.exit_code}")
        if not invited:
            invited = is_ready(PORT)
            if invited:
                _invite(token)
            elif time.monotonic() > late:
                return _failed(children[-1], f"was not ready within {READY_SECONDS:g} s")
        stop.wait(_LOOK_SECONDS)
    print("\nStopping.", flush=True)
    return 0


def _invite(token: str) -> None:
    text = _INVITATION.format(
        url=f"http://{HOST}:{PORT}",
        python=shlex.quote(sys.executable),
        command=shlex.quote(str(Path(sys.executable).with_name("autopilot"))),
        token=token,
        logs=LOGS.relative_to(ROOT),
    )
    print(text, flush=True)


def _failed(child: Process, what: str) -> int:
    print(f"The {child.name} {what}. The end of its log:\n\n{child.tail()}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

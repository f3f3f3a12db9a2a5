"""One look at a peer: does it answer, does a stream come event by event, whom does it trust?"""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path

from lab_certificates import Certificates
from peer import MODEL, PATH, Absent, NotStartedError, Peer, answers
from peer_install import run
from processes import HOST, Process, free_ports, surroundings, wait_until

EVENTS = 20
INTERVAL = 0.05
"""What the upstream is asked for: so many events of a stream, so many seconds apart."""

_START_SECONDS = 5.0
_ASK_SECONDS = 15.0
_RECOVERY_SECONDS = 60.0
_OK = 200
_SENT = re.compile(rb"@(\d{10,20})@")

# An event later than this has waited for the next one, or nearly.
_LATEST = INTERVAL / 2
_MOST_LATE = EVENTS // 4


class Trial:
    """Upstreams to try peers with: a plain one, one whose certificate is well, one of a stranger."""

    def __init__(self, folder: Path, files: Mapping[str, str]) -> None:
        self._folder = folder
        self._program = folder / "upstream"
        self._root = folder / "root"
        self._root.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (self._root / name).write_text(text, encoding="utf-8")
        certificates = Certificates(folder)
        self._ca = certificates.authority
        for kind in ("good", "untrusted"):
            self._certificate(kind).write_bytes(certificates.pem(kind))

    def prepare(self) -> Absent | None:
        """Compile the upstream."""
        source = Path(__file__).with_name("upstream.c")
        done = run(("gcc", "-O2", "-o", self._program, source, "-lssl", "-lcrypto"))
        return done if isinstance(done, Absent) else None

    def plain(self, peer: Peer, *, home: Path) -> str | None:
        """What is wrong with the peer before a plain upstream, in words; None if nothing is."""
        port, upstream = free_ports(2)
        with self._upstream(upstream):
            return self._look(peer, home=home, port=port, upstream=upstream, ca=None)

    def tls(self, peer: Peer, *, home: Path) -> str | None:
        """The same before an https upstream; then whether it would believe a stranger there."""
        port, upstream = free_ports(2)
        with self._upstream(upstream, "good") as good:
            return self._look(peer, home=home, port=port, upstream=upstream, ca=self._ca, then=good)

    def _look(
        self,
        peer: Peer,
        *,
        home: Path,
        port: int,
        upstream: int,
        ca: Path | None,
        then: Process | None = None,
    ) -> str | None:
        """What is wrong; with `then`, the upstream that is replaced, its trust is looked at as well."""
        headers = peer.headers(upstream=upstream, tls=ca is not None)
        log = home / "run" / f"{peer.name}.log"
        try:
            with peer.running(port=port, upstream=upstream, ca=ca, home=home, log=log, cpu=0):
                return (
                    _json_fault(port, headers)
                    or _stream_fault(port, headers)
                    or (self._trust_fault(port, headers, upstream, then) if then else None)
                )
        except NotStartedError as error:
            return str(error)
        except (OSError, HTTPException, ValueError) as error:
            return f"{type(error).__name__}: {error}"

    def _trust_fault(
        self, port: int, headers: Mapping[str, str], upstream: int, known: Process
    ) -> str | None:
        """Put a stranger in the known one's place, then another that is known."""
        known.stop()
        with self._upstream(upstream, "untrusted"):
            # More than once: the first may fail for a connection that the known one has left behind.
            if any(answers(port, headers) for _ in range(3)):
                return "a certificate that nobody signed is believed"
        with self._upstream(upstream, "good"):
            # Some leave an upstream alone for a while after it has failed.
            if not wait_until(lambda: answers(port, headers), _RECOVERY_SECONDS):
                return "an upstream that is trusted is not asked again"
        return None

    def _certificate(self, kind: str) -> Path:
        return self._folder / f"{kind}.pem"

    @contextmanager
    def _upstream(self, port: int, certificate: str | None = None) -> Iterator[Process]:
        options = [
            *("--port", str(port), "--root", str(self._root), "--chunks", str(EVENTS)),
            *("--interval", str(round(INTERVAL * 1e6))),
        ]
        if certificate:
            options += ["--cert", str(self._certificate(certificate))]
        log = self._folder / "upstream.log"
        command = [str(self._program), *options]
        with Process("upstream", command, environment=surroundings(), log=log) as process:
            if not wait_until(lambda: "listening" in process.output(), _START_SECONDS):
                raise NotStartedError(f"the upstream does not start: {process.tail()}")
            yield process


def stream_fault(seen: Sequence[tuple[float, float]]) -> str | None:
    """What is wrong with a stream whose events were sent, and seen, at these seconds."""
    if len(seen) != EVENTS:
        return f"{len(seen)} events of {EVENTS} came"
    late = sum(at - sent > _LATEST for sent, at in seen)
    if late > _MOST_LATE:
        return f"{late} of {EVENTS} events came more than {_LATEST * 1000:.0f} ms late"
    return None


@contextmanager
def _ask(port: int, headers: Mapping[str, str], *, stream: bool) -> Iterator[HTTPResponse]:
    """The answer to a question.

    Raises:
        ValueError: it is not a 200.
    """
    question = {
        "model": MODEL,
        "stream": stream,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    fields = {"Content-Type": "application/json", "Authorization": "Bearer bench", **headers}
    with closing(HTTPConnection(HOST, port, timeout=_ASK_SECONDS)) as connection:
        # As the upstream looks for it: "stream":true, without a space.
        connection.request("POST", PATH, json.dumps(question, separators=(",", ":")), fields)
        answer = connection.getresponse()
        if answer.status != _OK:
            raise ValueError(f"the answer is a {answer.status}")
        yield answer


def _json_fault(port: int, headers: Mapping[str, str]) -> str | None:
    with _ask(port, headers, stream=False) as answer:
        text = json.load(answer)["choices"][0]["message"]["content"]
    return None if text.startswith("Hello") else "an answer has not the upstream's text"


def _stream_fault(port: int, headers: Mapping[str, str]) -> str | None:
    # Not judged: some load what they need for a stream when the first one is asked for.
    with _ask(port, headers, stream=True) as answer:
        answer.read()
    seen: list[tuple[float, float]] = []
    done = False
    with _ask(port, headers, stream=True) as answer:
        while line := answer.readline():
            now = time.clock_gettime(time.CLOCK_MONOTONIC)
            seen += [(int(sent) / 1e9, now) for sent in _SENT.findall(line)]
            done = done or line.startswith(b"data: [DONE]")
    return stream_fault(seen) or (None if done else "a stream ends without [DONE]")

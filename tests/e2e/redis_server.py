"""A real `redis-server` on loopback that keeps nothing on disk, and the commands that a test gives it.

It can be killed, made to hang, and started again on its port; it is gone at the end whatever happens.
"""

import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen

import pytest

from tests.e2e.harness import HOST, eventually

_TIMEOUT_SECONDS = 10.0

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None,
    reason="redis-server (Debian package redis-server) is not installed",
)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """One server; `options` are given to each process that is started for it."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._options = options
        self._process: Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> None:
        """Start it, and return when it answers."""
        with (self._folder / "redis.log").open("ab") as output:
            self._process = Popen(  # noqa: S603 - with words from this module
                [
                    *("redis-server", "--port", str(self.port), "--bind", HOST),
                    *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
                    *self._options,
                ],
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT,
            )
        eventually(self._answers, "redis-server answers")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Gone at once, with all that it held, also if it hangs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def command(self, *words: str | bytes) -> bytes:
        """What it answers to one command, as the bytes on the wire; short answers only."""
        encoded = [word.encode() if isinstance(word, str) else word for word in words]
        sent = b"*%d\r\n" % len(encoded)
        sent += b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
        with socket.create_connection((HOST, self.port), _TIMEOUT_SECONDS) as connection:
            connection.sendall(sent + b"*1\r\n$4\r\nQUIT\r\n")
            answer = b""
            while more := connection.recv(65536):
                answer += more
        return answer.removesuffix(b"+OK\r\n").removesuffix(b"\r\n")

    def places(self) -> list[bytes]:
        """The names of all that it holds."""
        return [
            line for line in self.command("KEYS", "*").split(b"\r\n") if not line.startswith(b"$")
        ][1:]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "redis.log").read_text()
        try:
            return bool(self.command("PING"))
        except OSError:
            return False


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[RedisServer]:
    """A server that runs."""
    server = RedisServer(folder, *options)
    try:
        server.start()
        yield server
    finally:
        server.kill()

"""Resources: the platform's public doors, from a path to whoever answers it.

One leaf instead of a resource tree: chute names hold slashes, and some paths end in a word after them.
"""

from typing import Any
from urllib.parse import unquote

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from autopilot.simulator.completions import Completions, Kind
from autopilot.simulator.control import PREFIX, Control
from autopilot.simulator.wire import JSON, compact, phrase
from autopilot.simulator.world import World

_COMPLETIONS: dict[str, Kind] = {"/v1/chat/completions": "chat", "/v1/completions": "text"}
_CHUTES = "/chutes/"
_EVIDENCE = "/evidence"
_FEED = "/chutes/utilization"
_MODELS = "/v1/models"


class Platform(Resource):
    """Everything the simulator serves."""

    isLeaf = True

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._completions = Completions(world)
        self._control = Control(
            catalogue=world.catalogue, faults=world.faults, journal=world.journal
        )

    def render(self, request: Request) -> bytes | int:
        """Answer now, or later for what takes the model's time."""
        path = unquote(request.path.decode("latin-1"))
        method = request.method.decode("latin-1")
        if path.startswith(PREFIX):
            content = request.content
            told = self._control.handle(method, path, content.read() if content else b"")
            return _json(request, told.status, told.body)
        kind = _COMPLETIONS.get(path)
        if kind is not None:
            if method != "POST":
                return _not_allowed(request)
            self._completions.take(request, kind)
            return NOT_DONE_YET
        if path not in {_MODELS, _FEED} and not _asks_evidence(path):
            return _json(request, 404, {"detail": "Not Found"})
        if method not in {"GET", "HEAD"}:
            return _not_allowed(request)
        return self._look_up(request, path)

    def _look_up(self, request: Request, path: str) -> bytes:
        if path == _MODELS:
            return _encoded(request, 200, self._world.catalogue.body)
        if path == _FEED:
            return _encoded(request, 200, self._world.feed.body)
        name = path[len(_CHUTES) : -len(_EVIDENCE)]
        nonces = (request.args or {}).get(b"nonce")
        nonce = nonces[0].decode("latin-1") if nonces else None
        reply = self._world.attestation.evidence(name, nonce)
        return _encoded(request, reply.status, reply.encoded())


def _asks_evidence(path: str) -> bool:
    return (
        path.startswith(_CHUTES)
        and path.endswith(_EVIDENCE)
        and len(path) > len(_CHUTES) + len(_EVIDENCE)
    )


def _not_allowed(request: Request) -> bytes:
    return _json(request, 405, {"detail": "Method Not Allowed"})


def _json(request: Request, status: int, body: dict[str, Any]) -> bytes:
    return _encoded(request, status, compact(body))


def _encoded(request: Request, status: int, body: bytes) -> bytes:
    request.setResponseCode(status, phrase(status))
    # Without it Twisted would call the body HTML.
    request.setHeader("Content-Type", JSON)
    return body

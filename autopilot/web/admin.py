"""The routes that explain: what the router knows, and what it would do with a request.

They exist where the operator opens them, and are otherwise as unknown as any other path. Who may see
them is asked before a route is: to whom may not, all of them are one.
"""

import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote_to_bytes

from klein import Klein
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource

from autopilot.dataplane import account
from autopilot.dataplane.decisions import Decisions
from autopilot.dataplane.explaining import Explainer
from autopilot.dataplane.router import Incoming
from autopilot.policy.clientaddress import Network
from autopilot.policy.errors import Code, Refusal
from autopilot.policy.headers import EXPLAIN_FOR, bearer_token
from autopilot.policy.readiness import NotReady
from autopilot.web.failures import answer_failure
from autopilot.web.incoming import incoming_of
from autopilot.web.server import NOTHING_HERE, AutopilotRequest

PREFIX = b"/autopilot/"

_OK = 200
_AUTHORIZATION = b"authorization"


class AdminApi:
    """Answers with what `explainer` tells and `decisions` keeps.

    `worker` is the slot of this process among the service's; `not_ready` gives why `/readyz` says no,
    None if it does not. Whose places are looked up is told by the request's own `Authorization`, or by
    `EXPLAIN_FOR`, which alone counts where `authorized`: the other is the operator's then.
    """

    app = Klein()
    app.url_map.merge_slashes = False

    def __init__(
        self,
        explainer: Explainer,
        decisions: Decisions,
        *,
        worker: int,
        not_ready: Callable[[], NotReady | None],
        trusted_proxies: Sequence[Network],
        authorized: bool,
    ) -> None:
        self._explainer = explainer
        self._decisions = decisions
        self._worker = worker
        self._not_ready = not_ready
        self._trusted_proxies = trusted_proxies
        self._authorized = authorized

    @app.route("/autopilot/candidates", methods=["GET", "HEAD"])
    def candidates(self, request: AutopilotRequest) -> bytes:
        """The order of models now, with all that it was made of."""
        return self._answer(request, self._explainer.candidates(_selector(request)))

    @app.route("/autopilot/explain", methods=["POST"])
    async def explain(self, request: AutopilotRequest) -> bytes:
        """What would be done with the request's body, and why."""
        return self._answer(request, await self._explainer.explain(self._incoming(request)))

    @app.route("/autopilot/decisions/<path:request_id>", methods=["GET", "HEAD"])
    def decision(self, request: AutopilotRequest, request_id: str) -> bytes:
        """What was decided for a request that is over."""
        text = self._decisions.find(request_id)
        if text is None:
            raise Refusal(
                Code.NOT_FOUND,
                "This process keeps no decision for such a request: it is not over, was another "
                "worker's, or is too long ago.",
            )
        # Spliced: both are JSON objects, and the second was made by us.
        return request.prepare(_OK, b'{"worker": %d, %s' % (self._worker, text[1:]))

    @app.handle_errors(Exception)
    def failed(self, request: IRequest, failure: Failure) -> bytes:
        """Say what went wrong."""
        return answer_failure(request, failure)

    def _answer(self, request: AutopilotRequest, told: account.Account) -> bytes:
        about = account.about(self._worker, self._not_ready())
        text = json.dumps({**about, **told}, allow_nan=False)
        return request.prepare(_OK, text.encode("ascii"))

    def _incoming(self, request: AutopilotRequest) -> Incoming:
        theirs = request.requestHeaders.getRawHeaders(EXPLAIN_FOR, [])
        replaced = {EXPLAIN_FOR}
        if self._authorized or theirs:
            replaced.add(_AUTHORIZATION)
        incoming = incoming_of(
            request, path="/v1/chat/completions", trusted_proxies=self._trusted_proxies
        )
        fields = [pair for pair in incoming.fields if pair[0].lower() not in replaced]
        fields += [(_AUTHORIZATION, value) for value in theirs]
        return replace(incoming, fields=fields)


class AdminDoor(Resource):
    """Lets into `api` who brings `token`, or everybody if there is none; the rest goes to `others`."""

    isLeaf = True

    def __init__(self, api: IResource, *, token: str, others: IResource | None = None) -> None:
        super().__init__()
        self._api = api
        self._token = token.encode("ascii")
        self._others = others

    def render(self, request: AutopilotRequest) -> Any:
        """See `IResource`."""
        if not unquote_to_bytes(request.path).startswith(PREFIX):
            if self._others is not None:
                return self._others.render(request)
            return _refused(request, Refusal(Code.NOT_FOUND, NOTHING_HERE))
        if self._token and not self._knows(request):
            request.setHeader(b"www-authenticate", b"Bearer")
            return _refused(
                request,
                Refusal(
                    Code.UNAUTHORIZED,
                    "This takes 'Authorization: Bearer ...' with ADMIN_TOKEN only.",
                ),
            )
        return self._api.render(request)

    def _knows(self, request: AutopilotRequest) -> bool:
        given = bearer_token(request.requestHeaders.getRawHeaders(_AUTHORIZATION, []))
        return hmac.compare_digest(given or b"", self._token)


def _refused(request: AutopilotRequest, refusal: Refusal) -> bytes:
    return request.prepare(refusal.body.status, refusal.body.render())


def _selector(request: AutopilotRequest) -> str | None:
    """The selector that the query names.

    Raises:
        Refusal: the query says something else.
    """
    asked: Mapping[bytes, list[bytes]] = request.args or {}
    names = asked.get(b"selector", [])
    if set(asked) - {b"selector"} or len(names) > 1:
        raise Refusal(Code.BAD_REQUEST, "The query may be 'selector=NAME', once, and nothing else.")
    return names[0].decode("latin-1") if names else None

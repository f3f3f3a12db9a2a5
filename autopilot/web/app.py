"""The routes: what is served where, and how every refusal is said in OpenAI's error shape."""

from collections.abc import Sequence

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest

from autopilot.dataplane.decisions import Decisions
from autopilot.dataplane.journal import Journal
from autopilot.dataplane.router import Router
from autopilot.interfaces import IPictureSource, Seconds
from autopilot.metrics import Metrics
from autopilot.policy.clientaddress import Network
from autopilot.policy.ending import End
from autopilot.policy.errors import Code, ErrorBody, Refusal
from autopilot.policy.readiness import MEANING, MaxAges, NotReady, readiness
from autopilot.policy.rules import FREE, Rules
from autopilot.web.connections import Connections
from autopilot.web.downstream import RequestDownstream
from autopilot.web.failures import answer_failure, internal_error
from autopilot.web.incoming import incoming_of
from autopilot.web.models import ModelList
from autopilot.web.server import AutopilotRequest

_log = Logger(namespace="autopilot.web")

DRAINING_RETRY_SECONDS = 5
"""Where another router takes over any time is soon enough; one that is restarted needs a moment."""

_OK = 200
_NOT_READY_STATUS = 503
_TEXT = b"text/plain; charset=utf-8"
_EXPOSITION = b"text/plain; version=0.0.4; charset=utf-8"


class Api:
    """Everything an HTTP client can reach. `trusted_proxies` may name the client's address.

    `decisions` keeps what was decided, where somebody may ask for it.
    """

    app = Klein()
    # werkzeug would redirect a doubled slash. No rule ends in a slash, so that with strict slashes
    # (its default) a trailing one is simply another path.
    app.url_map.merge_slashes = False

    def __init__(
        self,
        router: Router,
        source: IPictureSource,
        *,
        metrics: Metrics,
        clock: IReactorTime,
        monotonic: Seconds,
        max_ages: MaxAges,
        aliases: Sequence[str],
        rules: Rules = FREE,
        trusted_proxies: Sequence[Network],
        connections: Connections,
        decisions: Decisions | None = None,
    ) -> None:
        self._router = router
        self._source = source
        self._metrics = metrics
        self._clock = clock
        self._monotonic = monotonic
        self._max_ages = max_ages
        self._models = ModelList(aliases, rules)
        self._rules = rules
        self._trusted_proxies = trusted_proxies
        self._connections = connections
        self._decisions = decisions

    def not_ready(self) -> NotReady | None:
        """Why traffic should not be sent here now; None when it should."""
        return readiness(
            self._source.picture,
            now=self._monotonic(),
            max_ages=self._max_ages,
            draining=self._connections.draining,
            rules=self._rules,
        )

    @app.route("/v1/chat/completions", methods=["POST"])
    def chat_completions(self, request: AutopilotRequest) -> Deferred[None]:
        """Route a chat completion."""
        return self._exchange(request, "/v1/chat/completions")

    @app.route("/v1/completions", methods=["POST"])
    def completions(self, request: AutopilotRequest) -> Deferred[None]:
        """Route a plain completion."""
        return self._exchange(request, "/v1/completions")

    @app.route("/v1/models", methods=["GET", "HEAD"])
    def list_models(self, request: AutopilotRequest) -> bytes:
        """The last good catalogue, the aliases first."""
        return request.prepare(_OK, self._models.list(self._source.picture))

    @app.route("/v1/models/<path:model_id>", methods=["GET", "HEAD"])
    def one_model(self, request: AutopilotRequest, model_id: str) -> bytes:
        """One entry of it; ids hold slashes."""
        return request.prepare(_OK, self._models.one(self._source.picture, model_id))

    @app.route("/healthz", methods=["GET", "HEAD"])
    def healthz(self, request: AutopilotRequest) -> bytes:
        """Whether the process lives: it does, or this would not run."""
        return request.prepare(_OK, b"ok", content_type=_TEXT)

    @app.route("/readyz", methods=["GET", "HEAD"])
    def readyz(self, request: AutopilotRequest) -> bytes:
        """Whether traffic should be sent here."""
        reason = self.not_ready()
        if reason is None:
            return request.prepare(_OK, b"ready", content_type=_TEXT)
        error = ErrorBody(status=_NOT_READY_STATUS, code=reason.value, message=MEANING[reason])
        return request.prepare(error.status, error.render())

    @app.route("/metrics", methods=["GET", "HEAD"])
    def metrics(self, request: AutopilotRequest) -> bytes:
        """Everything counted, for Prometheus."""
        return request.prepare(_OK, self._metrics.exposition(), content_type=_EXPOSITION)

    @app.handle_errors(Exception)
    def failed(self, request: IRequest, failure: Failure) -> bytes:
        """Say in OpenAI's error shape what went wrong outside an exchange."""
        return answer_failure(request, failure)

    def _exchange(self, request: AutopilotRequest, path: str) -> Deferred[None]:
        downstream = RequestDownstream(request, clock=self._clock)
        return downstream.carries(Deferred.fromCoroutine(self._route(request, downstream, path)))

    async def _route(
        self, request: AutopilotRequest, downstream: RequestDownstream, path: str
    ) -> None:
        journal = Journal(
            request_id=request.request_id.decode("ascii"),
            metrics=self._metrics,
            clock=self._monotonic,
            received_at=request.received_at,
            decisions=self._decisions,
        )
        try:
            await self._router.route(
                incoming_of(request, path=path, trusted_proxies=self._trusted_proxies),
                downstream,
                journal,
            )
        except CancelledError:
            if downstream.begun or downstream.lost_as is not End.SHUTDOWN:
                raise
            _refuse(request, _draining(), journal)
        except Refusal as refusal:
            _refuse(request, refusal.body, journal)
        except Exception:  # noqa: BLE001 - Klein would end a stream cleanly with an HTML page
            _log.failure("unexpected error in an exchange")
            if downstream.begun:
                downstream.break_off()
            else:
                _refuse(request, internal_error(), journal)
        finally:
            journal.close()
        if downstream.broken:
            # Returning would have Klein finish the request, and a cut answer would be counted as
            # whole. The wait ends with the connection, which cancels it.
            await Deferred()


def _refuse(request: AutopilotRequest, error: ErrorBody, journal: Journal) -> None:
    """Answer with `error`, and with what came before it."""
    journal.refused(error.status, error.code)
    for name, value in journal.told():
        request.setHeader(name, value)
    request.answer(error)


def _draining() -> ErrorBody:
    meaning = MEANING[NotReady.DRAINING]
    return Refusal(Code.DRAINING, meaning, retry_after=DRAINING_RETRY_SECONDS).body

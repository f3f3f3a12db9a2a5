"""What all workers share, kept by the parent: it passes on what one says, and tells it all to newcomers.

The last bodies of the feeds, clients' places, and the rests of models. Every worker hears of every change
in the order in which it came here, also of its own, so that all end with the same.
"""

from typing import Any

from autopilot.labels import Feed
from autopilot.policy.rest import RestTable
from autopilot.policy.stickiness import StickyTable
from autopilot.workers.link import Link, rest_of, rest_values, room_for


class Hub:
    """The parent's side of all links. `secret` keys the hashes by which clients are known."""

    def __init__(self, *, secret: bytes, sticky: StickyTable) -> None:
        self._secret = secret
        self._sticky = sticky
        self._rests = RestTable()
        self._feeds: dict[Feed, tuple[bytes, float]] = {}
        self._links: set[Link] = set()

    def link(self) -> Link:
        """An end for a new worker's link."""
        room = room_for(self._sticky)
        return Link(received=self._received, lost=self._links.discard, room=room)

    def welcome(self, link: Link) -> None:
        """Tell a worker, whose `link` is connected, all there is, and then to begin."""
        self._links.add(link)
        for feed, (body, at) in self._feeds.items():
            _say_feed(link, feed, body, at)
        for key, model, expires_at in self._sticky.items():
            link.say("sticky", key.hex(), model, expires_at)
        for name, rest in self._rests.items():
            link.say("rest", name, rest_values(rest))
        link.say("welcome", self._secret.hex())

    def fetched(self, feed: Feed, body: bytes, at: float) -> None:
        """A feed was fetched and is good: see `autopilot.controlplane.publisher`."""
        self._feeds[feed] = (body, at)
        for link in self._links:
            _say_feed(link, feed, body, at)

    def _received(self, _link: Link, message: list[Any], _body: bytes) -> None:
        kind, *values = message
        if kind == "sticky":
            key, model, expires_at = values
            self._sticky.adopt(bytes.fromhex(key), model, expires_at=expires_at)
        elif kind == "rest":
            model, rest = values
            self._rests.adopt(model, rest_of(rest))
        else:
            raise ValueError(f"a worker does not say {kind!r}")
        for each in self._links:
            each.say(*message)


def _say_feed(link: Link, feed: Feed, body: bytes, at: float) -> None:
    link.say("feed", feed.value, at, body=body)

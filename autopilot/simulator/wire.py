"""Wire: the platform's handwriting, which is compact JSON, edge pages and status phrases."""

import json
from http import HTTPStatus
from typing import Any

JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"
PAGE = "text/html"


def compact(payload: Any) -> bytes:
    """JSON without a space, as the platform writes it everywhere."""
    return json.dumps(payload, separators=(",", ":")).encode()


def phrase(status: int) -> bytes:
    """The words after the status; Twisted does not know those of 429."""
    return HTTPStatus(status).phrase.encode()


def edge_page(status: int) -> bytes:
    """The page that the platform's edge shows for a status, line ends included."""
    title = f"{status} {HTTPStatus(status).phrase}"
    lines = (
        "<html>",
        f"<head><title>{title}</title></head>",
        "<body>",
        f"<center><h1>{title}</h1></center>",
        "<hr><center>nginx</center>",
        "</body>",
        "</html>",
    )
    return "".join(f"{line}\r\n" for line in lines).encode()

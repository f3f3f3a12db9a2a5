"""What Twisted accepts in the head of a request although RFC 9112 tells a server to reject it."""

import re

from twisted.web.http_headers import Headers

_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_TARGET = re.compile(rb"[\x21-\x7e]+")


def problem_of(headers: Headers, target: bytes, version: bytes) -> str | None:
    """What is wrong with a head, in words for the client; None if nothing is."""
    hosts = headers.getRawHeaders(b"host", [])
    codings = headers.getRawHeaders(b"transfer-encoding", [])
    current = version == b"HTTP/1.1"
    if len(hosts) > 1 or (current and not hosts):
        return "Exactly one Host is expected (RFC 9112 section 3.2)."
    if hosts and not _HOST.fullmatch(hosts[0]):
        return "The Host is no host."
    if codings and (not current or [coding.lower() for coding in codings] != [b"chunked"]):
        return "The only transfer coding accepted is chunked, in HTTP/1.1."
    if not _TARGET.fullmatch(target):
        return "The request target has bytes that are not visible ASCII."
    return None

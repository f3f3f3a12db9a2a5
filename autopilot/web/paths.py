"""Which path a request target names, and which paths are routed to a model."""

from urllib.parse import unquote_to_bytes

ROUTED_PATHS = frozenset({b"/v1/chat/completions", b"/v1/completions"})
"""The paths whose requests are admitted, counted and logged, also those that never become complete."""


def path_of(target: bytes) -> bytes:
    """The path of a request target, without its query.

    A server must accept the absolute form too (RFC 9112 section 3.2.2).
    """
    path = target.partition(b"?")[0]
    if path.startswith(b"/"):
        return path
    _scheme, separator, rest = path.partition(b"://")
    _authority, slash, path_of_it = rest.partition(b"/")
    return (slash + path_of_it or b"/") if separator else b"/" + path


def routable(path: bytes) -> bool:
    """Whether Klein can be asked for `path`, which is percent-encoded."""
    # Klein drops the first of two slashes at the start, and logs an error for what is not UTF-8.
    if not path.startswith(b"/") or path.startswith(b"//"):
        return False
    try:
        unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True

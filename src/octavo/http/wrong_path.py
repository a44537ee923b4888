"""What is said of a path at which there is nothing: most often a right one is near."""

from collections.abc import Iterable

from starlette.routing import BaseRoute, Route

from octavo.core.errors import ECHO_LIMIT
from octavo.core.nearest import nearest

PRIVATE = "/octavo/"  # between a router and its replicas
SIMILARITY = 0.8  # of 1


def complaint_about(path: str, routes: Iterable[BaseRoute], more: str = "") -> str:
    """more: what to do when no path of the routes is near."""
    near = nearest_path(path, public_paths(routes))
    hint = f"the nearest path is {near}." if near is not None else more
    return f"There is nothing at {path[:ECHO_LIMIT]!r}" + (f"; {hint}" if hint else ".")


def public_paths(routes: Iterable[BaseRoute]) -> list[str]:
    """Those that have no variable part, in their order."""
    paths = [route.path for route in routes if isinstance(route, Route)]
    return [path for path in paths if "{" not in path and not path.startswith(PRIVATE)]


def nearest_path(path: str, known: Iterable[str]) -> str | None:
    """The path that path ends with, or is the end of (a base URL without /v1, or with two), or looks like."""
    typed = path[:ECHO_LIMIT].rstrip("/")
    known = [one for one in known if len(one) > 1]
    if not typed:
        return None
    for one in known:
        if typed.endswith(one) or one.endswith(typed):
            return one
    return nearest(typed, known, similarity=SIMILARITY)

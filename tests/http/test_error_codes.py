"""Every code in use is in the table, and the table has no other."""

import ast

import pytest

from octavo.http.error_codes import ERROR_CODES
from tests import rules


def codes_in_use() -> set[str]:
    """First arguments of HttpError and ErrorAnswer, `code=` of anything, and defaults like `or "code"`."""
    used = set()
    for source in rules.sources("src", ".py"):
        if (
            source.package not in ("http", "server", "router", "scheduler", "core", "text")
            or source.path.stem == "error_codes"
        ):
            continue
        used |= {
            node.value
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Constant) and node.value in ERROR_CODES
        }
        for node in source.nodes(ast.Call):
            used |= {
                keyword.value.value
                for keyword in node.keywords
                if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
            }
    return used


def test_the_table_is_complete() -> None:
    assert codes_in_use() == set(ERROR_CODES)


@pytest.mark.parametrize("code", ERROR_CODES)
def test_each_has_a_status_of_http(code: str) -> None:
    assert 400 <= ERROR_CODES[code].status <= 504


@pytest.mark.parametrize(
    ("code", "kind"),
    (
        ("invalid_json", "invalid_request_error"),
        ("engine_error", "server_error"),
        ("shutting_down", "overloaded_error"),
    ),
)
def test_the_type_follows_from_the_status(code: str, kind: str) -> None:
    assert ERROR_CODES[code].type == kind

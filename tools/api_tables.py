#!/usr/bin/env python3
"""Rewrites the tables of docs/api.md and docs/errors.md from the code they describe; a test compares them."""

import json
import pathlib

from octavo.core.limits import LIMITS
from octavo.http.error_codes import ERROR_CODES
from octavo.server.parameters import PARAMETERS, Api, Kind, Parameter

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- {name}: written by tools/api_tables.py -->", "<!-- end -->"


def honoured() -> str:
    rows = [
        (f"`{item.name}`{_scope(item)}", item.about, item.default)
        for item in PARAMETERS
        if item.kind is Kind.HONOURED
    ]
    return _table(("field", "type and limits", "default"), rows)


def recorded() -> str:
    return _table(("field", "why without effect", "values that need none"), _rows(Kind.RECORDED))


def refused() -> str:
    return _table(("field", "why", "values that pass"), _rows(Kind.REFUSED))


def errors() -> str:
    codes = sorted(ERROR_CODES.items(), key=lambda item: item[1].status)
    rows = [
        (str(c.status), f"`{c.type}`", f"`{name}`", c.meaning, c.remedy, "yes" if c.is_worth_a_retry else "")
        for name, c in codes
    ]
    return _table(("status", "type", "code", "meaning", "what to do", "retried"), rows)


def limits() -> str:
    rows = [(item.what, item.limit, item.beyond, item.flag and f"`{item.flag}`") for item in LIMITS]
    return _table(("what", "limit", "beyond", "where to change it"), rows)


def _rows(kind: Kind) -> list[tuple[str, ...]]:
    return [
        (f"`{item.name}`{_scope(item)}", item.about, ", ".join(f"`{json.dumps(v)}`" for v in item.neutral))
        for item in PARAMETERS
        if item.kind is kind
    ]


def _scope(parameter: Parameter) -> str:
    return "" if len(parameter.apis) == len(Api) else f" ({', '.join(parameter.apis)})"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


TABLES = {
    "api.md": {"honoured": honoured, "recorded": recorded, "refused": refused, "limits": limits},
    "errors.md": {"errors": errors},
}


def with_tables(page: str, text: str) -> str:
    """The page's text with its tables as they should be."""
    for name, render in TABLES[page].items():
        begin = BEGIN.format(name=name)
        before, _, rest = text.partition(begin + "\n")
        _, _, after = rest.partition("\n" + END)
        assert after, f"{page} has no place for the table {name}"
        text = f"{before}{begin}\n{render()}\n{END}{after}"
    return text


if __name__ == "__main__":
    for page in TABLES:
        path = DOCS / page
        path.write_text(with_tables(page, path.read_text()))

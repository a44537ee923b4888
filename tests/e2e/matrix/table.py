"""Which cells the exactness matrix has, and its table in docs/exactness.md.

python -m tests.e2e.matrix.table writes the table; a test compares it with the suite.
"""

import pathlib
from collections.abc import Iterator

from tests.e2e.matrix.circumstances import COLUMNS, SPECIFIED
from tests.e2e.matrix.models import BUILT_IN, TINY_FAMILIES, WITH_INT8_ACTIVATIONS, WITH_INT8_CACHE
from tests.e2e.matrix.questions import ROWS

PAGE = pathlib.Path(__file__).resolve().parents[3] / "docs" / "exactness.md"
BEGIN, END = "<!-- matrix: written by python -m tests.e2e.matrix.table -->", "<!-- end -->"
LETTERS = {"llama": "L", "qwen3": "Q", "gemma3": "G", "qwen3-moe": "M", WITH_INT8_CACHE: "G8"}
LETTERS |= {WITH_INT8_ACTIVATIONS: "L8", BUILT_IN: "S"}
INT8_ROW = "logprobs"  # which is in every run


def cells() -> Iterator[tuple[str, str, str, bool]]:
    """(row, column, family, whether it is in every run): of the tiny models one per pair of row and column,
    so that each pair of row and family, and of column and family, is in every run as well; and one row of the
    models with an int8 cache and with int8 activations."""
    for i, row in enumerate(ROWS):
        for j, column in enumerate(COLUMNS):
            for k, family in enumerate(TINY_FAMILIES):
                yield row, column, family, (i + j) % len(TINY_FAMILIES) == k
            for family in (WITH_INT8_CACHE, WITH_INT8_ACTIVATIONS):
                yield row, column, family, row == INT8_ROW
            if column != SPECIFIED:  # minutes for a model of that size
                yield row, column, BUILT_IN, False


def table() -> str:
    marks: dict[tuple[str, str], list[str]] = {}
    num_always = 0
    for row, column, family, is_always in cells():
        letter = LETTERS[family]
        marks.setdefault((row, column), []).append(f"**{letter}**" if is_always else letter)
        num_always += is_always
    lines = [("", *ROWS), ("---",) * (len(ROWS) + 1)]
    lines += [(column, *(" ".join(marks[row, column]) for row in ROWS)) for column in COLUMNS]
    count = sum(map(len, marks.values()))
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{body}\n\n{count} cells, of which `make test` runs the {num_always} in bold."


def with_table(text: str) -> str:
    """The page's text with its table as it should be."""
    before, _, rest = text.partition(BEGIN + "\n")
    _, _, after = rest.partition("\n" + END)
    assert after, "the page has no place for the table"
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))

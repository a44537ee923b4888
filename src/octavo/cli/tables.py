"""How the commands print tables, sizes and times."""

from collections.abc import Sequence

from octavo.core.counted import counted

_UNITS = ((1 << 30, "GiB", 1), (1 << 20, "MiB", 0), (1 << 10, "KiB", 0))
_AGES = ((86400 * 365, "year"), (86400 * 30, "month"), (86400, "day"), (3600, "hour"), (60, "minute"))


def columns(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Rows as lines, their cells aligned; the columns in right to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def size(num_bytes: int) -> str:
    """1.0 GiB, 94 MiB, 3 KiB"""
    for unit, name, digits in _UNITS:
        if num_bytes >= unit:
            return f"{num_bytes / unit:,.{digits}f} {name}"
    return f"{num_bytes} bytes"


def three_digits(value: float) -> str:
    """At least: 2.61, 26.1, 261, 2,610"""
    num_decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{num_decimals}f}"


def ago(seconds: float) -> str:
    """just now, 3 minutes ago, 1 day ago"""
    for unit, name in _AGES:
        count = int(seconds // unit)
        if count:
            return f"{counted(count, name)} ago"
    return "just now"

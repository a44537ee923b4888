"""`octavo doctor`: what this machine has, what octavo will use, and a word of advice where there is one.

The checks are in examination.py, which is imported when it runs.
"""

import pkgutil
import sys

from octavo.cli.finding import Finding, Grade
from octavo.config import Environment
from octavo.core.fitting import fitted

EXIT_CANNOT_SERVE = 1
_INDENT = 19  # of what is found, behind grade and subject
_COLOURS = {Grade.OK: "32", Grade.NOTE: "33", Grade.FAIL: "31"}


def doctor() -> int:
    """Say what this machine has, and what octavo will use. Exit status 1: it cannot serve here."""
    environment = Environment.read()
    has_colour = sys.stdout.isatty() and not environment.no_color
    failed = []
    for finding in pkgutil.resolve_name("octavo.cli.examination:examine")(environment):
        print(_line(finding, has_colour), flush=True)
        failed += [finding.subject] if finding.grade is Grade.FAIL else []
    print(f"\noctavo cannot serve here: {', '.join(failed)}." if failed else "\noctavo can serve here.")
    return EXIT_CANNOT_SERVE if failed else 0


def _line(finding: Finding, has_colour: bool) -> str:
    grade = f"{finding.grade:<5}"
    if has_colour:
        grade = f"\x1b[{_COLOURS[finding.grade]}m{grade}\x1b[0m"
    text = "\n".join(" " * _INDENT + part for part in (finding.text, finding.advice) if part)
    return f"{grade}{finding.subject:<13} {fitted(text, _INDENT, sys.stdout)[_INDENT:]}"

"""Values of options, from what is typed or stands in a file of options: no number is rounded."""

import re
import types
import typing
from collections.abc import Sequence
from typing import Any

import cyclopts
from cyclopts.exceptions import CoercionError

_WHOLE = re.compile(r"[+-]?\d+")


def convert(hint: Any, tokens: Sequence[cyclopts.Token]) -> Any:
    """A cyclopts converter, for any option. Raises CoercionError; by itself cyclopts reads 1.5 as 2."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for token in tokens:
        if int in kinds and not _WHOLE.fullmatch(token.value):
            raise CoercionError(token=token, target_type=int)
    return cyclopts.convert(hint, tokens)

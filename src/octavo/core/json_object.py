"""Reads a JSON object of a model file: what is not plain, unambiguous JSON is a ModelFileError."""

import collections
import json
from typing import Any

from octavo.core.errors import ModelFileError


def parse_json_object(source: str, data: bytes) -> dict[str, Any]:
    """Raises ModelFileError, naming source: bad UTF-8 or JSON, absurd nesting or numbers, a repeated key."""
    try:
        parsed = json.loads(data.decode(), object_pairs_hook=_without_duplicates, parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{source}: it is not UTF-8 text (byte {error.start}).") from error
    except ValueError as error:
        raise ModelFileError(f"{source}: it is not valid JSON: {str(error)[:200]}.") from error
    except RecursionError as error:
        raise ModelFileError(f"{source}: its JSON is nested too deeply.") from error
    if not isinstance(parsed, dict):
        raise ModelFileError(f"{source}: it is not a JSON object.")
    return parsed


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        [(twice, _)] = collections.Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"key {twice[:60]!r} appears twice")
    return values


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")

"""`octavo keys`: makes keys of the API and the lines of the file that `--api-key-file` names."""

import dataclasses
import os
import pathlib
import sys

import cyclopts

from octavo.core.errors import StartError
from octavo.http.api_keys import MIN_KEY_CHARACTERS, NO_LIMITS, ApiKey, KeyLimits, new_key, parse_keys

keys = cyclopts.App(
    name="keys",
    help="Make keys of the API for --api-key-file.",
    default_parameter=cyclopts.Parameter(negative=()),
    result_action="return_value",
)


@keys.command(usage="octavo keys add NAME [OPTIONS]", group_parameters="Options")
def add(
    name: str,
    /,
    *,
    file: pathlib.Path | None = None,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    concurrency: int | None = None,
    from_stdin: bool = False,
) -> None:
    """Make a key and print it, this once; the file gets its hash.

    Parameters
    ----------
    name
        Whose key it is: in the log, and in the sharing of queue and limits. It may have several keys.
    file
        Append the line here. Without it the line is printed, to be put into such a file.
    requests_per_minute
        More are answered 429.
    tokens_per_minute
        Of prompts and answers; beyond, requests are answered 429.
    concurrency
        Requests at the same time; one more is answered 429.
    from_stdin
        Take a key that exists already from the standard input.
    """
    limits = KeyLimits(requests_per_minute, tokens_per_minute, concurrency)
    for field, limit in dataclasses.asdict(limits).items():
        if limit is not None and limit < 1:
            raise StartError(f"--{field.replace('_', '-')} is {limit}; allowed: 1 or more.")
    text = "" if file is None else _read(file)
    key = _read_key() if from_stdin else new_key()
    try:
        known = parse_keys(text)
        if limits == NO_LIMITS:  # another key of the same name
            limits = next((other.limits for other in known if other.id == name), limits)
        line = ApiKey.of(key, name, limits, known=known).line
        parse_keys(f"{text}\n{line}")
    except StartError as error:
        raise error if file is None else StartError(f"{file}: {error}") from None
    if file is None:
        print(line)
    else:
        _append(file, f"{line}\n" if not text or text.endswith("\n") else f"\n{line}\n")
    if not from_stdin:
        print(key)


def _read(file: pathlib.Path) -> str:
    try:
        return file.read_text(encoding="utf-8") if file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"{file}: {getattr(error, 'strerror', None) or 'not a text in UTF-8'}.") from None


def _append(file: pathlib.Path, text: str) -> None:
    """In one write, so that a server never reads half a line; nobody else may read a new file."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartError(f"{file}: {error.strerror}.") from None
    with open(descriptor, "a", encoding="utf-8") as opened:
        opened.write(text)


def _read_key() -> str:
    key = sys.stdin.readline().strip()
    if len(key) < MIN_KEY_CHARACTERS:
        raise StartError(f"A key has at least {MIN_KEY_CHARACTERS} characters; this one has {len(key)}.")
    return key

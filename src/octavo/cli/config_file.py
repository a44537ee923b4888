"""--config FILE: options from YAML. What the command line says too, the command line decides."""

import difflib
import pathlib
from typing import Any

import cyclopts
import yaml
from cyclopts.argument import ArgumentCollection
from cyclopts.config import Dict

from octavo.core.errors import StartError


class ConfigFile:
    """A cyclopts configuration source: fills the options of the command that has --config."""

    def __call__(self, app: cyclopts.App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        option = arguments.get("--config")
        if option is None or not option.tokens:
            return
        path = pathlib.Path(option.tokens[0].value)
        values = _read(path)
        known = {
            name.removeprefix("--") for argument in arguments for name in argument.names if name != "--config"
        }
        for key in values:
            _check_key(key, known, path)
        Dict(values, source=str(path), use_commands_as_keys=False)(app, commands, arguments)


def _read(path: pathlib.Path) -> dict[Any, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StartError(f"--config {path}: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" in line {mark.line + 1}"
        raise StartError(f"--config {path} is not valid YAML{where}.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise StartError(f"--config {path} must hold one option per line: name: value.")
    return values


def _check_key(key: object, known: set[str], path: pathlib.Path) -> None:
    name = str(key).replace("_", "-")
    if name in known:
        return
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {nearest[0]}?" if nearest else ""
    raise StartError(f"--config {path}: there is no option {key}.{hint}")

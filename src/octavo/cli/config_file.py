"""--config FILE: options from YAML. What the command line says too, the command line decides."""

import pathlib
from typing import Any

import cyclopts
from cyclopts.argument import ArgumentCollection
from cyclopts.config import Dict

from octavo.core.errors import StartError
from octavo.core.nearest import nearest
from octavo.core.yaml_text import YamlError, load_yaml


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
        values = load_yaml(path.read_text(encoding="utf-8"), "valid YAML")
    except OSError as error:
        raise StartError(f"--config {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise StartError(f"--config {path} is not valid YAML.") from None
    except YamlError as error:
        raise StartError(f"--config {path} {error}.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise StartError(f"--config {path} must hold one option per line: name: value.")
    return values


def _check_key(key: object, known: set[str], path: pathlib.Path) -> None:
    name = str(key).replace("_", "-")
    if name in known:
        return
    near = nearest(name, known)
    hint = f" Did you mean {near}?" if near else ""
    raise StartError(f"--config {path}: there is no option {key}.{hint}")

"""What is wrong with a command line, in one sentence: cyclopts' errors in octavo's words.

Knows what other servers call the things that octavo has, for those who come from there.
"""

import cyclopts
from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

COMMANDS_ELSEWHERE = {
    "chat": "run",
    "start": "serve",
    "server": "serve",
    "download": "pull",
    "ls": "list",
    "models": "list",
    "info": "show",
    "remove": "rm",
    "delete": "rm",
    "router": "route",
    "benchmark": "bench",
    "version": "--version",
}
OPTIONS_ELSEWHERE = {  # llama.cpp's, vLLM's and SGLang's
    "-m": "--model",
    "--model-path": "--model",
    "-c": "--max-model-len",
    "--ctx-size": "--max-model-len",
    "--context-length": "--max-model-len",
    "-np": "--max-num-seqs",
    "--parallel": "--max-num-seqs",
    "--max-running-requests": "--max-num-seqs",
    "-b": "--max-num-batched-tokens",
    "--batch-size": "--max-num-batched-tokens",
    "--chunked-prefill-size": "--max-num-batched-tokens",
    "-a": "--served-model-name",
    "--alias": "--served-model-name",
    "-ctk": "--kv-dtype",
    "--cache-type-k": "--kv-dtype",
    "--kv-cache-dtype": "--kv-dtype",
    "--kv-cache-memory-bytes": "--kv-cache-memory",
    "--gpu-memory-utilization": "--kv-cache-memory",
    "--mem-fraction-static": "--kv-cache-memory",
    "-t": "--threads",
    "--speculative-config": "--num-speculative-tokens",
    "--draft-max": "--num-speculative-tokens",
    "--draft": "--num-speculative-tokens",
    "-n": "--max-tokens",
    "--predict": "--max-tokens",
    "--n-predict": "--max-tokens",
    "-s": "--seed",
    "--temp": "--temperature",
    "-sys": "--system",
    "--system-prompt": "--system",
}
_CPUS = "it computes on CPUs"
_ONE_MACHINE = "an engine has one machine's cores (--threads), and `octavo up` runs several engines"
_ALWAYS = "that is always on"
_FROM_THE_MODEL = "it goes by the model's own files"
_FORMAT = "weights stay in the format of the model's file"
_LOG_LEVEL = "OCTAVO_LOG is debug, info, warning or error"
_MODEL_ARGUMENT = "MODEL may be org/name[:file][@revision]"
WITHOUT_COUNTERPART = {  # theirs, and why octavo has none
    "--tensor-parallel-size": _ONE_MACHINE,
    "-tp": _ONE_MACHINE,
    "--tp": _ONE_MACHINE,
    "--pipeline-parallel-size": _ONE_MACHINE,
    "--data-parallel-size": _ONE_MACHINE,
    "--n-gpu-layers": _CPUS,
    "--gpu-layers": _CPUS,
    "-ngl": _CPUS,
    "--device": _CPUS,
    "--enforce-eager": _CPUS,
    "--enable-auto-tool-choice": _ALWAYS,
    "--enable-chunked-prefill": _ALWAYS,
    "--cont-batching": _ALWAYS,
    "-cb": _ALWAYS,
    "--metrics": _ALWAYS,
    "--embeddings": _ALWAYS,
    "--jinja": _FROM_THE_MODEL,
    "--chat-template": _FROM_THE_MODEL,
    "--reasoning-parser": _FROM_THE_MODEL,
    "--tokenizer": _FROM_THE_MODEL,
    "--quantization": _FORMAT,
    "--dtype": _FORMAT,
    "--load-format": _FORMAT,
    "--hf-repo": _MODEL_ARGUMENT,
    "-hf": _MODEL_ARGUMENT,
    "--revision": _MODEL_ARGUMENT,
    "--download-dir": "OCTAVO_HOME says where models are",
    "--trust-remote-code": "no code of a model is ever run",
    "--log-level": _LOG_LEVEL,
    "--uvicorn-log-level": _LOG_LEVEL,
    "--verbose": _LOG_LEVEL,
    "-v": _LOG_LEVEL,
}
_KINDS = {int: "a whole number", float: "a number", bool: "true or false"}


def sentence_of(error: CycloptsError) -> str:
    """For people. error comes from an App that prints nothing itself."""
    command = " ".join(("octavo", *(error.command_chain or ())))
    match error:
        case UnusedCliTokensError(unused_tokens=[token, *_]):
            return f"`{command}` takes no argument {token!r}; its --help names those it takes."
        case UnknownCommandError(unused_tokens=[token, *_]) if token.startswith("-"):
            return f"`octavo` takes no option {token} before a command; `octavo --help` names the commands."
        case UnknownCommandError(unused_tokens=[token, *_]) if token in COMMANDS_ELSEWHERE:
            return f"There is no command {token!r}; `octavo {COMMANDS_ELSEWHERE[token]}` does that."
        case UnknownOptionError() if own := _own_option(error):
            return f"`{command}` has no {_typed(error)}; its name here is {own}."
        case UnknownOptionError() if _typed(error) in WITHOUT_COUNTERPART:
            return f"`{command}` has no {_typed(error)}: {WITHOUT_COUNTERPART[_typed(error)]}."
        case CoercionError(token=cyclopts.Token() as token) if error.target_type in _KINDS:
            return f"{_name(token)} is {token.value!r}; allowed: {_KINDS[error.target_type]}."
        case MissingArgumentError():
            return _missing(error, command)
    return str(error)


def _own_option(error: UnknownOptionError) -> str | None:
    """What octavo calls it, if this command has it."""
    own = OPTIONS_ELSEWHERE.get(_typed(error))
    return own if any(own in argument.names for argument in error.argument_collection) else None


def _typed(error: UnknownOptionError) -> str:
    return (error.token.keyword or error.token.value).partition("=")[0]


def _name(token: cyclopts.Token) -> str:
    """Of an option that is typed, or stands in a file."""
    name = token.keyword or "it"
    return name if token.source in ("", "cli") else f"--config {token.source}: {name.strip('[]')}"


def _missing(error: MissingArgumentError, command: str) -> str:
    assert error.argument is not None
    if error.argument.tokens or error.keyword is not None:
        return f"{error.keyword or error.argument.name} needs a value; `{command} --help` says which."
    return f"`{command}` needs {error.argument.name}; its --help says what that is."

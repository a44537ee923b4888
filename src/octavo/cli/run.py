"""`octavo run`: fetches a model if need be, and chats with it in the terminal or answers one prompt.

The options only; what happens is in chat.py, which is imported when it runs.
"""

import dataclasses
import pkgutil
from typing import Annotated

from cyclopts import App, Parameter

from octavo.cli.serve import read_bytes
from octavo.models.catalog import SMOLLM2


@dataclasses.dataclass(frozen=True, slots=True)
class ChatOptions:
    """How to answer. The sampling options are SamplingParams' fields."""

    system: str | None = None
    """What the model is told before the conversation."""
    temperature: float = 0.7
    """0 always takes the likeliest token."""
    top_p: float = 0.95
    """Sample from the likeliest tokens whose probability reaches this."""
    top_k: int = 0
    """Sample from the k likeliest tokens; 0: from all."""
    min_p: float = 0.0
    """Sample from tokens at least this times as likely as the likeliest."""
    max_tokens: int | None = None
    """Tokens of one answer at most; default: what the context has room for."""
    seed: int | None = None
    """With the same seed and prompt the answer is the same."""
    verbose: bool = False
    """Say after each answer how many tokens it took, and how fast they came."""


@dataclasses.dataclass(frozen=True, slots=True)
class LoadOptions:
    """How to load the model: fields of EngineConfig."""

    max_model_len: int | None = None
    """Tokens of the conversation at most; default: the model's own context."""
    kv_cache_memory: Annotated[int | None, Parameter(converter=read_bytes, metavar="SIZE")] = None
    """Memory for the KV cache, like 512MiB; default a quarter of what is free, 4GiB at most."""
    kv_dtype: str = "bf16"
    """What the KV cache holds: bf16, or int8, in half the memory."""
    activation_dtype: str = "bf16"
    """What quantized weights are multiplied by: bf16, or int8, faster where there are no matrix units."""
    threads: int | None = None
    """Threads that compute; default: the cores this process may use."""


run = App(
    name="run",
    usage="octavo run [MODEL] [PROMPT] [OPTIONS]",
    group_parameters="Options",
    default_parameter=Parameter(negative=()),
    result_action="return_value",
)


@run.default
def run_model(
    model: str = SMOLLM2.name,
    /,
    *prompt: str,
    chat: Annotated[ChatOptions, Parameter(name="*")] = ChatOptions(),
    load: Annotated[LoadOptions, Parameter(name="*")] = LoadOptions(),
) -> int:
    """Chat with a model, which is fetched first if need be; or answer one prompt, and only that, on stdout.

    Parameters
    ----------
    model
        As `octavo serve` takes it.
    prompt
        Answer this and exit. What comes in through a pipe is the prompt too, behind it.
    """
    exit_code: int = pkgutil.resolve_name("octavo.cli.chat:run_chat")(model, " ".join(prompt), chat, load)
    return exit_code

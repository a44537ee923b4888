"""A tiny model that reasons, calls tools, fills in and reads documents, for a soak to ask for it all."""

import pathlib

from tests.e2e.matrix.models import write_tiny

TOKENS = ("</think>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
TEMPLATE = (
    "{% for t in tools or () %}{{ t['function']['name'] }}{% endfor %}"
    "{% for d in documents or () %}{{ d['text'] }}{% endfor %}"
    "{% for m in messages %}{{ bos_token }}{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}"
    "<think></think>{% endif %}"
    "{# calls: <tool_call> name, arguments </tool_call> #}"
)


def write_able(family: str, folder: pathlib.Path) -> pathlib.Path:
    return write_tiny(family, folder, TOKENS, chat_template=TEMPLATE)

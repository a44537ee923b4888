"""Tells a model of tools where its chat template cannot: in a system text, with calls and results as text."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from octavo.text.tool_formats import ToolFormat

Message = Mapping[str, Any]

_INTRODUCTION = """\
You can call tools. To call one, answer with nothing but this, NAME and ARGUMENTS filled in:
{example}
ARGUMENTS is a JSON object that fits the tool's parameters. The result comes in the next message. \
Where no tool helps, answer in plain text.
The tools:
{tools}"""


def spelled_out(
    messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], form: ToolFormat
) -> list[Message]:
    """The same conversation for a template that knows neither tools nor calls nor results.

    Results that follow each other become one message of the user's, since templates may want turns.
    """
    spelled: list[Message] = []
    names: dict[str, str] = {}  # of the tools called so far, by the calls' ids
    is_result = False
    for message in messages:
        calls = message.get("tool_calls", ())
        names |= {call["id"]: call["function"]["name"] for call in calls}
        if message["role"] == "tool":
            text = f"Result of {names[message['tool_call_id']]}:\n{message['content']}"
            if is_result:
                text = f"{spelled.pop()['content']}\n\n{text}"
            spelled.append({"role": "user", "content": text})
        elif calls:
            parts = (message["content"], written([call["function"] for call in calls], form))
            spelled.append({"role": message["role"], "content": "\n".join(filter(None, parts))})
        else:
            spelled.append(message)
        is_result = message["role"] == "tool"
    return _introduced(spelled, tools, form) if tools else spelled


def _introduced(
    messages: list[Message], tools: Sequence[Mapping[str, Any]], form: ToolFormat
) -> list[Message]:
    example = written([{"name": "NAME", "arguments": "ARGUMENTS"}], form).replace('"ARGUMENTS"', "ARGUMENTS")
    functions = "\n".join(_json(tool["function"]) for tool in tools)
    text = _INTRODUCTION.format(example=example, tools=functions)
    if messages[0]["role"] == "system":
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def written(calls: Sequence[Mapping[str, Any]], form: ToolFormat) -> str:
    """Calls (name, arguments) as a model writes them."""
    bodies = [_json({"name": call["name"], form.arguments_key: call["arguments"]}) for call in calls]
    if form.has_list:
        bodies = [f"[{', '.join(bodies)}]"]
    if form.is_bare:
        return f"{form.separator} ".join(bodies)
    return "\n".join(f"{form.beginning}{body}{form.ending}" for body in bodies)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

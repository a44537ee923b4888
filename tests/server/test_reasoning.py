"""What is asked of reasoning: by the template where it can, else by a budget; refused where there is none."""

import dataclasses
from typing import Any

import pytest

from octavo.core.errors import InvalidRequestError
from octavo.server.reasoning import ReasoningUse, reasoning_use
from octavo.text.chat_abilities import ChatAbilities
from octavo.text.reasoning import REASONING_TAGS

PLAIN = ChatAbilities(variables=frozenset(("messages", "tools", "mood")))
ALWAYS = ChatAbilities(reasoning=REASONING_TAGS[0])
SWITCHED = ChatAbilities(reasoning=REASONING_TAGS[0], variables=frozenset(("enable_thinking",)))
LEVELS = ChatAbilities(reasoning=REASONING_TAGS[0], variables=frozenset(("reasoning_effort",)))


SWITCH_AND_LEVELS = dataclasses.replace(
    SWITCHED, variables=frozenset(("enable_thinking", "reasoning_effort"))
)


@pytest.mark.parametrize(
    ("abilities", "asked", "variables", "max_tokens"),
    (
        (ALWAYS, {}, {}, None),
        (PLAIN, {"given": {"mood": True}}, {"mood": True}, None),
        (SWITCHED, {"given": {"enable_thinking": False}}, {"enable_thinking": False}, None),
        (PLAIN, {"effort": "none"}, {}, None),
        (PLAIN, {"is_wanted": False}, {}, None),
        (PLAIN, {"budget": -1}, {}, None),
        (ALWAYS, {"effort": "none"}, {}, 0),
        (ALWAYS, {"effort": "low"}, {}, 1024),
        (ALWAYS, {"effort": "high"}, {}, None),
        (ALWAYS, {"is_wanted": False}, {}, 0),
        (ALWAYS, {"is_wanted": True}, {}, None),
        (ALWAYS, {"budget": 7}, {}, 7),
        (SWITCHED, {"effort": "none"}, {"enable_thinking": False}, None),
        (SWITCHED, {"effort": "minimal"}, {"enable_thinking": True}, 256),
        (SWITCHED, {"is_wanted": False}, {"enable_thinking": False}, None),
        (LEVELS, {"effort": "high", "given": {}}, {"reasoning_effort": "high"}, None),
        (LEVELS, {"effort": "none"}, {"reasoning_effort": "none"}, None),
        (ALWAYS, {"effort": "low", "budget": 9}, {}, 9),
        (ALWAYS, {"effort": "low", "budget": -1}, {}, None),
        (ALWAYS, {"effort": "low", "is_wanted": True}, {}, 1024),
        (ALWAYS, {"effort": "low", "is_wanted": False}, {}, 0),
        (SWITCHED, {"effort": "low", "given": {"enable_thinking": False}}, {"enable_thinking": False}, 1024),
        (
            SWITCH_AND_LEVELS,
            {"effort": "low", "is_wanted": True},
            {"reasoning_effort": "low", "enable_thinking": True},
            None,
        ),
    ),
)
def test_what_is_asked(
    abilities: ChatAbilities, asked: dict[str, Any], variables: object, max_tokens: int | None
) -> None:
    assert reasoning_use(abilities, **asked) == ReasoningUse(variables, max_tokens)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("abilities", "asked", "param", "message"),
    (
        (PLAIN, {"effort": "low"}, "reasoning_effort", "does not reason"),
        (PLAIN, {"is_wanted": True}, "enable_thinking", "is True; this model does not reason"),
        (PLAIN, {"budget": 0}, "thinking_token_budget", "is 0; this model does not reason"),
        (ALWAYS, {"effort": "lots"}, "reasoning_effort", "allowed: none, minimal, low, medium, high"),
        (PLAIN, {"given": {"enable_thinking": False}}, "chat_template_kwargs.enable_thinking", "not read"),
        (PLAIN, {"given": {"messages": True}}, "chat_template_kwargs.messages", "does not read"),
        (PLAIN, {"given": {"tools": True}}, "chat_template_kwargs.tools", "does not read"),
    ),
)
def test_refusals(abilities: ChatAbilities, asked: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        reasoning_use(abilities, **asked)
    assert caught.value.param == param

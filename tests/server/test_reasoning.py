"""What is asked of reasoning reaches templates that read it, and is refused where they do not."""

import pytest

from octavo.core.errors import InvalidRequestError
from octavo.server.reasoning import template_variables
from octavo.text.chat_abilities import ChatAbilities
from octavo.text.reasoning import REASONING_TAGS

PLAIN = ChatAbilities(variables=frozenset(("messages", "tools", "mood")))
ALWAYS = ChatAbilities(reasoning=REASONING_TAGS[0])
SWITCHED = ChatAbilities(reasoning=REASONING_TAGS[0], variables=frozenset(("enable_thinking",)))
LEVELS = ChatAbilities(reasoning=REASONING_TAGS[0], variables=frozenset(("reasoning_effort",)))


@pytest.mark.parametrize(
    ("given", "effort", "abilities", "variables"),
    (
        (None, None, ALWAYS, {}),
        ({"mood": True}, None, PLAIN, {"mood": True}),
        ({"enable_thinking": False}, None, SWITCHED, {"enable_thinking": False}),
        (None, "none", PLAIN, {}),
        (None, "none", SWITCHED, {"enable_thinking": False}),
        ({}, "high", LEVELS, {"reasoning_effort": "high"}),
    ),
)
def test_variables(given: dict[str, bool], effort: str, abilities: ChatAbilities, variables: object) -> None:
    assert template_variables(given, effort, abilities) == variables


@pytest.mark.parametrize(
    ("given", "effort", "abilities", "param", "message"),
    (
        (None, "low", PLAIN, "reasoning_effort", "does not reason"),
        (None, "none", ALWAYS, "reasoning_effort", "always reasons"),
        (None, "low", SWITCHED, "reasoning_effort", "has no levels"),
        ({"enable_thinking": False}, None, PLAIN, "chat_template_kwargs.enable_thinking", "does not read"),
        ({"messages": True}, None, PLAIN, "chat_template_kwargs.messages", "does not read"),
        ({"tools": True}, None, PLAIN, "chat_template_kwargs.tools", "does not read"),
    ),
)
def test_refusals(
    given: dict[str, bool], effort: str, abilities: ChatAbilities, param: str, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        template_variables(given, effort, abilities)
    assert caught.value.param == param

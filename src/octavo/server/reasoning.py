"""What a request asks of a model's reasoning, as variables of its chat template."""

from collections.abc import Mapping
from typing import Any

from octavo.core.errors import InvalidRequestError
from octavo.text.chat_abilities import EFFORT, ChatAbilities

_ECHO_LIMIT = 80  # characters of a client's own text repeated in an error
_OURS = frozenset(("messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token"))


def template_variables(
    given: Mapping[str, Any] | None, effort: str | None, abilities: ChatAbilities
) -> dict[str, Any]:
    """chat_template_kwargs and reasoning_effort together. Raises InvalidRequestError for what the template
    does not read."""
    known = abilities.variables - _OURS
    for name in given or ():
        if name not in known:
            shown = name[:_ECHO_LIMIT]
            raise InvalidRequestError(
                f"chat_template_kwargs has {shown!r}; the model's template does not read it.",
                param=f"chat_template_kwargs.{shown}",
            )
    return {**(given or {}), **_of_effort(effort, abilities)}


def _of_effort(effort: str | None, abilities: ChatAbilities) -> dict[str, Any]:
    if effort is None:
        return {}
    if EFFORT in abilities.variables:
        return {EFFORT: effort}
    if effort != "none":
        reason = "does not reason" if abilities.reasoning is None else "has no levels of reasoning"
    elif abilities.switch is not None:
        return {abilities.switch: False}
    elif abilities.reasoning is None:
        return {}
    else:
        reason = "always reasons"
    raise InvalidRequestError(
        f"reasoning_effort is {effort[:_ECHO_LIMIT]!r}; this model {reason}. Leave it out.",
        param="reasoning_effort",
    )

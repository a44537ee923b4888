"""What a request asks of a model's reasoning: variables of its chat template, and how long it may get."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from octavo.core.errors import ECHO_LIMIT, InvalidRequestError
from octavo.text.chat_abilities import EFFORT, ChatAbilities

EFFORT_TOKENS = {
    "none": 0, "minimal": 256, "low": 1024, "medium": 4096, "high": None, "xhigh": None, "max": None
}  # fmt: skip
"""Of reasoning at most, for models whose templates know no levels. None: as many as it takes."""

_OURS = frozenset(("messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token"))


@dataclasses.dataclass(frozen=True, slots=True)
class ReasoningUse:
    """max_tokens: of reasoning; None: any number."""

    variables: Mapping[str, Any]
    max_tokens: int | None = None


def reasoning_use(
    abilities: ChatAbilities,
    *,
    given: Mapping[str, Any] | None = None,
    effort: str | None = None,
    is_wanted: bool | None = None,
    budget: int | None = None,
) -> ReasoningUse:
    """Of chat_template_kwargs, reasoning_effort, enable_thinking and thinking_token_budget (-1: any number);
    where two say something of the same, the template's variable counts, and the later of the others.

    Raises InvalidRequestError for what the model does not know.
    """
    known = abilities.variables - _OURS
    for name in given or ():
        if name not in known:
            shown = name[:ECHO_LIMIT]
            raise InvalidRequestError(
                f"chat_template_kwargs has {shown!r}; the model's template does not read it.",
                param=f"chat_template_kwargs.{shown}",
            )
    if abilities.reasoning is None and (is_wanted or (budget is not None and budget >= 0)):
        param = "enable_thinking" if is_wanted else "thinking_token_budget"
        raise InvalidRequestError(
            f"{param} is {is_wanted or budget!r}; this model does not reason. Leave it out.", param=param
        )
    use = ReasoningUse({}) if effort is None else _of_effort(effort, abilities)
    variables, max_tokens = use.variables, use.max_tokens
    if is_wanted is not None:
        switched = _switched(abilities, is_on=is_wanted, max_tokens=max_tokens if is_wanted else 0)
        variables, max_tokens = {**variables, **switched.variables}, switched.max_tokens
    if budget is not None:
        max_tokens = None if budget == -1 else budget
    return ReasoningUse({**variables, **(given or {})}, max_tokens)


def _of_effort(effort: str, abilities: ChatAbilities) -> ReasoningUse:
    if EFFORT in abilities.variables:
        return ReasoningUse({EFFORT: effort})
    if effort not in EFFORT_TOKENS:
        raise _refusal(effort, f"allowed: {', '.join(EFFORT_TOKENS)}.")
    if abilities.reasoning is None and effort != "none":
        raise _refusal(effort, "this model does not reason. Leave it out.")
    return _switched(abilities, is_on=effort != "none", max_tokens=EFFORT_TOKENS[effort])


def _switched(abilities: ChatAbilities, *, is_on: bool, max_tokens: int | None) -> ReasoningUse:
    """Off by the template where it can do without reasoning, else by a budget of nothing."""
    if abilities.reasoning is None:
        return ReasoningUse({})
    if abilities.switch is None:
        return ReasoningUse({}, max_tokens)
    return ReasoningUse({abilities.switch: is_on}, max_tokens if is_on else None)


def _refusal(effort: str, reason: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"reasoning_effort is {effort[:ECHO_LIMIT]!r}; {reason}", param="reasoning_effort"
    )

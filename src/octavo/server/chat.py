"""POST /v1/chat/completions, as OpenAI defines it: a request becomes a prompt and a form of answer."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from octavo.core.errors import InvalidRequestError
from octavo.server.answer_form import AnswerForm, thinking_after
from octavo.server.chat_format import ChatFormat
from octavo.server.decoder import BodyDecoder
from octavo.server.dialect import Encoded
from octavo.server.logprobs import ChatTokens, TokenNames
from octavo.server.messages import Message, conversation
from octavo.server.parameters import Api, parameters_of
from octavo.server.prompt_report import PromptReport
from octavo.server.prompts import ChatPrompt, PromptEncoder
from octavo.server.reasoning import ReasoningUse, reasoning_use
from octavo.server.schema import ChatRequest
from octavo.server.tools import ToolUse, tool_use
from octavo.text.chat_abilities import ChatAbilities
from octavo.text.tool_formats import ToolFormat
from octavo.text.tool_prompt import spelled_out


def without_tools(chat: ChatPrompt, form: ToolFormat) -> ChatPrompt:
    """The same for a template that knows no tools."""
    return dataclasses.replace(chat, messages=spelled_out(chat.messages, chat.tools, form), tools=())


class ChatDialect:
    id_prefix = "chatcmpl-"
    default_max_tokens = None

    def __init__(self, abilities: ChatAbilities, *, allows_unknown: bool = False) -> None:
        self.decoder = BodyDecoder(ChatRequest, parameters_of(Api.CHAT), allows_unknown=allows_unknown)
        self._abilities = abilities

    async def encode(self, request: ChatRequest, prompts: PromptEncoder) -> Encoded:
        max_tokens = request.max_completion_tokens or request.max_tokens
        kept = prompts.kept(request.truncate_prompt_tokens, max_tokens, request.truncation_side)
        use = tool_use(request.tools, request.tool_choice, request.parallel_tool_calls)
        wanted, reasoning = request.grammar(), self._reasoning_use(request)
        messages = conversation(request.messages, prompts.max_model_len)
        chat = self._prompt(request, messages, use, reasoning.variables)
        prompt = await prompts.encode_chat(chat, kept=kept)
        form = AnswerForm(
            self._abilities,
            use,
            thinking_after(prompts.tail(prompt), self._abilities),
            wanted=wanted,
            shows_reasoning=request.include_reasoning is not False,
        )
        has_ids = bool(request.return_token_ids)
        names = TokenNames(prompts.spelling, uses_ids=bool(request.return_tokens_as_token_ids))
        report = PromptReport(
            names,
            [prompt],
            num_choices=request.num_candidates,
            num_prompt_logprobs=request.prompt_logprobs,
            has_ids=has_ids,
            prompt_text=await prompts.detokenize(prompt) if request.return_prompt_text else None,
        )
        new_format = functools.partial(
            ChatFormat,
            tokens=ChatTokens(names, has_ids=has_ids),
            prompts=report,
            new_parser=form.new_parser,
            has_short_ids=self._abilities.tool_format.has_short_ids,
            echo=_echo(request, messages),
        )
        return Encoded(
            [prompt],
            new_format,
            form.shown_ids,
            form.grammar(reasoning.max_tokens, prompts),
            form.meters(prompts),
        )

    def _reasoning_use(self, request: ChatRequest) -> ReasoningUse:
        return reasoning_use(
            self._abilities,
            given=request.chat_template_kwargs,
            effort=request.reasoning_effort,
            is_wanted=request.enable_thinking,
            budget=request.reasoning_budget,
        )

    def _prompt(
        self, request: ChatRequest, messages: list[Message], use: ToolUse, variables: Mapping[str, Any]
    ) -> ChatPrompt:
        abilities = self._abilities
        if request.documents:
            variables = {**variables, **_documents(request.documents, abilities)}
        goes_on = _goes_on(request, messages)
        has_head = request.add_generation_prompt is not False and not goes_on
        chat = ChatPrompt(messages, use.shown, variables, has_head, goes_on)
        return chat if abilities.template_has_tools else without_tools(chat, abilities.tool_format)


def _echo(request: ChatRequest, messages: Sequence[Message]) -> str:
    """What the answer's text begins with: the last message, if it is the assistant's as well."""
    last = messages[-1]
    return str(last["content"]) if request.echo and last["role"] == "assistant" else ""


def _documents(documents: list[dict[str, str]], abilities: ChatAbilities) -> dict[str, object]:
    if "documents" not in abilities.variables:
        raise InvalidRequestError("documents: the model's template does not read them.", param="documents")
    return {"documents": documents}


def _goes_on(request: ChatRequest, messages: Sequence[Message]) -> bool:
    """Whether the answer goes on with the last message, which is then the assistant's."""
    if not request.continue_final_message:
        return False
    if request.add_generation_prompt:
        raise InvalidRequestError(
            "continue_final_message goes on with a message, add_generation_prompt begins one: send one.",
            param="continue_final_message",
        )
    if messages[-1]["role"] != "assistant" or not messages[-1].get("content"):
        raise InvalidRequestError(
            "continue_final_message needs a last message of the assistant's, with a text.",
            param="continue_final_message",
        )
    return True

"""POST /v1/chat/completions, as OpenAI defines it: a request becomes a prompt and a form of answer."""

import functools
from collections.abc import Callable, Sequence

from octavo.core.errors import InvalidRequestError
from octavo.core.grammar_spec import GrammarSpec
from octavo.server.chat_format import ChatFormat
from octavo.server.decoder import BodyDecoder
from octavo.server.dialect import Encoded
from octavo.server.logprobs import ChatTokens, TokenNames
from octavo.server.messages import Message, conversation
from octavo.server.parameters import Api, parameters_of
from octavo.server.prompt_report import PromptReport
from octavo.server.prompts import ChatPrompt, PromptEncoder
from octavo.server.reasoning import template_variables
from octavo.server.schema import ChatRequest
from octavo.server.tools import ToolUse, tool_use
from octavo.text.answer_parser import AnswerParser, ParsedAnswer, PlainAnswer
from octavo.text.chat_abilities import ChatAbilities
from octavo.text.reasoning import ReasoningSplitter
from octavo.text.tool_calls import ToolCallParser
from octavo.text.tool_prompt import spelled_out


class ChatDialect:
    id_prefix = "chatcmpl-"
    default_max_tokens = None

    def __init__(self, abilities: ChatAbilities, *, allows_unknown: bool = False) -> None:
        self.decoder = BodyDecoder(ChatRequest, parameters_of(Api.CHAT), allows_unknown=allows_unknown)
        self._abilities = abilities

    async def encode(self, request: ChatRequest, prompts: PromptEncoder) -> Encoded:
        max_tokens = request.max_completion_tokens or request.max_tokens
        num_kept = prompts.num_kept(request.truncate_prompt_tokens, max_tokens)
        use = tool_use(request.tools, request.tool_choice, request.parallel_tool_calls)
        grammar = _grammar(request, use)
        prompt = await prompts.encode_chat(self._prompt(request, use), num_kept=num_kept)
        has_ids = bool(request.return_token_ids)
        names = TokenNames(prompts.spelling, uses_ids=bool(request.return_tokens_as_token_ids))
        report = PromptReport(
            names,
            [prompt],
            num_choices=request.num_candidates,
            num_prompt_logprobs=request.prompt_logprobs,
            has_ids=has_ids,
        )
        new_format = functools.partial(
            ChatFormat,
            tokens=ChatTokens(names, has_ids=has_ids),
            prompts=report,
            new_parser=self._new_parser(use, prompts.tail(prompt)),
            has_short_ids=self._abilities.tool_format.has_short_ids,
        )
        is_parsed = use.names or self._abilities.reasoning is not None
        shown_ids = self._abilities.shown_ids if is_parsed else frozenset()
        return Encoded([prompt], new_format, shown_ids, grammar)

    def _prompt(self, request: ChatRequest, use: ToolUse) -> ChatPrompt:
        abilities = self._abilities
        variables = template_variables(request.chat_template_kwargs, request.reasoning_effort, abilities)
        if request.documents:
            variables |= _documents(request.documents, abilities)
        messages = conversation(request.messages)
        goes_on = _goes_on(request, messages)
        has_head = request.add_generation_prompt is not False and not goes_on
        if abilities.template_has_tools:
            return ChatPrompt(messages, use.shown, variables, has_head, goes_on)
        spelled = spelled_out(messages, use.shown, abilities.tool_format)
        return ChatPrompt(spelled, (), variables, has_head, goes_on)

    def _new_parser(self, use: ToolUse, prompt_tail: str) -> Callable[[], AnswerParser]:
        tags, form = self._abilities.reasoning, self._abilities.tool_format
        if tags is None and not use.names:
            return PlainAnswer
        is_open = tags is not None and prompt_tail.rstrip().endswith(tags.opening)
        return lambda: ParsedAnswer(
            PlainAnswer() if tags is None else ReasoningSplitter(tags, is_open=is_open),
            ToolCallParser(form, use.names, is_parallel=use.is_parallel) if use.names else PlainAnswer(),
        )


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


def _grammar(request: ChatRequest, use: ToolUse) -> GrammarSpec | None:
    grammar = request.grammar()
    if grammar is not None and use.names:
        raise InvalidRequestError(
            f"{grammar.field} leaves no room for a call of a tool; send no tools, or tool_choice none.",
            param=grammar.field,
        )
    return grammar

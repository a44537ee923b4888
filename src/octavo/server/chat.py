"""POST /v1/chat/completions, as OpenAI defines it: a request becomes a prompt and a form of answer."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from octavo.core.errors import InvalidRequestError
from octavo.core.grammar_spec import GrammarKind, GrammarSpec, Reasoning, ReasoningBudget
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
from octavo.text.answer_parser import AnswerParser, ParsedAnswer, PlainAnswer
from octavo.text.chat_abilities import ChatAbilities
from octavo.text.reasoning import ReasoningSplitter
from octavo.text.reasoning_meter import ReasoningMeter
from octavo.text.tool_calls import ToolCallParser
from octavo.text.tool_formats import ToolFormat
from octavo.text.tool_grammar import Thinking, ToolGrammar
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
        num_kept = prompts.num_kept(request.truncate_prompt_tokens, max_tokens)
        use = tool_use(request.tools, request.tool_choice, request.parallel_tool_calls)
        wanted = request.grammar()
        if wanted is not None and use.schemas:
            raise InvalidRequestError(
                f"{wanted.field} leaves no room for a call of a tool; send no tools, or tool_choice none.",
                param=wanted.field,
            )
        reasoning = self._reasoning_use(request)
        prompt = await prompts.encode_chat(self._prompt(request, use, reasoning.variables), num_kept=num_kept)
        form = _AnswerForm(
            self._abilities,
            use,
            self._thinking(prompts.tail(prompt)),
            shows_reasoning=request.include_reasoning is not False,
        )
        grammar = form.grammar if wanted is None else form.behind_reasoning(wanted)
        if reasoning.max_tokens is not None:
            grammar = form.within_budget(grammar, reasoning.max_tokens, prompts)
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
            new_parser=form.new_parser,
            has_short_ids=self._abilities.tool_format.has_short_ids,
        )
        return Encoded([prompt], new_format, form.shown_ids, grammar, form.meters(prompts))

    def _reasoning_use(self, request: ChatRequest) -> ReasoningUse:
        return reasoning_use(
            self._abilities,
            given=request.chat_template_kwargs,
            effort=request.reasoning_effort,
            is_wanted=request.enable_thinking,
            budget=request.reasoning_budget,
        )

    def _prompt(self, request: ChatRequest, use: ToolUse, variables: Mapping[str, Any]) -> ChatPrompt:
        abilities = self._abilities
        if request.documents:
            variables = {**variables, **_documents(request.documents, abilities)}
        messages = conversation(request.messages)
        goes_on = _goes_on(request, messages)
        has_head = request.add_generation_prompt is not False and not goes_on
        chat = ChatPrompt(messages, use.shown, variables, has_head, goes_on)
        return chat if abilities.template_has_tools else without_tools(chat, abilities.tool_format)

    def _thinking(self, prompt_tail: str) -> Thinking:
        """Of an answer to a prompt that ends so."""
        tags, tail = self._abilities.reasoning, prompt_tail.rstrip()
        if tags is None or tail.endswith(tags.closing):
            return Thinking.NEVER
        return Thinking.ALWAYS if tail.endswith(tags.opening) else Thinking.MAYBE


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


@dataclasses.dataclass(frozen=True, slots=True)
class _AnswerForm:
    """How an answer is held to reasoning and calls of tools, and read."""

    abilities: ChatAbilities
    use: ToolUse
    thinking: Thinking
    shows_reasoning: bool = True

    @property
    def shown_ids(self) -> frozenset[int]:
        is_parsed = self.use.schemas or self.abilities.reasoning is not None
        return frozenset(self.abilities.control_ids.values()) if is_parsed else frozenset()

    def new_parser(self) -> AnswerParser:
        tags, use = self.abilities.reasoning, self.use
        if tags is None and not use.schemas:
            return PlainAnswer()
        is_open = self.thinking is Thinking.ALWAYS
        splitter = PlainAnswer() if tags is None else ReasoningSplitter(tags, is_open=is_open)
        if not use.schemas:
            return ParsedAnswer(splitter, PlainAnswer(), shows_reasoning=self.shows_reasoning)
        form = self.abilities.tool_format
        return ParsedAnswer(
            splitter,
            ToolCallParser(
                form,
                use.schemas,
                is_parallel=use.is_parallel,
                is_exact=use.is_exact,
                is_forced=use.is_forced,
            ),
            shows_reasoning=self.shows_reasoning,
        )

    def meters(self, prompts: PromptEncoder) -> Callable[[], ReasoningMeter] | None:
        tags, is_open = self.abilities.reasoning, self.thinking is Thinking.ALWAYS
        if tags is None:
            return None
        return lambda: ReasoningMeter(tags, prompts.spelling, is_open=is_open)

    def within_budget(
        self, grammar: GrammarSpec | None, max_tokens: int, prompts: PromptEncoder
    ) -> GrammarSpec:
        """The same with reasoning of so many tokens at most, for a model that reasons."""
        tags = self.abilities.reasoning
        assert tags is not None
        budget = ReasoningBudget(
            max_tokens,
            tags.opening,
            tags.closing,
            tuple(prompts.tokenizer.encode(tags.closing, allow_special=True)),
            is_open=self.thinking is Thinking.ALWAYS,
        )
        return dataclasses.replace(grammar or GrammarSpec(GrammarKind.ANYTHING), budget=budget)

    def behind_reasoning(self, grammar: GrammarSpec) -> GrammarSpec:
        """The same for a model that reasons first."""
        tags = self.abilities.reasoning
        if tags is None or self.thinking is Thinking.NEVER:
            return grammar
        opening = None if self.thinking is Thinking.ALWAYS else tags.opening
        return dataclasses.replace(grammar, reasoning=Reasoning(tags.closing, opening))

    @property
    def grammar(self) -> GrammarSpec | None:
        use, abilities = self.use, self.abilities
        if not use.is_exact:
            return None
        grammar = ToolGrammar(
            abilities.tool_format,
            use.schemas,
            is_parallel=use.is_parallel,
            thinking=self.thinking,
            tags=None if self.thinking is Thinking.NEVER else abilities.reasoning,
            control_ids=abilities.control_ids,
        )
        return GrammarSpec(
            GrammarKind.LARK, grammar.forced() if use.is_forced else grammar.allowed(), field="tools"
        )

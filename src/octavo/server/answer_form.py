"""What the answer of a chat is made of, reasoning, calls of tools, text, and how each is held and read."""

import dataclasses
import functools
import json
from collections.abc import Callable

from octavo.core.errors import InvalidRequestError
from octavo.core.grammar_spec import GrammarKind, GrammarSpec, Reasoning, ReasoningBudget
from octavo.server.prompts import PromptEncoder
from octavo.server.tools import ToolUse
from octavo.text.answer_parser import AnswerParser, MarkedOrNot, ParsedAnswer, PlainAnswer
from octavo.text.chat_abilities import ChatAbilities
from octavo.text.reasoning import ReasoningSplitter
from octavo.text.reasoning_meter import ReasoningMeter
from octavo.text.tool_calls import ToolCallParser
from octavo.text.tool_formats import ToolFormat
from octavo.text.tool_grammar import Thinking, ToolGrammar

_JSON = (GrammarKind.JSON_SCHEMA, GrammarKind.JSON_OBJECT)


def thinking_after(prompt_tail: str, abilities: ChatAbilities) -> Thinking:
    """Of an answer to a prompt that ends so."""
    tags, tail = abilities.reasoning, prompt_tail.rstrip()
    if tags is None or tail.endswith(tags.closing):
        return Thinking.NEVER
    return Thinking.ALWAYS if tail.endswith(tags.opening) else Thinking.MAYBE


@dataclasses.dataclass(frozen=True, slots=True)
class AnswerForm:
    """wanted: what a text must look like, if the answer is one; of calls, use says it."""

    abilities: ChatAbilities
    use: ToolUse
    thinking: Thinking
    wanted: GrammarSpec | None = None
    shows_reasoning: bool = True

    def grammar(self, budget: int | None, prompts: PromptEncoder) -> GrammarSpec | None:
        """budget: tokens of reasoning at most, of a model that reasons; None: any number.

        Raises InvalidRequestError for calls that could not be told from what is wanted.
        """
        if self.wanted is None or self.use.is_forced:
            grammar = self._of_calls()
        else:
            grammar = self._behind_reasoning(self._with_calls(self.wanted))
        return grammar if budget is None else self._within(budget, grammar, prompts)

    def new_parser(self) -> AnswerParser:
        tags = self.abilities.reasoning
        if tags is None and not self.use.schemas:
            return PlainAnswer()
        is_open = self.thinking is Thinking.ALWAYS
        splitter = PlainAnswer() if tags is None else ReasoningSplitter(tags, is_open=is_open)
        calls = self._new_call_parser() if self.use.schemas else PlainAnswer()
        return ParsedAnswer(splitter, calls, shows_reasoning=self.shows_reasoning)

    def meters(self, prompts: PromptEncoder) -> Callable[[], ReasoningMeter] | None:
        tags, is_open = self.abilities.reasoning, self.thinking is Thinking.ALWAYS
        return None if tags is None else lambda: ReasoningMeter(tags, prompts.spelling, is_open=is_open)

    @property
    def shown_ids(self) -> frozenset[int]:
        is_parsed = self.use.schemas or self.abilities.reasoning is not None
        return frozenset(self.abilities.control_ids.values()) if is_parsed else frozenset()

    def _new_call_parser(self) -> AnswerParser:
        use, form = self.use, self.abilities.tool_format
        parser = functools.partial(ToolCallParser, names=use.schemas, is_parallel=use.is_parallel)
        if self.wanted is None or use.is_forced:
            return parser(form, is_exact=use.is_exact, is_forced=use.is_forced)
        if self.wanted.kind not in _JSON:
            return MarkedOrNot(form.telltale, parser(form.telling, is_exact=True), PlainAnswer())
        bare = parser(form.bare, is_exact=True)
        if form == form.bare and form.has_list:
            return bare
        return MarkedOrNot(form.opening, parser(form.marked, is_exact=True, is_forced=True), bare)

    def _of_calls(self) -> GrammarSpec | None:
        if not self.use.is_exact:
            return None
        grammar = self._tool_grammar(self.abilities.tool_format, self.thinking)
        text = grammar.forced() if self.use.is_forced else grammar.allowed()
        return GrammarSpec(GrammarKind.LARK, text, field="tools")

    def _with_calls(self, wanted: GrammarSpec) -> GrammarSpec:
        """The same, but calls will do as well."""
        if not self.use.schemas:
            return wanted
        form = self.abilities.tool_format
        grammar = self._tool_grammar(form, Thinking.NEVER)
        if wanted.kind not in _JSON:
            return dataclasses.replace(wanted, calls=grammar.apart(), calls_begin=form.telltale)
        if form.has_list and not _is_object(wanted):
            raise InvalidRequestError(
                f"{wanted.field} leaves no room for a call: this model writes calls as lists. With tools a "
                "schema's type has to be 'object'; or send no tools, or tool_choice none.",
                param=wanted.field,
            )
        return dataclasses.replace(wanted, calls=grammar.optional(is_spaced=wanted.whitespace is not None))

    def _tool_grammar(self, form: ToolFormat, thinking: Thinking) -> ToolGrammar:
        return ToolGrammar(
            form,
            self.use.schemas,
            is_parallel=self.use.is_parallel,
            thinking=thinking,
            tags=None if thinking is Thinking.NEVER else self.abilities.reasoning,
            control_ids=self.abilities.control_ids,
        )

    def _behind_reasoning(self, grammar: GrammarSpec) -> GrammarSpec:
        """The same for a model that reasons first."""
        tags = self.abilities.reasoning
        if tags is None or self.thinking is Thinking.NEVER:
            return grammar
        opening = None if self.thinking is Thinking.ALWAYS else tags.opening
        return dataclasses.replace(grammar, reasoning=Reasoning(tags.closing, opening))

    def _within(self, budget: int, grammar: GrammarSpec | None, prompts: PromptEncoder) -> GrammarSpec:
        """The same with reasoning of so many tokens at most."""
        tags = self.abilities.reasoning
        assert tags is not None
        limit = ReasoningBudget(
            budget,
            tags.opening,
            tags.closing,
            tuple(prompts.tokenizer.encode(tags.closing, allow_special=True)),
            is_open=self.thinking is Thinking.ALWAYS,
        )
        return dataclasses.replace(grammar or GrammarSpec(GrammarKind.ANYTHING), budget=limit)


def _is_object(wanted: GrammarSpec) -> bool:
    if wanted.kind is GrammarKind.JSON_SCHEMA:
        try:
            schema = json.loads(wanted.text)
        except (ValueError, RecursionError):
            return False
        return isinstance(schema, dict) and schema.get("type") == "object"
    return wanted.kind is GrammarKind.JSON_OBJECT

"""Messages to prompt tokens, by the template in the model's file.

The template's control tokens become tokens; the same characters typed by a user stay text: in every string of
the messages, the characters without which no control token can be spelled are swapped for private ones while
the template runs, and swapped back once the control tokens have been cut out.
"""

import collections
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jinja2

from octavo.core.errors import InvalidRequestError, ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.text.template_limits import TemplateLimitError
from octavo.text.template_sandbox import SandboxedTemplate, TemplateRaisedError
from octavo.text.tokenizer import Tokenizer
from octavo.text.tokenizer_directory import TokenizerDirectory

TIME_LIMIT_SECONDS = 1.0  # of CPU; templates of today take well under a millisecond per message

Message = Mapping[str, Any]

_KEYS = frozenset(
    (
        *("role", "content", "name", "reasoning_content", "tool_calls", "tool_call_id", "id", "type"),
        *("function", "arguments", "description", "parameters"),
    )
)
_ALL_TAKEN = "The messages use every private character of Unicode."
_PRIVATE_CHARACTERS = range(0xF0000, 0x10FFFE)


class ChatTemplate:
    """source None stands for a model without a template: it refuses every chat."""

    def __init__(
        self, source: str | None, tokenizer: Tokenizer, *, time_limit_seconds: float = TIME_LIMIT_SECONDS
    ) -> None:
        """Raises what SandboxedTemplate raises for a source that cannot be compiled."""
        self.source = source
        self._tokenizer = tokenizer
        self._template = None
        if source is not None:
            self._template = SandboxedTemplate(source, time_limit_seconds=time_limit_seconds)
        vocabulary = tokenizer.vocabulary
        control_names = [vocabulary.tokens[token_id] for token_id in vocabulary.control_ids]
        self._telling = telling_characters(control_names)
        self._source_characters = frozenset(source or "")
        self._names = {
            "bos_token": "" if vocabulary.bos_id is None else vocabulary.tokens[vocabulary.bos_id],
            "eos_token": "" if vocabulary.eos_id is None else vocabulary.tokens[vocabulary.eos_id],
        }

    @classmethod
    def of_gguf(cls, metadata: ModelMetadata, tokenizer: Tokenizer) -> "ChatTemplate":
        """Raises ModelFileError for a template that is not valid."""
        return cls._of_file(metadata.source, metadata.text("tokenizer.chat_template", ""), tokenizer)

    @classmethod
    def of_directory(cls, path: pathlib.Path, tokenizer: Tokenizer) -> "ChatTemplate":
        """Raises ModelFileError for a template that is not valid."""
        return cls._of_file(str(path), TokenizerDirectory(path).chat_template(), tokenizer)

    @classmethod
    def _of_file(cls, name: str, source: str | None, tokenizer: Tokenizer) -> "ChatTemplate":
        try:
            return cls(source or None, tokenizer)
        except (jinja2.TemplateError, SyntaxError, RecursionError) as error:
            raise ModelFileError(f"{name}: the chat template is not valid: {error}.") from error

    @property
    def is_present(self) -> bool:
        return self._template is not None

    @property
    def variables(self) -> frozenset[str]:
        """The names that the template reads and does not set."""
        return frozenset() if self._template is None else self._template.variables

    def encode_chat(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        tools: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """The prompt's token ids. Raises InvalidRequestError (param messages) if that fails.

        continue_final_message: end behind the text of the last message, which the model then goes on with.
        variables: what else the template reads; tools and they are as much a user's as the messages are.
        """
        variables = variables or {}
        free = self._free_characters((messages, tools, tuple(variables.values())))
        end = next(free, "")
        if continue_final_message:
            if not end:
                raise _refusal(_ALL_TAKEN)
            *before, last = messages
            messages = [*before, {**last, "content": f"{last['content']}{end}"}]
        given = (messages, tools, tuple(variables.values()))
        swap = self._swap_for(given, free)
        restore = {private: telling for telling, private in swap.items()}
        messages, tools, values = _swapped(given, swap) if swap else given
        rendered = self.render(
            messages,
            add_generation_prompt=add_generation_prompt,
            tools=tools,
            variables=dict(zip(variables, values, strict=True)),
        )
        if continue_final_message:
            rendered, is_shown, rest = rendered.partition(end)
            if not is_shown or end in rest:
                raise _refusal("The model's chat template does not show the final message as it is, once.")
        pieces = self._tokenizer.split_control(rendered)
        return self._tokenizer.encode_pieces(
            _swapped(piece, restore) if isinstance(piece, str) else piece for piece in pieces
        )

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt as text, for people to read: a user's and the template's control tokens look alike."""
        if self._template is None:
            raise _refusal("This model's file has no chat template; use /v1/completions with a prompt.")
        context = {
            "documents": None,
            **(variables or {}),
            "messages": messages,
            "add_generation_prompt": add_generation_prompt,
            "tools": list(tools) or None,
            **self._names,
        }
        try:
            return self._template.render(context)
        except TemplateRaisedError as error:
            raise _refusal(f"The model's chat template refuses: {error}") from error
        except TemplateLimitError as error:
            raise _refusal(f"The model's chat template was stopped: {error}.") from error
        except Exception as error:  # foreign code: whatever it raises concerns this request only
            raise _refusal(f"The model's chat template cannot render these messages: {error}") from error

    def _free_characters(self, given: object) -> Iterator[str]:
        """Private ones that neither what users gave nor the template uses."""
        taken = self._source_characters.union(*strings_in(given))
        return (character for code in _PRIVATE_CHARACTERS if (character := chr(code)) not in taken)

    def _swap_for(self, given: object, free: Iterator[str]) -> dict[str, str]:
        """Telling character -> a free one; empty if not needed."""
        text = "".join(strings_in(given))
        if not any(character in text for character in self._telling):
            return {}
        swap = dict(zip(self._telling, free, strict=False))
        if len(swap) < len(self._telling):
            raise _refusal(_ALL_TAKEN)
        return swap


def _refusal(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, param="messages")


def telling_characters(names: Iterable[str]) -> str:
    """A few characters of which every name holds one: text without them spells no name.

    Greedy. Of equals, the one templates are least likely to look for in what users wrote: letters, and what
    joins letters to names, last; brackets of tags before them.
    """
    remaining = {name for name in names if name}
    chosen = ""
    while remaining:
        counts = collections.Counter(itertools.chain.from_iterable(map(set, remaining)))
        best = min(
            counts, key=lambda char: (-counts[char], char.isalnum() or char in "_- ", char in "<>[]", char)
        )
        chosen += best
        remaining = {name for name in remaining if best not in name}
    return chosen


def strings_in(value: Any) -> Iterable[str]:
    """Every string in a JSON-like value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from strings_in(key)
            yield from strings_in(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from strings_in(item)


def _swapped(value: Any, swap: Mapping[str, str]) -> Any:
    """The value with characters replaced in every string, but for the keys that templates look for. What they
    are replaced by is not replaced itself."""
    if isinstance(value, str):
        for character, other in swap.items():  # several times as fast as str.translate
            value = value.replace(character, other)
        return value
    if isinstance(value, Mapping):
        return {
            key if key in _KEYS else _swapped(key, swap): _swapped(item, swap) for key, item in value.items()
        }
    if isinstance(value, Sequence):
        return [_swapped(item, swap) for item in value]
    return value

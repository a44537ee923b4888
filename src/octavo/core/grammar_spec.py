"""What an answer must look like, as text: decoding/grammar.py compiles it, in the engine process.

Plain data; crosses the socket in Submit.grammar.
"""

import dataclasses
import enum


class GrammarKind(enum.StrEnum):
    """What GrammarSpec.text is.

    JSON_SCHEMA     a JSON Schema (draft 2020-12), as JSON
    JSON_OBJECT     not read: any JSON object
    REGEX           a regular expression that matches the whole answer
    CHOICE          a JSON array of strings; the answer is one of them
    LARK            a grammar in llguidance's dialect of Lark, its first rule `start`
    STRUCTURAL_TAG  a JSON object: free text in which tags with a schema each may appear
    ANYTHING        not read: any answer; for the sake of the other fields of a GrammarSpec

    In LARK `name` is a rule, `NAME` or `/regex/` a lexeme, "text" text, `%json {...}` a value of that JSON
    schema, and `<name>` without quotes the control token of that name, which the vocabulary must have
    (Vocabulary.control_ids). Quoted text never becomes a control token, whatever it says; a token that only
    stands for a text (Vocabulary.user_defined_ids) is text, and is quoted. The end-of-turn token is not
    written: it may come where the grammar may end, and nowhere else. `%llguidance` is refused.
    """

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    REGEX = "regex"
    CHOICE = "choice"
    LARK = "lark"
    STRUCTURAL_TAG = "structural_tag"
    ANYTHING = "anything"


@dataclasses.dataclass(frozen=True, slots=True)
class Reasoning:
    """Free text before what must look like something. It ends with the first closing tag.

    opening: it may be left out, and begins with this tag otherwise. None: the prompt has opened it.
    """

    closing: str
    opening: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ReasoningBudget:
    """Reasoning has so many tokens at most, its tags not counted: then its end is all that may come. Only a
    character that has begun is finished before.

    is_open: the prompt has opened it. closing_ids spell the closing tag.
    """

    max_tokens: int
    opening: str
    closing: str
    closing_ids: tuple[int, ...]
    is_open: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class GrammarSpec:
    """field names the parameter the text came from, for the error that says what is wrong with it.

    whitespace is a regular expression of the white space between the tokens of JSON; None: at most one space,
    behind commas and colons only. calls: another answer that will do, calls of tools, in LARK; calls_begin:
    how they all begin, if no other answer may begin so. The budget leaves the grammar as it is, which has to
    take what it forces.
    """

    kind: GrammarKind
    text: str = ""
    field: str | None = dataclasses.field(default=None, compare=False)
    whitespace: str | None = None
    calls: str | None = None
    calls_begin: str | None = None
    reasoning: Reasoning | None = None
    budget: ReasoningBudget | None = None

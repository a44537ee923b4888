"""What a chat template may build: sizes are refused before anything of that size exists.

A template comes with a model file and is not trusted. Its loops are counted elsewhere; here are the
operators, filters and string methods that could, in one single call, fill the memory or run for minutes.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any

MAX_CHARACTERS = 1 << 25  # of any string that a template builds
MAX_TOTAL_CHARACTERS = 1 << 29  # of all strings that a template builds in one run, kept or not
MAX_ITEMS = (
    1 << 20
)  # of any list, and of all that becomes text at once; the largest number a function is given
MAX_INTEGER_BITS = 1 << 12

# Quadratic, or of no use to a chat template.
REMOVED_FILTERS = ("wordwrap", "urlize", "striptags", "xmlattr", "pprint")
# These make text of whatever they are given, or compare it: they look at all that it holds.
_DEEP_FILTERS = (
    *("capitalize", "center", "e", "escape", "forceescape", "format", "groupby", "indent", "join", "lower"),
    *("max", "min", "replace", "safe", "sort", "string", "title", "tojson", "trim", "truncate", "unique"),
    *("upper", "urlencode", "wordcount"),
)
COMPARING_TESTS = (
    *("==", "!=", "<", ">", "<=", ">=", "eq", "ne", "lt", "gt", "le", "ge"),
    *("equalto", "lessthan", "greaterthan", "in"),
)
_WIDE_FIELD = re.compile(r"\d{6}|\*")

Function = Callable[..., Any]


class TemplateLimitError(Exception):
    """The template ran too long or built something too large."""


def require_size(num_characters: int) -> None:
    if num_characters > MAX_CHARACTERS:
        raise TemplateLimitError(f"it builds more than {MAX_CHARACTERS} characters")


def require_items(count: int) -> None:
    if count > MAX_ITEMS:
        raise TemplateLimitError(f"it builds more than {MAX_ITEMS} items")


def require_small_text(value: Any) -> Any:
    """The value, if the text of it is small: lists may hold one another a million times over."""
    if isinstance(value, str):
        return value
    num_items, num_characters, stack = 0, 0, [value]
    while stack:
        item = stack.pop()
        inner: Iterable[Any] = ()
        if isinstance(item, str):
            num_characters += len(item)
            require_size(num_characters)
        elif isinstance(item, Mapping):
            inner = itertools.chain(item.keys(), item.values())
            num_items += 2 * len(item)
        elif isinstance(item, list | tuple | set | frozenset):
            inner = item
            num_items += len(item)
        require_items(num_items)
        stack.extend(inner)
    return value


def require_small_result(operator: str, left: Any, right: Any) -> None:
    """Of an operator."""
    if operator == "%" and isinstance(left, str):
        _require_narrow_fields(left)
        require_small_text(right)
    elif operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
        _require_length(left, len(left) + len(right))
    elif operator == "*" and hasattr(left, "__len__") and isinstance(right, int):
        _require_length(left, len(left) * right)
    elif operator == "*" and isinstance(left, int) and hasattr(right, "__len__"):
        _require_length(right, left * len(right))
    elif operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
        num_bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
        if num_bits > MAX_INTEGER_BITS:
            raise TemplateLimitError(f"it computes a number of more than {MAX_INTEGER_BITS} bits")


def guarded_args(function: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """The arguments of a call, once it is sure that a string's method builds nothing large of them."""
    function = getattr(function, "__wrapped__", function)  # Jinja wraps str.format
    text = getattr(function, "__self__", None)
    if isinstance(text, str):
        if function.__name__ == "join" and args and not isinstance(args[0], str):
            args = (list(itertools.islice(args[0], MAX_ITEMS + 1)), *args[1:])  # it may be a generator
        _require_small_call(function.__name__, [text, *args, *kwargs.values()])
    return args


def guarded_filter(name: str, function: Function, count: Callable[[Any], None]) -> Function:
    """count is told of every result."""

    @functools.wraps(function)  # Jinja marks functions that want its environment in front
    def call(*args: Any, **kwargs: Any) -> Any:
        values = list(args[1:] if hasattr(function, "jinja_pass_arg") else args)
        if name == "join" and values and not isinstance(values[0], str):
            values[0] = list(itertools.islice(values[0], MAX_ITEMS + 1))  # it may be a generator
            args = (*args[: len(args) - len(values)], *values)
        if name in _DEEP_FILTERS:
            for value in (*values, *kwargs.values()):
                require_small_text(value)
        _require_small_call(name, [*values, *kwargs.values()])
        result = function(*args, **kwargs)
        count(result)
        return result

    return call


def guarded_test(function: Function) -> Function:
    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*map(require_small_text, args))

    return call


def _require_small_call(name: str, values: list[Any]) -> None:
    """values: what a filter or method works on, then its arguments."""
    text, rest = values[0] if values else None, values[1:]
    numbers = [abs(value) for value in rest if isinstance(value, int)]
    require_items(max(numbers, default=0))
    if name == "sum" and any(hasattr(value, "__len__") and not isinstance(value, str) for value in rest):
        raise TemplateLimitError("it adds up lists one by one")
    if name == "join":
        separator, items = (
            (text, rest[0]) if isinstance(text, str) and rest else ("".join(map(str, rest)), text)
        )
        require_small_text(items)
        require_size(len(separator) * (len(items) if isinstance(items, Sized) else 0))
    if not isinstance(text, str):
        return
    words = [value for value in rest if isinstance(value, str)]
    if name == "replace" and len(words) == 2:
        require_size(max(text.count(words[0]) * len(words[1]), text.count(words[1]) * len(words[0])))
    elif name == "format":
        _require_narrow_fields(text)
    elif name in ("expandtabs", "indent"):
        longest = max([*numbers, *map(len, words), 8])
        require_size(longest * (1 + text.count("\t" if name == "expandtabs" else "\n")))
    elif name == "translate":
        replacements = rest[0].values() if rest and isinstance(rest[0], Mapping) else ()
        require_size(
            len(text) * max((len(item) for item in replacements if isinstance(item, str)), default=1)
        )


def _require_length(container: Any, length: int) -> None:
    (require_size if isinstance(container, str) else require_items)(length)


def _require_narrow_fields(pattern: str) -> None:
    if _WIDE_FIELD.search(pattern):
        raise TemplateLimitError("it formats with a field of 100,000 characters or more, or of any width")

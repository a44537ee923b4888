"""Runs a model's Jinja2 template so that neither the template nor the messages can take the server down.

Guarded: attribute access and calls (Jinja's immutable sandbox); CPU time, read at loop turns, calls and
output; the size of whatever operators, filters, methods and captured blocks build (template_limits.py).
"""

import datetime
import functools
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jinja2 import Environment, meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from octavo.text.template_limits import (
    COMPARING_TESTS,
    MAX_TOTAL_CHARACTERS,
    REMOVED_FILTERS,
    TemplateLimitError,
    guarded_args,
    guarded_filter,
    guarded_test,
    require_size,
    require_small_result,
    require_small_text,
)

_STEPS_PER_CLOCK_READ = 64


class TemplateRaisedError(Exception):
    """The template called raise_exception: these messages are not what it was written for."""


class SandboxedTemplate:
    """A compiled template with the functions and filters that chat templates expect. Threads may share it."""

    def __init__(self, source: str, *, time_limit_seconds: float) -> None:
        """The limit is of CPU time of the rendering thread.

        Raises jinja2.TemplateSyntaxError, SyntaxError or RecursionError for a source that cannot be compiled.
        """
        self._environment = _GuardedEnvironment(time_limit_seconds)
        self._template = self._environment.from_string(source)
        self._source = source

    @functools.cached_property
    def variables(self) -> frozenset[str]:
        """The names that the template reads and does not set, functions it may call among them."""
        return frozenset(meta.find_undeclared_variables(self._environment.parse(self._source)))

    def render(self, variables: Mapping[str, Any]) -> str:
        """Raises TemplateLimitError, TemplateRaisedError, or whatever the template's own mistakes raise."""
        environment, context = self._environment, self._template.new_context(dict(variables))
        environment.start_clock()
        chunks, num_characters = [], 0
        for chunk in self._template.root_render_func(context):
            environment.count_step()
            num_characters += len(chunk)
            require_size(num_characters)
            chunks.append(chunk)
        return "".join(chunks)


class _GuardedEnvironment(ImmutableSandboxedEnvironment):
    """Counts what a template does, by rewriting its loops and concatenations before they are compiled."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, time_limit_seconds: float) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=require_small_text,
            extensions=["jinja2.ext.loopcontrols", _GenerationTag],
        )
        self._time_limit_seconds = time_limit_seconds
        self._clock = threading.local()  # deadline and steps of the render under way in this thread
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _strftime_now
        self.filters["tojson"] = _to_json
        del self.globals["lipsum"]
        for name in REMOVED_FILTERS:
            del self.filters[name]
        self.filters = {
            name: guarded_filter(name, function, self.count_filter) for name, function in self.filters.items()
        }
        for name in COMPARING_TESTS:
            self.tests[name] = guarded_test(self.tests[name])  # type: ignore[arg-type]
        self.filters[_LOOP_FILTER] = self._count_turns
        self.filters[_SIZE_FILTER] = self.count_built
        self.filters[_TEXT_FILTER] = require_small_text

    def concat(self, chunks: Iterable[str]) -> str:
        """What captured blocks and macros are put together with."""
        text: str = self.count_built("".join(chunks))
        return text

    def start_clock(self) -> None:
        self._clock.num_steps = self._clock.num_characters = 0
        self._clock.deadline = time.thread_time() + self._time_limit_seconds

    def count_step(self) -> None:
        clock = self._clock
        clock.num_steps += 1
        if clock.num_steps % _STEPS_PER_CLOCK_READ == 0:
            self._check_clock()

    def count_built(self, value: Any) -> Any:
        """The value; if it is a string, it adds to what this run has built."""
        if isinstance(value, str):
            require_size(len(value))
            self._clock.num_characters += len(value)
            if self._clock.num_characters > MAX_TOTAL_CHARACTERS:
                raise TemplateLimitError(f"it builds strings of more than {MAX_TOTAL_CHARACTERS} characters")
        return value

    def count_filter(self, result: Any) -> None:
        """One filter may sort a long list: the clock is read after each."""
        self._check_clock()
        self.count_built(result)

    def _check_clock(self) -> None:
        if time.thread_time() > self._clock.deadline:
            raise TemplateLimitError(f"it takes more than {self._time_limit_seconds:g} s")

    # Jinja passes its own arguments first; a keyword of the template's may have any name.
    def call(self, context: Context, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self.count_step()
        args = guarded_args(function, args, kwargs)
        result = super().call(context, function, *args, **kwargs)
        return self.count_built(result)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        require_small_result(operator, left, right)
        return self.count_built(super().call_binop(context, operator, left, right))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _GuardInserter().visit(super()._parse(source, name, filename))
        return tree

    def _count_turns(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.count_step()
            yield item


_LOOP_FILTER, _SIZE_FILTER, _TEXT_FILTER = "octavo_loop", "octavo_size", "octavo_text"


class _GuardInserter(NodeTransformer):
    """`for x in y` becomes `for x in y | octavo_loop`; `a ~ b` and comparisons have their parts measured."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, _LOOP_FILTER, [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:
        self.generic_visit(node)
        node.nodes = [_measured(part) for part in node.nodes]
        return nodes.Filter(node, _SIZE_FILTER, [], [], None, None, lineno=node.lineno)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:
        self.generic_visit(node)
        node.expr = _measured(node.expr)
        for operand in node.ops:
            operand.expr = _measured(operand.expr)
        return node


def _measured(node: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, _TEXT_FILTER, [], [], None, None, lineno=node.lineno)


class _GenerationTag(Extension):
    """{% generation %} ... {% endgeneration %} marks words for training; here it does nothing."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> None:
    raise TemplateRaisedError(str(message))


def _strftime_now(format: str) -> str:
    return datetime.datetime.now().strftime(format)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Without the HTML escapes of Jinja's own filter: the model is to see the JSON as it is."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )

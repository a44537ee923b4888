import pytest
from jinja2.exceptions import TemplateAssertionError

from octavo.text.template_limits import (
    MAX_CHARACTERS,
    MAX_ITEMS,
    TemplateLimitError,
    require_items,
    require_size,
    require_small_result,
    require_small_text,
)
from octavo.text.template_sandbox import SandboxedTemplate


def render(source: str) -> str:
    return SandboxedTemplate(source, time_limit_seconds=5.0).render({"items": ["a", "b"]})


MILLION = "{% set a = 'a' * 1000000 %}"
NESTED = "{% set n = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}"
NESTED += "{% set n.y = [n.y, n.y] %}{% endfor %}"  # 2^60 items, in 60 lists


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' | center(2000000000) }}",
        "{{ 'a'.center(2000000000) }}{{ 'a'.zfill(2000000000) }}",
        "{{ 'a'.rjust(width=2000000000) }}",
        "{{ '%2000000000d' % 1 }}",
        "{{ '%*d' % (2000000000, 1) }}",
        "{{ '%2000000000d' | format(1) }}",
        "{{ '{:2000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 2000000000) }}",
        "{{ ('\n' * 300000) | indent(1000) }}",
        "{{ ('\t' * 300000).expandtabs(1000) }}",
        MILLION + "{{ a | replace('a', a) }}",
        MILLION + "{{ a.replace('a', a) }}",
        MILLION + "{{ a.translate({97: a}) }}",
        MILLION + "{{ ([a] * 1000) | join }}",
        MILLION + "{{ a.join(['b'] * 1000) }}",
        MILLION + "{{ ''.join(([{'x': a}] * 1000) | map(attribute='x')) }}",
        MILLION + "{{ ([{'x': a}] * 1000) | map(attribute='x') | join }}",
        MILLION + "{{ ([a] * 1000) | tojson }}",
        MILLION + "{{ ([a] * 1000) | string }}",
        MILLION + "{{ '%s' % ([a] * 1000) }}",
        "{{ [1] | tojson(indent=2000000000) }}",
        "{{ [1] | batch(2000000000, 'x') | list }}{{ [1] | slice(2000000000) | list }}",
        "{{ [0] * 30000000 }}",
        "{{ ([[1]] * 1000) | sum(start=[]) }}",
        "{% set x = range(99999) | map('string') | map('center', 100000) | list %}",
        NESTED + "{{ n.x }}",
        NESTED + "{{ n.x ~ '' }}",
        NESTED + "{{ n.x | tojson }}",
        NESTED + "{{ n.x | upper }}",
        NESTED + "{{ n.x == n.y }}",
        NESTED + "{{ n.x is eq n.y }}",
        NESTED + "{{ [n.x, n.y] | sort }}",
    ],
)
def test_no_single_call_builds_or_compares_without_bound(source: str) -> None:
    with pytest.raises(TemplateLimitError):
        render(source)


@pytest.mark.parametrize("name", ["wordwrap(1)", "urlize", "striptags", "xmlattr", "pprint"])
def test_filters_no_template_needs_are_not_there(name: str) -> None:
    with pytest.raises(TemplateAssertionError, match="No filter named"):
        render("{{ items | " + name + " }}")


def test_a_long_call_counts_as_time() -> None:
    source = "{% set a = range(99999) | list %}{% for i in range(99999) %}{% set b = a | sort %}{% endfor %}"
    with pytest.raises(TemplateLimitError, match=r"takes more than 0\.05 s"):
        SandboxedTemplate(source, time_limit_seconds=0.05).render({})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ items | join(', ') }}{{ ', '.join(items) }}", "a, ba, b"),
        ("{{ ''.join(items | map('upper')) }}{{ 'ab' | join('-') }}", "ABa-b"),
        ("{{ '%s is %03d' % ('a', 7) }}{{ '%s' | format(1) }}{{ '{:>3}'.format(1) }}", "a is 0071  1"),
        ("{{ 'a\nb' | indent(2) }}{{ 'a\nb' | indent('> ') }}", "a\n  ba\n> b"),
        ("{{ 'aXb' | replace('X', '--') }}{{ 'aXbX'.replace('X', '', 1) }}", "a--babX"),
        ("{{ [3, 1, 3] | unique | sort | list }}{{ [1, 2] | sum }}{{ [1, 2, 3] | batch(2) | list }}", None),
        ("{{ items == ['a', 'b'] }}{{ 'a' in items }}{{ 1 < 2 < 3 }}{{ items is eq items }}", "True" * 4),
        ("{{ none }}{{ 1.5 }}{{ {'a': [1]} }}{{ undefined }}", "None1.5{'a': [1]}"),
        ("{{ 'é<' | tojson }}{{ items | selectattr('x', 'undefined') | list | length }}", '"é<"2'),
    ],
)
def test_what_is_small_is_as_ever(source: str, expected: str | None) -> None:
    assert render(source) == (expected or "[1, 3]3[[1, 2], [3]]")


def test_bounds_are_exact() -> None:
    require_size(MAX_CHARACTERS)
    require_items(MAX_ITEMS)
    require_small_result("*", "a", MAX_CHARACTERS)
    require_small_result("+", [1], [1])
    assert require_small_text({"a": [1, ("b",)]}) == {"a": [1, ("b",)]}
    for refused in (
        lambda: require_size(MAX_CHARACTERS + 1),
        lambda: require_small_result("*", [0], MAX_ITEMS + 1),
        lambda: require_small_result("**", 2, 5000),
        lambda: require_small_text([["x" * (MAX_CHARACTERS // 2)] * 3]),
    ):
        with pytest.raises(TemplateLimitError):
            refused()

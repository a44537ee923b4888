import time

import jinja2
import pytest

from octavo.text.template_limits import MAX_CHARACTERS, TemplateLimitError
from octavo.text.template_sandbox import SandboxedTemplate, TemplateRaisedError


def render(source: str, time_limit_seconds: float = 60.0, **variables: object) -> str:
    return SandboxedTemplate(source, time_limit_seconds=time_limit_seconds).render(variables)


def test_blocks_leave_no_blank_lines() -> None:
    assert (
        render("{% for x in [1, 2] %}\n  {% if true %}\n{{ x }}\n  {% endif %}\n{% endfor %}\n") == "1\n2\n"
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "{% for x in items %}{{ loop.index }}/{{ loop.length }}{{ loop.last }} {% endfor %}",
            "1/2False 2/2True ",
        ),
        ("{% for x in items recursive %}{{ x }}{{ loop([]) }}{% endfor %}", "ab"),
        ("{% for x in [] %}{% else %}none{% endfor %}", "none"),
        ("{% for k, v in {'a': 1}.items() %}{{ k ~ v ~ 2 }}{% endfor %}", "a12"),
        ("{% for x in range(9) %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}", "01"),
        (
            "{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(1) }}{% set y %}{{ f(2) }}{% endset %}{{ y }}",
            "<1><2>",
        ),
        (
            "{% set ns = namespace(n=1) %}{% for x in items %}{% set ns.n = ns.n * 3 %}{% endfor %}"
            "{{ ns.n }}",
            "9",
        ),
        ("{{ 'a' * 3 + 'b' }}{{ 2 ** 5 }}{{ [1] + [2] }}{{ 0.5 * 2 + 1 }}", "aaab32[1, 2]2.0"),
        ("{{ {'a': '<é>'} | tojson }}", '{"a": "<é>"}'),
        ("{{ [1] | tojson(indent=1) }}", "[\n 1\n]"),
        ("{% generation %}{{ items[0] }}{% endgeneration %}", "a"),
        ("{{ items | map('upper') | join('-') }}{{ items[1:] }}", "A-B['b']"),
        ("{{ strftime_now('%%') }}", "%"),
    ],
)
def test_what_chat_templates_use_works(source: str, expected: str) -> None:
    assert render(source, items=["a", "b"]) == expected


def test_the_template_can_refuse() -> None:
    with pytest.raises(TemplateRaisedError, match="roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ items.append(1) }}",
        "{{ items.__init__() }}",
        "{{ self.__init__.__globals__ }}",
    ],
)
def test_python_is_out_of_reach(source: str) -> None:
    with pytest.raises(jinja2.exceptions.SecurityError):
        render(source, items=[])
    assert render("{{ '{0.__class__}'.format(1) }}") == ""


LOOP = "{% for a in range(99999) %}"
END = "{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        LOOP * 2 + END * 2,
        LOOP * 2 + "{{ 1 }}" + END * 2,
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% for x in [60] recursive %}{% if x %}{{ loop([x - 1]) }}{{ loop([x - 1]) }}{% endif %}"
        "{% endfor %}",
        "{% set r = range(99999) | list %}" + "{% for a in r %}" * 2 + END * 2,
        "{% set x %}" + LOOP * 2 + END * 2 + "{% endset %}",
    ],
)
def test_a_template_that_does_not_end_is_stopped(source: str) -> None:
    with pytest.raises(TemplateLimitError, match=r"more than 0\.05 s"):
        render(source, time_limit_seconds=0.05)


DOUBLINGS = "{% set ns = namespace(s='ab') %}{% for i in range(60) %}" + "STEP" + END


@pytest.mark.parametrize(
    "step",
    [
        "{% set ns.s = ns.s + ns.s %}",
        "{% set ns.s = ns.s ~ ns.s %}",
        "{% set ns.s = ns.s * 2 %}",
        "{% set ns.s = 2 * ns.s %}",
        "{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}",
        "{% set ns.s = ns.s.replace('a', 'aa') %}{% set ns.s = ns.s + ns.s %}",
    ],
)
def test_a_template_that_grows_without_end_is_stopped(step: str) -> None:
    with pytest.raises(TemplateLimitError, match=f"more than {MAX_CHARACTERS} characters"):
        render(DOUBLINGS.replace("STEP", step))


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 10 ** 10 }}",
        "{{ [0] * 10 ** 10 }}",
        "{{ 9 ** 9999 }}",
        "{% set ns = namespace(n=3) %}{% for i in range(60) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
        LOOP + "{{ 'x' * 9999 }}" + END,
    ],
)
def test_what_would_be_too_large_is_not_built(source: str) -> None:
    with pytest.raises(TemplateLimitError):
        render(source)


def test_one_render_leaves_the_next_its_whole_time() -> None:
    template = SandboxedTemplate("{% for x in range(n) %}{% endfor %}done", time_limit_seconds=0.1)
    busy_until = time.thread_time() + 0.15
    template.render({"n": 1})
    while time.thread_time() < busy_until:
        pass
    assert template.render({"n": 100}) == "done"


def test_nothing_large_is_built_when_a_template_is_compiled() -> None:
    SandboxedTemplate("{{ 'a' * 10 ** 10 }}{{ 9 ** 9 ** 9 }}", time_limit_seconds=1.0)
    with pytest.raises(jinja2.TemplateSyntaxError):
        SandboxedTemplate("{% for %}", time_limit_seconds=1.0)

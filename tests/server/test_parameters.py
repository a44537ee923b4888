"""The table of parameters, the types of requests and the documents say the same."""

import inspect
import json
from collections.abc import Callable

import msgspec
import openai
import pytest

from octavo.core.errors import InvalidRequestError
from octavo.server.decoder import BodyDecoder, Decoded
from octavo.server.parameters import Api, Kind, parameters_of
from octavo.server.schema import ChatRequest, CompletionRequest
from tests.rules import ROOT
from tools.api_tables import TABLES, with_tables


@pytest.mark.parametrize(("api", "kind"), ((Api.CHAT, ChatRequest), (Api.COMPLETIONS, CompletionRequest)))
def test_what_is_not_refused_has_a_type(api: Api, kind: type[msgspec.Struct]) -> None:
    taken = {name for name, item in parameters_of(api).items() if item.kind is not Kind.REFUSED}
    assert taken == set(kind.__struct_fields__)


OF_THE_CALL = frozenset(("self", "extra_headers", "extra_query", "extra_body", "timeout"))


@pytest.mark.parametrize(
    ("api", "create"),
    (
        (Api.CHAT, openai.resources.chat.Completions.create),
        (Api.COMPLETIONS, openai.resources.Completions.create),
    ),
)
def test_whatever_openais_client_sends_has_its_line(api: Api, create: Callable[..., object]) -> None:
    sent = set(inspect.signature(create).parameters) - OF_THE_CALL
    assert len(sent) > 15 and sent <= set(parameters_of(api))


@pytest.mark.parametrize("page", TABLES)
def test_the_documents_have_the_tables(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    assert text == with_tables(page, text), "run tools/api_tables.py"


KINDS: dict[Api, type[msgspec.Struct]] = {Api.CHAT: ChatRequest, Api.COMPLETIONS: CompletionRequest}
BODIES = {Api.CHAT: {"model": "m", "messages": [{"role": "user", "content": "a"}]}}
BODIES[Api.COMPLETIONS] = {"model": "m", "prompt": "a"}


def decoded(api: Api, name: str, value: object) -> Decoded[msgspec.Struct]:
    body = json.dumps({**BODIES[api], name: value}).encode()
    return BodyDecoder(KINDS[api], parameters_of(api)).decode(body)


@pytest.mark.parametrize(
    ("api", "name"), [(api, name) for api in Api for name, item in parameters_of(api).items() if item.neutral]
)
def test_values_that_ask_for_nothing_pass(api: Api, name: str) -> None:
    for value in (*parameters_of(api)[name].neutral, None):
        assert decoded(api, name, value).recorded == {}


@pytest.mark.parametrize(
    ("api", "name"),
    [(api, name) for api in Api for name, item in parameters_of(api).items() if item.kind is Kind.REFUSED],
)
@pytest.mark.parametrize("value", (17, "zebra", {"a": 1}, [1]))
def test_what_is_refused_is_named(api: Api, name: str, value: object) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{name} is not supported: ") as refused:
        decoded(api, name, value)
    assert (refused.value.param, refused.value.code) == (name, "unsupported_parameter")


@pytest.mark.parametrize(
    ("api", "name", "value", "is_neutral"),
    (
        (Api.CHAT, "length_penalty", 1, True),
        (Api.CHAT, "length_penalty", 1.0, True),
        (Api.CHAT, "length_penalty", True, False),
        (Api.CHAT, "use_beam_search", False, True),
        (Api.CHAT, "use_beam_search", 0, False),
        (Api.COMPLETIONS, "length_penalty", True, False),
        (Api.CHAT, "functions", None, True),
    ),
)
def test_a_neutral_value_asks_for_nothing(api: Api, name: str, value: object, is_neutral: bool) -> None:
    assert parameters_of(api)[name].is_neutral(value) is is_neutral

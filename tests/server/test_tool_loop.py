"""Tools and reasoning as OpenAI's own client has them: whole, streamed, taken up by another replica."""

import dataclasses
import json
from typing import Any

import httpx2
import msgspec
import openai
import pydantic
import pytest
from openai.types.chat import ChatCompletionMessage

from octavo.core.grammar_spec import GrammarKind, GrammarSpec, ReasoningBudget
from octavo.core.relay import (
    IDENTITY_HEADER,
    RESUME_PATH,
    SECRET_HEADER,
    ChoiceProgress,
    Identity,
    Mark,
    MarkReader,
    ReplicaCard,
    Resumption,
)
from octavo.text.chat_abilities import ChatAbilities
from octavo.text.reasoning import REASONING_TAGS
from octavo.text.tool_formats import GENERIC, HERMES, MISTRAL
from tests.fakes import READY, FakeEngine, PacedEngine, fake_replica
from tests.server.serving import asgi_client, serving

pytestmark = pytest.mark.asyncio

CONTEXT = 4096
SPELLED = ChatAbilities(HERMES)
REASONS = ChatAbilities(HERMES, reasoning=REASONING_TAGS[0])
MESSAGES = [{"role": "user", "content": "How warm is it in Oslo and Rome?"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "Now.", "parameters": PARAMETERS}}
]
ARGUMENTS = ['{"city": "Oslo"}', '{"city": "Rom\\u00e9 {"}']
CALLS = "\n".join(
    f'<tool_call>\n{{"name": "weather", "arguments": {arguments}}}\n</tool_call>' for arguments in ARGUMENTS
)
ANSWER = f"<think>\nTwo cities.\n</think>\n\nI look.\n{CALLS}"


def engine_of(answer: str, *, paced: bool = False) -> FakeEngine:
    engine = PacedEngine(answer.encode()) if paced else FakeEngine(answer.encode())
    engine.info = msgspec.structs.replace(READY, max_model_len=CONTEXT)
    return engine


def prompt_of(engine: FakeEngine) -> str:
    return bytes(engine.submitted[-1].token_ids).decode()


async def ask(
    url: str, messages: list[Any], *, stream: bool, **fields: Any
) -> tuple[ChatCompletionMessage, str]:
    """The message and why it ended; of a stream, put together as clients do."""
    fields = {"model": "tiny", "messages": messages, **fields}
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        if not stream:
            whole = await client.chat.completions.create(**fields)
            return whole.choices[0].message, whole.choices[0].finish_reason
        async with client.chat.completions.stream(**fields) as events:
            async for _ in events:
                pass
            final = await events.get_final_completion()
    message = final.choices[0].message.model_dump(exclude_unset=True)
    for call in message.get("tool_calls") or []:
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
    return ChatCompletionMessage.model_validate(message), final.choices[0].finish_reason


@pytest.mark.parametrize("stream", (False, True))
async def test_the_loop_of_calls_and_results(stream: bool) -> None:
    engine = engine_of(f"I look.\n{CALLS}")
    async with serving(engine, abilities=SPELLED) as (_, url):
        message, reason = await ask(url, MESSAGES, stream=stream, tools=TOOLS)
        assert (message.content, reason) == ("I look.", "tool_calls")
        calls = message.tool_calls or []
        assert [(call.function.name, call.function.arguments) for call in calls] == [  # type: ignore[union-attr]
            ("weather", arguments) for arguments in ARGUMENTS
        ]
        assert len({call.id for call in calls}) == 2 and all(call.id.startswith("call_") for call in calls)
        assert '"name": "weather", "description": "Now."' in prompt_of(engine)
        results = [{"role": "tool", "tool_call_id": call.id, "content": "20 °C"} for call in calls]
        engine.answer = b"Both have 20."
        sent_back = message.model_dump(exclude_none=True)
        message, reason = await ask(url, [*MESSAGES, sent_back, *results], stream=stream, tools=TOOLS)
        assert (message.content, reason, message.tool_calls) == ("Both have 20.", "stop", None)
    prompt = prompt_of(engine)
    assert "assistant:I look.\n<tool_call>\n" in prompt
    assert prompt.endswith("user:Result of weather:\n20 °C\n\nResult of weather:\n20 °C\n")


@pytest.mark.parametrize("stream", (False, True))
async def test_what_is_no_call_is_an_answer(stream: bool) -> None:
    broken = '<tool_call>\n{"name": "weather", "arguments": Oslo}\n</tool_call>'
    for answer in (broken, CALLS.replace("weather", "time")):
        async with serving(engine_of(answer), abilities=SPELLED) as (_, url):
            message, reason = await ask(url, MESSAGES, stream=stream, tools=TOOLS)
        assert (message.content, message.tool_calls, reason) == (answer, None, "stop")


@pytest.mark.parametrize("stream", (False, True))
async def test_arguments_cut_short_are_delivered_as_they_are(stream: bool) -> None:
    start = '<tool_call>\n{"name": "weather", "arguments": {"city": '
    async with serving(engine_of(start), abilities=SPELLED) as (_, url):
        message, reason = await ask(url, MESSAGES, stream=stream, tools=TOOLS)
    assert message.content is None or (stream and message.content == "")
    assert message.tool_calls is not None and reason == "tool_calls"
    assert message.tool_calls[0].function.arguments == '{"city": '  # type: ignore[union-attr]


@pytest.mark.parametrize("stream", (False, True))
async def test_choices_of_tools(stream: bool) -> None:
    engine = engine_of(CALLS)
    async with serving(engine, abilities=SPELLED) as (_, url):
        message, _ = await ask(url, MESSAGES, stream=stream, tools=TOOLS, tool_choice="none")
        assert (message.content, message.tool_calls) == (CALLS, None)
        assert "weather" not in prompt_of(engine)
        one, _ = await ask(url, MESSAGES, stream=stream, tools=TOOLS, parallel_tool_calls=False)
        assert [call.function.arguments for call in one.tool_calls or []] == ARGUMENTS[:1]  # type: ignore[union-attr]


@pytest.mark.parametrize("stream", (False, True))
async def test_reasoning_comes_under_both_names(stream: bool) -> None:
    async with serving(engine_of(ANSWER), abilities=REASONS) as (_, url):
        message, reason = await ask(url, MESSAGES, stream=stream, tools=TOOLS)
    extra = message.model_extra or {}
    assert (extra["reasoning_content"], extra["reasoning"]) == ("Two cities.", "Two cities.")
    assert (message.content, len(message.tool_calls or []), reason) == ("I look.", 2, "tool_calls")


async def test_ids_are_what_templates_want_and_do_not_depend_on_the_replica() -> None:
    answer = f'[TOOL_CALLS][{{"name": "weather", "arguments": {ARGUMENTS[0]}}}]'
    async with asgi_client(fake_replica(engine_of(answer), abilities=ChatAbilities(MISTRAL))) as client:
        body = {"model": "tiny", "messages": MESSAGES, "tools": TOOLS}
        answers = [(await client.post("/v1/chat/completions", json=body)).json() for _ in range(2)]
    ids = [answer["choices"][0]["message"]["tool_calls"][0]["id"] for answer in answers]
    assert len(set(ids)) == 2 and all(len(one) == 9 and one.isalnum() for one in ids)


async def test_the_deltas_of_a_call() -> None:
    async with asgi_client(fake_replica(engine_of(CALLS, paced=True), abilities=SPELLED)) as client:
        body = {"model": "tiny", "messages": MESSAGES, "tools": TOOLS, "stream": True}
        response = await client.post("/v1/chat/completions", json=body)
    deltas = [
        json.loads(event.removeprefix("data: "))["choices"][0]["delta"]
        for event in response.text.strip().split("\n\n")[:-1]
    ]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert len(calls) > 20
    for index, arguments in enumerate(ARGUMENTS):
        first, *others = [call for call in calls if call["index"] == index]
        assert (first["type"], first["function"]) == ("function", {"name": "weather", "arguments": ""})
        assert all(
            set(call) == {"index", "function"} and set(call["function"]) == {"arguments"} for call in others
        )
        assert "".join(call["function"]["arguments"] for call in others) == arguments


SECRET = "shared"
IDENTITY = Identity("0" * 31 + "7", 1_700_000_123, 42)
TRUST = {SECRET_HEADER.decode(): SECRET}


async def test_a_stream_goes_on_elsewhere_from_any_point_of_a_call() -> None:
    """Broken after each token, in the reasoning, in a name, in arguments: the client sees the same bytes."""
    body = {"model": "tiny", "messages": MESSAGES, "tools": TOOLS, "stream": True}
    replica = fake_replica(engine_of(ANSWER, paced=True), abilities=REASONS, secret=SECRET)
    async with asgi_client(replica) as client:
        headers = {**TRUST, IDENTITY_HEADER.decode(): IDENTITY.header.decode()}
        response = await client.post("/v1/chat/completions", json=body, headers=headers)
    pieces = MarkReader().feed(response.content)
    assert len(pieces) >= len(ANSWER)
    whole = b"".join(payload for _, payload in pieces)
    sent, progress = b"", ChoiceProgress(0)
    for mark, payload in pieces[:-1]:
        assert isinstance(mark, Mark)
        sent += payload
        progress.token_ids += mark.token_ids
        progress.num_characters = mark.num_characters
        progress.num_cached_tokens = mark.num_cached_tokens
        if len(progress.token_ids) % 7 == 0:
            assert sent + await resumed(body, progress) == whole


async def resumed(body: dict[str, Any], progress: ChoiceProgress) -> bytes:
    """What another replica sends from there on."""
    card = ReplicaCard(READY.fingerprint, CONTEXT)
    raw = msgspec.Raw(json.dumps(body).encode())
    message = Resumption("/v1/chat/completions", card, IDENTITY, [progress], raw)
    replica = fake_replica(engine_of(ANSWER, paced=True), abilities=REASONS, secret=SECRET)
    headers = {**TRUST, "content-type": "application/json"}
    async with asgi_client(replica) as client:
        response: httpx2.Response = await client.post(
            RESUME_PATH, content=msgspec.json.encode(message), headers=headers
        )
    return b"".join(payload for _, payload in MarkReader().feed(response.content))


async def test_a_template_that_knows_tools_gets_them() -> None:
    abilities = dataclasses.replace(SPELLED, template_has_tools=True)
    engine = engine_of("ok")
    async with serving(engine, abilities=abilities) as (_, url):
        await ask(url, MESSAGES, stream=False, tools=TOOLS)
    assert prompt_of(engine).count("weather") == 1 and "You can call tools" not in prompt_of(engine)


async def test_a_model_of_any_kind_can_be_told_of_tools() -> None:
    answer = f'[{{"name": "weather", "arguments": {ARGUMENTS[0]}}}]'
    engine = engine_of(answer)
    async with serving(engine, abilities=ChatAbilities(GENERIC)) as (_, url):
        message, reason = await ask(url, MESSAGES, stream=False, tools=TOOLS)
    assert (message.content, reason, len(message.tool_calls or [])) == (None, "tool_calls", 1)


@pytest.mark.parametrize("stream", (False, True))
@pytest.mark.parametrize("choice", ("required", {"type": "function", "function": {"name": "weather"}}))
async def test_a_call_that_must_be(stream: bool, choice: Any) -> None:
    engine = engine_of(CALLS)
    async with serving(engine, abilities=SPELLED) as (_, url):
        message, reason = await ask(url, MESSAGES, stream=stream, tools=TOOLS, tool_choice=choice)
    spec = engine.submitted[-1].grammar
    assert spec is not None and (spec.kind, spec.field) == (GrammarKind.LARK, "tools")
    assert spec.text.startswith('start:  "<tool_call>"') or spec.text.startswith('start:  ("<tool_call>"')
    assert json.dumps(PARAMETERS) in spec.text
    assert (len(message.tool_calls or []), reason) == (2 if choice == "required" else 1, "tool_calls")


async def test_strict_tools_bind_free_answers() -> None:
    strict = [{"type": "function", "function": {**TOOLS[0]["function"], "strict": True}}]  # type: ignore[dict-item]
    for tools, abilities, start in (
        (TOOLS, SPELLED, None),
        (strict, SPELLED, "start:  (head"),
        (strict, REASONS, "start:  (head"),
        (strict, dataclasses.replace(REASONS, tool_format=GENERIC), 'start: ("<think>" think'),
    ):
        engine = engine_of("ok")
        async with serving(engine, abilities=abilities) as (_, url):
            await ask(url, MESSAGES, stream=False, tools=tools)
        spec = engine.submitted[-1].grammar
        assert spec is None if start is None else spec is not None and spec.text.startswith(start)


class Forecast(pydantic.BaseModel):
    city: str


async def test_the_loop_of_a_client_that_parses() -> None:
    """What it has made of a call it sends back with it."""
    engine = engine_of(f'<tool_call>\n{{"name": "Forecast", "arguments": {ARGUMENTS[0]}}}\n</tool_call>')
    form: dict[str, Any] = {"tools": [openai.pydantic_function_tool(Forecast)], "response_format": Forecast}
    async with (
        serving(engine, abilities=SPELLED) as (_, url),
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client,
    ):
        messages: list[Any] = list(MESSAGES)
        called = await client.chat.completions.parse(model="tiny", messages=messages, **form)
        (call,) = called.choices[0].message.tool_calls or []
        assert call.function.parsed_arguments == Forecast(city="Oslo")
        result = {"role": "tool", "tool_call_id": call.id, "content": [{"type": "text", "text": "20 °C"}]}
        engine.answer = ARGUMENTS[0].encode()
        answered = await client.chat.completions.parse(
            model="tiny", messages=[*messages, called.choices[0].message, result], **form
        )
    assert answered.choices[0].message.parsed == Forecast(city="Oslo")
    assert "20 °C" in prompt_of(engine)


@pytest.mark.parametrize("stream", (False, True))
async def test_a_model_calls_or_answers_by_the_schema(stream: bool) -> None:
    form: dict[str, Any] = {"tools": TOOLS, "response_format": {"type": "json_object"}}
    for answer in (CALLS, '{"a": "<tool_call>"}'):
        engine = engine_of(answer)
        async with serving(engine, abilities=SPELLED) as (_, url):
            message, reason = await ask(url, MESSAGES, stream=stream, **form)
            await ask(url, MESSAGES, stream=stream, tool_choice="none", **form)
        either, only = (submit.grammar for submit in engine.submitted)
        assert either is not None and only is not None
        assert (either.kind, only.kind) == (GrammarKind.JSON_OBJECT,) * 2 and either.calls and not only.calls
        if answer == CALLS:
            assert not message.content and reason == "tool_calls" and len(message.tool_calls or []) == 2
        else:
            assert (message.content, message.tool_calls, reason) == (answer, None, "stop")


@pytest.mark.parametrize("stream", (False, True))
@pytest.mark.parametrize("opening", ("", "<think>"))
async def test_an_answer_of_another_form_has_its_reasoning_apart(stream: bool, opening: str) -> None:
    """Whether the template has opened it or the model does."""
    reasons = ChatAbilities(reasoning=REASONING_TAGS[0])
    messages = [{"role": "user", "content": opening or "Hm."}]
    answer = "Two.</think>\n{}" if opening else "<think>Two.</think>\n{}"
    async with serving(engine_of(answer), abilities=reasons) as (_, url):
        form = {"response_format": {"type": "json_object"}}
        message, _ = await ask(url, messages, stream=stream, **form)
        hidden, _ = await ask(url, messages, stream=stream, extra_body={"include_reasoning": False}, **form)
    assert message.content == hidden.content == "{}"
    assert message.reasoning == "Two." and not hasattr(hidden, "reasoning")  # type: ignore[attr-defined]


async def test_reasoning_is_counted_and_held_to_its_budget() -> None:
    """Each byte is a token here."""
    engine = engine_of("<think>Two.</think>4")
    body = {"model": "tiny", "messages": [{"role": "user", "content": "2+2"}], "thinking_budget": 5, "n": 2}
    async with asgi_client(fake_replica(engine, abilities=REASONS)) as client:
        answer = (await client.post("/v1/chat/completions", json=body)).json()
        plain = (await client.post("/v1/chat/completions", json={**body, "thinking_budget": -1})).json()
    for usage in (answer["usage"], plain["usage"]):
        assert usage["completion_tokens_details"] == {"reasoning_tokens": 2 * len("Two.")}
    budget = ReasoningBudget(5, "<think>", "</think>", tuple(b"</think>"))
    expected = GrammarSpec(GrammarKind.ANYTHING, budget=budget)
    assert [submit.grammar for submit in engine.submitted] == [expected, expected, None, None]


async def test_a_stream_cut_within_its_reasoning_has_counted_so_far() -> None:
    engine = engine_of("<think>Two.")
    body = {"model": "tiny", "messages": [{"role": "user", "content": "2+2"}], "stream": True}
    body["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    async with asgi_client(fake_replica(engine, abilities=REASONS)) as client:
        lines = (await client.post("/v1/chat/completions", json=body)).text.splitlines()
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    counts = [chunk["usage"]["completion_tokens_details"]["reasoning_tokens"] for chunk in chunks]
    assert counts == sorted(counts) and counts[-1] == len("Two.")


async def test_budgets_that_are_refused() -> None:
    cases = (
        (REASONS, {"thinking_token_budget": 3, "thinking_budget": 4}, "thinking_budget", "send one"),
        (REASONS, {"thinking_token_budget": -2}, "thinking_token_budget", ">= -1"),
        (SPELLED, {"thinking_budget": 0}, "thinking_token_budget", "does not reason"),
        (SPELLED, {"reasoning_effort": "low"}, "reasoning_effort", "does not reason"),
    )
    for abilities, fields, param, message in cases:
        body = {"model": "tiny", "messages": MESSAGES, **fields}
        async with asgi_client(fake_replica(engine_of("."), abilities=abilities)) as client:
            response = await client.post("/v1/chat/completions", json=body)
        assert response.status_code == 400
        error = response.json()["error"]
        assert error["param"] == param and message in error["message"]

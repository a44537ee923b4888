"""LangChain's OpenAI classes against the server whose URL is the argument."""

import asyncio
import math
import sys

import openai
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import AzureChatOpenAI, ChatOpenAI, OpenAI, OpenAIEmbeddings
from questions import ANSWER, CAPITAL, COUNTING, DESCRIBE, NEXT, WIDTH, City, run, weather

URL = sys.argv[1]
SERVER = {"base_url": URL, "api_key": "none", "model": "default", "max_retries": 0}
GREEDY = ChatOpenAI(**SERVER, temperature=0)
WEATHER = tool(weather)
# Otherwise texts are sent as token ids of OpenAI's models, which mean other words here.
EMBEDDINGS = OpenAIEmbeddings(**SERVER, check_embedding_ctx_length=False)


def invoke() -> None:
    answer = GREEDY.invoke(CAPITAL)
    assert answer.content == ANSWER
    assert answer.usage_metadata["output_tokens"] == 8
    assert answer.response_metadata["finish_reason"] == "stop"


def invoke_a_conversation() -> None:
    messages = [
        SystemMessage([{"type": "text", "text": "Answer in one sentence."}]),
        HumanMessage("Hello", name="alice"),
        AIMessage("Hello. What would you like to know?"),
        HumanMessage([{"type": "text", "text": CAPITAL}]),
    ]
    assert GREEDY.invoke(messages).content == ANSWER


def stream() -> None:
    whole = ChatOpenAI(**SERVER, temperature=0, stream_usage=True)
    first, *others = whole.stream(CAPITAL)
    for chunk in others:
        first += chunk
    assert first.content == ANSWER
    assert first.usage_metadata["output_tokens"] == 8


def batch() -> None:
    questions = [CAPITAL, "Say hello.", "What is 1 + 1?"]
    assert [answer.content for answer in GREEDY.batch(questions)] == [
        GREEDY.invoke(question).content for question in questions
    ]


def invoke_side_by_side_in_an_event_loop() -> None:
    async def ask() -> list[BaseMessage]:
        model = ChatOpenAI(**SERVER, temperature=0)
        streamed = "".join([chunk.content async for chunk in model.astream(CAPITAL)])
        assert streamed == ANSWER
        return await model.abatch([CAPITAL] * 3)

    assert [answer.content for answer in asyncio.run(ask())] == [ANSWER] * 3


def call_a_tool_and_answer_with_its_result() -> None:
    model = GREEDY.bind_tools([WEATHER], tool_choice="any", strict=True, parallel_tool_calls=False)
    history: list[BaseMessage] = [HumanMessage("What is the weather in Paris?")]
    asked = model.invoke(history)
    (call,) = asked.tool_calls
    assert (call["name"], list(call["args"])) == ("weather", ["city"])
    history += [asked, WEATHER.invoke(call)]
    answer = GREEDY.bind_tools([WEATHER], tool_choice="none").invoke(history)
    assert answer.content and not answer.tool_calls


def stream_a_call_of_a_tool() -> None:
    model = GREEDY.bind_tools([WEATHER], tool_choice="weather", strict=True)
    first, *others = model.stream("What is the weather in Paris?")
    for chunk in others:
        first += chunk
    whole = model.invoke("What is the weather in Paris?").tool_calls
    assert [(call["name"], call["args"]) for call in first.tool_calls] == [
        (call["name"], call["args"]) for call in whole
    ]


def structured_output_by_a_schema() -> None:
    model = GREEDY.with_structured_output(City)
    city = model.invoke(DESCRIBE)
    assert isinstance(city, City)
    assert list(model.stream(DESCRIBE))[-1] == city


def structured_output_by_a_tool() -> None:
    model = GREEDY.with_structured_output(City, method="function_calling", strict=True)
    assert isinstance(model.invoke(DESCRIBE), City)


def structured_output_as_any_object() -> None:
    model = GREEDY.with_structured_output(None, method="json_mode")
    assert isinstance(model.invoke(f"{DESCRIBE} Answer in JSON."), dict)


def log_probabilities() -> None:
    model = ChatOpenAI(**SERVER, temperature=0, logprobs=True, top_logprobs=2, max_tokens=2)
    entries = model.invoke(CAPITAL).response_metadata["logprobs"]["content"]
    assert [entry["token"] for entry in entries] == ["The", " capital"]
    assert all(len(entry["top_logprobs"]) == 2 for entry in entries)


def parameters_of_openai() -> None:
    model = ChatOpenAI(
        **SERVER, temperature=0.7, top_p=0.9, n=2, seed=1, stop=["\n"], frequency_penalty=0.1,
        presence_penalty=0.1, max_completion_tokens=20, metadata={"a": "b"}, service_tier="auto",
    )  # fmt: skip
    (choices,) = model.generate([[HumanMessage(CAPITAL)]]).generations
    assert len(choices) == 2 and all(choice.text for choice in choices)


def parameters_of_vllm() -> None:
    body = {"guided_choice": ["yes", "no"], "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1}
    answer = ChatOpenAI(**SERVER, extra_body=body).invoke("Is Paris in France?")
    assert answer.content in ("yes", "no")


def an_image_is_refused_by_name() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    try:
        GREEDY.invoke([HumanMessage([{"type": "text", "text": CAPITAL}, image])])
    except openai.BadRequestError as error:
        assert (error.code, error.param) == ("unsupported_content", "messages[0].content[1].type")
    else:
        raise AssertionError("an image was taken")


def completions() -> None:
    model = OpenAI(**SERVER, temperature=0, max_tokens=8)
    assert model.invoke(COUNTING) == "".join(model.stream(COUNTING)) == NEXT
    assert model.batch([COUNTING, COUNTING]) == [NEXT, NEXT]
    best = OpenAI(**SERVER, max_tokens=8, n=2, best_of=3, seed=1).generate([COUNTING])
    assert len(best.generations[0]) == 2


def embeddings() -> None:
    one, other = EMBEDDINGS.embed_documents([CAPITAL, COUNTING])
    assert len(one) == len(other) == WIDTH and one != other
    assert math.isclose(sum(value * value for value in one), 1, rel_tol=1e-5)
    again = EMBEDDINGS.embed_query(CAPITAL)
    assert max(abs(value - known) for value, known in zip(again, one, strict=True)) == 0
    short = OpenAIEmbeddings(**SERVER, check_embedding_ctx_length=False, dimensions=64)
    assert len(short.embed_query(CAPITAL)) == 64


def azure() -> None:
    model = AzureChatOpenAI(
        azure_endpoint=URL.removesuffix("/v1"), azure_deployment="default", api_version="2024-10-21",
        api_key="none", temperature=0, max_retries=0,
    )  # fmt: skip
    assert model.invoke(CAPITAL).content == ANSWER


sys.exit(run(globals()))

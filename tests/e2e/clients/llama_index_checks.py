"""LlamaIndex's classes for servers like OpenAI's, against the server whose URL is the argument."""

import asyncio
import math
import sys

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from questions import ANSWER, CAPITAL, COUNTING, DESCRIBE, NEXT, WIDTH, City, run, weather

SERVER = {"api_base": sys.argv[1], "api_key": "none", "max_retries": 0}
CHAT = {**SERVER, "model": "default", "is_chat_model": True, "context_window": 8192, "temperature": 0.0}
GREEDY = OpenAILike(**CHAT)
# strict: otherwise it tells the server not to hold calls to the schemas of their arguments.
CALLING = OpenAILike(**CHAT, is_function_calling_model=True, strict=True)
RAW = OpenAILike(**{**CHAT, "is_chat_model": False}, max_tokens=8)
EMBEDDINGS = OpenAILikeEmbedding(**SERVER, model_name="default")
WEATHER = FunctionTool.from_defaults(weather)
QUESTION = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content=CAPITAL)]


def complete() -> None:
    assert GREEDY.complete(CAPITAL).text == ANSWER
    assert list(GREEDY.stream_complete(CAPITAL))[-1].text == ANSWER


def chat() -> None:
    whole = GREEDY.chat(QUESTION).message.content
    assert "Paris" in whole
    assert list(GREEDY.stream_chat(QUESTION))[-1].message.content == whole


def chat_side_by_side_in_an_event_loop() -> None:
    async def ask() -> list[str | None]:
        answers = await asyncio.gather(*(GREEDY.achat(QUESTION) for _ in range(3)))
        return [answer.message.content for answer in answers]

    assert asyncio.run(ask()) == [GREEDY.chat(QUESTION).message.content] * 3


def complete_without_a_template() -> None:
    assert RAW.complete(COUNTING).text == list(RAW.stream_complete(COUNTING))[-1].text == NEXT


def call_a_tool() -> None:
    asked = {"user_msg": "What is the weather in Paris?", "tool_required": True}
    answer = CALLING.chat_with_tools([WEATHER], **asked)
    (call,) = CALLING.get_tool_calls_from_response(answer)
    assert (call.tool_name, list(call.tool_kwargs)) == ("weather", ["city"])
    streamed = list(CALLING.stream_chat_with_tools([WEATHER], **asked))[-1]
    (again,) = CALLING.get_tool_calls_from_response(streamed)
    assert again.tool_kwargs == call.tool_kwargs
    assert CALLING.predict_and_call([WEATHER], **asked).response == weather(**call.tool_kwargs)


def structured_output_by_a_tool() -> None:
    assert isinstance(CALLING.as_structured_llm(City).complete(DESCRIBE).raw, City)


def structured_output_by_a_schema() -> None:
    model = OpenAILike(**CHAT, should_use_structured_outputs=True)
    assert isinstance(model.as_structured_llm(City).complete(DESCRIBE).raw, City)


def log_probabilities() -> None:
    model = OpenAILike(**CHAT, logprobs=True, top_logprobs=2, max_tokens=2)
    answer = model.chat([ChatMessage(role="user", content=CAPITAL)])
    assert [tokens[0].token for tokens in answer.logprobs] == ["The", " capital"]


def parameters_of_vllm() -> None:
    more = {"seed": 3, "top_p": 0.5, "extra_body": {"guided_choice": ["yes", "no"], "top_k": 5}}
    model = OpenAILike(**CHAT, additional_kwargs=more)
    assert model.complete("Is Paris in France?").text in ("yes", "no")


def embeddings() -> None:
    one, other = EMBEDDINGS.get_text_embedding_batch([CAPITAL, COUNTING])
    assert len(one) == len(other) == WIDTH and one != other
    assert math.isclose(sum(value * value for value in one), 1, rel_tol=1e-5)
    assert EMBEDDINGS.get_query_embedding(CAPITAL) == EMBEDDINGS.get_text_embedding(CAPITAL) == one
    short = OpenAILikeEmbedding(**SERVER, model_name="default", dimensions=64)
    assert len(short.get_text_embedding(CAPITAL)) == 64


sys.exit(run(globals()))

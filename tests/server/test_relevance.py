"""Scores and rankings: what the model is asked, and what is made of its two answers."""

from typing import Any

import httpx2
import msgspec
import pytest

from octavo.core.messages import RequestOutput, TokenLogprobs
from octavo.core.request import FinishReason
from octavo.core.sampling_params import SamplingParams
from octavo.engine.streams import RequestStream
from octavo.server.relevance import INSTRUCTION, JUDGE, MAX_DOCUMENTS, share
from octavo.text.chat_template import ChatTemplate
from tests.fakes import ByteChatTemplate, FakeEngine, fake_replica
from tests.server.serving import asgi_client
from tests.text.tiny_text import tokenizer

pytestmark = pytest.mark.asyncio

YES, NO = ord("y"), ord("n")
PATHS = ("/v1/rerank", "/v2/rerank", "/rerank")


class Judge(FakeEngine):
    """A document is as relevant as it has exclamation marks: log-probability of yes -1/marks, of no -1."""

    def __init__(self) -> None:
        super().__init__(None)
        self.info = msgspec.structs.replace(self.info, max_model_len=1024)

    def submit(self, prompt_token_ids: list[int], sampling: SamplingParams, **options: Any) -> RequestStream:
        stream = super().submit(prompt_token_ids, sampling, **options)
        assert sampling.allowed_token_ids is not None
        (token_id,) = sampling.allowed_token_ids
        marks = bytes(prompt_token_ids).count(b"!")
        logprob = -1 / (1 + marks) if token_id == YES else -1.0
        told = TokenLogprobs([logprob], [3], [[]], [[]])
        output = RequestOutput(stream.request_id, 0, [token_id], FinishReason.LENGTH, logprobs=told)
        stream.accept(output, now=0.0)
        return stream


async def post(path: str, engine: FakeEngine | None = None, **fields: Any) -> httpx2.Response:
    async with asgi_client(fake_replica(engine or Judge())) as client:
        return await client.post(path, json={"model": "tiny", **fields})


def expected(marks: int) -> Any:
    return pytest.approx(share(-1 / (1 + marks), -1.0))


@pytest.mark.parametrize("path", PATHS)
async def test_documents_are_ranked(path: str) -> None:
    documents = ["a!", {"text": "b!!!"}, "c"]
    answer = (await post(path, query="q", documents=documents)).json()
    assert [(r["index"], r["document"]["text"], r["relevance_score"]) for r in answer["results"]] == [
        (1, "b!!!", expected(3)),
        (0, "a!", expected(1)),
        (2, "c", expected(0)),
    ]
    assert answer["id"].startswith("rerank-") and answer["usage"]["prompt_tokens"] > 3 * len(JUDGE)


async def test_the_first_few_without_their_texts() -> None:
    fields = {"query": "q", "documents": ["a", "b!"], "top_n": 1, "return_documents": False}
    (result,) = (await post("/rerank", **fields)).json()["results"]
    assert result == {"index": 1, "relevance_score": expected(1)}


@pytest.mark.parametrize("path", ("/v1/score", "/score"))
async def test_pairs_are_scored(path: str) -> None:
    many = (await post(path, text_1="q", text_2=["a!", "b"])).json()
    assert [(item["index"], item["score"]) for item in many["data"]] == [(0, expected(1)), (1, expected(0))]
    assert (many["object"], many["data"][0]["object"]) == ("list", "score")
    assert many["usage"]["total_tokens"] == many["usage"]["prompt_tokens"]
    pairs = (await post(path, queries=["q", "r!!"], documents=["a!", "b"])).json()
    assert [item["score"] for item in pairs["data"]] == [expected(1), expected(2)]
    one = (await post(path, text_1="q", text_2="a")).json()
    assert [item["score"] for item in one["data"]] == [expected(0)]


async def test_what_the_model_is_asked() -> None:
    engine = Judge()
    await post("/v1/score", engine, text_1="which?", text_2="this")
    await post("/v1/score", engine, text_1="which?", text_2="this", instruction="Think")
    asked = f"system:{JUDGE}\nuser:<Instruct>: {INSTRUCTION}\n<Query>: which?\n<Document>: this\n"
    first, second, other, _ = engine.submitted
    assert bytes(first.token_ids).decode() == bytes(second.token_ids).decode() == asked
    assert bytes(other.token_ids).decode() == asked.replace(INSTRUCTION, "Think")
    assert (first.sampling.allowed_token_ids, second.sampling.allowed_token_ids) == ((YES,), (NO,))
    assert (first.fork_of, second.fork_of) == (None, first.request_id)


QWEN3 = """{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""


class Qwen3Template(ByteChatTemplate):
    def encode_chat(self, messages: Any, **options: Any) -> list[int]:
        template = ChatTemplate(QWEN3, tokenizer())
        return list(template.render(messages, variables=options["variables"]).encode())


async def test_qwen3_reranker_is_asked_as_it_was_trained() -> None:
    engine = Judge()
    async with asgi_client(fake_replica(engine, chat_template=Qwen3Template())) as client:
        await client.post("/v1/score", json={"model": "tiny", "text_1": "which?", "text_2": "this"})
    assert bytes(engine.submitted[0].token_ids).decode() == (
        f"<|im_start|>system\n{JUDGE}<|im_end|>\n<|im_start|>user\n<Instruct>: {INSTRUCTION}\n"
        "<Query>: which?\n<Document>: this<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    (
        ("/v1/score", {"text_2": "a"}, "text_1"),
        ("/v1/score", {"text_1": "a"}, "text_2"),
        ("/v1/score", {"text_1": "a", "queries": "b", "text_2": "c"}, "text_1"),
        ("/v1/score", {"text_1": ["a", "b"], "text_2": ["c"]}, "text_1"),
        ("/v1/score", {"text_1": "a", "text_2": []}, "documents"),
        ("/v1/score", {"text_1": "a", "text_2": ["a", "b" * 1024]}, "documents[1]"),
        ("/v1/rerank", {"query": "a", "documents": []}, "documents"),
        ("/v1/rerank", {"query": "a", "documents": ["a"] * (MAX_DOCUMENTS + 1)}, "documents"),
        ("/v1/rerank", {"query": "a", "documents": [1]}, "documents[0]"),
        ("/v1/rerank", {"query": "a", "documents": ["a"], "top_n": 0}, "top_n"),
        ("/v1/rerank", {"query": "a", "documents": ["a"], "instruction": ""}, "instruction"),
        ("/v1/rerank", {"documents": ["a"]}, "query"),
        (
            "/v1/rerank",
            {"query": "a", "documents": ["a"], "truncate_prompt_tokens": 0},
            "truncate_prompt_tokens",
        ),
    ),
)
async def test_what_is_refused(path: str, fields: dict[str, Any], param: str) -> None:
    response = await post(path, **fields)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text


async def test_the_most_documents() -> None:
    response = await post("/rerank", query="q", documents=["a"] * MAX_DOCUMENTS, return_documents=False)
    assert [result["index"] for result in response.json()["results"]] == list(range(MAX_DOCUMENTS))


async def test_documents_and_the_query_beside_each_are_bounded_together() -> None:
    async with asgi_client(fake_replica(Judge(), max_total_tokens=1)) as client:
        body = {"model": "tiny", "query": "q" * 50, "documents": ["a"] * 1000}
        response = await client.post("/rerank", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (
        400,
        "documents",
        "context_length_exceeded",
    )
    assert "tokens together" in error["message"]


async def test_a_model_whose_labels_look_alike_cannot_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("octavo.server.relevance.LABELS", ("yes", "yeah"))
    response = await post("/v1/score", text_1="a", text_2="b")
    assert "begin with the same token" in response.json()["error"]["message"]


async def test_a_share_is_a_probability() -> None:
    assert share(-1.0, -1.0) == 0.5 and share(-0.1, -900.0) == 1.0
    assert 0 < share(-5000.0, 0.0) < 1e-300

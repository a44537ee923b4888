"""POST /v1/score and /v1/rerank: how well a document answers a query, by a causal model's own judgement.

The model is asked, in its chat template, whether the document meets the query; the score is the probability
of the token "yes" beside "no" as the answer's first. The wording is that of Qwen3-Reranker's model card
(Zhang et al., "Qwen3 Embedding", 2025), which was trained on it.
"""

import asyncio
import math
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from octavo.core.errors import InvalidRequestError
from octavo.core.sampling_params import SamplingParams
from octavo.server.prompt_runs import PromptRun, PromptRunner, PromptUsage
from octavo.server.prompts import ChatPrompt
from octavo.server.schema import KeptTokens, Name, check_kept
from octavo.server.services import Services

MAX_DOCUMENTS = 1024
JUDGE = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".'
)
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
LABELS = ("yes", "no")

Instruction = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
Texts = str | list[str]


class ScoreRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One with one, one with each of many, or as many with as many. null means the same as leaving out."""

    model: str
    text_1: Texts | None = None
    text_2: Texts | None = None
    queries: Texts | None = None  # another name of text_1
    documents: Texts | None = None  # another name of text_2
    instruction: Instruction | None = None
    truncate_prompt_tokens: KeptTokens | None = None
    user: Name | None = None


class Document(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    text: str


class RerankRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Jina's and Cohere's."""

    model: str
    query: str
    documents: list[str | Document]
    top_n: Annotated[int, msgspec.Meta(ge=1)] | None = None
    return_documents: bool | None = None
    instruction: Instruction | None = None
    truncate_prompt_tokens: KeptTokens | None = None
    user: Name | None = None


class Score(msgspec.Struct):
    index: int
    object: Literal["score"]
    score: float


class ScoreList(msgspec.Struct):
    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Score]
    usage: PromptUsage


class RankedDocument(msgspec.Struct):
    text: str


class Rank(msgspec.Struct):
    index: int
    relevance_score: float
    document: RankedDocument | msgspec.UnsetType = msgspec.UNSET


class Ranking(msgspec.Struct):
    id: str
    model: str
    results: list[Rank]
    usage: PromptUsage


class Relevance:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def score(self, request: ScoreRequest, runner: PromptRunner, answer_id: str) -> ScoreList:
        queries = _given("text_1", request.text_1, "queries", request.queries)
        documents = _given("text_2", request.text_2, "documents", request.documents)
        if len(queries) == 1:
            queries = queries * len(documents)
        if len(queries) != len(documents):
            raise InvalidRequestError(
                f"There are {len(queries)} first texts and {len(documents)} second ones; allowed: one first "
                "text, or as many as second ones.",
                param="text_1",
            )
        pairs = list(zip(queries, documents, strict=True))
        scores, usage = await self._scores(request, pairs, runner)
        data = [Score(index, "score", score) for index, score in enumerate(scores)]
        now = int(self._services.wall_clock())
        return ScoreList(answer_id, "list", now, request.model, data, usage)

    async def rerank(self, request: RerankRequest, runner: PromptRunner, answer_id: str) -> Ranking:
        documents = [item if isinstance(item, str) else item.text for item in request.documents]
        pairs = [(request.query, document) for document in documents]
        scores, usage = await self._scores(request, pairs, runner)
        ranked = sorted(range(len(scores)), key=lambda index: -scores[index])[: request.top_n]
        results = [Rank(index, scores[index]) for index in ranked]
        if request.return_documents is not False:
            for result in results:
                result.document = RankedDocument(documents[result.index])
        return Ranking(answer_id, request.model, results, usage)

    async def _scores(
        self, request: ScoreRequest | RerankRequest, pairs: Sequence[tuple[str, str]], runner: PromptRunner
    ) -> tuple[list[float], PromptUsage]:
        services = self._services
        services.model.check(request.model)
        check_kept(request.truncate_prompt_tokens)
        if not 1 <= len(pairs) <= MAX_DOCUMENTS:
            raise InvalidRequestError(
                f"documents holds {len(pairs)} texts; allowed: 1 to {MAX_DOCUMENTS}.", param="documents"
            )
        kept = services.prompts.kept(request.truncate_prompt_tokens, None)
        prompts, total = [], 0
        for index, (query, document) in enumerate(pairs):
            asked = _question(query, document, request.instruction or INSTRUCTION)
            try:
                prompts.append(await services.prompts.encode_chat(asked, kept=kept))
            except InvalidRequestError as error:
                param = f"documents[{index}]"
                raise InvalidRequestError(
                    f"{param} with its query: {error}", param=param, code=error.code
                ) from error
            total += len(prompts[-1])
            services.prompts.check_total(total, "documents")
            await asyncio.sleep(0)  # many short documents hold up nobody's stream
        labels = _labels(services)
        groups = [[PromptRun(prompt, label) for label in labels] for prompt in prompts]
        results = await runner.run(groups)
        scores = [share(yes.mean_logprob, no.mean_logprob) for yes, no in results]
        return scores, PromptUsage.of(prompts)


def _question(query: str, document: str, instruction: str) -> ChatPrompt:
    """Templates of models that reason write, with enable_thinking off, an empty thought."""
    asked = f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"
    messages = [{"role": "system", "content": JUDGE}, {"role": "user", "content": asked}]
    return ChatPrompt(messages, (), {"enable_thinking": False})


def _labels(services: Services) -> list[SamplingParams]:
    """Only the label is sampled, so its log-probability is told, which is of the raw logits."""
    encode = services.prompts.tokenizer.encode
    token_ids = [encode(name, allow_special=False)[0] for name in LABELS]
    if len(set(token_ids)) < len(LABELS):
        raise InvalidRequestError(
            f"This model cannot judge: {' and '.join(LABELS)} begin with the same token.", param="model"
        )
    return [
        SamplingParams(temperature=0, max_tokens=1, logprobs=0, allowed_token_ids=(token_id,))
        for token_id in token_ids
    ]


def share(yes: float, no: float) -> float:
    """Of the first in the probability of both, from logarithms."""
    return 1 / (1 + math.exp(min(no - yes, 700.0)))


def _given(name: str, value: Texts | None, other_name: str, other: Texts | None) -> list[str]:
    if (value is None) == (other is None):
        raise InvalidRequestError(
            f"Send either {name} or {other_name}; they mean the same.",
            param=name,
            code="missing_required_parameter" if value is None else "invalid_value",
        )
    texts = value if value is not None else other
    return [texts] if isinstance(texts, str) else list(texts or ())

"""POST /v1/embeddings: what the model's last layer makes of a text, as OpenAI answers it."""

import base64
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from octavo.core.errors import InvalidRequestError
from octavo.core.request import Pooling
from octavo.core.sampling_params import SamplingParams
from octavo.server.generation import Generation
from octavo.server.prompt_runs import PromptRun, PromptRunner, PromptUsage
from octavo.server.schema import KeptTokens, Name, check_kept
from octavo.server.services import Services

MAX_INPUTS = 2048  # OpenAI's

_NOTHING = SamplingParams()


class EmbeddingRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """null means the same as leaving a field out."""

    model: str
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    pooling: Pooling | None = None
    normalize: bool | None = None
    truncate_prompt_tokens: KeptTokens | None = None
    user: Name | None = None


class Embedding(msgspec.Struct):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str  # the latter in base64


class EmbeddingList(msgspec.Struct):
    id: str
    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: PromptUsage


class Embeddings:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def answer(self, request: EmbeddingRequest, runner: PromptRunner, answer_id: str) -> EmbeddingList:
        services = self._services
        services.model.check(request.model)
        check_kept(request.truncate_prompt_tokens)
        prompts = await services.prompts.encode_prompts(
            request.input,
            kept=services.prompts.kept(request.truncate_prompt_tokens, None),
            param="input",
            limit=MAX_INPUTS,
        )
        pooling = request.pooling or Pooling.LAST
        results = await runner.run([[PromptRun(prompt, _NOTHING, pooling)] for prompt in prompts])
        data = [
            Embedding("embedding", index, self._rendered(request, result))
            for index, (result,) in enumerate(results)
        ]
        return EmbeddingList(answer_id, "list", request.model, data, PromptUsage.of(prompts))

    def _rendered(self, request: EmbeddingRequest, result: Generation) -> str | list[float]:
        assert result.pooled is not None, "the engine pools what it is asked to pool"
        vector = np.frombuffer(result.pooled, "<f4")
        embedding = embedding_of(vector, request.dimensions, is_normal=request.normalize is not False)
        if request.encoding_format == "base64":
            return base64.b64encode(embedding.tobytes()).decode()
        values: list[float] = embedding.tolist()
        return values


def embedding_of(
    vector: NDArray[np.float32], dimensions: int | None, *, is_normal: bool
) -> NDArray[np.float32]:
    """The first `dimensions` of it, in little-endian fp32; is_normal: then of length 1, unless it is zero.

    Raises InvalidRequestError for more dimensions than there are.
    """
    if dimensions is not None and dimensions > len(vector):
        raise InvalidRequestError(
            f"dimensions is {dimensions}; allowed: 1 to {len(vector)}, the model's own.", param="dimensions"
        )
    cut = vector[:dimensions].astype(np.float64)
    length = float(np.sqrt(np.dot(cut, cut))) if is_normal else 1.0
    scaled: NDArray[np.float32] = (cut / (length or 1.0)).astype("<f4")
    return scaled

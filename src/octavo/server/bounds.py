"""What one request may ask for in all: fields are bounded one by one, here is what they come to together."""

from collections.abc import Sequence

from octavo.core.errors import InvalidRequestError
from octavo.core.sampling_params import SamplingParams

MAX_TOKEN_IDS = 1 << 20  # in fields, handed to the engine for each choice
MAX_LOGPROBS_TOLD = 1 << 21  # of tokens and their alternatives, in prompts and answers


def check_bounds(choices: Sequence[tuple[Sequence[int], SamplingParams]]) -> None:
    """choices: the prompt of each, and what is asked of it. Raises InvalidRequestError."""
    _, sampling = choices[0]  # all have the same fields
    num_ids = {field: len(token_ids) for field, token_ids in sampling.token_ids_by_field()}
    total = len(choices) * sum(num_ids.values())
    if total > MAX_TOKEN_IDS:
        most = max(num_ids, key=num_ids.__getitem__)
        raise InvalidRequestError(
            f"The fields of {len(choices)} choices hold {total} token ids; allowed: {MAX_TOKEN_IDS}.",
            param="bad_words" if most == "bad_words_token_ids" else most,
        )
    total = sum(_num_told(prompt, sampling) for prompt, sampling in choices)
    if total > MAX_LOGPROBS_TOLD:
        raise InvalidRequestError(
            f"{total} log-probabilities could be told of {len(choices)} choices, alternatives included; "
            f"allowed: {MAX_LOGPROBS_TOLD}. Send a smaller max_tokens, or ask for fewer alternatives.",
            param="prompt_logprobs" if sampling.logprobs is None else "logprobs",
        )


def _num_told(prompt: Sequence[int], sampling: SamplingParams) -> int:
    of_prompt = 0 if sampling.prompt_logprobs is None else len(prompt) * (1 + sampling.prompt_logprobs)
    of_answer = 0 if sampling.logprobs is None else (sampling.max_tokens or 0) * (1 + sampling.logprobs)
    return of_prompt + of_answer

"""What became of a request, for a client that asks: where its time went, and what it was computed with."""

from collections.abc import Callable, Sequence

import msgspec

from octavo.core.sampling_params import SamplingParams
from octavo.server.generation import Generation


class ChoiceExplanation(msgspec.Struct):
    """queue_seconds: arrival to first step; prefill_seconds: from there to the first token; decode_seconds:
    from there to the last one. num_steps: of the engine, that gave it tokens."""

    index: int
    queue_seconds: float
    prefill_seconds: float
    decode_seconds: float
    num_prompt_tokens: int
    num_cached_tokens: int
    num_output_tokens: int
    num_preemptions: int
    num_steps: int


class Explanation(msgspec.Struct):
    """sampling: the parameters in effect, defaults and the resolved max_tokens included."""

    seed: int
    sampling: SamplingParams
    choices: list[ChoiceExplanation]


Explain = Callable[[], Explanation | None]


def explain(generations: Sequence[Generation], seed: int) -> Explanation:
    """generations: one at least, all ended."""
    choices = [
        ChoiceExplanation(
            index=generation.index,
            queue_seconds=generation.queue_seconds,
            prefill_seconds=generation.prefill_seconds,
            decode_seconds=generation.decode_seconds or 0.0,
            num_prompt_tokens=generation.num_prompt_tokens,
            num_cached_tokens=generation.num_cached_tokens,
            num_output_tokens=generation.num_output_tokens,
            num_preemptions=generation.num_preemptions,
            num_steps=generation.num_steps,
        )
        for generation in generations
    ]
    return Explanation(seed, generations[0].sampling, choices)


def no_explanation() -> None:
    """For a client that does not ask."""
    return None

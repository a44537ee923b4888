"""What is told of requests: messages made of the scheduler's requests and of what a step's rows have shown.

Runs in the engine process. Ends no request and frees nothing; of a request it changes only what it has of its
prompt's rows so far.
"""

from collections.abc import Sequence

import numpy as np

from octavo.core.messages import RequestOutput, TokenLogprobs
from octavo.core.request import FinishReason, Request, RequestStatus
from octavo.core.step import Float32Array, RowStatus, StepLogprobs, StepOutput
from octavo.scheduler.output_rows import OutputRows

NOT_FINITE_ERROR = "The model's output for this request is not a finite number; it cannot be continued."
NO_TOKEN_ERROR = (
    "No token may come next: allowed_token_ids, bad words, min_tokens and grammar together exclude every one."
)


def output_of(
    request: Request,
    token_ids: list[int],
    finish_reason: FinishReason | None = None,
    error: str | None = None,
) -> RequestOutput:
    """token_ids: its last ones, so many as are new."""
    return RequestOutput(
        request.request_id,
        request.num_output_tokens - len(token_ids),
        token_ids,
        finish_reason,
        error,
        request.num_cached_tokens,
        request.queue_seconds,
        request.prefill_seconds,
        request.num_preemptions,
    )


def refusal_of(request: Request, error: str) -> RequestOutput:
    return output_of(request, [], FinishReason.ERROR, error)


def failure_of(request: Request, status: RowStatus) -> RequestOutput:
    """Its row in a step has this status, which is not OK."""
    if status is RowStatus.NOT_FINITE:
        return output_of(request, [], FinishReason.ERROR, NOT_FINITE_ERROR)
    failure = None if request.constraint is None else request.constraint.failure
    output = output_of(request, [], FinishReason.ERROR, failure or NO_TOKEN_ERROR)
    output.error_code = "no_token_allowed" if failure is None else "grammar_too_complex"
    return output


def report_rows(
    rows: OutputRows, step: StepOutput, outputs: list[RequestOutput]
) -> Sequence[tuple[Request, RequestOutput]]:
    """Add to a step's outputs, one for each request, what its rows show beyond tokens.

    Returns the requests that want no token and whose prompt is computed now, with their last outputs.
    """
    reports = _Reports(outputs)
    if step.logprobs is not None:
        _add_logprobs(rows, step.logprobs, reports)
    if step.pooled is not None:
        _add_hidden_states(rows, step.pooled)
    endings = [(request, reports.of(request)) for request in rows.ending]
    return [(request, output) for request, output in endings if output is not None]


class _Reports:
    """A step's outputs by request."""

    def __init__(self, outputs: list[RequestOutput]) -> None:
        self._outputs = outputs
        self._by_id = {output.request_id: output for output in outputs}

    def of(self, request: Request) -> RequestOutput | None:
        """Its output, a new one if there is none; None for a request that has failed."""
        output = self._by_id.get(request.request_id)
        if output is None:
            output = self._by_id[request.request_id] = output_of(request, [])
            self._outputs.append(output)
        return output if output.error is None else None


def _add_logprobs(rows: OutputRows, logprobs: StepLogprobs, reports: _Reports) -> None:
    """Of the tokens that were chosen, and of prompts'."""
    row = 0
    for request in rows.sampled:
        if request.num_logprobs >= 0 and (output := reports.of(request)) is not None:
            output.logprobs = _read_logprobs(logprobs, row, row + len(output.token_ids), request.num_logprobs)
        row += 1 + len(request.drafts)
    for request, count in rows.scored:
        if (output := reports.of(request)) is not None:
            num_top = request.sampling.prompt_logprobs or 0
            output.prompt_logprobs = _read_logprobs(logprobs, row, row + count, num_top)
            output.first_prompt_index = request.num_scored_tokens
            request.num_scored_tokens += count
        row += count


def _add_hidden_states(rows: OutputRows, hidden: Float32Array) -> None:
    row = 0
    for request, count in rows.pooled:
        if request.status is RequestStatus.RUNNING:
            _add_hidden_rows(request, hidden[row : row + count])
        row += count


def _read_logprobs(logprobs: StepLogprobs, begin: int, end: int, num_top: int) -> TokenLogprobs:
    """Of the rows [begin, end), with num_top alternatives each."""
    return TokenLogprobs(
        logprobs.logprob[begin:end].tolist(),
        logprobs.rank[begin:end].tolist(),
        logprobs.top_ids[begin:end, :num_top].tolist(),
        logprobs.top_logprobs[begin:end, :num_top].tolist(),
    )


def _add_hidden_rows(request: Request, rows: Float32Array) -> None:
    """Rows of consecutive prompt tokens, one by one: the sum does not depend on how the prompt was cut."""
    total = np.zeros(rows.shape[1]) if request.hidden_sum is None else request.hidden_sum
    for row in rows:
        total += row
    request.hidden_sum = total
    request.num_pooled_tokens += len(rows)


def embedding_bytes(request: Request) -> bytes:
    """Of the prompt's hidden states: little-endian fp32."""
    assert request.hidden_sum is not None
    embedding: bytes = (request.hidden_sum / request.num_pooled_tokens).astype("<f4").tobytes()
    return embedding

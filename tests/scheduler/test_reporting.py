"""Outputs made of rows, without an engine; test_output_rows.py has them through the whole of it."""

import numpy as np
import pytest

from octavo.core.request import FinishReason, Pooling, Request, RequestStatus
from octavo.core.sampling_params import SamplingParams
from octavo.core.step import RowStatus, StepLogprobs, StepOutput
from octavo.scheduler.output_rows import OutputRows
from octavo.scheduler.reporting import embedding_bytes, failure_of, output_of, refusal_of, report_rows


def running(request_id: str, num_prompt_tokens: int = 4, **fields: object) -> Request:
    sampling = fields.pop("sampling", SamplingParams())
    tokens = list(range(num_prompt_tokens))
    request = Request(request_id, tokens, len(tokens), sampling, 0, 0.0, 100, **fields)  # type: ignore[arg-type]
    request.status = RequestStatus.RUNNING
    return request


def step_output(num_rows: int, pooled: np.ndarray | None = None) -> StepOutput:
    """The log-probability of a row is minus its number; its alternatives are 10 times that, and one more."""
    rows = np.arange(num_rows, dtype=np.int32)
    top_ids = 10 * rows[:, None] + np.arange(2, dtype=np.int32)
    top_logprobs = np.repeat(-rows[:, None], 2, axis=1).astype(np.float32)
    logprobs = StepLogprobs(-rows.astype(np.float32), rows + 1, top_ids, top_logprobs)
    return StepOutput(0, rows, np.zeros(num_rows, np.int32), 0.0, logprobs if num_rows else None, pooled)


def test_an_output_says_where_its_tokens_begin() -> None:
    request = running("a")
    request.token_ids += [7, 8, 9]
    output = output_of(request, [9], FinishReason.LENGTH)
    assert (output.first_index, output.token_ids, output.finish_reason) == (2, [9], FinishReason.LENGTH)
    refusal = refusal_of(request, "No.")
    assert (refusal.first_index, refusal.finish_reason, refusal.error) == (3, FinishReason.ERROR, "No.")


def test_a_row_that_is_not_finite_is_the_engines_fault_and_one_without_a_token_the_requests() -> None:
    request = running("a")
    assert failure_of(request, RowStatus.NOT_FINITE).error_code is None
    assert failure_of(request, RowStatus.NO_TOKEN).error_code == "no_token_allowed"


def test_each_row_reaches_its_request_and_none_one_that_has_failed() -> None:
    failed = running("failed", sampling=SamplingParams(logprobs=0, prompt_logprobs=0))
    chosen = running("chosen", sampling=SamplingParams(logprobs=1))
    plain = running("plain")
    scored = running("scored", sampling=SamplingParams(prompt_logprobs=2))
    rows = OutputRows()
    rows.sampled += [failed, plain, chosen]
    rows.scored += [(failed, 2), (scored, 2)]
    outputs = [refusal_of(failed, "It failed."), output_of(plain, [1]), output_of(chosen, [1])]
    assert report_rows(rows, step_output(7), outputs) == []
    by_id = {output.request_id: output for output in outputs}
    assert len(by_id) == len(outputs) == 4
    assert by_id["failed"].logprobs is None and by_id["failed"].prompt_logprobs is None
    assert by_id["plain"].logprobs is None
    of_chosen, of_prompt = by_id["chosen"].logprobs, by_id["scored"].prompt_logprobs
    assert of_chosen is not None and (of_chosen.logprobs, of_chosen.top_ids) == ([-2.0], [[20]])
    assert of_prompt is not None and of_prompt.ranks == [6, 7]
    assert of_prompt.top_ids == [[50, 51], [60, 61]]
    assert (by_id["scored"].first_prompt_index, scored.num_scored_tokens) == (1, 3)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_an_embedding_does_not_depend_on_how_its_prompt_was_cut(cut: int) -> None:
    hidden = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    gone = running("gone", pooling=Pooling.MEAN)
    gone.status = RequestStatus.FINISHED
    mean = running("mean", pooling=Pooling.MEAN)
    for part in (hidden[:cut], hidden[cut:]):
        rows = OutputRows()
        rows.pooled += [(gone, 1), (mean, len(part))]
        pooled = np.concatenate([np.full((1, 8), np.nan, np.float32), part])
        report_rows(rows, step_output(0, pooled), [])
    whole = running("whole", pooling=Pooling.MEAN)
    rows = OutputRows()
    rows.pooled.append((whole, 4))
    report_rows(rows, step_output(0, hidden), [])
    assert gone.hidden_sum is None
    assert embedding_bytes(mean) == embedding_bytes(whole)


def test_who_ends_with_the_prompt_is_named_once_unless_it_has_failed() -> None:
    ending, failed = running("ending"), running("failed")
    rows = OutputRows()
    rows.ending += [failed, ending]
    outputs = [refusal_of(failed, "It failed.")]
    ((request, output),) = report_rows(rows, step_output(0), outputs)
    assert request is ending and output is outputs[1]

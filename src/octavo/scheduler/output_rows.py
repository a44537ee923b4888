"""Which rows of a step produce what, and for whom: the output fields of a StepInput.

Runs in the engine process. Rows lie by kind, as core/step.py says: SAMPLE, SCORE, POOL. What they have
shown is read in reporting.py.
"""

from collections.abc import Sequence

import numpy as np

from octavo.core.request import Pooling, Request
from octavo.core.step import NO_LOGPROBS, NO_MASK, Int32Array, OutputKind


class OutputRows:
    """Filled in the order of a step's requests, then read.

    sampled      requests whose next token is chosen, in the order of the rows of kind SAMPLE, of which each
                 has one, and one for each of its drafts
    scored       (request, so many rows of kind SCORE), for its prompt tokens from num_scored_tokens on
    pooled       (request, so many rows of kind POOL)
    constrained  requests among sampled that have a mask, in the order of the masks
    ending       requests that want no token and whose prompt is computed with this step
    """

    def __init__(self) -> None:
        self.sampled: list[Request] = []
        self.scored: list[tuple[Request, int]] = []
        self.pooled: list[tuple[Request, int]] = []
        self.constrained: list[Request] = []
        self.ending: list[Request] = []
        self._sampled_rows: list[int] = []
        self._sampled_owners: list[Request] = []
        self._scored_rows: list[int] = []
        self._pooled_rows: list[int] = []
        self._targets: list[int] = []

    @property
    def has_more_than_tokens(self) -> bool:
        return bool(self.scored or self.pooled or self.ending)

    def add_last_row(self, request: Request, row: int) -> None:
        """With this row the request has caught up; those of its drafts follow."""
        if request.ends_with_prompt:
            self.ending.append(request)
            return
        self.sampled.append(request)
        self._sampled_rows.append(row)
        self._sampled_owners.append(request)
        if request.drafts:
            num_drafts = len(request.drafts)
            self._sampled_rows += range(row + 1, row + 1 + num_drafts)
            self._sampled_owners += [request] * num_drafts

    def add_prompt_rows(self, request: Request, computed: int, end: int, first_row: int) -> None:
        """What the rows of prompt positions [computed, end), from first_row on, tell besides a next token."""
        if request.wants_scores:  # the row of a position scores the token at the next one
            begin, stop = request.num_scored_tokens - 1, min(end, request.num_prompt_tokens - 1)
            if begin < stop:
                self._scored_rows += range(first_row + begin - computed, first_row + stop - computed)
                self._targets += request.token_ids[begin + 1 : stop + 1]
                self.scored.append((request, stop - begin))
        if request.pooling is not None:
            is_mean = request.pooling is Pooling.MEAN
            begin = request.num_pooled_tokens if is_mean else request.num_prompt_tokens - 1
            if begin < end:
                self._pooled_rows += range(first_row + begin - computed, first_row + end - computed)
                self.pooled.append((request, end - begin))

    def arrays(self) -> dict[str, Int32Array]:
        """The output fields of a StepInput."""
        num_sampled = len(self._sampled_rows)
        arrays = {
            "output_row": np.array(self._sampled_rows, np.int32),
            "output_slot": np.array([request.slot for request in self._sampled_owners], np.int32),
            "output_kind": np.zeros(num_sampled, np.int32),  # SAMPLE
            "target": np.array([-1] * num_sampled, np.int32),
            "num_logprobs": np.array([request.num_logprobs for request in self._sampled_owners], np.int32),
            "mask_row": self._mask_rows(),
        }
        if self.scored:
            _extend(arrays, OutputKind.SCORE, self._scored_rows, self.scored, self._targets)
        if self.pooled:
            _extend(arrays, OutputKind.POOL, self._pooled_rows, self.pooled, [-1] * len(self._pooled_rows))
        return arrays

    def owners(self) -> list[Request]:
        """Whose each output is."""
        others = [request for request, count in self.scored + self.pooled for _ in range(count)]
        return self._sampled_owners + others

    def _mask_rows(self) -> Int32Array:
        rows = [NO_MASK] * len(self._sampled_owners)
        for i, request in enumerate(self._sampled_owners):
            if request.constraint is not None:
                rows[i] = len(self.constrained)
                self.constrained.append(request)
        return np.array(rows, np.int32)


def _extend(
    arrays: dict[str, Int32Array],
    kind: OutputKind,
    rows: list[int],
    requests: list[tuple[Request, int]],
    targets: list[int],
) -> None:
    counts = [count for _, count in requests]
    wanted = [
        request.sampling.prompt_logprobs if kind is OutputKind.SCORE else None for request, _ in requests
    ]
    values: dict[str, Sequence[int] | Int32Array] = {
        "output_row": rows,
        "output_slot": np.repeat([request.slot for request, _ in requests], counts),
        "output_kind": [kind] * len(rows),
        "target": targets,
        "num_logprobs": np.repeat([NO_LOGPROBS if count is None else count for count in wanted], counts),
        "mask_row": [NO_MASK] * len(rows),
    }
    for name, more in values.items():
        arrays[name] = np.concatenate([arrays[name], np.asarray(more, np.int32)])

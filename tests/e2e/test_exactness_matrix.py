"""The exactness matrix: with every kind of parameter, under every circumstance, the answer of the plain run.

Tokens are equal and logprobs are equal to the bit. docs/exactness.md has the table of its cells.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from octavo.backends.cpu.library import load_library
from octavo.core.activation_dtype import ActivationDType
from octavo.core.kv_dtype import KVDType
from octavo.weights.formats import Tensor, expand_to_f32
from tests.e2e.matrix import table
from tests.e2e.matrix.circumstances import BUILDS, COLUMNS, Cell, plain_answers
from tests.e2e.matrix.engine import Engine
from tests.e2e.matrix.models import (
    BUILT_IN,
    TINY_FAMILIES,
    WITH_INT8_ACTIVATIONS,
    WITH_INT8_CACHE,
    MatrixModel,
    write_quantized,
    write_tiny,
)
from tests.e2e.matrix.questions import ROWS, Answer, Question, questions_of, random_prompts

MISSING = [build for build in BUILDS if not load_library().octavo_has_isa(build.encode())]


class Models:
    """Opens each model once, and has its plain answers to each row."""

    def __init__(self, folder: pathlib.Path, built_in: pathlib.Path) -> None:
        self._folder, self._built_in = folder, built_in
        self._models: dict[str, MatrixModel] = {}
        self._cells: dict[tuple[str, str], Cell] = {}

    def model(self, family: str) -> MatrixModel:
        if family not in self._models:
            self._models[family] = self._opened(family)
        return self._models[family]

    def _opened(self, family: str) -> MatrixModel:
        if family == BUILT_IN:
            return MatrixModel(self._built_in, max_tokens=32, prompt_lengths=(50,))
        if family == WITH_INT8_CACHE:
            return dataclasses.replace(self.model("gemma3"), kv_dtype=KVDType.INT8)
        if family == WITH_INT8_ACTIVATIONS:
            path = write_quantized(self._folder / "quantized.gguf")
            return MatrixModel(path, 48, (70, 48, 33), activation_dtype=ActivationDType.INT8)
        return MatrixModel(write_tiny(family, self._folder / family), 48, (70, 48, 33))

    def cell(self, family: str, row: str) -> Cell:
        if (family, row) not in self._cells:
            model = self.model(family)
            prompts = random_prompts(model.vocab_size, model.prompt_lengths)
            questions = questions_of(row, prompts, model.max_tokens)
            self._cells[family, row] = Cell(model, questions, plain_answers(model, questions))
        return self._cells[family, row]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, smollm2_path: pathlib.Path) -> Models:
    return Models(tmp_path_factory.mktemp("matrix"), smollm2_path)


def cells_of_this_processor() -> Iterator[object]:
    for row, column, family, is_always in table.cells():
        marks = [] if is_always else [pytest.mark.full]
        if family == BUILT_IN:
            marks.append(pytest.mark.timeout(600))
        if column not in MISSING:
            yield pytest.param(row, column, family, marks=marks, id=f"{row}-{column}-{family}")


@pytest.mark.parametrize(("row", "column", "family"), list(cells_of_this_processor()))
def test_cell(models: Models, row: str, column: str, family: str) -> None:
    answers, expected = COLUMNS[column](models.cell(family, row))
    assert list(answers) == list(expected)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_parameters_matter_and_logprobs_do_not(models: Models, family: str) -> None:
    """Or the cells of a row would say nothing."""
    plain = {row: models.cell(family, row).plain for row in ROWS}
    assert len({answers[0].token_ids for answers in plain.values()}) == len(ROWS)
    for without, reported in (plain["greedy"][:2], plain["seeded"][:2], plain["logprobs"][:2]):
        assert without.token_ids == reported.token_ids
    assert [len(answer.prompt_logprobs) for answer in plain["logprobs"][:2]] == [0, 69]
    choices = [answer.token_ids for answer in plain["n = 3"]]
    assert len(set(choices)) == 6


# What the matrix must find


def test_another_kind_of_cache_is_found(models: Models) -> None:
    """By the bits of logprobs: an int8 cache is another function."""
    plain, int8 = (models.cell(family, table.INT8_ROW).plain for family in ("gemma3", WITH_INT8_CACHE))
    assert all(ours.logprobs != theirs.logprobs for ours, theirs in zip(int8, plain, strict=True))


def test_another_kind_of_activations_is_found(models: Models) -> None:
    int8 = models.cell(WITH_INT8_ACTIVATIONS, table.INT8_ROW)
    bf16 = dataclasses.replace(int8.model, activation_dtype=ActivationDType.BF16)
    plain = plain_answers(bf16, int8.questions)
    assert all(ours.logprobs != theirs.logprobs for ours, theirs in zip(int8.plain, plain, strict=True))


def test_another_seed_is_found(models: Models) -> None:
    cell = models.cell("llama", "seeded")
    others = [dataclasses.replace(question, seed=question.seed + 1) for question in cell.questions]
    assert plain_answers(cell.model, others) != cell.plain


def reordered(model: MatrixModel, questions: Sequence[Question], order: np.ndarray) -> list[Answer]:
    """By a llama whose hidden state has its columns in another order: on paper the same sums."""
    tensors = {}
    for name, tensor in model.weights.checkpoint.parts.items():
        values = expand_to_f32(tensor)
        has_hidden_rows = values.shape[1] == 1 or name.endswith((".o", ".down"))
        values = values[order] if has_hidden_rows else values[:, order]
        tensors[name] = Tensor.of(name, np.ascontiguousarray(values.squeeze()))
    engine = Engine(model.weights.program, tensors, isa="portable", threads=1)
    return plain_answers(model, questions, engine)


def test_a_sum_in_another_order_is_found(models: Models) -> None:
    """By the bits of logprobs: the tokens do not tell."""
    cell = models.cell("llama", "logprobs")
    order = np.arange(cell.model.weights.architecture.hidden_size)
    assert reordered(cell.model, cell.questions, order) == cell.plain
    order[[3, 4]] = order[[4, 3]]
    for ours, theirs in zip(reordered(cell.model, cell.questions, order), cell.plain, strict=True):
        assert ours.token_ids == theirs.token_ids
        assert ours.logprobs != theirs.logprobs


def test_the_page_has_the_table_of_the_suite() -> None:
    text = table.PAGE.read_text()
    assert text == table.with_table(text), "run python -m tests.e2e.matrix.table"
    every_run = [(row, column, family) for row, column, family, is_always in table.cells() if is_always]
    always = [cell for cell in every_run if cell[2] in TINY_FAMILIES]
    assert len({column for _, column, _ in set(every_run) - set(always)}) == len(COLUMNS)
    assert {(row, column) for row, column, _ in always} == {
        (row, column) for row in ROWS for column in COLUMNS
    }
    assert len({(row, family) for row, _, family in always}) == len(ROWS) * len(TINY_FAMILIES)
    assert len({(column, family) for _, column, family in always}) == len(COLUMNS) * len(TINY_FAMILIES)

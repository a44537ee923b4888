"""Reasoning ends where its budget is spent, and an answer within it is as free as without one."""

import dataclasses
import random

import numpy as np
import pytest

from octavo.core.grammar_spec import GrammarKind, GrammarSpec, Reasoning, ReasoningBudget
from octavo.core.token_constraint import TokenConstraint
from tests.decoding.byte_grammars import COMPILER, END_ID, TOOL_ID, VOCAB_SIZE, allowed, new_compiler, walk

CLOSING_IDS = tuple(b"</think>")
BUDGET = ReasoningBudget(3, "<think>", "</think>", CLOSING_IDS)
ALL = list(range(VOCAB_SIZE + (-VOCAB_SIZE) % 32))
CHOICE = GrammarSpec(GrammarKind.CHOICE, '["ab", "a"]', reasoning=Reasoning("</think>", "<think>"))


def free(budget: ReasoningBudget = BUDGET) -> TokenConstraint:
    return COMPILER.compile(GrammarSpec(GrammarKind.ANYTHING, budget=budget)).start()


def test_the_closing_tag_is_all_that_may_come_when_the_budget_is_spent() -> None:
    state = free()
    for token_id in b"<think>abc":
        assert allowed(state) == ALL
        state.advance([token_id])
    for token_id in CLOSING_IDS:
        assert allowed(state) == [token_id]
        assert "budget is spent" in (state.failure or "")
        state.advance([token_id])
    assert allowed(state) == ALL and state.failure is None
    state.advance(b"<think>abcdef")
    assert allowed(state) == ALL and not state.is_finished


OTHERS = ("a <think>abcdef", "<think>ab", "<think>a</think>abcdef", "<think>abc</think>")


@pytest.mark.parametrize("text", OTHERS)
def test_other_answers_are_free(text: str) -> None:
    state = free()
    state.advance(text.encode())
    assert allowed(state) == ALL


def test_a_character_that_has_begun_is_finished() -> None:
    for start in (COMPILER.compile(dataclasses.replace(CHOICE, budget=BUDGET)).start, free):
        state = start()
        state.advance("<think>ab\u20ac".encode()[:-1])
        assert 0xAC in allowed(state)
        state.advance([0xAC])
        assert allowed(state) == [ord("<")]
        state.advance(CLOSING_IDS)
        assert state.failure is None


def test_a_tag_that_is_one_token_and_a_prompt_that_has_opened_it() -> None:
    budget = ReasoningBudget(0, "<think>", "<|tool|>", (TOOL_ID,), is_open=True)
    state = free(budget)
    assert allowed(state) == [TOOL_ID]
    state.advance([TOOL_ID])
    assert allowed(state) == ALL


def test_a_state_is_a_function_of_the_tokens() -> None:
    rng, state, token_ids = random.Random(1), free(), list(b"<think>")
    state.advance(token_ids)
    for _ in range(20):
        token_ids.append(rng.choice(allowed(state)[:END_ID]))
        state.advance(token_ids[-1:])
        again = free()
        again.advance(token_ids)
        assert allowed(again) == allowed(state)
    assert bytes(token_ids[10:18]) == b"</think>"


def test_a_grammar_holds_what_comes_after_the_reasoning() -> None:
    state = COMPILER.compile(dataclasses.replace(CHOICE, budget=BUDGET)).start()
    state.advance(b"<think>abc</thin")
    assert allowed(state) == [ord("k")]
    state.advance(b"k>")
    assert END_ID not in allowed(state) and ord("a") in allowed(state)
    state.advance(b"ab")
    assert state.is_finished


def test_within_the_budget_nothing_changes() -> None:
    generous = dataclasses.replace(BUDGET, max_tokens=1000)
    for seed in range(5):
        held = walk(COMPILER.compile(dataclasses.replace(CHOICE, budget=generous)), seed)
        assert held == walk(COMPILER.compile(CHOICE), seed)


def test_budgets_share_a_compiled_grammar() -> None:
    compiler = new_compiler()
    spec = dataclasses.replace(CHOICE, budget=BUDGET)
    other = dataclasses.replace(CHOICE, budget=dataclasses.replace(BUDGET, max_tokens=7))
    assert compiler.find(spec) is None and compiler.find(GrammarSpec(GrammarKind.ANYTHING)) is None
    compiler.compile(spec)
    assert compiler.find(other) is not None and compiler.find(GrammarSpec(GrammarKind.ANYTHING)) is not None


def test_masks_of_all_kinds_are_filled_together() -> None:
    spent, within = (COMPILER.compile(dataclasses.replace(CHOICE, budget=BUDGET)).start() for _ in range(2))
    spent.advance(b"<think>abc")
    states = [spent, free(), within, COMPILER.compile(CHOICE).start(), COMPILER.compile(CHOICE).start()]
    masks = np.zeros((len(states), -(-VOCAB_SIZE // 32)), np.uint32)
    COMPILER.fill_masks(states, masks)
    expected = [allowed(state) for state in states]
    bits = np.unpackbits(masks.view(np.uint8), axis=1, bitorder="little")
    assert [np.nonzero(row)[0].tolist() for row in bits] == expected
    assert expected[0] == [ord("<")] and expected[1] == ALL and expected[2] == expected[3]

"""The Python API on the built-in model."""

import gc
import itertools
import pathlib
import signal
from collections.abc import Iterator

import pytest

from octavo import LLM, GrammarKind, GrammarSpec, SamplingParams
from octavo.core.errors import EngineError, InvalidRequestError, StartError
from octavo.core.messages import TokenLogprobs
from octavo.core.request import FinishReason

GREEDY = SamplingParams(temperature=0, max_tokens=12)


@pytest.fixture(scope="module")
def llm(smollm2_path: pathlib.Path):
    with LLM(str(smollm2_path), max_model_len=512, kv_cache_memory=64 << 20) as llm:
        yield llm


def test_one_prompt_and_many_give_the_same(llm: LLM) -> None:
    prompts = ["The capital of France is", "Once upon a time"]
    together = llm.generate(prompts, GREEDY)
    assert together[0].text.startswith(" Paris")
    for prompt, answer in zip(prompts, together, strict=True):
        assert llm.generate(prompt, GREEDY)[0].token_ids == answer.token_ids
        assert answer.finish_reason is FinishReason.LENGTH and len(answer.token_ids) == 12


def test_token_ids_are_a_prompt(llm: LLM) -> None:
    by_text = llm.generate("The capital of France is", GREEDY)[0]
    assert llm.generate(by_text.prompt_token_ids, GREEDY)[0].text == by_text.text


def test_chat_uses_the_template(llm: LLM) -> None:
    question = [{"role": "user", "content": "What is the capital of France?"}]
    answer = llm.chat(question, SamplingParams(temperature=0))
    assert "Paris" in answer.text and answer.finish_reason is FinishReason.STOP


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(llm: LLM) -> None:
    params = SamplingParams(temperature=0, max_tokens=30, stop=(" 8",))
    answer = llm.generate("1, 2, 3, 4,", params)[0]
    assert answer.text == " 5, 6, 7," and answer.finish_reason is FinishReason.STOP


def test_choices_of_one_prompt_differ_by_branch(llm: LLM) -> None:
    params = SamplingParams(seed=3, max_tokens=8, logprobs=2)
    choices = llm.generate("Once upon a time", params, n=3)
    assert len({tuple(choice.token_ids) for choice in choices}) == 3
    assert choices[0].token_ids == llm.generate("Once upon a time", params)[0].token_ids
    with pytest.raises(InvalidRequestError, match="n is 0"):
        llm.generate("a", n=0)


def test_an_answer_follows_its_grammar(llm: LLM) -> None:
    digits, word = (
        GrammarSpec(GrammarKind.REGEX, r"\d{3,5}"),
        GrammarSpec(GrammarKind.CHOICE, '["Paris", "Rom"]'),
    )
    prompt = "The capital of France is"
    answers = llm.generate([prompt] * 3, GREEDY, grammar=[digits, word, None])
    assert answers[0].text.isdecimal() and 3 <= len(answers[0].text) <= 5
    assert answers[1].text == "Paris" and answers[1].finish_reason is FinishReason.STOP
    assert answers[2].token_ids == llm.generate(prompt, GREEDY)[0].token_ids
    question = [{"role": "user", "content": "What is the capital of France?"}]
    assert llm.chat(question, GREEDY, grammar=word).text == "Paris"
    *_, streamed = llm.stream(prompt, GREEDY, grammar=digits)
    assert streamed.text == answers[0].text


def test_a_bad_grammar_is_the_callers_error(llm: LLM) -> None:
    bad = GrammarSpec(GrammarKind.REGEX, "(a")
    with pytest.raises(InvalidRequestError, match="unclosed group"):
        llm.generate(["a", "b"], GREEDY, grammar=[None, bad])
    with pytest.raises(InvalidRequestError, match="2 prompts and 1 grammars"):
        llm.generate(["a", "b"], GREEDY, grammar=[bad])


def test_logprobs_of_greedy_tokens_rank_first(llm: LLM) -> None:
    params = SamplingParams(temperature=0, max_tokens=6, logprobs=3, ignore_eos=True)
    answer = llm.generate("The capital of France is", params)[0]
    assert answer.logprobs is not None and answer.prompt_logprobs is None
    assert answer.logprobs.ranks == [1] * 6
    assert [ids[0] for ids in answer.logprobs.top_ids] == answer.token_ids
    assert [top[0] for top in answer.logprobs.top_logprobs] == answer.logprobs.logprobs


def test_prompt_logprobs_are_those_of_the_same_tokens_when_generated(llm: LLM) -> None:
    """Decoding one by one, and scoring the whole afterwards, give the same bits."""
    params = SamplingParams(temperature=0.8, seed=1, max_tokens=20, logprobs=2, ignore_eos=True)
    answer = llm.generate("The capital of France is", params)[0]
    whole = answer.prompt_token_ids + answer.token_ids
    scored = llm.generate([whole], SamplingParams(max_tokens=0, prompt_logprobs=2))[0]
    assert scored.token_ids == [] and scored.prompt_logprobs is not None
    assert len(scored.prompt_logprobs) == len(whole) - 1
    assert scored.prompt_logprobs.beyond(len(answer.prompt_token_ids) - 1) == answer.logprobs


def test_a_prompt_of_one_token_has_no_logprobs(llm: LLM) -> None:
    params = SamplingParams(max_tokens=1, prompt_logprobs=2)
    assert llm.generate([[5]], params)[0].prompt_logprobs == TokenLogprobs()


def test_a_stream_grows_into_the_completion(llm: LLM) -> None:
    whole = llm.generate("The capital of France is", GREEDY)[0]
    stages = list(llm.stream("The capital of France is", GREEDY))
    assert stages[-1].token_ids == whole.token_ids and stages[-1].text == whole.text
    assert [stage.finish_reason for stage in stages[:-1]] == [None] * (len(stages) - 1)
    for earlier, later in itertools.pairwise(stages):
        assert later.text.startswith(earlier.text) and len(later.token_ids) >= len(earlier.token_ids)
    assert len(stages) >= 12


def test_leaving_a_stream_ends_its_request(llm: LLM) -> None:
    for completion in llm.stream("Once upon a time", SamplingParams(max_tokens=400)):
        if len(completion.token_ids) == 3:
            break
    del completion
    gc.collect()  # the generator that was left
    answer = llm.generate("The capital of France is", GREEDY)[0]
    assert answer.text.startswith(" Paris")
    assert not llm._core.has_work


def test_streams_side_by_side_each_get_their_own(llm: LLM) -> None:
    prompts = ["The capital of France is", "Once upon a time"]
    lengths = [5, 20]
    params = [SamplingParams(temperature=0, max_tokens=length) for length in lengths]
    streams = [llm.stream(*pair) for pair in zip(prompts, params, strict=True)]
    stages = list(itertools.zip_longest(*streams))
    whole = llm.generate(prompts, params)
    for number, answer in enumerate(whole):
        told = [stage[number] for stage in stages if stage[number] is not None]
        assert told[-1].token_ids == answer.token_ids and told[-1].text == answer.text
        assert told[-1].finish_reason is FinishReason.LENGTH


def test_whoever_streams_may_ask_for_something_else_meanwhile(llm: LLM) -> None:
    whole = llm.generate("Once upon a time", GREEDY)[0]
    stream = llm.stream("Once upon a time", GREEDY)
    next(stream)
    assert llm.generate("The capital of France is", GREEDY)[0].text.startswith(" Paris")
    *_, last = stream
    assert last.token_ids == whole.token_ids and last.finish_reason is whole.finish_reason


def test_an_error_is_told_to_who_asked_for_it(llm: LLM) -> None:
    bad = GrammarSpec(GrammarKind.REGEX, "(a")
    good, refused = llm.stream("Once upon a time", GREEDY), llm.stream("a", GREEDY, grammar=bad)
    next(good)
    with pytest.raises(InvalidRequestError, match="unclosed group"):
        list(refused)
    assert len(list(good)[-1].token_ids) == 12


def test_of_a_call_that_is_refused_nothing_is_computed(llm: LLM) -> None:
    with pytest.raises(InvalidRequestError, match="allowed: 1 to 511"):
        llm.generate(["a", [5] * 512], GREEDY)
    assert not llm._core.has_work


@pytest.fixture
def pythons_own_handler() -> Iterator[None]:
    """Whoever starts a process in the background of a shell has it ignore Ctrl-C."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("pythons_own_handler")
def test_ctrl_c_ends_a_call_between_two_steps(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = llm.generate("Once upon a time", GREEDY)[0]
    made, step = [], llm._core.step

    def interrupted_step() -> object:
        signal.raise_signal(signal.SIGINT)
        made.append(step())
        return made[-1]

    monkeypatch.setattr(llm._core, "step", interrupted_step)
    for call in (lambda: llm.generate(["a", "b"], GREEDY), lambda: next(llm.stream("a", GREEDY))):
        with pytest.raises(KeyboardInterrupt):
            call()
    monkeypatch.undo()
    assert len(made) == 2 and not llm._core.has_work
    assert llm.generate("Once upon a time", GREEDY)[0].token_ids == whole.token_ids


def test_ctrl_c_reaches_a_handler_of_ones_own(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    handled: list[int] = []
    add = llm._core.add
    monkeypatch.setattr(llm._core, "add", lambda submit: (signal.raise_signal(signal.SIGINT), add(submit)))
    previous = signal.signal(signal.SIGINT, lambda number, frame: handled.append(number))
    try:
        assert len(llm.generate("a", GREEDY)[0].token_ids) == 12
    finally:
        signal.signal(signal.SIGINT, previous)
    assert handled == [signal.SIGINT]


def test_a_stop_string_in_what_was_held_back_counts(llm: LLM) -> None:
    """Half a character at the end of an answer is U+FFFD."""
    half = llm._text.tokenizer.encode("\N{GRINNING FACE}", allow_special=False)[:1]
    for stop, text, reason in (((), "\ufffd", FinishReason.LENGTH), (("\ufffd",), "", FinishReason.STOP)):
        params = SamplingParams(max_tokens=1, stop=stop, allowed_token_ids=tuple(half))
        answer = llm.generate("A face:", params)[0]
        assert answer.text == text and answer.finish_reason is reason


def test_a_conversation_is_a_prompt(llm: LLM) -> None:
    question = [{"role": "user", "content": "What is the capital of France?"}]
    assert llm.has_chat_template
    *_, last = llm.stream(llm.encode_chat(question), GREEDY)
    assert last.token_ids == llm.chat(question, GREEDY).token_ids


def test_params_per_prompt(llm: LLM) -> None:
    params = [SamplingParams(temperature=0, max_tokens=n) for n in (1, 3)]
    assert [len(answer.token_ids) for answer in llm.generate(["a", "b"], params)] == [1, 3]
    with pytest.raises(InvalidRequestError, match="2 prompts and 1 params"):
        llm.generate(["a", "b"], params[:1])


@pytest.mark.parametrize("prompt", [[], [5] * 512])
def test_a_prompt_that_does_not_fit_is_refused(llm: LLM, prompt: list[int]) -> None:
    with pytest.raises(InvalidRequestError, match="allowed: 1 to 511"):
        llm.generate([prompt], GREEDY)


def test_what_is_closed_says_so(smollm2_path: pathlib.Path) -> None:
    with LLM(str(smollm2_path), max_model_len=128, kv_cache_memory=8 << 20) as llm:
        stream = llm.stream("Once upon a time", GREEDY)
        next(stream)
    llm.close()  # as often as one likes
    with pytest.raises(EngineError, match="This LLM is closed"):
        next(stream)
    with pytest.raises(EngineError, match="This LLM is closed"):
        llm.generate("a", GREEDY)


def test_a_model_that_is_not_there_is_a_start_error() -> None:
    with pytest.raises(StartError, match="nowhere"):
        LLM("/nowhere.gguf")

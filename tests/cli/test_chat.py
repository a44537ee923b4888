"""`octavo run`: a conversation, what is printed where, and Ctrl-C. The model is an echo."""

import io
import os
import signal
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from octavo.cli import chat as chat_module
from octavo.cli.chat import Chat, Console, figures, run_chat
from octavo.cli.run import ChatOptions, LoadOptions
from octavo.core.errors import InvalidRequestError
from octavo.core.request import FinishReason
from octavo.core.sampling_params import SamplingParams
from octavo.engine.llm import Completion


class EchoModel:
    """Answers `echo:` and what it was asked; prompts is all it saw, token by token as text."""

    info = types.SimpleNamespace(threads=1, isa="portable", max_model_len=512)

    def __init__(self, *, has_chat_template: bool = True, interrupt_after: int | None = None) -> None:
        self.has_chat_template = has_chat_template
        self.prompts: list[Any] = []
        self.num_ended = 0
        self.end = FinishReason.STOP
        self._interrupt_after = interrupt_after

    def encode_chat(self, messages: list[dict[str, str]]) -> list[dict[str, str]]:
        return messages

    def stream(self, prompt: Any, params: SamplingParams) -> Iterator[Completion]:
        self.prompts.append(prompt)
        text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        words = ["echo:", *text.split()]
        try:
            for count in range(1, len(words) + 1):
                if count == self._interrupt_after:
                    os.kill(os.getpid(), signal.SIGINT)
                end = self.end if count == len(words) else None
                yield Completion([1, 2], list(range(count)), " ".join(words[:count]), end, 1)
        finally:
            self.num_ended += 1

    def __enter__(self) -> "EchoModel":
        return self

    def __exit__(self, *exception: object) -> None:
        pass


def console(
    model: EchoModel,
    *,
    max_tokens: int | None = None,
    system: str | None = None,
    is_verbose: bool = False,
) -> Console:
    chat = Chat(model, system, SamplingParams(max_tokens=max_tokens))
    return Console(chat, is_verbose=is_verbose, has_colour=True)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """typed(*lines): what a user types, then Ctrl-D."""

    def put(*lines: str) -> None:
        rest = list(lines)

        def fake_input(prompt: str) -> str:
            if not rest:
                raise EOFError
            return rest.pop(0)

        monkeypatch.setattr("builtins.input", fake_input)

    return put


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_a_conversation_remembers_until_it_is_cleared(typed: Callable[..., None]) -> None:
    model = EchoModel()
    typed("one", "", "two", "/clear", "three", "/bye", "never")
    assert console(model, system="Be brief.").converse("echo") == 0
    system, one = said("system", "Be brief."), [said("user", "one"), said("assistant", "echo: one")]
    assert model.prompts == [
        [system, one[0]],
        [system, *one, said("user", "two")],
        [system, said("user", "three")],
    ]


def test_the_answer_is_on_stdout_and_all_else_on_stderr(
    typed: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    typed("one two", "/help", "/nonsense now")
    console(EchoModel(), is_verbose=True).converse("echo")
    captured = capsys.readouterr()
    assert (
        captured.out == "echo: one two\n\n\n"
    )  # the answer, the line between, and the end of the prompt's line
    lines = captured.err.splitlines()
    assert lines[0] == "echo: 1 thread, portable, context 512 tokens. /help"
    assert lines[1].startswith("2 prompt tokens (1 cached), 3 answer tokens; first after ")
    assert lines.count("/clear      forget the conversation") == 2
    assert "There is no command /nonsense." in lines
    assert "\x1b" not in captured.err  # no terminal, no colours


def test_ctrl_c_ends_the_answer_and_keeps_what_was_written(
    typed: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    model = EchoModel(interrupt_after=3)
    typed("one two three", "and?")
    console(model).converse("echo")
    assert model.prompts[1][1] == said("assistant", "echo: one two")
    assert model.num_ended == 2
    assert "(stopped)" in capsys.readouterr().err


def test_an_answer_that_was_cut_says_so(
    typed: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    model = EchoModel()
    model.end = FinishReason.LENGTH
    typed("one")
    console(model).converse("echo")
    assert "(cut off: no room for more tokens)" in capsys.readouterr().err
    typed("one")
    console(model, max_tokens=8).converse("echo")
    assert "(cut off: --max-tokens is 8)" in capsys.readouterr().err


def test_a_message_that_does_not_fit_ends_nothing(
    typed: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = EchoModel()

    def refuse(messages: object) -> None:
        raise InvalidRequestError("The prompt has 600 tokens; allowed: 1 to 511.")

    monkeypatch.setattr(model, "encode_chat", refuse)
    typed("one", "/bye")
    assert console(model).converse("echo") == 0
    assert "allowed: 1 to 511. /clear starts" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["/bye", "/exit", "/quit"])
def test_leaving_has_the_usual_names(word: str, typed: Callable[..., None]) -> None:
    model = EchoModel()
    typed(word, "never")
    assert console(model).converse("echo") == 0 and model.prompts == []


def test_a_model_without_a_template_continues_texts(
    typed: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    model = EchoModel(has_chat_template=False)
    typed("one", "two")
    console(model).converse("base")
    assert model.prompts == ["one", "two"]
    assert "it continues what you type" in capsys.readouterr().err
    with pytest.raises(InvalidRequestError, match="--system needs a model with a chat template"):
        console(model, system="Be brief.")


def test_one_answer_and_its_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert console(EchoModel()).answer_once("one") == 0
    assert capsys.readouterr() == ("echo: one\n", "")
    assert console(EchoModel(interrupt_after=1)).answer_once("one") == 130


@pytest.mark.parametrize(
    ("prompt", "piped", "expected"),
    [("one", "", "one"), ("", "two\n", "two"), ("one", "two\n", "one\n\ntwo")],
)
def test_a_pipe_is_part_of_the_prompt(
    prompt: str,
    piped: str,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, loaded = EchoModel(), []

    def load(path: str, **options: object) -> EchoModel:
        loaded.append((path, options))
        return model

    monkeypatch.setattr(chat_module, "LLM", load)
    monkeypatch.setattr(chat_module, "resolve", lambda name, home: f"/models/{name}")
    monkeypatch.setattr("sys.stdin", io.StringIO(piped))
    assert run_chat("echo", prompt, ChatOptions(), LoadOptions(threads=1)) == 0
    assert model.prompts == [[said("user", expected)]]
    assert capsys.readouterr().err == ""
    [(path, options)] = loaded
    assert path == "/models/echo" and (options["threads"], options["max_num_seqs"]) == (1, chat_module.ROWS)


def test_without_a_prompt_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(InvalidRequestError, match="There is no prompt"):
        run_chat("echo", "", ChatOptions(), LoadOptions())


def test_who_forgets_the_model_is_told() -> None:
    with pytest.raises(InvalidRequestError, match="'What is it\\?' is none; `octavo run default PROMPT`"):
        run_chat("What is it?", "", ChatOptions(), LoadOptions())


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_what_is_piped_must_be_text(monkeypatch: pytest.MonkeyPatch, errors: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one \xff"), "utf-8", errors))
    with pytest.raises(InvalidRequestError, match="not UTF-8 text"):
        run_chat("echo", "", ChatOptions(), LoadOptions())


def test_options_are_sampling_parameters() -> None:
    with pytest.raises(InvalidRequestError, match="temperature is 3"):
        run_chat("echo", "one", ChatOptions(temperature=3), LoadOptions())


def test_figures() -> None:
    completion = Completion([1] * 30, [2] * 11, "text", FinishReason.STOP, 16)
    assert figures(completion, [0.0, 0.25, 1.25]) == (
        "30 prompt tokens (16 cached), 11 answer tokens; first after 250 ms, then 10.0 tokens/s"
    )
    nothing = Completion([1] * 30, [], "", None, 0)
    assert figures(nothing, [0.0, 0.25]) == "30 prompt tokens, 0 answer tokens"

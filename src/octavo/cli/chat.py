"""What `octavo run` does: one engine in this process, one conversation, in a terminal or through a pipe.

Ctrl-C ends the answer that is being written; at an empty prompt, a second one leaves. Answers go to stdout,
all else to stderr.
"""

import contextlib
import dataclasses
import pathlib
import signal
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from types import FrameType

from octavo.cli.entry import EXIT_INTERRUPTED
from octavo.cli.line_reader import LineReader
from octavo.cli.run import ChatOptions, LoadOptions
from octavo.cli.wrap import WordWrap
from octavo.config import Environment
from octavo.core.counted import counted
from octavo.core.errors import EngineError, InvalidRequestError
from octavo.core.fitting import fitted
from octavo.core.request import FinishReason
from octavo.core.sampling_params import SamplingParams
from octavo.engine.llm import LLM, Completion
from octavo.models.source import resolve, served_name

HELP = """/clear      forget the conversation
/bye        leave (so do /exit, /quit, Ctrl-D, and Ctrl-C twice)
\"\"\"         begin, and end, a message of several lines
Ctrl-C      end the answer"""


ROWS = 16  # one request, and what it guesses ahead


def run_chat(model: str, prompt: str, options: ChatOptions, load: LoadOptions) -> int:
    """Returns the exit code. Raises OctavoError for what is the user's to change."""
    environment = Environment.read()
    params = _sampling(options)
    is_interactive = not prompt and sys.stdin.isatty() and sys.stdout.isatty()
    _require_a_model(model)
    if not is_interactive:
        prompt = _with_piped(prompt)
    path = str(resolve(model, environment.home))
    with _notice(f"loading {served_name(model)} ..."):
        llm = LLM(path, max_num_seqs=ROWS, **dataclasses.asdict(load))
    with llm:
        chat = Chat(llm, options.system, params)
        console = Console(chat, is_verbose=options.verbose, has_colour=not environment.no_color)
        if is_interactive:
            return console.converse(served_name(model))
        return console.answer_once(prompt)


def _sampling(options: ChatOptions) -> SamplingParams:
    names = {field.name for field in dataclasses.fields(SamplingParams)}
    values = dataclasses.asdict(options)
    return SamplingParams(**{name: value for name, value in values.items() if name in names})


def _require_a_model(model: str) -> None:
    """Who forgets the model has typed the prompt in its place."""
    if " " in model and not pathlib.Path(model).exists():
        raise InvalidRequestError(
            f"The first argument is the model, and {model[:40]!r} is none; `octavo run default PROMPT` asks "
            "the built-in one."
        )


def _with_piped(prompt: str) -> str:
    try:
        piped = "" if prompt and sys.stdin.isatty() else sys.stdin.read().strip()
        piped.encode()  # some locales let pass what is no text
    except UnicodeError:
        raise InvalidRequestError("What comes through standard input is not UTF-8 text.") from None
    whole = "\n\n".join(part for part in (prompt, piped) if part)
    if not whole:
        raise InvalidRequestError("There is no prompt: neither an argument nor standard input has one.")
    return whole


@contextlib.contextmanager
def _notice(text: str) -> Iterator[None]:
    """Shown on a terminal while the block runs."""
    if sys.stderr.isatty():
        print(text, end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class Chat:
    """A conversation with a model; one without a chat template continues each text by itself."""

    def __init__(self, llm: LLM, system: str | None, params: SamplingParams) -> None:
        if system is not None and not llm.has_chat_template:
            raise InvalidRequestError("--system needs a model with a chat template; this one has none.")
        self.llm = llm
        self._params = params
        self._first = [{"role": "system", "content": system}] if system is not None else []
        self._messages: list[dict[str, str]] = list(self._first)

    @property
    def limit(self) -> str:
        """What an answer ends at that has not ended by itself, for people."""
        if self._params.max_tokens is not None:
            return f"--max-tokens is {self._params.max_tokens}"
        return "no room for more tokens"

    def clear(self) -> None:
        self._messages = list(self._first)

    def answer(self, text: str) -> Generator[Completion, None, None]:
        """The growing answer. However the loop is left, what was written becomes part of the conversation."""
        if not self.llm.has_chat_template:
            yield from self.llm.stream(text, self._params)
            return
        question = {"role": "user", "content": text}
        stream = self.llm.stream(self.llm.encode_chat([*self._messages, question]), self._params)
        written = ""
        try:
            for completion in stream:
                written = completion.text
                yield completion
        finally:
            if written:
                self._messages += [question, {"role": "assistant", "content": written}]


class Console:
    """stdin, stdout and stderr of one chat."""

    def __init__(self, chat: Chat, *, is_verbose: bool, has_colour: bool) -> None:
        self._chat = chat
        self._is_verbose = is_verbose
        self._has_colour = has_colour and sys.stderr.isatty()

    def answer_once(self, prompt: str) -> int:
        completion = self._show(prompt)
        return 0 if completion.finish_reason is not None else EXIT_INTERRUPTED

    def converse(self, name: str) -> int:
        info = self._chat.llm.info
        threads = counted(info.threads, "thread")
        self._say(f"{name}: {threads}, {info.isa}, context {info.max_model_len:,} tokens. /help")
        if not self._chat.llm.has_chat_template:
            self._say("This model has no chat template: it continues what you type.")
        reader = LineReader(self._say)
        while (text := reader.read()) is not None:
            if text.startswith("/") and "\n" not in text:
                if text in ("/bye", "/exit", "/quit"):
                    break
                self._command(text)
            elif text:
                self._answer(text)
        return 0

    def _command(self, text: str) -> None:
        if text == "/clear":
            self._chat.clear()
            self._say("The conversation starts over.")
        elif text in ("/help", "/?"):
            self._say(HELP)
        else:
            self._say(f"There is no command {text.split()[0]}.\n{HELP}")

    def _answer(self, text: str) -> None:
        try:
            completion = self._show(text)
        except (InvalidRequestError, EngineError) as error:
            self._say(f"{error} /clear starts the conversation over.")
            return
        if completion.finish_reason is None:
            self._say("(stopped)")
        elif completion.finish_reason is FinishReason.LENGTH:
            self._say(f"(cut off: {self._chat.limit})")
        print()

    def _show(self, prompt: str) -> Completion:
        """Write the answer as it comes. finish_reason is None when Ctrl-C ended it."""
        times, num_written, out = [time.perf_counter()], 0, WordWrap(sys.stdout)
        with _Interrupts() as interrupts, contextlib.closing(self._chat.answer(prompt)) as answer:
            for completion in answer:
                if len(times) == 1 and completion.token_ids:
                    times.append(time.perf_counter())
                out.write(completion.text[num_written:])
                num_written = len(completion.text)
                if interrupts.has_come:
                    break
        out.finish()
        if self._is_verbose:
            self._say(figures(completion, [*times, time.perf_counter()]))
        return completion

    def _say(self, text: str) -> None:
        text = fitted(text, 2, sys.stderr)
        print(f"\x1b[2m{text}\x1b[0m" if self._has_colour else text, file=sys.stderr, flush=True)


def figures(completion: Completion, times: Sequence[float]) -> str:
    """times: the start, the first token's (if there was one), the end; in seconds."""
    cached = f" ({completion.num_cached_tokens} cached)" if completion.num_cached_tokens else ""
    num_tokens = len(completion.token_ids)
    text = f"{len(completion.prompt_token_ids)} prompt tokens{cached}, {num_tokens} answer tokens"
    if len(times) == 3:
        text += f"; first after {1e3 * (times[1] - times[0]):.0f} ms"
        if num_tokens > 1:
            text += f", then {(num_tokens - 1) / (times[2] - times[1]):.1f} tokens/s"
    return text


class _Interrupts:
    """While the block runs Ctrl-C only sets has_come: a step of the engine is never torn apart."""

    def __init__(self) -> None:
        self.has_come = False

    def __enter__(self) -> "_Interrupts":
        self._previous = signal.signal(signal.SIGINT, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.has_come = True

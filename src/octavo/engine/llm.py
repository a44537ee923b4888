"""The Python API: the same engine core as the server's, in the caller's own process.

from octavo import LLM, SamplingParams
with LLM() as llm:
    print(llm.generate("The capital of France is", SamplingParams(temperature=0, max_tokens=8))[0].text)
"""

import contextlib
import dataclasses
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from octavo.config import EngineConfig, Environment
from octavo.core.errors import EngineError, InvalidRequestError, OctavoError
from octavo.core.grammar_spec import GrammarSpec
from octavo.core.messages import OVERLOADED, RequestOutput, Submit, TokenLogprobs
from octavo.core.request import FinishReason
from octavo.core.sampling_params import SamplingParams
from octavo.engine.core import NullJournal
from octavo.engine.loader import load_engine
from octavo.engine.model_files import open_text
from octavo.models.source import resolve
from octavo.text.chat_template import Message
from octavo.text.detokenizer import Detokenizer
from octavo.text.text_stream import TextStream

Prompt = str | Sequence[int]
Grammars = GrammarSpec | Sequence[GrammarSpec | None] | None
MAX_CHOICES = 128  # of one prompt


@dataclasses.dataclass(slots=True)
class Completion:
    """What one prompt became. token_ids are those of text, with the token that ended it.

    finish_reason is None while the completion is still growing (LLM.stream).
    logprobs (an entry per token id) and prompt_logprobs (one per prompt token but the first) are there if the
    parameters ask for them.
    """

    prompt_token_ids: list[int]
    token_ids: list[int]
    text: str
    finish_reason: FinishReason | None
    num_cached_tokens: int
    logprobs: TokenLogprobs | None = None
    prompt_logprobs: TokenLogprobs | None = None


class LLM:
    """A loaded model. options are the fields of config.EngineConfig (max_model_len=..., threads=...).

    Not thread-safe. Raises StartError when the model cannot be loaded. close() ends its threads and frees its
    memory.
    """

    def __init__(self, model: str = "default", **options: int | float | bool | None) -> None:
        environment = Environment.read()
        config = EngineConfig(model=model, **options)  # type: ignore[arg-type]  # validated there
        self._text = open_text(resolve(model, environment.home))
        loaded = load_engine(config, environment, NullJournal())
        self._core = loaded.core
        self.info = loaded.ready
        self._max_model_len = loaded.ready.max_model_len
        self._num_requests = 0
        self._live: dict[str, _Answer] = {}  # by request id: of every call that has not ended
        self._is_closed = False

    @property
    def has_chat_template(self) -> bool:
        return self._text.chat_template.is_present

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        grammar: Grammars = None,
        n: int = 1,
        show_progress: bool = True,
    ) -> list[Completion]:
        """Complete one prompt or many (text, in which special tokens parse, or token ids); results in order.

        params and grammar, what an answer must look like: for all prompts, or one each; default
        SamplingParams() and none. n: choices for each prompt, one behind the other; they share its blocks,
        and the first has its logprobs. The progress bar is drawn on a terminal only. Raises
        InvalidRequestError for a prompt that does not fit and a grammar that is refused, EngineError for a
        prompt that failed.
        """
        token_ids = [self._encode(prompt) for prompt in _each(prompts)]
        if not 1 <= n <= MAX_CHOICES:
            raise InvalidRequestError(f"n is {n}; allowed: 1 to {MAX_CHOICES}.", param="n")
        count = len(token_ids)
        each = _per_prompt(params, count), _grammar_per_prompt(grammar, count)
        return self._run(token_ids, *each, show_progress, n)

    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        grammar: GrammarSpec | None = None,
    ) -> Completion:
        """Answer one conversation, through the model's own chat template."""
        token_ids = self.encode_chat(messages)
        return self._run([token_ids], _per_prompt(params, 1), [grammar], show_progress=False)[0]

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """A conversation as a prompt: what chat() computes with, and stream() takes."""
        return self._text.chat_template.encode_chat(messages)

    def stream(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        grammar: GrammarSpec | None = None,
    ) -> Iterator[Completion]:
        """The completion of one prompt after every step: its text grows; the last one has a finish_reason.

        Whoever leaves the loop early ends the request; whoever makes other calls in it computes both.
        Raises as generate() does.
        """
        token_ids = self._encode(prompt)
        answers: list[_Answer] = []
        is_told = False
        try:
            with _uninterrupted():
                answers += self._submit_choices(token_ids, params or SamplingParams(), grammar, 1)
            [answer] = answers
            while not is_told:
                if not answer.has_ended:  # another call's steps may have computed all of it
                    self._step()
                is_told = answer.has_ended
                yield answer.completion()
        finally:
            self._end(answers)

    def close(self) -> None:
        """Every later call, and what is left of a stream, raises EngineError."""
        if not self._is_closed:
            self._is_closed = True
            self._core.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise EngineError("This LLM is closed.")

    def __enter__(self) -> "LLM":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _encode(self, prompt: Prompt) -> list[int]:
        """Raises InvalidRequestError for one that does not fit."""
        self._check_open()
        token_ids = self._text.tokenizer.encode_prompt(prompt) if isinstance(prompt, str) else list(prompt)
        if not 1 <= len(token_ids) < self._max_model_len:
            raise InvalidRequestError(
                f"The prompt has {len(token_ids)} tokens; allowed: 1 to {self._max_model_len - 1}.",
                param="prompts",
            )
        return token_ids

    def _run(
        self,
        prompts: list[list[int]],
        params: list[SamplingParams],
        grammars: Sequence[GrammarSpec | None],
        show_progress: bool,
        n: int = 1,
    ) -> list[Completion]:
        answers: list[_Answer] = []
        try:
            with _uninterrupted():
                for each in zip(prompts, params, grammars, strict=True):
                    answers += self._submit_choices(*each, n)
            self._wait_for(answers, show_progress)
        finally:
            self._end(answers)
        return [answer.completion() for answer in answers]

    def _wait_for(self, answers: "Sequence[_Answer]", show_progress: bool) -> None:
        """Raises what the first that fails failed with."""
        waiting = set(answers)
        with _progress_bar(show_progress) as progress:
            task = progress.add_task("generating", total=len(answers))
            while waiting:
                for answer in waiting.intersection(self._step()):
                    answer.check()
                    waiting.remove(answer)
                progress.update(task, completed=len(answers) - len(waiting))

    def _step(self) -> "list[_Answer]":
        """One of the engine's, whoever waits for it. Returns the answers that it ended."""
        self._check_open()
        ended = []
        with _uninterrupted():
            for output in self._core.step()[0]:
                answer = self._live.get(output.request_id)
                if answer is not None:
                    answer.take(output)
                    if answer.has_ended:
                        ended.append(answer)
            self._end(ended)
        return ended

    def _end(self, answers: "Iterable[_Answer]") -> None:
        """Nobody waits for them. The engine does not know of those that a stop string ended."""
        with _uninterrupted():
            live = [answer.request_id for answer in answers if self._live.pop(answer.request_id, None)]
            self._core.abort(live)

    def _submit_choices(
        self, token_ids: list[int], params: SamplingParams, grammar: GrammarSpec | None, n: int
    ) -> "list[_Answer]":
        seed = params.seed if params.seed is not None else secrets.randbits(63)
        first = self._submit(token_ids, params, grammar, seed)
        if n > 1 and params.max_tokens != 0:
            params = dataclasses.replace(params, prompt_logprobs=None)
        others = [
            self._submit(token_ids, params, grammar, seed, branch, first.request_id) for branch in range(1, n)
        ]
        return [first, *others]

    def _submit(
        self,
        token_ids: list[int],
        params: SamplingParams,
        grammar: GrammarSpec | None,
        seed: int,
        branch: int = 0,
        fork_of: str | None = None,
    ) -> "_Answer":
        self._num_requests += 1
        detokenizer = Detokenizer(self._text.tokenizer.vocabulary)
        stream = TextStream(detokenizer, params.stop, min_tokens=params.min_tokens)
        answer = _Answer(f"llm-{self._num_requests}", token_ids, stream, params)
        submit = Submit(answer.request_id, token_ids, len(token_ids), params, seed, time.monotonic())
        submit.branch, submit.fork_of, submit.grammar = branch, fork_of, grammar
        self._core.add(submit)
        self._live[answer.request_id] = answer
        return answer


class _Answer:
    """One prompt on its way."""

    def __init__(
        self, request_id: str, prompt_token_ids: list[int], stream: TextStream, params: SamplingParams
    ) -> None:
        self.request_id = request_id
        self._finish_reason: FinishReason | None = None
        self._error: OctavoError | None = None
        self._prompt_token_ids = prompt_token_ids
        self._stream = stream
        self._token_ids: list[int] = []
        self._text: list[str] = []
        self._num_cached_tokens = 0
        self._logprobs: TokenLogprobs | None = None
        has_scores = params.prompt_logprobs is not None  # a prompt of one token has none
        self._prompt_logprobs = TokenLogprobs() if has_scores else None

    @property
    def has_ended(self) -> bool:
        return self._finish_reason is not None

    def check(self) -> None:
        """Raises what it failed with."""
        if self._error is not None:
            raise self._error

    def take(self, output: RequestOutput) -> None:
        self._num_cached_tokens = max(self._num_cached_tokens, output.num_cached_tokens)
        self._token_ids += output.token_ids
        self._logprobs = _joined(self._logprobs, output.logprobs)
        self._prompt_logprobs = _joined(self._prompt_logprobs, output.prompt_logprobs)
        self._text.append(self._stream.push(output.token_ids))
        self._finish_reason = output.finish_reason
        self._error = _error_of(output)
        if self.has_ended or self._stream.is_stopped:
            self._finish()

    def _finish(self) -> None:
        """What was held back is text as well, and may complete a stop string."""
        self._text.append(self._stream.finish())
        if self._stream.is_stopped:
            del self._token_ids[self._stream.num_tokens :]
            self._finish_reason = FinishReason.STOP

    def completion(self) -> Completion:
        """As far as it is. Raises what it failed with."""
        self.check()
        return Completion(
            self._prompt_token_ids,
            list(self._token_ids),
            "".join(self._text),
            self._finish_reason,
            self._num_cached_tokens,
            self._logprobs and self._logprobs.first(len(self._token_ids)),
            self._prompt_logprobs,
        )


def _error_of(output: RequestOutput) -> OctavoError | None:
    if output.error is None:
        return None
    if output.error_code in (None, OVERLOADED):
        return EngineError(output.error)
    return InvalidRequestError(output.error, param="grammar", code=output.error_code)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits for the end of the block: what an engine does is never torn apart."""
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or previous is None:
        yield  # it comes to others
        return
    has_come = threading.Event()
    signal.signal(signal.SIGINT, lambda number, frame: has_come.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if has_come.is_set():
        signal.raise_signal(signal.SIGINT)


def _joined(known: TokenLogprobs | None, new: TokenLogprobs | None) -> TokenLogprobs | None:
    if known is None or new is None:
        return new if known is None else known
    known.extend(new)
    return known


def _each(prompts: Prompt | Sequence[Prompt]) -> Sequence[Prompt]:
    if isinstance(prompts, str) or (len(prompts) > 0 and isinstance(prompts[0], int)):
        return [cast(Prompt, prompts)]
    return cast(Sequence[Prompt], prompts)


def _per_prompt(params: SamplingParams | Sequence[SamplingParams] | None, count: int) -> list[SamplingParams]:
    if params is None or isinstance(params, SamplingParams):
        return [params or SamplingParams()] * count
    if len(params) != count:
        raise InvalidRequestError(f"There are {count} prompts and {len(params)} params.", param="params")
    return list(params)


def _grammar_per_prompt(grammar: Grammars, count: int) -> Sequence[GrammarSpec | None]:
    if grammar is None or isinstance(grammar, GrammarSpec):
        return [grammar] * count
    if len(grammar) != count:
        raise InvalidRequestError(f"There are {count} prompts and {len(grammar)} grammars.", param="grammar")
    return grammar


def _progress_bar(is_shown: bool) -> Progress:
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not (is_shown and console.is_terminal), transient=True)

"""What a streamed answer of the OpenAI API meant: when its tokens came, how many, and whether it is whole."""

import array
import dataclasses

import msgspec

DONE = b"[DONE]"


class Delta(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class Choice(msgspec.Struct):
    text: str | None = None
    delta: Delta | None = None

    @property
    def new_text(self) -> str:
        delta = self.delta
        if delta is None:
            return self.text or ""
        return delta.content or delta.reasoning_content or delta.reasoning or ""


class Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Chunk(msgspec.Struct):
    choices: list[Choice] = msgspec.field(default_factory=list)
    usage: Usage | None = None
    error: object = None  # whatever it says


@dataclasses.dataclass(slots=True)
class Record:
    """One request. Times are on one clock; intended: when it was to be sent, which every latency counts from.

    failure is None for a whole answer. gaps: seconds between events that carry text. Of a failed request only
    intended, end and failure are to be used.
    """

    intended: float
    sent: float = 0.0
    first: float | None = None  # event that carries text
    last: float = 0.0
    end: float = 0.0
    gaps: "array.array[float]" = dataclasses.field(default_factory=lambda: array.array("d"))
    num_prompt_tokens: int | None = None  # None: the server did not say
    num_output_tokens: int = 0
    has_usage: bool = False  # else events were counted
    failure: str | None = None

    @property
    def ttft(self) -> float:
        assert self.first is not None
        return self.first - self.intended

    @property
    def e2e(self) -> float:
        return self.last - self.intended

    @property
    def tpot(self) -> float | None:
        """Mean time per output token after the first; None for an answer of one."""
        if self.num_output_tokens < 2:
            return None
        assert self.first is not None
        return (self.last - self.first) / (self.num_output_tokens - 1)


class AnswerReader:
    """Takes the events of one answer in order, and fills in its record."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._decoder = msgspec.json.Decoder(Chunk)
        self._text: list[str] = []
        self._is_done = False
        self._failure: str | None = None

    @property
    def text(self) -> str:
        return "".join(self._text)

    def take(self, data: bytes, now: float) -> None:
        if data == DONE:
            self._is_done = True
            return
        try:
            chunk = self._decoder.decode(data)
        except msgspec.DecodeError:
            self._failure = self._failure or "no chunk"
            return
        if chunk.error is not None:
            self._failure = self._failure or "error event"
        if chunk.usage is not None:
            self._record.num_prompt_tokens = chunk.usage.prompt_tokens
            self._record.num_output_tokens = chunk.usage.completion_tokens
            self._record.has_usage = True
        text = "".join([choice.new_text for choice in chunk.choices])
        if text:
            self._take_text(text, now)

    def _take_text(self, text: str, now: float) -> None:
        record = self._record
        if record.first is None:
            record.first = now
        else:
            record.gaps.append(now - record.last)
        record.last = now
        self._text.append(text)

    def finish(self) -> None:
        """The answer has ended as HTTP sees it."""
        record = self._record
        if not record.has_usage:
            record.num_output_tokens = len(self._text)
        if self._failure is None and not self._is_done:
            self._failure = "cut"
        if self._failure is None and record.first is None:
            self._failure = "no token"
        record.failure = self._failure

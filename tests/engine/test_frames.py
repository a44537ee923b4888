import itertools
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.config import EngineConfig, Environment
from octavo.core.grammar_spec import GrammarKind, GrammarSpec
from octavo.core.messages import Abort, ClientMessage, Submit
from octavo.core.sampling_params import SamplingParams
from octavo.engine import frames
from octavo.engine.frames import FrameDecoder, FrameError, Start, encode_frame

SUBMIT = Submit("a", [1, 2, 3], 2, SamplingParams(temperature=0, stop=("x",)), seed=-(2**62), arrival=1.5)
START = Start(EngineConfig(threads=2), Environment(pathlib.Path("/home/x"), None, "avx2", "info"))
GRAMMAR = GrammarSpec(GrammarKind.LARK, 'start: <|im_start|> "é"', field="tools", whitespace=" ?")
CONSTRAINED = Submit("b", [4], 1, SamplingParams(), seed=1, arrival=2.5, grammar=GRAMMAR)
MESSAGES = [START, SUBMIT, CONSTRAINED, Abort(["a", "b"]), Abort([])]


def decoder() -> FrameDecoder[Start | ClientMessage]:
    return FrameDecoder(Start | ClientMessage)


@given(st.lists(st.integers(1, 40)))
def test_messages_survive_however_the_stream_is_cut(cuts: list[int]) -> None:
    stream = b"".join(encode_frame(message) for message in MESSAGES)
    ends = [sum(cuts[:index]) for index in range(len(cuts) + 1)] + [len(stream)]
    reader = decoder()
    received = [
        message
        for start, end in itertools.pairwise(ends)
        for message in reader.feed(stream[start : max(start, end)])
    ]
    assert received == MESSAGES


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", b"\x92\xa5Other\x01", b"\x92\xa5Abort\x91\x01", b"\x92\xa5Abort\x91\xa1\xff", b"\x80"],
)
def test_bytes_that_are_no_message_are_a_fault(payload: bytes) -> None:
    with pytest.raises(FrameError, match="does not decode"):
        list(decoder().feed(len(payload).to_bytes(4, "little") + payload))


def test_messages_before_a_bad_frame_are_delivered() -> None:
    reader = decoder().feed(bytes(encode_frame(SUBMIT)) + b"\x01\0\0\0\xc1")
    assert next(reader) == SUBMIT
    with pytest.raises(FrameError):
        next(reader)


def test_a_frame_is_bounded_at_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 100)
    with pytest.raises(FrameError, match="101 bytes was announced; allowed: 100"):
        list(decoder().feed((101).to_bytes(4, "little")))
    with pytest.raises(FrameError, match="Abort of 110 bytes; allowed: 100"):
        encode_frame(Abort(["x" * 100]))


def test_a_value_that_has_no_wire_form_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="object"):
        encode_frame(Abort([object()]))  # type: ignore[list-item]

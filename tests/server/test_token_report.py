"""Tokens are reported with the end of their text, once; another replica goes on where the first one was."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.core.sampling_params import SamplingParams
from octavo.http.errors import HttpError
from octavo.server.token_report import FullReport, NoReport, ReportedTokens, new_report
from octavo.text.text_stream import TextStream
from tests.fakes import byte_text, fake_logprobs

ANSWER = "aé, ENE END b".encode()
STOPPED = len("aé, ENE END".encode())


def reporting(*, has_logprobs: bool = True) -> tuple[TextStream, FullReport]:
    text = byte_text(SamplingParams(stop=("END",)))
    return text, FullReport(text, has_logprobs=has_logprobs)


def push(text: TextStream, report: FullReport, data: bytes) -> str:
    sent = text.push(data)
    report.add(data, fake_logprobs(data, 2))
    return sent


@given(st.lists(st.integers(0, len(ANSWER)), max_size=6))
def test_the_parts_add_up_whatever_the_chunks(cuts: list[int]) -> None:
    text, report = reporting()
    whole, sent = ReportedTokens(), ""
    edges = [0, *sorted(cuts), len(ANSWER)]
    for start, end in itertools.pairwise(edges):
        sent += push(text, report, ANSWER[start:end])
        whole.extend(report.take())
        if not text.is_stopped:
            assert sent.encode().startswith(bytes(whole.token_ids)), "a token came before its text"
    answer = ANSWER[:STOPPED]
    assert (bytes(whole.token_ids), whole.logprobs) == (answer, fake_logprobs(answer, 2))
    assert whole.offsets == [min(len(answer[:i].decode(errors="ignore")), len(sent)) for i in range(STOPPED)]


@pytest.mark.parametrize("count", range(STOPPED))
def test_another_replica_goes_on_with_it(count: int) -> None:
    text, report = reporting()
    push(text, report, ANSWER[:count])
    told = report.take()
    other_text, other = reporting()
    other_text.push(ANSWER[:count])
    other.take_up(ANSWER[:count], report.held_logprobs)
    assert len(other.take()) == 0
    for made_text, made in ((text, report), (other_text, other)):
        push(made_text, made, ANSWER[count:])
    rest = report.take()
    assert other.take() == rest and len(told) + len(rest) == STOPPED


def test_logprobs_of_other_tokens_are_refused() -> None:
    text, report = reporting()
    text.push(b"EN")
    with pytest.raises(HttpError, match="of 1 tokens whose text was held back; here that of 2 is"):
        report.take_up(b"EN", fake_logprobs(b"E", 2))


def test_ids_alone_need_no_logprobs() -> None:
    text, report = reporting(has_logprobs=False)
    text.push(b"EN")
    report.take_up(b"EN", None)
    assert report.held_logprobs is None
    text.push(b"x")
    report.add(b"x", None)
    assert report.take() == ReportedTokens(list(b"ENx"), [0, 1, 2])


def test_who_asks_for_text_gets_no_report() -> None:
    text = byte_text(SamplingParams())
    assert isinstance(new_report(text, has_logprobs=False, has_ids=False), NoReport)
    assert isinstance(new_report(text, has_logprobs=False, has_ids=True), FullReport)
    report = NoReport()
    report.add(b"a", None)
    report.take_up(b"a", None)
    assert report.take() is None and report.held_logprobs is None

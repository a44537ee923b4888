"""What choices tell of their prompts, by the choice's index."""

from typing import Any

from octavo.server.echo import PromptEcho
from octavo.server.logprobs import TokenNames
from octavo.server.prompt_report import PromptReport
from tests.fakes import ByteVocabulary, fake_logprobs

NAMES = TokenNames(ByteVocabulary.token_bytes)
PROMPTS = [[97, 98], [99]]
ECHOES = [PromptEcho("ab", [97, 98], [0, 1]), PromptEcho("c", [99], [0])]


def report(**changes: Any) -> PromptReport:
    options = {"echoes": (), "num_logprobs": None, "num_prompt_logprobs": None, "has_ids": False}
    return PromptReport(NAMES, PROMPTS, num_choices=2, **{**options, **changes})


def test_nothing_is_told_unasked() -> None:
    nothing = report(num_logprobs=1)
    assert not nothing.is_told_of and nothing.text(0) == "" and nothing.fields(0, None) == {}
    assert nothing.echoed_logprobs(0, fake_logprobs([98], 1)) is None


def test_choices_of_a_prompt_have_its_echo() -> None:
    echoing = report(echoes=ECHOES, num_logprobs=1)
    assert echoing.is_told_of and [echoing.text(index) for index in range(4)] == ["ab", "ab", "c", "c"]
    assert echoing.echoed_logprobs(1, fake_logprobs([98], 3)) == {
        "tokens": ["a", "b"],
        "token_logprobs": [None, -98 / 256],
        "top_logprobs": [None, {"b": -98 / 256, "c": -99 / 256}],
        "text_offset": [0, 1],
    }
    assert echoing.echoed_logprobs(2, fake_logprobs([], 3)) == {
        "tokens": ["c"],
        "token_logprobs": [None],
        "top_logprobs": [None],
        "text_offset": [0],
    }
    assert report(echoes=ECHOES).echoed_logprobs(0, fake_logprobs([98], 0)) is None


def test_the_text_of_a_chat_is_told() -> None:
    telling = report(prompt_text="user:ab")
    assert telling.is_told_of and telling.fields(0, None) == {"prompt_text": "user:ab"}


def test_ids_and_logprobs_are_fields_of_their_own() -> None:
    telling = report(has_ids=True, num_prompt_logprobs=1)
    assert telling.is_told_of
    assert telling.fields(0, fake_logprobs([98], 3)) == {
        "prompt_token_ids": [97, 98],
        "prompt_logprobs": [
            None,
            {
                "98": {"logprob": -98 / 256, "rank": 2, "decoded_token": "b"},
                "99": {"logprob": -99 / 256, "rank": 1, "decoded_token": "c"},
            },
        ],
    }
    assert telling.fields(3, fake_logprobs([], 1)) == {"prompt_token_ids": [99], "prompt_logprobs": [None]}

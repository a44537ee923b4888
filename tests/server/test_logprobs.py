"""How tokens and their log-probabilities are written."""

from octavo.core.messages import TokenLogprobs
from octavo.server.logprobs import ChatTokens, CompletionTokens, TokenNames
from octavo.server.token_report import ReportedTokens

SPELLING = (b"a", b"\xe2\x82", b"\xac", b" b", b"a")
TOKENS = ReportedTokens(
    [3, 1],
    [0, 2],
    TokenLogprobs([-0.5, -1.0], [1, 2], [[3, 0], [4, 0]], [[-0.5, -2.0], [-0.25, -3.0]]),
)


def test_names_are_texts_or_bytes_or_ids() -> None:
    chat = TokenNames(SPELLING)
    assert [chat.name(i) for i in range(4)] == ["a", "\\xe2\\x82", "\\xac", " b"]
    assert (chat.name(9), chat.bytes_of(9)) == ("", b"")
    assert TokenNames(SPELLING, prefix="bytes:").name(1) == "bytes:\\xe2\\x82"
    assert TokenNames(SPELLING, uses_ids=True).name(3) == "token_id:3"


def test_in_chats() -> None:
    fields = ChatTokens(TokenNames(SPELLING)).fields(TOKENS)
    assert fields == {
        "logprobs": {
            "content": [
                {
                    "token": " b",
                    "logprob": -0.5,
                    "bytes": [32, 98],
                    "top_logprobs": [
                        {"token": " b", "logprob": -0.5, "bytes": [32, 98]},
                        {"token": "a", "logprob": -2.0, "bytes": [97]},
                    ],
                },
                {
                    "token": "\\xe2\\x82",
                    "logprob": -1.0,
                    "bytes": [0xE2, 0x82],
                    "top_logprobs": [
                        {"token": "a", "logprob": -0.25, "bytes": [97]},
                        {"token": "a", "logprob": -3.0, "bytes": [97]},
                    ],
                },
            ],
            "refusal": None,
        }
    }


def test_in_completions_the_token_is_among_its_alternatives_and_the_likelier_name_stays() -> None:
    fields = CompletionTokens(TokenNames(SPELLING, prefix="bytes:")).fields(TOKENS)
    assert fields == {
        "logprobs": {
            "tokens": [" b", "bytes:\\xe2\\x82"],
            "token_logprobs": [-0.5, -1.0],
            "top_logprobs": [{" b": -0.5, "a": -2.0}, {"bytes:\\xe2\\x82": -1.0, "a": -0.25}],
            "text_offset": [0, 2],
        }
    }


def test_ids_without_logprobs_and_nothing_at_all() -> None:
    ids = ReportedTokens([3, 1], [0, 2])
    for kind in (ChatTokens, CompletionTokens):
        assert kind(TokenNames(SPELLING), has_ids=True).fields(ids) == {"logprobs": None, "token_ids": [3, 1]}
        assert kind(TokenNames(SPELLING)).fields(None) == {"logprobs": None}


def test_a_chunk_without_a_whole_token_has_no_entries() -> None:
    nothing = ReportedTokens([], [], TokenLogprobs())
    assert ChatTokens(TokenNames(SPELLING)).fields(nothing) == {"logprobs": {"content": [], "refusal": None}}
    lists = {name: [] for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")}
    assert CompletionTokens(TokenNames(SPELLING)).fields(nothing) == {"logprobs": lists}

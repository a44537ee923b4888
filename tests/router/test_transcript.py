import msgspec

from octavo.core.relay import Identity, Mark, ReplicaCard
from octavo.router.transcript import DONE, Transcript
from tests.router.policies.some import request


def test_what_a_client_has_of_each_choice_is_what_a_replica_needs_to_go_on() -> None:
    transcript = Transcript()
    for mark, payload in (
        (Mark(1, 0, 3, 16, None, [1, 2]), b"a"),
        (Mark(1, 1, 2, 16, None, [3]), b"b"),
        (Mark(1, 0, 5, 16, "stop", [4]), b"c"),
    ):
        transcript.add(mark, payload)
    assert transcript.num_tokens == 4 and not transcript.is_complete
    card, identity = ReplicaCard("f", 10), Identity.new()
    resumption = transcript.resumption(request(body=b"{}"), card, identity)
    assert msgspec.to_builtins(resumption.choices) == [
        {"index": 0, "token_ids": [1, 2, 4], "num_characters": 5, "num_cached_tokens": 16,
         "finish_reason": "stop", "held_logprobs": None},
        {"index": 1, "token_ids": [3], "num_characters": 2, "num_cached_tokens": 16,
         "finish_reason": None, "held_logprobs": None},
    ]  # fmt: skip


def test_it_is_complete_when_the_stream_said_so() -> None:
    transcript = Transcript()
    transcript.add(Mark(1, 0, 1, 0, "stop", [1]), b"data: {}\n\n" + DONE)
    assert transcript.is_complete

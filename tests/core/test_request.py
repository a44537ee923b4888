from octavo.core.block_hash import root_hash
from octavo.core.request import Request
from octavo.core.sampling_params import SamplingParams


def request(num_tokens, cache_root):
    return Request("a", list(range(num_tokens)), 10, SamplingParams(), 0, 0.0, 100, cache_root=cache_root)


def test_counts_prompt_and_output():
    r = request(25, None)
    assert (r.num_tokens, r.num_output_tokens) == (25, 15)


def test_block_hashes_follow_the_tokens():
    r = request(31, root_hash(b"model"))
    first = list(r.update_block_hashes())
    r.token_ids.append(31)
    assert len(first) == 1
    assert r.update_block_hashes()[:1] == first
    assert len(r.block_hashes) == 2


def test_outside_the_prefix_cache_a_request_has_no_block_hashes():
    assert request(64, None).update_block_hashes() == []


def test_requests_are_told_apart_by_identity():
    assert request(3, None) != request(3, None)

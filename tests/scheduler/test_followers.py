from octavo.core.block_hash import root_hash
from octavo.core.request import Request
from octavo.core.sampling_params import SamplingParams
from octavo.scheduler.followers import Followers

TOKENS = list(range(100))


def request(request_id, num_shared, num_tokens=80):
    own = [1000 + ord(request_id)] * (num_tokens - num_shared)
    r = Request(
        request_id,
        TOKENS[:num_shared] + own,
        num_tokens,
        SamplingParams(),
        0,
        0.0,
        1000,
        cache_root=root_hash(b"model"),
    )
    r.update_block_hashes()
    return r


def test_a_follower_waits_for_the_deepest_block_it_shares_with_its_leader():
    followers = Followers()
    leader, follower = request("a", 80), request("b", 50)
    followers.lead(leader)
    awaited = followers.find_awaited_block(follower, 0)
    assert awaited == leader.block_hashes[2]
    followers.park(follower, awaited)
    assert len(followers) == 1
    assert list(followers.wake(leader, 0, 2)) == []
    assert list(followers.wake(leader, 2, 3)) == [follower]
    assert len(followers) == 0
    assert followers.find_awaited_block(request("c", 50), 0) is None


def test_forks_wait_for_their_parent():
    followers = Followers()
    parent, first, second = request("a", 80), request("b", 80), request("c", 80)
    followers.park(first, parent.request_id)
    followers.park(second, parent.request_id)
    assert followers.remove(first)
    assert list(followers.wake_forks(first)) == []
    assert list(followers.wake_forks(parent)) == [second]
    assert not followers.remove(second)


def test_nobody_waits_for_what_is_computed_already():
    followers = Followers()
    leader = request("a", 80)
    leader.num_computed_tokens = 32
    followers.lead(leader)
    assert followers.find_awaited_block(request("b", 40), 0) is None
    assert followers.find_awaited_block(request("c", 64), 2) == leader.block_hashes[3]


def test_nobody_waits_for_a_block_whose_last_token_it_must_compute_itself():
    followers = Followers()
    followers.lead(request("a", 80))
    assert followers.find_awaited_block(request("b", 32, 32), 1) is None
    assert followers.find_awaited_block(request("c", 32, 33), 1) is not None


def test_when_a_leader_stops_its_followers_go_on_without_it():
    followers = Followers()
    leader, follower = request("a", 80), request("b", 50)
    followers.lead(leader)
    followers.park(follower, followers.find_awaited_block(follower, 0))
    assert list(followers.wake(leader, 1)) == [follower]


def test_a_block_has_one_leader():
    followers = Followers()
    first, second = request("a", 80), request("b", 80)
    followers.lead(first)
    followers.lead(second)
    followers.wake(second, 0)
    assert followers.find_awaited_block(request("c", 50), 0) is not None


def test_a_removed_follower_is_not_woken():
    followers = Followers()
    leader, follower = request("a", 80), request("b", 50)
    followers.lead(leader)
    followers.park(follower, followers.find_awaited_block(follower, 0))
    assert followers.remove(follower)
    assert not followers.remove(follower)
    assert list(followers.wake(leader, 0)) == []

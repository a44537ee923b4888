import collections
import dataclasses
import weakref

import hypothesis
import hypothesis.strategies as st
import pytest

from octavo.core.request import Request
from octavo.core.sampling_params import SamplingParams
from octavo.core.waiting_queue import MAX_IDLE_COUNTERS, WaitingQueue


def request(request_id, arrival=0.0, priority=0, tenant=""):
    return Request(request_id, [1], 1, SamplingParams(), 0, arrival, 10, priority=priority, tenant=tenant)


def test_order_is_priority_then_arrival_then_insertion():
    queue = WaitingQueue()
    for r in (
        request("late", 2.0),
        request("urgent", 3.0, -1),
        request("early", 1.0),
        request("early too", 1.0),
        request("lazy", 0.0, 5),
    ):
        queue.push(r)
    assert [queue.pop().request_id for _ in range(5)] == ["urgent", "early", "early too", "late", "lazy"]
    assert len(queue) == 0


def test_a_removed_request_does_not_come():
    queue = WaitingQueue()
    a, b = request("a", 1.0), request("b", 2.0)
    queue.push(a)
    queue.push(b)
    assert queue.remove(a)
    assert not queue.remove(a)
    assert len(queue) == 1
    assert queue.peek() is b


def test_a_removed_id_can_be_pushed_again():
    queue = WaitingQueue()
    old, new = request("a", 1.0), request("a", 5.0)
    queue.push(old)
    queue.remove(old)
    queue.push(new)
    assert queue.pop() is new
    assert len(queue) == 0


@dataclasses.dataclass(eq=False)
class Referable:
    request_id: str
    arrival: float
    priority: int = 0
    tenant: str = ""


def test_who_is_removed_is_forgotten_though_the_first_does_not_move():
    queue = WaitingQueue()
    queue.push(Referable("first", 0.0, -1))
    removed = []
    for number in range(200):
        waiter = Referable(f"{number}", float(number + 1))
        queue.push(waiter)
        queue.remove(waiter)
        removed.append(weakref.ref(waiter))
    del waiter
    assert sum(one() is not None for one in removed) <= 1 + len(queue)
    assert queue.peek().request_id == "first"


def test_those_who_stay_keep_their_order_when_others_are_forgotten():
    queue = WaitingQueue()
    requests = [request(f"{number}", float(number % 7)) for number in range(50)]
    for one in requests:
        queue.push(one)
    stay = [one for one in requests if int(one.request_id) % 7 in (0, 4)]
    for one in requests:
        if one not in stay:
            queue.remove(one)
    assert [queue.pop() for _ in range(len(stay))] == sorted(stay, key=lambda one: one.arrival)
    assert len(queue) == 0


def test_an_id_is_in_it_once():
    queue = WaitingQueue()
    queue.push(request("a"))
    with pytest.raises(AssertionError):
        queue.push(request("a"))


def test_tenants_take_turns_by_the_work_done_for_them():
    queue = WaitingQueue()
    for number in range(6):
        queue.push(request(f"a{number}", float(number), tenant="a"))
    for number in range(3):
        queue.push(request(f"b{number}", 100.0 + number, tenant="b"))
    order = []
    while queue:
        first = queue.pop()
        order.append(first.request_id)
        queue.charge(first.tenant, 20 if first.tenant == "b" else 10)
    assert order == ["a0", "b0", "a1", "a2", "b1", "a3", "a4", "b2", "a5"]


def test_a_newcomer_has_no_turns_saved_up_and_owes_none():
    queue = WaitingQueue()
    for number in range(4):
        queue.push(request(f"a{number}", float(number), tenant="a"))
    queue.pop()
    queue.charge("a", 1000)
    for number in range(4):
        queue.push(request(f"b{number}", 10.0 + number, tenant="b"))
    order = []
    while queue:
        first = queue.pop()
        order.append(first.request_id)
        queue.charge(first.tenant, 10)
    assert order == ["a1", "b0", "a2", "b1", "a3", "b2", "b3"]


def test_priority_comes_before_fairness():
    queue = WaitingQueue()
    queue.push(request("a", 0.0, tenant="a"))
    queue.charge("b", 10_000)
    queue.push(request("b", 1.0, priority=-1, tenant="b"))
    assert [queue.pop().request_id for _ in range(2)] == ["b", "a"]


def test_removal_leaves_the_others_of_the_tenant():
    queue = WaitingQueue()
    requests = [request(f"a{number}", float(number), tenant="a") for number in range(3)]
    for one in requests:
        queue.push(one)
    queue.push(request("b", 9.0, tenant="b"))
    for one in requests[:2]:
        assert queue.remove(one)
    assert [queue.pop().request_id for _ in range(2)] == ["a2", "b"]
    assert len(queue) == 0


def test_counters_of_tenants_that_left_are_bounded():
    queue = WaitingQueue()
    for number in range(5 * MAX_IDLE_COUNTERS):
        queue.push(request(f"r{number}", tenant=f"t{number}"))
        queue.charge(queue.pop().tenant, number)
    assert len(queue._work) <= MAX_IDLE_COUNTERS + 1


@hypothesis.given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 50)), max_size=60))
def test_while_two_tenants_wait_neither_gets_ahead_by_more_than_a_request(arrivals):
    """The bound of the counters, for requests of at most 50 tokens; and all of them come, once."""
    queue = WaitingQueue()
    costs = {}
    for number, (tenant, cost) in enumerate(arrivals):
        costs[f"{number}"] = cost
        queue.push(request(f"{number}", float(number), tenant=tenant))
    work, left = collections.Counter(), collections.Counter(tenant for tenant, _ in arrivals)
    while queue:
        first = queue.pop()
        work[first.tenant] += costs.pop(first.request_id)
        left[first.tenant] -= 1
        queue.charge(first.tenant, arrivals[int(first.request_id)][1])
        waiting = [work[tenant] for tenant in left if left[tenant]]
        assert not waiting or max(waiting) - min(waiting) <= 50
    assert not costs

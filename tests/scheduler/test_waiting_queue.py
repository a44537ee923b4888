import pytest

from octavo.core.request import Request
from octavo.core.sampling_params import SamplingParams
from octavo.scheduler.waiting_queue import WaitingQueue


def request(request_id, arrival=0.0, priority=0):
    return Request(request_id, [1], 1, SamplingParams(), 0, arrival, 10, priority=priority)


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


def test_an_id_is_in_it_once():
    queue = WaitingQueue()
    queue.push(request("a"))
    with pytest.raises(AssertionError):
        queue.push(request("a"))

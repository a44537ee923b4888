from octavo.kv.checkpoint_store import CheckpointStore


def test_what_was_put_can_be_taken_once():
    store = CheckpointStore(2)
    slot = store.put(b"a")
    assert b"a" in store
    assert store.take(b"a") == slot
    assert b"a" not in store
    assert store.take(b"a") is None


def test_full_it_drops_what_was_put_first():
    store = CheckpointStore(2)
    first, second = store.put(b"a"), store.put(b"b")
    assert store.put(b"c") == first
    assert (b"a" in store, b"b" in store, b"c" in store, len(store)) == (False, True, True, 2)
    assert store.take(b"b") == second


def test_a_taken_slot_is_not_written_before_the_next_step():
    store = CheckpointStore(1)
    slot = store.put(b"a")
    store.take(b"a")
    assert store.put(b"b") is None
    store.recycle()
    assert store.put(b"b") == slot


def test_a_removed_entry_makes_room():
    store = CheckpointStore(1)
    slot = store.put(b"a")
    store.remove(b"a")
    store.remove(b"a")
    assert store.put(b"b") == slot


def test_without_slots_nothing_is_kept():
    assert CheckpointStore(0).put(b"a") is None

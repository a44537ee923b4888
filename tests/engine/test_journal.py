from collections.abc import Iterator

import pytest

from octavo.engine.journal import MAX_COMPILING_IDS, MAX_REQUEST_ID_BYTES, Journal, JournalReader, StepRecord


@pytest.fixture
def reader() -> Iterator[JournalReader]:
    reader = JournalReader(max_num_seqs=4)
    yield reader
    reader.close()


def test_a_page_nobody_wrote_to_knows_of_no_step(reader: JournalReader) -> None:
    assert reader.running_step() is None
    assert reader.step_id == 0


def test_a_step_is_running_from_its_record_to_its_finish(reader: JournalReader) -> None:
    journal = Journal(reader.fd)
    journal.record(7, ["a", "b", "c"], ["c", "a"])
    assert reader.running_step() == StepRecord(7, ("c", "a", "b"), ("c", "a"))
    journal.finish()
    assert reader.running_step() is None
    assert reader.step_id == 7


def test_a_shorter_step_leaves_nothing_of_a_longer_one(reader: JournalReader) -> None:
    journal = Journal(reader.fd)
    journal.record(1, ["a-long-request-id", "another"], [])
    journal.record(2, ["b"], ["b"])
    assert reader.running_step() == StepRecord(2, ("b",), ("b",))
    journal.record(3, [], [])
    assert reader.running_step() == StepRecord(3, (), ())


def test_the_longest_ids_of_the_largest_step_and_of_grammars_fit(reader: JournalReader) -> None:
    ids = [letter * MAX_REQUEST_ID_BYTES for letter in "abcd"]
    compiling = [letter * MAX_REQUEST_ID_BYTES for letter in "efgh"[:MAX_COMPILING_IDS]]
    journal = Journal(reader.fd)
    for place, request_id in enumerate(compiling):
        journal.note_compile(place, request_id)
    journal.record(1, ids, ids)
    everybody = (*ids, *compiling)
    assert reader.running_step() == StepRecord(1, everybody, everybody)


def test_a_compile_is_new_in_whatever_step_it_meets_until_it_ends(reader: JournalReader) -> None:
    journal = Journal(reader.fd)
    journal.note_compile(1, "a-long-request-id")
    assert reader.running_step() == StepRecord(0, ("a-long-request-id",), ("a-long-request-id",))
    journal.record(7, ["a", "b"], ["b"])
    journal.note_compile(1, "c")
    journal.note_compile(0, "d")
    assert reader.running_step() == StepRecord(7, ("b", "a", "d", "c"), ("b", "d", "c"))
    journal.finish()
    journal.note_compile(0, "")
    assert reader.running_step() == StepRecord(7, ("c",), ("c",))
    journal.note_compile(1, "")
    assert reader.running_step() is None


def test_an_interrupted_record_accuses_nobody(reader: JournalReader) -> None:
    journal = Journal(reader.fd)
    journal.record(1, ["a"], [])
    with pytest.raises(IndexError):
        journal.record(2, ["x" * 10_000], [])
    assert reader.running_step() is None

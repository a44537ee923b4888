import pathlib

from octavo.bench.machine import describe_machine, processor_name


def test_a_processor_has_the_name_the_kernel_gives_it(tmp_path: pathlib.Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Fast One 9000\nmodel\t: 1\n")
    assert processor_name(cpuinfo) == "Fast One 9000"


def test_a_kernel_that_does_not_say_is_no_error(tmp_path: pathlib.Path) -> None:
    assert processor_name(tmp_path / "none") == "unknown processor"
    empty = tmp_path / "empty"
    empty.write_text("processor\t: 0\n")
    assert processor_name(empty) == "unknown processor"


def test_a_machine_has_cores() -> None:
    assert int(describe_machine()["cores"]) >= 1

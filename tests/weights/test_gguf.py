import pathlib
import struct

import gguf as oracle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.config import Environment
from octavo.core.errors import ModelFileError
from octavo.models.source import resolve
from octavo.weights.formats import TensorFormat, expand_to_f32
from octavo.weights.gguf import GGUFFile
from tests.weights.gguf_bytes import (
    ARRAY,
    STRING,
    U32,
    U64,
    array,
    gguf,
    model_file,
    string,
    tensor_info,
    tiny_metadata,
    tiny_tensors,
    value,
)

HUGE = 2**63


def write(folder: pathlib.Path, data: bytes) -> pathlib.Path:
    path = folder / "model.gguf"
    path.write_bytes(data)
    return path


def test_reads_what_the_reference_writer_writes(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "model.gguf"
    writer = oracle.GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    for add, item in (
        (writer.add_uint8, 200), (writer.add_int8, -5), (writer.add_uint16, 60000), (writer.add_int16, -300),
        (writer.add_uint32, 2**31), (writer.add_int32, -7), (writer.add_uint64, 2**63), (writer.add_int64,
        -(2**40)), (writer.add_float32, 0.5), (writer.add_float64, 0.1), (writer.add_bool, True),
        (writer.add_string, "zwölf"),
    ):  # fmt: skip
        add(f"x.{add.__name__}", item)
    writer.add_array("x.words", ["a", "", "λ"])
    writer.add_array("x.numbers", [1, -2, 3])
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    writer.add_tensor("matrix", matrix)
    writer.add_tensor("experts", np.arange(24, dtype=np.float32).reshape(4, 2, 3))
    writer.add_tensor("half", matrix.astype(np.float16)[0])
    quantized = oracle.quants.quantize(np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 64), Q8_0)
    writer.add_tensor("quantized", quantized, raw_dtype=Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    with GGUFFile.open(path) as file:
        expected = {
            "x.add_uint8": 200, "x.add_int8": -5, "x.add_uint16": 60000, "x.add_int16": -300, "x.add_uint32":
            2**31, "x.add_int32": -7, "x.add_uint64": 2**63, "x.add_int64": -(2**40), "x.add_float32": 0.5,
            "x.add_float64": 0.1, "x.add_bool": True, "x.add_string": "zwölf", "x.words": ["a", "", "λ"],
        }  # fmt: skip
        assert {key: file.metadata[key] for key in expected} == expected
        assert file.metadata["x.numbers"].tolist() == [1, -2, 3]
        lengths = {key: len(item) for key, item in expected.items() if isinstance(item, list)}
        assert file.metadata.lengths == lengths | {"x.numbers": 3}
        assert list(file.tensors) == ["matrix", "experts", "half", "quantized"]
        assert expand_to_f32(file.tensors["matrix"]).tolist() == matrix.tolist()
        assert expand_to_f32(file.tensors["experts"]).tolist() == np.arange(24.0).reshape(8, 3).tolist()
        assert expand_to_f32(file.tensors["half"]).tolist() == [[0.0], [1.0], [2.0]]
        assert file.tensors["quantized"].data.tobytes() == quantized.tobytes()
        shapes = [(t.format, t.num_rows, t.num_columns) for t in file.tensors.values()]
        assert shapes == [
            (TensorFormat.F32, 2, 3),
            (TensorFormat.F32, 8, 3),
            (TensorFormat.F16, 3, 1),
            (TensorFormat.Q8_0, 2, 64),
        ]


Q8_0 = oracle.GGMLQuantizationType.Q8_0


def test_tensor_views_outlive_the_file(tmp_path: pathlib.Path) -> None:
    file = GGUFFile.open(write(tmp_path, model_file(tiny_metadata(), tiny_tensors())))
    tensor = file.tensors["output_norm.weight"]
    file.close()
    assert expand_to_f32(tensor)[:, 0].tolist() == tiny_tensors()["output_norm.weight"].tolist()
    assert len(file.metadata) == 0


def test_raw_tells_values_and_types_apart(tmp_path: pathlib.Path) -> None:
    data = gguf({"a": value(U32, 1), "b": value(U64, 1), "c": array(U32, [1])})
    metadata = GGUFFile.open(write(tmp_path, data)).metadata
    assert metadata.raw("a") == value(U32, 1)
    assert len({metadata.raw(key) for key in metadata}) == 3


ONE = [tensor_info("t", [32], 0, 0)]
FOUR_KB = b"\0" * 4096

BROKEN = {
    "not GGUF": (gguf(magic=b"GGML"), "not a GGUF file"),
    "version 1": (gguf(version=1), "GGUF version 1"),
    "version 4": (gguf(version=4), "GGUF version 4"),
    "big-endian": (gguf(version=3 << 24), "big-endian"),
    "too many tensors": (gguf(num_tensors=HUGE), f"claims {HUGE} tensors"),
    "too many entries": (gguf(num_entries=HUGE), f"claims {HUGE} metadata entries"),
    "long key": (gguf({"k" * 65536: value(U32, 1)}), "a metadata key claims 65536 bytes"),
    "same key twice": (
        gguf(num_entries=2, alignment=1) + 2 * (string("a") + value(U32, 1)),
        "a appears twice",
    ),
    "key of bad text": (
        gguf(num_entries=1, alignment=1) + string(b"\xff") + value(U32, 1),
        "a metadata key is not UTF-8",
    ),
    "unknown value type": (gguf({"a": struct.pack("<I", 99) + FOUR_KB}), "a has the unknown value type 99"),
    "long string": (gguf({"a": struct.pack("<IQ", STRING, HUGE)}, data=FOUR_KB), f"a needs {HUGE} bytes"),
    "long array": (gguf({"a": struct.pack("<IIQ", ARRAY, U32, HUGE)}), f"claims {HUGE} values of a"),
    "long string array": (gguf({"a": struct.pack("<IIQ", ARRAY, STRING, HUGE)}), f"{HUGE} strings of a"),
    "long item": (
        gguf({"a": struct.pack("<IIQQ", ARRAY, STRING, 2, HUGE)}, data=FOUR_KB),
        "the strings of a run past the end",
    ),
    "long last item": (gguf({"a": struct.pack("<IIQQ", ARRAY, STRING, 1, HUGE)}, data=FOUR_KB), "a needs"),
    "array of arrays": (gguf({"a": struct.pack("<IIQ", ARRAY, ARRAY, 1)}), "a is an array of arrays"),
    "alignment of no power": (gguf({"general.alignment": value(U32, 48)}), "general.alignment is 48"),
    "alignment of zero": (gguf({"general.alignment": value(U32, 0)}), "general.alignment is 0"),
    "alignment as text": (gguf({"general.alignment": value(STRING, "32")}), "general.alignment is '32'"),
    "no dimensions": (gguf(infos=[tensor_info("t", [], 0, 0)], data=FOUR_KB), "t has 0 dimensions"),
    "four dimensions": (gguf(infos=[tensor_info("t", [2] * 4, 0, 0)], data=FOUR_KB), "t has 4 dimensions"),
    "huge third": (gguf(infos=[tensor_info("t", [2, 2, HUGE], 0, 0)], data=FOUR_KB), "t ends at byte"),
    "empty dimension": (gguf(infos=[tensor_info("t", [32, 0], 0, 0)], data=FOUR_KB), "dimension of zero"),
    "unsupported type": (gguf(infos=[tensor_info("t", [256], 12, 0)], data=FOUR_KB), "t is stored as Q4_K"),
    "unknown type": (gguf(infos=[tensor_info("t", [32], 77, 0)], data=FOUR_KB), "t is stored as type 77"),
    "part of a block": (
        gguf(infos=[tensor_info("t", [33, 2], 8, 0)], data=FOUR_KB),
        "needs a multiple of 32",
    ),
    "quantized vector": (
        gguf(infos=[tensor_info("t", [32], 8, 0)], data=FOUR_KB),
        "vector t is stored as Q8_0",
    ),
    "misaligned": (gguf(infos=[tensor_info("t", [32], 0, 4)], data=FOUR_KB), "t lies at offset 4"),
    "past the end": (gguf(infos=ONE, data=b"\0" * 127), "t ends at byte 192, but the file has 191"),
    "far past the end": (gguf(infos=[tensor_info("t", [HUGE, HUGE], 0, 0)], data=FOUR_KB), "t ends at byte"),
    "offset past the end": (gguf(infos=[tensor_info("t", [32], 0, HUGE)], data=FOUR_KB), "t ends at byte"),
    "overlap": (gguf(infos=[*ONE, tensor_info("u", [32], 0, 96)], data=FOUR_KB), "tensors t and u overlap"),
    "same tensor twice": (
        gguf(infos=[*ONE, tensor_info("t", [32], 0, 128)], data=FOUR_KB),
        "t appears twice",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_by_name_and_reason(case: str, tmp_path: pathlib.Path) -> None:
    data, complaint = BROKEN[case]
    path = write(tmp_path, data)
    with pytest.raises(ModelFileError) as caught:
        GGUFFile.open(path)
    assert str(path) in str(caught.value)
    assert complaint in str(caught.value)


def test_missing_and_empty_files(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ModelFileError, match="no such file"):
        GGUFFile.open(tmp_path / "none.gguf")
    with pytest.raises(ModelFileError, match="empty"):
        GGUFFile.open(write(tmp_path, b""))


def test_strings_that_are_not_text_are_refused_when_read(tmp_path: pathlib.Path) -> None:
    file = GGUFFile.open(
        write(tmp_path, gguf({"a": value(STRING, b"\xff"), "b": array(STRING, ["x", b"\xff"])}))
    )
    with pytest.raises(ModelFileError, match="a is not UTF-8"):
        file.metadata["a"]
    with pytest.raises(ModelFileError, match="string 1 of b is not UTF-8"):
        file.metadata["b"]


SMALL = gguf(
    {"general.alignment": value(U32, 64), "a": array(STRING, ["x", "yz"]), "b": array(U32, [1, 2])},
    [tensor_info("t", [32, 2], 8, 0), tensor_info("u", [8], 0, 128)],
    b"\0" * 160,
    alignment=64,
)


def open_and_read(path: pathlib.Path) -> None:
    """Every value and every tensor of a file that opens can be read."""
    file = GGUFFile.open(path)
    for key in file.metadata:
        file.metadata[key]
    for tensor in file.tensors.values():
        assert tensor.num_bytes <= path.stat().st_size
        expand_to_f32(tensor)


def test_a_file_cut_anywhere_is_refused(tmp_path: pathlib.Path) -> None:
    open_and_read(write(tmp_path, SMALL))
    for length in range(1, len(SMALL)):
        with pytest.raises(ModelFileError):
            GGUFFile.open(write(tmp_path, SMALL[:length]))


@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(SMALL)
    for position, byte in changes:
        data[position] = byte
    path = write(tmp_path_factory.mktemp("damaged"), bytes(data))
    try:
        open_and_read(path)
    except ModelFileError as error:
        assert str(path) in str(error)


@pytest.mark.full
def test_the_built_in_model_reads_as_the_reference_reader_reads_it() -> None:
    path = resolve("default", Environment.read().home)
    expected = oracle.GGUFReader(path)
    file = GGUFFile.open(path)
    for key, field in expected.fields.items():
        if not key.startswith("GGUF."):
            found = file.metadata[key]
            assert (found.tolist() if isinstance(found, np.ndarray) else found) == field.contents()
    assert list(file.tensors) == [tensor.name for tensor in expected.tensors]
    for tensor in expected.tensors:
        found = file.tensors[tensor.name]
        assert found.data.tobytes() == tensor.data.tobytes()
        if tensor.tensor_type in (Q8_0, oracle.GGMLQuantizationType.Q4_1):
            values = oracle.quants.dequantize(tensor.data, tensor.tensor_type)
            assert np.array_equal(expand_to_f32(found), values)


def test_strings_of_an_array_are_found_without_decoding_it(tmp_path: pathlib.Path) -> None:
    disguised = b"x" + string("end") + b"\xff"  # holds what a string looks like, and is not UTF-8
    words = [disguised, "", "begin", "end", "ende", disguised]
    metadata = {"words": array(STRING, words), "numbers": array(U32, [3]), "word": value(STRING, "end")}
    with GGUFFile.open(write(tmp_path, gguf(metadata))) as file:
        assert file.metadata.string_indices("words", ["end", "begin", "none"]) == {"begin": 2, "end": 3}
        assert file.metadata.string_indices("words", [""]) == {"": 1}
        assert file.metadata.string_indices("words", ["none"]) == {}
        for key in ("numbers", "word", "none"):
            assert file.metadata.string_indices(key, ["end"]) == {}

"""A second start maps what the first has packed, with the same bits; whatever is wrong costs only time."""

import dataclasses
import os
import pathlib
import re
import threading

import numpy as np
import pytest

from octavo.backends.cpu.backend import CpuBackend
from octavo.backends.cpu.packed_weights import PackedWeights
from octavo.core.errors import ModelFileError
from octavo.engine.model_files import Model, open_model
from octavo.engine.weight_loading import LoadedWeights, load_weights, rounding_notices
from octavo.models.loading import part_shapes
from octavo.models.lowering import lower
from octavo.weights.checkpoint import Checkpoint
from octavo.weights.formats import TensorFormat
from octavo.weights.mapped_file import MappedFile
from octavo.weights.repacked import RepackedFiles
from tests.backends.cpu.test_backend import ISAS, assert_same, run
from tests.backends.tiny import FEW_FORMATS, LIMITS, NUM_BLOCKS, SANDWICH, random_tensors
from tests.weights.test_mapped_file import resident_kib

BF16 = (TensorFormat.BF16,)


def model_of(folder: pathlib.Path, formats: tuple[TensorFormat, ...] = FEW_FORMATS, seed: int = 1) -> Model:
    """A tiny model whose tensors say that they lie in a file."""
    path = folder / "tiny.weights"
    if not path.exists():
        path.write_bytes(b"anything")
    program = lower(SANDWICH)
    tensors = random_tensors(program, seed, formats)
    file = MappedFile(path)
    parts = {part: dataclasses.replace(tensor, file=file) for part, tensor in tensors.items()}
    checkpoint = Checkpoint(str(path), parts, part_shapes(program))
    return Model("tiny", path, SANDWICH, program, checkpoint, frozenset(), (b"text",))


@pytest.fixture
def files(tmp_path: pathlib.Path) -> RepackedFiles:
    return RepackedFiles(tmp_path / "repacked", minimum=0)


def load(model: Model, files: RepackedFiles) -> tuple[LoadedWeights, list[str]]:
    laps: list[str] = []
    return load_weights(model, files, 2, laps.append), laps


@pytest.mark.parametrize("formats", [FEW_FORMATS, BF16], ids=["quantized", "bf16"])
def test_kept_weights_compute_the_same_bits(
    formats: tuple[TensorFormat, ...], tmp_path: pathlib.Path, files: RepackedFiles
) -> None:
    model = model_of(tmp_path, formats)
    first, laps = load(model, files)
    assert laps == ["pack weights", "fingerprint", "keep weights"]
    second, laps = load(model, files)
    assert laps == ["map weights"]
    assert first.fingerprint == second.fingerprint == model.fingerprint()
    program, parts = model.program, model.checkpoint.parts
    np.testing.assert_array_equal(second.packed.data, PackedWeights(program, parts).data)
    for isa in ISAS:
        fresh = CpuBackend(program, parts, LIMITS, NUM_BLOCKS, num_threads=2, isa=isa)
        kept = CpuBackend(
            program, {}, LIMITS, NUM_BLOCKS, num_threads=2, isa=isa, weights=second.packed
        )  # not a tensor is needed
        assert_same(run(kept, program, 3), run(fresh, program, 3))


def test_a_real_model_is_kept_whole(smollm2_path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    model, files = open_model(smollm2_path), RepackedFiles(tmp_path)
    _, laps = load(model, files)
    assert laps[-1] == "keep weights"
    again, laps = load(open_model(smollm2_path), files)
    assert laps == ["map weights"]
    assert again.fingerprint == model.fingerprint()
    np.testing.assert_array_equal(
        again.packed.data, PackedWeights(model.program, model.checkpoint.parts, 2).data
    )


def test_another_model_file_program_or_text_is_another_key(
    tmp_path: pathlib.Path, files: RepackedFiles
) -> None:
    model = model_of(tmp_path)
    load(model, files)
    softer = lower(dataclasses.replace(SANDWICH, norm_offset=2.0))
    for changed in (
        model_of(tmp_path, BF16),
        dataclasses.replace(model, text_fields=(b"other text",)),
        dataclasses.replace(model, program=softer),
        dataclasses.replace(model, architecture=dataclasses.replace(SANDWICH, max_position=699)),
    ):
        assert load(changed, files)[1][0] == "pack weights"
    os.utime(model.path, ns=(0, model.path.stat().st_mtime_ns + 1))
    assert load(model_of(tmp_path), files)[1][0] == "pack weights"


def test_a_file_that_is_replaced_is_packed_anew(tmp_path: pathlib.Path, files: RepackedFiles) -> None:
    first, _ = load(model_of(tmp_path, seed=1), files)
    replacement = tmp_path / "new"
    replacement.write_bytes(b"anything")
    replacement.replace(tmp_path / "tiny.weights")
    second, laps = load(model_of(tmp_path, seed=2), files)
    assert laps[0] == "pack weights"
    assert first.fingerprint != second.fingerprint


def test_a_damaged_file_is_packed_anew_and_replaced(tmp_path: pathlib.Path, files: RepackedFiles) -> None:
    model = model_of(tmp_path)
    first, _ = load(model, files)
    path = files.files()[0].path
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.unlink()  # the first still has it mapped
    path.write_bytes(whole)
    second, laps = load(model, files)
    assert laps[0] == "pack weights"
    np.testing.assert_array_equal(first.packed.data, second.packed.data)
    assert load(model, files)[1] == ["map weights"]


def test_no_place_to_keep_them_is_a_notice(tmp_path: pathlib.Path) -> None:
    (tmp_path / "home").touch()
    loaded, laps = load(model_of(tmp_path), RepackedFiles(tmp_path / "home", minimum=0))
    assert laps == ["pack weights", "fingerprint"]
    [notice] = loaded.notices
    assert str(tmp_path / "home") in notice and notice.endswith("every start packs them: File exists")


def test_small_models_are_not_kept(tmp_path: pathlib.Path) -> None:
    loaded, laps = load(model_of(tmp_path), RepackedFiles(tmp_path / "repacked"))
    assert laps == ["pack weights", "fingerprint"] and loaded.notices == ()
    assert not (tmp_path / "repacked").exists()


def test_a_model_that_is_refused_leaves_nothing(tmp_path: pathlib.Path, files: RepackedFiles) -> None:
    model = model_of(tmp_path)
    model.checkpoint.parts["final_norm"].data[:] = 0xFF
    with pytest.raises(ModelFileError, match="NaN"):
        load(model, files)
    assert files.files() == []


def test_rounding_is_told_of_matrices_that_are_stored_more_exactly(tmp_path: pathlib.Path) -> None:
    """Vectors are F32 here, and stay so."""
    assert rounding_notices(model_of(tmp_path, BF16)) == ()
    assert rounding_notices(model_of(tmp_path, (TensorFormat.Q8_0,))) == ()
    [notice] = rounding_notices(model_of(tmp_path, (TensorFormat.F16, TensorFormat.F32, TensorFormat.BF16)))
    assert re.search(r"^\d+ F32 and \d+ F16 matrices are rounded to bf16$", notice)
    whole = model_of(tmp_path, (TensorFormat.F16,))
    matrices = {part for weight in whole.program.weights if not weight.is_vector for part, _ in weight.parts}
    assert rounding_notices(whole) == (f"{len(matrices)} F16 matrices are rounded to bf16",)


def test_after_a_start_no_page_of_the_model_s_file_is_resident(
    tmp_path: pathlib.Path, files: RepackedFiles
) -> None:
    path = tmp_path / "tiny.weights"
    path.write_bytes(bytes(1 << 20))
    model = model_of(tmp_path)
    [file] = model.checkpoint.files
    assert len(bytes(file.mapping)) == 1 << 20 and resident_kib(path) == 1 << 10
    load(model, files)
    assert resident_kib(path) == 0


def test_two_engines_that_start_together_are_both_right(tmp_path: pathlib.Path, files: RepackedFiles) -> None:
    model = model_of(tmp_path)
    expected = PackedWeights(model.program, model.checkpoint.parts).data
    both = threading.Barrier(2)
    found = []

    def start() -> None:
        mine = model_of(tmp_path)
        both.wait()
        found.append(np.array_equal(load(mine, files)[0].packed.data, expected))

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True, True]
    assert len(list(files.folder.iterdir())) == 1

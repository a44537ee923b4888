"""From a model's files to packed weights and fingerprint: those an earlier start has kept, if they are there.

A kept file is found by what its bytes depend on: the identity of the model's files, of which little is read,
the program, the layout of the panels, and all else that enters the fingerprint.
Whatever is wrong with keeping costs time, and says so in a notice; it never keeps an engine from starting.
"""

import collections
import dataclasses
from collections.abc import Callable

from octavo.backends.cpu.packed_weights import PackedWeights, layout_identity, packed_bytes
from octavo.engine.model_files import Model
from octavo.weights.formats import TensorFormat
from octavo.weights.repacked import Repacked, RepackedFiles, repacked_key

_ROUNDED = (TensorFormat.F32, TensorFormat.F16)


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedWeights:
    packed: PackedWeights
    fingerprint: str
    notices: tuple[str, ...] = ()


def load_weights(
    model: Model, files: RepackedFiles, num_threads: int, lap: Callable[[str], None]
) -> LoadedWeights:
    """lap is called with the name of each phase as it ends. Raises ModelFileError as PackedWeights does."""
    program, parts = model.program, model.checkpoint.parts
    num_bytes = sum(packed_bytes(weight, parts) for weight in program.weights)
    if not files.is_worthwhile(num_bytes) or not model.checkpoint.files:
        return _pack(model, num_threads, lap)
    key = _key(model)
    kept = files.find(key, num_bytes)
    if kept is not None:
        lap("map weights")
        return _mapped(model, kept)
    packed = _pack(model, num_threads, lap)
    try:
        files.keep(key, packed.packed.data, fingerprint=packed.fingerprint, source=model.path.resolve())
    except OSError as error:
        reason = error.strerror or str(error)
        notice = f"packed weights are not kept in {files.folder}, so every start packs them: {reason}"
        return dataclasses.replace(packed, notices=(notice,))
    kept = files.find(key, num_bytes)
    if kept is not None:  # the next start reads no weights of the model
        model.checkpoint.drop_pages(is_read_again=False)
        packed = _mapped(model, kept)
    lap("keep weights")
    return packed


def rounding_notices(model: Model) -> tuple[str, ...]:
    """A sentence when the model's files are more exact than what is computed with."""
    names = (part for weight in model.program.weights if not weight.is_vector for part, _ in weight.parts)
    formats = collections.Counter(model.checkpoint.parts[name].format for name in dict.fromkeys(names))
    counts = [f"{formats[format]} {format.label}" for format in _ROUNDED if formats[format]]
    return (f"{' and '.join(counts)} matrices are rounded to bf16",) if counts else ()


def _key(model: Model) -> str:
    identities = [file.identity().encode() for file in model.checkpoint.files]
    layout = layout_identity(model.program, model.checkpoint.parts)
    return repacked_key([*layout, *identities, *model.fingerprint_context])


def _mapped(model: Model, kept: Repacked) -> LoadedWeights:
    packed = PackedWeights(model.program, model.checkpoint.parts, packed=kept.data)
    return LoadedWeights(packed, kept.fingerprint)


def _pack(model: Model, num_threads: int, lap: Callable[[str], None]) -> LoadedWeights:
    packed = PackedWeights(model.program, model.checkpoint.parts, num_threads)
    lap("pack weights")
    fingerprint = model.fingerprint()
    lap("fingerprint")
    model.checkpoint.drop_pages(is_read_again=True)
    return LoadedWeights(packed, fingerprint)

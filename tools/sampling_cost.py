"""What it costs to choose a token from a row of logits: CPU time by parameters and instruction set.

python -m tools.sampling_cost --vocabulary 151936 --repeats 60
Microseconds. Rows have 2,000 tokens above a normal tail, as those of a model do; `flat` is normal noise, as
no row of a model is.
"""

import argparse
import ctypes
import functools
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from octavo import SamplingParams
from octavo.backends.cpu.library import load_library

F32 = NDArray[np.float32]
U32 = NDArray[np.uint32]
SEED, BRANCH = 7, 0
ROWS = 20  # in one call


class AdjustArgs(ctypes.Structure):
    """kernels.h. As it is here, it changes nothing."""

    _fields_ = (
        ("lists", ctypes.c_void_p * 3),
        ("list_sizes", ctypes.c_int32 * 3),
        ("penalties", ctypes.c_float * 3),
        ("allowed", ctypes.c_void_p * 2),
    )


class SampleArgs(ctypes.Structure):
    """kernels.h"""

    _fields_ = (
        ("logits", ctypes.c_void_p),
        ("vocab_size", ctypes.c_int32),
        ("temperature", ctypes.c_float),
        ("top_k", ctypes.c_int32),
        ("top_p", ctypes.c_double),
        ("min_p", ctypes.c_float),
        ("seed", ctypes.c_uint64),
        ("branch", ctypes.c_int64),
        ("position", ctypes.c_int64),
        ("adjust", AdjustArgs),
    )


class ScoreArgs(ctypes.Structure):
    """kernels.h"""

    _fields_ = (
        ("logits", ctypes.c_void_p),
        ("vocab_size", ctypes.c_int32),
        ("token", ctypes.c_int32),
        ("num_top", ctypes.c_int32),
        ("logprob", ctypes.c_void_p),
        ("rank", ctypes.c_void_p),
        ("top_ids", ctypes.c_void_p),
        ("top_logprobs", ctypes.c_void_p),
    )


@functools.cache
def library() -> ctypes.CDLL:
    loaded = load_library()
    loaded.octavo_test_isa.restype = ctypes.c_char_p
    loaded.octavo_test_sample.restype = ctypes.c_int32
    loaded.octavo_test_sample.argtypes = (
        ctypes.c_char_p,
        ctypes.POINTER(SampleArgs),
        ctypes.c_int32,
        ctypes.c_void_p,
    )
    loaded.octavo_test_score.restype = ctypes.c_int32
    loaded.octavo_test_score.argtypes = (ctypes.c_char_p, ctypes.POINTER(ScoreArgs))
    return loaded


def available_isas() -> Iterator[str]:
    index = 0
    while name := library().octavo_test_isa(index):
        yield name.decode()
        index += 1


def sample(
    isa: str, logits: F32, sampling: SamplingParams, num_positions: int, mask: U32 | None = None
) -> list[int]:
    """The tokens that one build of the kernel chooses from a row [vocab] at positions 0, 1, ...

    mask: uint32 [vocab / 32, rounded up], bits of the tokens that are allowed, or all are.
    """
    tokens = np.empty(num_positions, np.int32)
    args = SampleArgs(
        logits.ctypes.data,
        len(logits),
        sampling.temperature,
        sampling.top_k,
        sampling.top_p,
        sampling.min_p,
        SEED,
        BRANCH,
        0,
    )
    if mask is not None:
        args.adjust.allowed[0] = mask.ctypes.data
    if library().octavo_test_sample(isa.encode(), ctypes.byref(args), num_positions, tokens.ctypes.data):
        raise RuntimeError(f"this processor cannot run {isa}")
    return [int(token) for token in tokens]


def score(isa: str, logits: F32, token: int, num_top: int) -> tuple[float, int, list[int], list[float]]:
    """Log probability and rank of a token, ids and log probabilities of the num_top most probable ones."""
    logprob, rank = np.empty(1, np.float32), np.empty(1, np.int32)
    top_ids, top_logprobs = np.empty(num_top, np.int32), np.empty(num_top, np.float32)
    args = ScoreArgs(
        logits.ctypes.data,
        len(logits),
        token,
        num_top,
        *(array.ctypes.data for array in (logprob, rank, top_ids, top_logprobs)),
    )
    if library().octavo_test_score(isa.encode(), ctypes.byref(args)):
        raise RuntimeError(f"{isa} cannot run here, or the row is not finite")
    return float(logprob[0]), int(rank[0]), top_ids.tolist(), top_logprobs.tolist()


def peaked(size: int) -> F32:
    random = np.random.default_rng(1)
    logits = random.normal(0, 1, size)
    likely = random.choice(size, 2000, replace=False)
    logits[likely] += 8 + random.exponential(2, 2000)
    return logits.astype(np.float32)


def flat(size: int) -> F32:
    return np.random.default_rng(2).normal(0, 1, size).astype(np.float32)


PARAMETERS: tuple[tuple[str, Callable[[int], F32], SamplingParams], ...] = (
    ("greedy", peaked, SamplingParams(temperature=0)),
    ("temperature", peaked, SamplingParams(temperature=0.8)),
    ("temperature, flat", flat, SamplingParams(temperature=0.8)),
    ("top-k 50", peaked, SamplingParams(temperature=0.8, top_k=50)),
    ("top-k 50, top-p 0.9", peaked, SamplingParams(temperature=0.8, top_k=50, top_p=0.9)),
    ("top-p 0.9", peaked, SamplingParams(temperature=0.8, top_p=0.9)),
    ("top-p 0.9, flat", flat, SamplingParams(temperature=0.8, top_p=0.9)),
    ("top-p 0.9, min-p 0.05, flat", flat, SamplingParams(temperature=0.8, top_p=0.9, min_p=0.05)),
    ("min-p 0.05", peaked, SamplingParams(temperature=0.8, min_p=0.05)),
    ("min-p 0.05, flat", flat, SamplingParams(temperature=0.8, min_p=0.05)),
)


def least_microseconds(call: Callable[[str], object], isas: list[str], repeats: int) -> list[float]:
    """For each build."""
    least = []
    for isa in isas:
        seconds = []
        for _ in range(repeats):
            start = time.thread_time()
            call(isa)
            seconds.append(time.thread_time() - start)
        least.append(min(seconds) * 1e6)
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=151_936, help="logits in the row")
    parser.add_argument("--repeats", type=int, default=60, help="of which the least is printed")
    parser.add_argument("--isa", nargs="*", help="builds of the kernels (default: all that can run here)")
    options = parser.parse_args()
    isas = options.isa or list(available_isas())
    print(f"{'':30}" + "".join(f"{isa:>14}" for isa in isas))
    for name, row, sampling in PARAMETERS:
        call = functools.partial(
            sample, logits=row(options.vocabulary), sampling=sampling, num_positions=ROWS
        )
        costs = least_microseconds(call, isas, options.repeats)
        print(f"{name:30}" + "".join(f"{cost / ROWS:14.0f}" for cost in costs))
    call = functools.partial(score, logits=peaked(options.vocabulary), token=5, num_top=20)
    costs = least_microseconds(call, isas, options.repeats)
    print(f"{'log probabilities, 20 best':30}" + "".join(f"{cost:14.0f}" for cost in costs))


if __name__ == "__main__":
    main()

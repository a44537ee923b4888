"""Values of options: whole numbers are whole."""

import dataclasses
from typing import Annotated

import cyclopts
import pytest
from cyclopts import Parameter
from cyclopts.exceptions import CoercionError

from octavo.cli.conversion import convert


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    port: int = 1
    threads: int | None = None
    share: float = 1.0
    is_on: bool = False
    names: tuple[str, ...] = ()


def parse(*arguments: str) -> Options:
    app = cyclopts.App(
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        default_parameter=Parameter(converter=convert),
    )

    @app.default
    def run(*, options: Annotated[Options, Parameter(name="*")] = Options()) -> Options:
        return options

    found = app(list(arguments))
    assert isinstance(found, Options)
    return found


def test_values_are_taken_as_they_are() -> None:
    typed = ("--port", "8000", "--threads=-2", "--share", "1e-3", "--is-on", "--names", "a", "--names", "b")
    assert parse(*typed) == Options(8000, -2, 0.001, True, ("a", "b"))


@pytest.mark.parametrize(
    "typed",
    [("--port", "many"), ("--port", ""), ("--threads", "1.5"), ("--port", "1e3"), ("--share", "half")],
)
def test_what_is_no_number_is_refused(typed: tuple[str, ...]) -> None:
    with pytest.raises(CoercionError) as caught:
        parse(*typed)
    assert caught.value.token is not None and caught.value.token.keyword == typed[0]

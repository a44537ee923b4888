"""octavo keeps its own rules (rules.py): on every file here, and each rule refuses a small offender."""

import pathlib
import re
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests import rules
from tests.rules import Complaints, Source

Rule = Callable[[Source], Complaints]

ANY_FILE = [rules.file_length]
ANY_PYTHON = [rules.function_length, rules.class_names]
PACKAGE_PYTHON = [
    rules.import_matrix,
    rules.imports_at_top,
    rules.no_type_checking,
    rules.no_global,
    rules.no_module_state,
    rules.no_class_state,
    rules.tables_are_constant,
    rules.environment_in_config,
    rules.no_code_from_data,
]


def assert_none(found: list[str]) -> None:
    assert not found, "\n" + "\n".join(found)


def apply(rule: Rule, files: tuple[Source, ...]) -> list[str]:
    return [f"{source.path}:{line}: {text}" for source in files for line, text in rule(source)]


@pytest.mark.parametrize("rule", ANY_FILE + ANY_PYTHON)
@pytest.mark.parametrize("folder", ["src", "tests", "tools"])
def test_every_python_file_keeps(rule: Rule, folder: str) -> None:
    assert_none(apply(rule, rules.sources(folder, ".py")))


@pytest.mark.parametrize("rule", PACKAGE_PYTHON)
def test_the_package_keeps(rule: Rule) -> None:
    assert_none(apply(rule, rules.sources("src", ".py")))


def test_native_files_are_short_and_read_no_environment() -> None:
    files = rules.sources("src", ".cpp", ".h")
    assert_none(apply(rules.file_length, files))
    assert_none([f"{source.path} reads the environment" for source in files if "getenv" in source.text])


def test_imports_form_no_cycle() -> None:
    assert rules.import_cycle(rules.sources("src", ".py")) == []


def test_every_file_with_behaviour_has_its_test_file() -> None:
    tested = {source.path for source in rules.sources("tests", ".py") if rules.has_test(source)}
    expected = {
        rules.expected_test_file(source): source
        for source in rules.sources("src", ".py")
        if rules.has_behaviour(source)
    }
    assert_none([f"{expected[path].path}: no tests in {path}" for path in sorted(expected.keys() - tested)])


def tracked_texts() -> Iterator[tuple[str, str]]:
    """(path, text) of every file git tracks or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=rules.ROOT, capture_output=True, text=True, check=True).stdout
    for name in listing.split("\0"):
        path = rules.ROOT / name
        if path.is_file() and b"\0" not in (data := path.read_bytes()):
            yield name, data.decode()


def test_no_tracked_file_names_a_private_place() -> None:
    texts = tracked_texts()
    assert_none(
        [f"{name}:{line}: {place}" for name, text in texts for line, place in rules.private_places(text)]
    )


# The rules applied to small offenders, and to what looks like one


def source_of(text: str, path: str = "src/octavo/kv/sample.py") -> Source:
    return Source(pathlib.PurePosixPath(path), text)


def complaints(rule: Rule, text: str, path: str = "src/octavo/kv/sample.py") -> list[tuple[int, str]]:
    return list(rule(source_of(text, path)))


LONG_BODY = "    x = 1\n" * rules.MAX_FUNCTION_LINES


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (rules.file_length, "x = 1\n" * 501),
        (rules.function_length, "def f():\n" + LONG_BODY),
        (rules.function_length, "class A:\n  async def f(self):\n" + LONG_BODY),
        (rules.class_names, "class RetryMixin: ..."),
        (rules.class_names, "class StringUtils: ..."),
        (rules.class_names, "class TestHelper: ..."),
        (rules.class_names, "class SessionManager: ..."),
        (rules.import_matrix, "import octavo.scheduler.scheduler"),
        (rules.import_matrix, "from octavo.scheduler import scheduler"),
        (rules.import_matrix, "from octavo import engine"),
        (rules.import_matrix, "from octavo.corex import step"),
        (rules.import_matrix, "from . import block_pool"),
        (rules.imports_at_top, "def f():\n    import numpy"),
        (rules.imports_at_top, "def f():\n    from octavo.core import step"),
        (rules.imports_at_top, "try:\n    import numpy\nexcept ImportError:\n    pass"),
        (rules.imports_at_top, "import importlib\nstep = importlib.import_module('octavo.core.step')"),
        (rules.no_type_checking, "from typing import TYPE_CHECKING"),
        (rules.no_type_checking, "import typing\nif typing.TYPE_CHECKING:\n    pass"),
        (rules.no_global, "x = 1\ndef f():\n    global x"),
        (rules.no_module_state, "cache = {}"),
        (rules.no_module_state, "CACHE: list[int] = []"),
        (rules.no_module_state, "import collections\nif True:\n    CACHE = collections.defaultdict(int)"),
        (rules.no_module_state, "try:\n    pass\nexcept ValueError:\n    seen = set()"),
        (rules.no_class_state, "class A:\n    seen: set[int] = set()"),
        (rules.no_class_state, "class A:\n    TABLE = {1: 2}"),
        (rules.tables_are_constant, "TABLE = {1: 2}\ndef f():\n    TABLE[1] = 3"),
        (rules.tables_are_constant, "TABLE = {1: 2}\ndef f():\n    del TABLE[1]"),
        (rules.tables_are_constant, "TABLE = {1: 2}\nTABLE |= {3: 4}"),
        (rules.tables_are_constant, "from octavo.models.ops import TABLE\nTABLE.update(a=1)"),
        (rules.environment_in_config, "import os\nos.environ['HOME']"),
        (rules.environment_in_config, "from os import getenv"),
        (rules.no_code_from_data, "import pickle"),
        (rules.no_code_from_data, "from cloudpickle import loads"),
        (rules.no_code_from_data, "eval('1')"),
        (rules.no_code_from_data, "import torch\ntorch.load('x')"),
        (rules.no_code_from_data, "import subprocess\nsubprocess.run('ls', shell=True)"),
        (rules.no_code_from_data, "import numpy as np\nnp.load('x', allow_pickle=True)"),
    ],
)
def test_rule_refuses(rule: Rule, text: str) -> None:
    assert complaints(rule, text)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (rules.file_length, "x = 1\n" * 500),
        (rules.function_length, "def f():\n" + LONG_BODY[:-10]),
        (rules.class_names, "class KVManager: ..."),
        (rules.import_matrix, "import numpy\nimport octavo.core\nfrom octavo.kv.block_pool import BlockPool"),
        (rules.import_matrix, "from octavo import __version__"),
        (rules.imports_at_top, "import numpy\nfrom octavo.core import step"),
        (
            rules.no_module_state,
            "A = (1, 2)\nB = {1: 2}\n_C = {i: i for i in A}\n__all__ = ['A']\nd = frozenset({1})",
        ),
        (rules.no_module_state, "def f():\n    found = []\n    return found"),
        (
            rules.no_class_state,
            "import dataclasses\nclass A:\n    b: list[int] = dataclasses.field(default_factory=list)",
        ),
        (rules.no_code_from_data, "import re, yaml\nre.compile('x')\nyaml.safe_load('x')"),
        (rules.tables_are_constant, "TABLE = {1: 2}\ndef f(M):\n    M[0] = TABLE[1]\n    M.update(TABLE)"),
    ],
)
def test_rule_allows(rule: Rule, text: str) -> None:
    assert not complaints(rule, text)


def test_import_matrix_knows_every_level() -> None:
    assert complaints(rules.import_matrix, "", "src/octavo/things/sample.py")
    assert complaints(rules.import_matrix, "from octavo.backends import cpu", "src/octavo/bench/sample.py")
    assert not complaints(
        rules.import_matrix, "from octavo.backends import sim", "src/octavo/bench/sample.py"
    )
    assert not complaints(rules.import_matrix, "from octavo.bench import load", "src/octavo/cli/sample.py")


def test_the_import_matrix_is_the_one_that_is_documented() -> None:
    text = (rules.ROOT / "docs" / "architecture.md").read_text()
    table = text.partition("| package | may import |\n|---|---|\n")[2].partition("\n\n")[0]
    documented: dict[str, set[str]] = {}
    anything: set[str] = set()
    for row in table.splitlines():
        packages, imports = (re.findall(r"`([\w.]+)`", cell) for cell in row.strip("|").split("|"))
        if row.endswith("| anything |"):
            anything.update(packages)
        elif row.endswith("| everything above |"):
            imports = list(documented)
        documented |= {"" if name == "octavo" else name: set(imports) for name in packages}
    assert anything == set(rules.MAY_IMPORT_ANYTHING)
    allowed = {name: set(imports) for name, imports in rules.MAY_IMPORT.items()}
    assert documented == allowed | {name: set() for name in anything}


def test_the_root_may_load_its_api_on_demand() -> None:
    text = "def __getattr__(name):\n    from octavo.engine.llm import LLM"
    assert not complaints(rules.imports_at_top, text, "src/octavo/__init__.py")
    assert not complaints(rules.import_matrix, text, "src/octavo/__init__.py")


def test_config_has_few_variables() -> None:
    lines = [f"os.environ['OCTAVO_{letter}']" for letter in "ABCDEF"]
    assert complaints(rules.environment_in_config, "\n".join(lines), "src/octavo/config.py")
    assert not complaints(rules.environment_in_config, "\n".join(lines[:-1]), "src/octavo/config.py")


def test_a_cycle_is_found() -> None:
    one = source_of("from octavo.kv.two import f", "src/octavo/kv/one.py")
    two = source_of("import octavo.kv.one", "src/octavo/kv/two.py")
    assert set(rules.import_cycle((one, two))) == {"octavo.kv.one", "octavo.kv.two"}
    assert rules.import_cycle((one,)) == []


def test_behaviour_and_its_test_are_found() -> None:
    assert not rules.has_behaviour(
        source_of("class A:\n    x: int = 1\n    def f(self):\n        return [self.x]")
    )
    assert rules.has_behaviour(source_of("def f(x):\n    return 1 if x else 2"))
    assert rules.has_behaviour(source_of("def f(x):\n    return [y for y in x if y]"))
    assert str(rules.expected_test_file(source_of("", "src/octavo/__init__.py"))) == "tests/test_init.py"
    assert str(rules.expected_test_file(source_of(""))) == "tests/kv/test_sample.py"
    assert rules.has_test(source_of("async def test_it(): ..."))
    assert not rules.has_test(source_of("def check(): ..."))


@pytest.mark.parametrize("place", rules.PRIVATE_PLACES)
def test_a_private_place_is_found(place: str) -> None:
    assert list(rules.private_places(f"first line\nsee https://{place}"))
    assert not list(rules.private_places("self.library.run(); work and shared"))

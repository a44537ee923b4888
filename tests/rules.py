"""The rules of octavo's code, over its syntax trees; test_architecture.py applies them.

A rule is a function from a Source to the (line, complaint) pairs it finds there.
"""

import ast
import dataclasses
import functools
import graphlib
import pathlib
import re
import tomllib
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent

MAX_FILE_LINES = {".py": 500, ".cpp": 600, ".h": 600}
MAX_FUNCTION_LINES = 60
MAX_VARIABLES = 5  # OCTAVO_* in the environment

# Package (or module) of octavo -> what it may import besides itself. docs/architecture.md says why.
BELOW_ENGINE = {
    "core": [],
    "config": ["core"],
    "metrics": ["core"],
    "text": ["core", "config"],
    "models": ["core", "config"],
    "weights": ["core", "config"],
    "kv": ["core"],
    "scheduler": ["core", "kv", "text"],
    "decoding": ["core", "kv", "text"],
    "backends": ["core", "models", "weights"],
}
MAY_IMPORT = {
    **BELOW_ENGINE,
    "engine": list(BELOW_ENGINE),
    "http": ["core"],
    "server": ["engine", "text", "core", "metrics", "config", "http"],
    "router": ["core", "text", "metrics", "config", "http"],
    "bench": ["core", "engine", "backends.sim"],
    "planner": ["core", "engine", "backends.sim"],
    "__main__": ["cli"],
    "": ["core", "engine"],  # octavo/__init__.py: what `from octavo import ...` offers
}
MAY_IMPORT_ANYTHING = ("fleet", "cli")

CODE_FROM_DATA = ("pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "diskcache")
CODE_CALLS = (
    "eval",
    "exec",
    "compile",
    "yaml.load",
    "yaml.unsafe_load",
    "torch.load",
    "os.system",
    "os.popen",
)

MUTABLE_TYPES = ("list", "dict", "set", "bytearray", "defaultdict", "deque", "OrderedDict", "Counter")
MUTABLE_LITERALS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
DICT_MUTATORS = ("clear", "pop", "popitem", "setdefault", "update")

Complaints = Iterator[tuple[int, str]]


@dataclasses.dataclass(frozen=True)
class Source:
    """One file of the repository; path is relative to its root."""

    path: pathlib.PurePosixPath
    text: str

    @functools.cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @functools.cached_property
    def module(self) -> str:
        """src/octavo/kv/manager.py -> octavo.kv.manager"""
        parts = self.path.relative_to("src").with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def package(self) -> str:
        """octavo.kv.manager -> kv"""
        return self.module.removeprefix("octavo").lstrip(".").partition(".")[0]

    def nodes(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))


@functools.cache
def sources(folder: str, *suffixes: str) -> tuple[Source, ...]:
    paths = sorted(path for path in (ROOT / folder).rglob("*") if path.suffix in suffixes)
    return tuple(Source(pathlib.PurePosixPath(path.relative_to(ROOT)), path.read_text()) for path in paths)


# Rules on any file


def file_length(source: Source) -> Complaints:
    limit, length = MAX_FILE_LINES[source.path.suffix], len(source.text.splitlines())
    if length > limit:
        yield limit, f"the file has {length} lines; at most {limit}"


def function_length(source: Source) -> Complaints:
    for node in source.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        length = node.end_lineno - node.lineno + 1
        if length > MAX_FUNCTION_LINES:
            yield node.lineno, f"{node.name} has {length} lines; at most {MAX_FUNCTION_LINES}"


def class_names(source: Source) -> Complaints:
    for node in source.nodes(ast.ClassDef):
        if re.search(r"(Mixin|Helpers?|Utils?)$", node.name):
            yield node.lineno, f"{node.name}: name it for what it is"
        if node.name.endswith("Manager") and node.name != "KVManager":
            yield node.lineno, f"{node.name}: the only manager is KVManager"


# Rules on imports in src


def imports_of(node: ast.AST) -> list[str]:
    """The dotted names of an import statement: `from octavo.kv import manager` -> octavo.kv.manager."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
    return []


def import_matrix(source: Source) -> Complaints:
    if source.package in MAY_IMPORT_ANYTHING:
        return
    if source.package not in MAY_IMPORT:
        yield 1, f"package {source.package} is not in the import matrix"
        return
    allowed = [*MAY_IMPORT[source.package], source.package, "__version__"]
    for node in source.nodes(ast.Import, ast.ImportFrom):
        for name in imports_of(node):
            is_ours = name.split(".")[0] == "octavo"
            if name.startswith("."):
                yield node.lineno, f"{name}: write imports of our own in full"
            elif is_ours and not any(f"{name}.".startswith(f"octavo.{prefix}.") for prefix in allowed):
                yield node.lineno, f"{source.package or 'octavo'} may not import {name}"


def imports_at_top(source: Source) -> Complaints:
    """Only an optional extra may be imported later; and `octavo` itself loads its API on demand."""
    at_top = set(source.tree.body)
    for node in source.nodes(ast.Import, ast.ImportFrom):
        for name in imports_of(node):
            is_lazy_api = source.module == "octavo" and name.startswith("octavo.")
            if node not in at_top and name.split(".")[0] not in optional_packages() and not is_lazy_api:
                yield node.lineno, f"import {name} at the top of the file"
    for node in source.nodes(ast.Name, ast.Attribute):
        if source.module != "octavo" and identifier(node) in ("import_module", "__import__"):
            yield node.lineno, "imports are statements at the top of the file"


def no_type_checking(source: Source) -> Complaints:
    for node in source.nodes(ast.Name, ast.Attribute, ast.alias):
        if identifier(node) == "TYPE_CHECKING":
            yield node.lineno, "an import for types only hides a cycle: TYPE_CHECKING"


@functools.cache
def optional_packages() -> frozenset[str]:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    requirements = [
        line for extra, lines in extras.items() if extra not in ("test", "lint") for line in lines
    ]
    return frozenset(re.match(r"[\w.-]+", line)[0].replace("-", "_").lower() for line in requirements)


def import_cycle(modules: tuple[Source, ...]) -> list[str]:
    """A cycle among the modules' imports, or []."""
    known = {source.module for source in modules}
    graph = {
        source.module: {
            name if name in known else name.rpartition(".")[0]
            for node in source.tree.body
            for name in imports_of(node)
        }
        for source in modules
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


# Rules on state and environment in src


def identifier(node: ast.AST | None) -> str:
    """The last name of a name, a dotted name, or an imported name; else ""."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
            return name
    return ""


def is_mutable(value: ast.expr | None) -> bool:
    return isinstance(value, MUTABLE_LITERALS) or (
        isinstance(value, ast.Call) and identifier(value.func) in MUTABLE_TYPES
    )


def is_table(name: str, value: ast.expr | None) -> bool:
    """A constant mapping: an UPPER_CASE dict. `tables_are_constant` sees to it that nobody writes to it."""
    is_dict = isinstance(value, ast.Dict | ast.DictComp)
    return is_dict and re.fullmatch(r"_?[A-Z][A-Z0-9_]*", name) is not None


def assignments(body: list[ast.stmt]) -> Iterator[tuple[int, str, ast.expr | None]]:
    """(line, name, value) of what a module or class body assigns, in its ifs, loops and tries too."""
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((node.lineno, identifier(target), node.value) for target in targets)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for block in ("body", "orelse", "finalbody", "handlers", "cases"):
                yield from assignments(getattr(node, block, []))


def no_global(source: Source) -> Complaints:
    for node in source.nodes(ast.Global):
        yield node.lineno, f"global {', '.join(node.names)}"


def no_module_state(source: Source) -> Complaints:
    for line, name, value in assignments(source.tree.body):
        if is_mutable(value) and not is_table(name, value) and name != "__all__":
            yield line, f"{name} is mutable: a tuple, a frozenset, an UPPER_CASE dict, or an object's own"


def no_class_state(source: Source) -> Complaints:
    for node in source.nodes(ast.ClassDef):
        for line, name, value in assignments(node.body):
            if is_mutable(value):
                yield line, f"{node.name}.{name} is mutable and shared by all instances"


def tables_are_constant(source: Source) -> Complaints:
    tables = {name for _, name, value in assignments(source.tree.body) if is_table(name, value)}
    tables |= {
        name.rpartition(".")[2]
        for node in source.nodes(ast.ImportFrom)
        for name in imports_of(node)
        if name.startswith("octavo.") and name.rpartition(".")[2].isupper()
    }
    for node in source.nodes(ast.Subscript, ast.Call, ast.AugAssign):
        match node:
            case ast.Subscript(value=table, ctx=ast.Store() | ast.Del()):
                pass
            case ast.Call(func=ast.Attribute(value=table, attr=method)) if method in DICT_MUTATORS:
                pass
            case ast.AugAssign(target=table):
                pass
            case _:
                continue
        if identifier(table) in tables:
            yield node.lineno, f"{identifier(table)} is a constant"


def environment_in_config(source: Source) -> Complaints:
    if source.module == "octavo.config":
        names = {node.value for node in source.nodes(ast.Constant) if isinstance(node.value, str)}
        variables = sorted(name for name in names if re.fullmatch(r"OCTAVO_[A-Z_]+", name))
        if len(variables) > MAX_VARIABLES:
            yield 1, f"{', '.join(variables)}: at most {MAX_VARIABLES} variables"
        return
    for node in source.nodes(ast.Name, ast.Attribute, ast.alias):
        if identifier(node) in ("environ", "environb", "getenv", "putenv"):
            yield node.lineno, "the environment is read in config.py only"


# Rules on what may become code


def no_code_from_data(source: Source) -> Complaints:
    """Nothing that is read from a file or a socket can be run: there is nothing that could run it."""
    for node in source.nodes(ast.Import, ast.ImportFrom):
        for name in imports_of(node):
            if name.split(".")[0] in CODE_FROM_DATA:
                yield node.lineno, f"{name} runs what it reads"
    for node in source.nodes(ast.Call):
        name = ast.unparse(node.func)
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        is_unsafe_option = options.get("shell") == "True" or options.get("allow_pickle") == "True"
        if name in CODE_CALLS or is_unsafe_option:
            yield node.lineno, f"{name} runs what it is given"


# Rules on tests and on the repository as a whole


def has_behaviour(source: Source) -> bool:
    """A branch, a loop, a try or a filter; without any, there is nothing for a test of its own to find."""
    kinds = (ast.If, ast.IfExp, ast.Match, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar)
    return any(source.nodes(*kinds)) or any(node.ifs for node in source.nodes(ast.comprehension))


def expected_test_file(source: Source) -> pathlib.PurePosixPath:
    """src/octavo/kv/manager.py -> tests/kv/test_manager.py; __init__.py -> test_init.py"""
    return "tests" / source.path.relative_to("src/octavo").with_name(f"test_{source.path.stem.strip('_')}.py")


def has_test(source: Source) -> bool:
    named = {node.name for node in source.nodes(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)}
    named |= {name for _, name, _ in assignments(source.tree.body)}  # TestPool = PoolMachine.TestCase
    return any(name.startswith(("test_", "Test")) for name in named)


# What only makes sense on one developer's machine; written in halves, so that this file passes too.
PRIVATE_PLACES = tuple(
    "".join(halves)
    for halves in (
        ("/wo", "rk/"),
        ("../sha", "red"),
        ("/.lib", "rary"),
        ("/opt/", "wheels"),
        ("py", "pi.org"),
        ("pythonho", "sted.org"),
        ("npm", "js.org"),
        ("deb.deb", "ian.org"),
        ("download.pyt", "orch.org"),
    )
)


def private_places(text: str) -> Complaints:
    for number, line in enumerate(text.splitlines(), start=1):
        yield from ((number, f"names {place}") for place in PRIVATE_PLACES if place in line)

"""`python -m tests.engine.hostile_run FOLDER SEED COUNT`: opens hostile models in bounded memory.

Prints how many were opened and how many refused. What is not a ModelFileError ends it, and so does a model
that takes too long, and whatever a model file must not cause: an audit hook watches.
"""

import pathlib
import resource
import signal
import sys
from typing import Any

from octavo.core.errors import ModelFileError
from octavo.engine.model_files import open_model, open_text
from tests.engine.hostile_corpus import corpus

MEMORY_BYTES = 2 << 30  # of address space, libraries included
SECONDS_PER_MODEL = 20
FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "socket.", "pickle.")


class Watch:
    """Ends the process at what a model file must not cause: code of its own, or reaching outside its folder.

    (A first use may import more of what is installed.)
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.is_armed = False
        self._readable = (str(folder), sys.prefix, sys.base_prefix)
        sys.addaudithook(self._see)

    def _see(self, event: str, args: tuple[Any, ...]) -> None:
        if self.is_armed and self._is_bad(event, args):
            self.is_armed = False
            raise SystemExit(f"a model file caused {event}: {str(args)[:200]}")

    def _is_bad(self, event: str, args: tuple[Any, ...]) -> bool:
        match event:
            case "open":
                return isinstance(args[0], str) and not args[0].startswith(self._readable)
            case "import":
                root = args[0].partition(".")[0]
                return root not in sys.stdlib_module_names and root not in sys.modules
            case "exec":
                return not (args[0].co_filename.startswith(self._readable[1:]) or self._is_jinja())
            case "compile":
                return not (str(args[1]).startswith(self._readable[1:]) or self._is_jinja())
        return event.startswith(FORBIDDEN)

    def _is_jinja(self) -> bool:
        """Jinja compiles a template to code, which its sandbox runs, and its errors to tracebacks."""
        frame = sys._getframe()
        while frame is not None and frame.f_code.co_filename == __file__:
            frame = frame.f_back
        return frame is not None and frame.f_code.co_filename.rpartition("/")[0].endswith("/jinja2")


def main(folder: pathlib.Path, seed: int, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    opened = refused = 0
    watch = Watch(folder)
    for i, path in enumerate(corpus(_made(folder / "corpus"), seed, count)):
        signal.alarm(SECONDS_PER_MODEL)
        watch.is_armed = True
        try:
            results = _open_all(path)
        except BaseException as error:
            raise SystemExit(f"case {i} of seed {seed}: {error!r}") from error
        finally:
            watch.is_armed = False
        opened, refused = opened + sum(results), refused + len(results) - sum(results)
    signal.alarm(0)
    print(opened, refused)


def _open_all(path: pathlib.Path) -> list[bool]:
    results = []
    for open_it in (open_model, open_text):
        try:
            open_it(path)
            results.append(True)
        except ModelFileError as error:
            assert str(path.parent) in str(error), error
            results.append(False)
    return results


def _made(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

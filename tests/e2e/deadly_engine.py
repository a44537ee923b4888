"""The real engine on the built-in model, as a process; a request whose prompt holds KILLER aborts it."""

from octavo.backends.cpu.backend import CpuBackend
from octavo.engine import loader
from octavo.engine.process import main
from tests.engine.deadly import DeadlyBackend

KILLER = 40_000

if __name__ == "__main__":
    loader.CpuBackend = lambda *arguments, **options: DeadlyBackend(CpuBackend(*arguments, **options), KILLER)
    main(loader.load_engine)

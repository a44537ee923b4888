"""The real engine on the built-in model, as a process; a request whose prompt holds KILLER aborts it."""

from octavo.backends.cpu.backend import CpuBackend
from octavo.engine import loader
from octavo.engine.process import main
from tests.engine.deadly import DeadlyBackend

KILLER = 40_000


class DeadlyCpuBackend(DeadlyBackend):
    def __init__(self, *arguments: object, **options: object) -> None:
        inner = CpuBackend(*arguments, **options)  # type: ignore[arg-type]
        super().__init__(inner, KILLER)
        self.touch_ahead = inner.touch_ahead


if __name__ == "__main__":
    loader.CpuBackend = DeadlyCpuBackend
    main(loader.load_engine)

"""The real engine on the built-in model, as a process; a request whose prompt holds KILLER aborts it."""

import os
import resource

from octavo.backends.cpu.backend import CpuBackend
from octavo.core.step import StepInput, Ticket
from octavo.engine import loader
from octavo.engine.process import main

KILLER = 40_000


class DeadlyBackend(CpuBackend):
    """Dies in every step that computes a deadly request, not only in its first."""

    def submit(self, step: StepInput) -> Ticket:
        for admission in step.admitted:
            is_deadly = KILLER in admission.token_ids[: admission.prompt_length]
            (DEADLY_SLOTS.add if is_deadly else DEADLY_SLOTS.discard)(admission.slot)
        if DEADLY_SLOTS.intersection(step.slot.tolist()):
            os.abort()
        return super().submit(step)


DEADLY_SLOTS: set[int] = set()

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    loader.CpuBackend = DeadlyBackend
    main(loader.load_engine)

"""octavo, as it is installed here."""

import dataclasses
import sys
from collections.abc import Sequence

from octavo.bench.peers.peer import Command, Place, Serving

SERVE = "import sys; from octavo.cli.main import main; sys.exit(main())"


@dataclasses.dataclass(frozen=True, slots=True)
class Octavo:
    name: str = "octavo"
    facts: str = "this installation; --num-speculative-tokens 0, else default settings"
    needs_checkpoint: bool = False
    options: tuple[str, ...] = ()  # of `octavo serve`
    ready_path: str = "/readyz"
    environment_name: str = ""  # none of its own

    def install(self, place: Place) -> Sequence[Command]:
        return ()

    def start(self, place: Place, serving: Serving) -> Command:
        model = serving.checkpoint if self.needs_checkpoint else serving.gguf
        options = (
            *("--port", str(serving.port), "--threads", str(serving.threads)),
            *("--num-speculative-tokens", "0"),  # answers to random prompts repeat more than others do
            *self.options,
        )
        return Command((sys.executable, "-c", SERVE, "serve", str(model), *options))

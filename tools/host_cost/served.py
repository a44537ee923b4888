"""`octavo serve` with an engine whose forward pass takes no time (free_engine.py).

python -m tools.host_cost.served STEP_SECONDS [OPTIONS OF octavo serve]
"""

import functools
import sys
from types import SimpleNamespace
from unittest.mock import patch

from octavo.cli.main import main
from octavo.engine.supervisor import EngineSupervisor
from octavo.server import boot

if __name__ == "__main__":
    command = (sys.executable, "-m", "tools.host_cost.free_engine", sys.argv.pop(1))
    start = functools.partial(EngineSupervisor.start, command=command)
    sys.argv.insert(1, "serve")
    with patch.object(boot, "EngineSupervisor", SimpleNamespace(start=start)):
        sys.exit(main())

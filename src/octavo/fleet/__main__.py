"""`python -m octavo.fleet PARENT-PID COMMAND...`: an octavo command that does not outlive its supervisor."""

import sys

from octavo.cli.main import main
from octavo.engine.parent import die_with_parent

if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))

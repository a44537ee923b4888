"""`python -m octavo`: the `octavo` command of this Python."""

import sys

from octavo.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())

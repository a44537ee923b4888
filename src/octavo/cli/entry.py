"""Where the `octavo` command begins: it can be interrupted while all else is still being imported."""

import pkgutil

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main() -> int:
    """Run `octavo` with the process's arguments and return its exit code."""
    try:
        exit_code: int = pkgutil.resolve_name("octavo.cli.main:main")()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return exit_code

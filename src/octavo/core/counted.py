"""A number of things, in words."""


def counted(count: int, noun: str) -> str:
    """Like "1 thread" and "2 threads"; noun has the usual plural."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

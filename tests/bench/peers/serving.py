import pathlib

from octavo.bench.peers.peer import Place, Serving

PLACE = Place(pathlib.Path("/place"))
SERVING = Serving(
    gguf=pathlib.Path("/m.gguf"),
    checkpoint=pathlib.Path("/m"),
    port=4242,
    threads=2,
    max_concurrency=64,
    max_tokens=256,
)


def option(arguments: tuple[str, ...], flag: str) -> str:
    """The value behind a flag."""
    return arguments[arguments.index(flag) + 1]

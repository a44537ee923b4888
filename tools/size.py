"""`make size`: files and lines per folder. Lines are a cost; this is the bill."""

import pathlib
from collections import defaultdict
from collections.abc import Iterable

ROOT = pathlib.Path(__file__).resolve().parent.parent
CODE = (".py", ".cpp", ".h")


def main() -> None:
    package = ROOT / "src" / "octavo"
    print_section("code", package, package.rglob("*"), CODE)
    print_section("tests", ROOT / "tests", (ROOT / "tests").rglob("*"), CODE)
    print_section("docs", ROOT, [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*")], (".md",))


def print_section(
    title: str, base: pathlib.Path, paths: Iterable[pathlib.Path], suffixes: tuple[str, ...]
) -> None:
    """One line for the section and one per folder, at most two levels below base."""
    lengths: dict[str, list[int]] = defaultdict(list)
    for path in paths:
        if path.suffix in suffixes:
            folder = "/".join(path.relative_to(base).parent.parts[:2]) or "."
            lengths[folder].append(len(path.read_text().splitlines()))
    print_row(title, [length for folder in lengths.values() for length in folder])
    for folder in sorted(lengths):
        print_row(f"  {folder}", lengths[folder])


def print_row(name: str, lengths: list[int]) -> None:
    print(f"{name:<24}{len(lengths):>5} files {sum(lengths):>7} lines")


if __name__ == "__main__":
    main()

"""The options of `octavo bench serve`."""

from collections.abc import Callable

import pytest

from octavo.cli.bench_serve import rates_of
from octavo.core.errors import StartError


@pytest.mark.parametrize(
    ("arguments", "complaint_text"),
    [
        (("--workload", "rand"), "--workload is 'rand'; allowed: random, shared-prefix, multi-turn, trace."),
        (("--api", "soap"), "--api is 'soap'; allowed: completions, chat."),
        (("--arrivals", "late"), "--arrivals is 'late'; allowed: poisson, even."),
        (("--rate", "1", "--concurrency", "1"), "--rate and --concurrency exclude each other."),
        (("--workload", "trace"), "--workload trace and --trace FILE go together."),
        (("--trace", "x.jsonl"), "--workload trace and --trace FILE go together."),
        (("--num-requests", "0"), "--num-requests is 0; it must be above 0."),
        (("--timeout", "-1"), "--timeout is -1.0; it must be above 0."),
        (("--target-ttft", "0"), "--target-ttft is 0.0; it must be above 0."),
        (
            ("--concurrency", "0"),
            "--concurrency is '0'; allowed: numbers above 0, separated by commas, like 1,8,32.",
        ),
        (("--rate", "x"), "--rate is 'x'; allowed: numbers above 0, separated by commas, like 0.5,1,2."),
        (("--html", "/nowhere/x.html"), "--html /nowhere/x.html cannot be written; is its folder there?"),
        (("--json", "/"), "--json / is a folder; allowed: a file."),
        (("--turns", "0"), "--turns is 0; it must be above 0."),
        (
            ("--input-tokens", "9-3"),
            "--input-tokens is '9-3'; allowed: a number above 0, or a range like 100-1024.",
        ),
        (("--base-url", "ftp://x"), "--base-url is 'ftp://x'; allowed: one like http://127.0.0.1:8000."),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_sent(
    arguments: tuple[str, ...], complaint_text: str, complaint: Callable[..., str]
) -> None:
    assert complaint("serve", *arguments, command="bench") == f"octavo: {complaint_text}"


def test_rates() -> None:
    assert rates_of("0.5,2,10") == (0.5, 2.0, 10.0)


@pytest.mark.parametrize("text", ["", "0", "-1", "1,,2", "x", "1e3", "0.0"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(StartError, match=r"--rate is .* numbers above 0, separated by commas"):
        rates_of(text)

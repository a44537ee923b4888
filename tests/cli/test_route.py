"""`octavo route`: flags, production-stack's spellings, and one sentence for what is wrong with them."""

from collections.abc import Callable

import pytest

from octavo.cli import main as cli
from octavo.cli.route import split
from octavo.config import RouterConfig
from octavo.router.options import RouteOptions

Route = Callable[..., RouterConfig]


@pytest.fixture
def route(monkeypatch: pytest.MonkeyPatch) -> Route:
    given: list[RouteOptions] = []

    def run_router(options: RouteOptions) -> int:
        given.append(options)
        return 7

    monkeypatch.setattr("pkgutil.resolve_name", lambda name: run_router)

    def run(*arguments: str) -> RouterConfig:
        assert cli.main(["route", *arguments]) == 7
        return given.pop().router

    return run


def test_endpoints_are_arguments_with_sane_defaults(route: Route) -> None:
    config = route("http://a:1", "http://b:2")
    assert (config.endpoints, config.policy) == (("http://a:1", "http://b:2"), "cost")


def test_flags_reach_their_options(route: Route) -> None:
    config = route(
        "http://a:1", "--policy", "session", "--session-key", "x-user", "--port", "81",
        "--drain-seconds", "2",
        "--inter-token-seconds", "3", "--static-aliases", "nick:real", "--static-aliases", "b:c",
    )  # fmt: skip
    assert (config.policy, config.session_key, config.port) == ("session", "x-user", 81)
    assert (config.drain_seconds, config.inter_token_seconds) == (2, 3)
    assert config.static_aliases == ("nick:real", "b:c")


def test_production_stacks_spellings_are_understood(route: Route) -> None:
    config = route(
        "--static-backends", "http://a:1,http://b:2", "--static-models", "m,n",
        "--routing-logic", "roundrobin",
    )  # fmt: skip
    assert (config.endpoints, config.static_models) == (("http://a:1", "http://b:2"), ("m", "n"))
    assert config.policy == "round-robin"
    assert route("--static-backends", "http://a:1", "--routing-logic", "prefixaware").policy == "prefix"
    config = route("http://a:1", "--model-policies", "m=cost,a=b=least-load", "--model-policies", "n=prefix")
    assert config.policies_by_model == {"m": "cost", "a=b": "least-load", "n": "prefix"}
    assert not config.compat_metrics and route("http://a:1", "--compat-metrics").compat_metrics


@pytest.mark.parametrize(
    ("arguments", "expected"),
    (
        ((), "Name at least one endpoint"),
        (("http://a:1", "--policy", "luck"), "--policy is 'luck'; allowed: round-robin, least-load"),
        (("http://a:1", "--policy", "session"), "needs --session-key"),
        (("http://a:1", "--static-models", "a,b"), "names 2 models for 1 endpoints"),
        (("http://a:1", "--model-policies", "a=luck"), "--model-policies is 'a=luck'; allowed: model=policy"),
        (("http://a:1", "--model-policies", "cost"), "--model-policies is 'cost'; allowed: model=policy"),
        (("http://a:1", "--model-policies", "a=session"), "needs --session-key"),
        (
            ("http://a:1", "--model-policies", "a=prefix", "--static-aliases", "a:b"),
            "--model-policies: 'a' is an alias; name the models",
        ),
        (("http://a:1", "--static-aliases", "a"), "--static-aliases is 'a'; allowed: alias:model"),
        (("http://a:1", "--static-aliases", "a:b=0"), "--static-aliases: no model has a share of 'a'."),
        (
            ("http://a:1", "--failover-mismatch", "no"),
            "--failover-mismatch is 'no'; allowed: error, continue.",
        ),
        (
            ("http://a:1", "--waiting-room-seconds", "-1"),
            "--waiting-room-seconds is -1.0; allowed: 0 or more.",
        ),
        (
            ("http://a:1", "--max-num-queued-requests", "0"),
            "--max-num-queued-requests is 0; allowed: 1 or more.",
        ),
        (("http://a:1", "--connect-seconds", "0"), "--connect-seconds is 0; allowed: above 0."),
        (("http://a:1", "--port", "-1"), "--port is -1"),
    ),
    ids=lambda value: str(value)[-30:],
)
def test_a_faulty_flag_is_one_sentence(
    complaint: Callable[..., str], arguments: tuple[str, ...], expected: str
) -> None:
    assert expected in complaint(*arguments, command="route")


def test_lists_may_be_separated_by_commas() -> None:
    assert split(("a, b", "c,")) == ("a", "b", "c")


def test_an_alias_has_shares_and_a_model_any_name() -> None:
    config = RouterConfig(endpoints=("u",), static_aliases=("c:x:1b=90", "c:y=0.5", "n:org/m=x", "d:y"))
    assert config.aliases == {"c": {"x:1b": 90.0, "y": 0.5}, "n": {"org/m=x": 1.0}, "d": {"y": 1.0}}

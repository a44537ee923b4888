"""A machine divided: cores and memory to replicas, options to processes."""

import pathlib

import pytest

from octavo.cli import main as cli
from octavo.config import GIB
from octavo.core.errors import StartError
from octavo.fleet.plan import FleetPlan, Machine, plan_fleet
from octavo.fleet.values import FleetValues, ModelValues, RouterValues

ROUTER = RouterValues()
MACHINE = Machine(cores=5, free_memory=32 * GIB)


def plan(*models: ModelValues, machine: Machine = MACHINE, router: RouterValues = ROUTER) -> FleetPlan:
    return plan_fleet(FleetValues(models, router), machine)


def test_cores_and_memory_are_divided() -> None:
    replicas = plan(ModelValues(replicas=2)).replicas
    assert [(replica.name, replica.threads) for replica in replicas] == [("r0", 3), ("r1", 2)]
    assert {replica.kv_cache_memory for replica in replicas} == {4 * GIB}
    assert {r.kv_cache_memory for r in plan(ModelValues(replicas=4)).replicas} == {2 * GIB}


def test_nobody_computes_on_less_than_a_core_and_it_is_said() -> None:
    crowded = plan(ModelValues(replicas=4), machine=Machine(2, GIB))
    assert [replica.threads for replica in crowded.replicas] == [1] * 4
    assert crowded.lines()[-1] == "warning 4 threads on 2 cores: replicas wait for each other"
    assert crowded.lines()[-2] == "r0-r3   smollm2-135m-instruct, 1 thread, KV cache 64.0 MiB each"
    assert not any("warning" in line for line in plan(ModelValues(replicas=5)).lines())


def test_what_is_given_is_taken() -> None:
    given = ModelValues(replicas=2, threads=4, kv_cache_memory=100, max_threads=1)
    assert [(r.threads, r.kv_cache_memory) for r in plan(given).replicas] == [(4, 100)] * 2
    assert [r.threads for r in plan(ModelValues(max_threads=2)).replicas] == [2]


def test_the_commands_say_it_all() -> None:
    router = RouterValues(port=81, policy="session", session_key="x-user", api_key_file=pathlib.Path("keys"))
    made = plan(ModelValues(served_names=("a", "b"), max_model_len=64), router=router)
    (replica,) = made.replicas
    assert replica.arguments(pathlib.Path("m.gguf"), 9, router) == [
        "serve", "m.gguf", "--host=127.0.0.1", "--port=9", "--threads=5", f"--kv-cache-memory={4 * GIB}",
        "--max-model-len=64", "--api-key-file=keys", "--drain-seconds=30.0",
        "--served-model-name=a", "--served-model-name=b",
    ]  # fmt: skip
    assert made.router_arguments(81, ["http://x:9"]) == [
        "route", "http://x:9", "--host=127.0.0.1", "--port=81", "--policy=session", "--session-key=x-user",
        "--api-key-file=keys", "--drain-seconds=30.0", "--inter-token-seconds=30.0",
        "--health-interval-seconds=0.5",
    ]  # fmt: skip


def test_a_cache_of_int8_is_passed_on_and_shown() -> None:
    made = plan(ModelValues("m.gguf", kv_dtype="int8"))
    assert "--kv-dtype=int8" in made.replicas[0].arguments(pathlib.Path("m.gguf"), 9, ROUTER)
    assert made.lines()[-1].endswith("KV cache 4.0 GiB of int8")
    with pytest.raises(StartError, match="--kv-dtype is 'fp8'"):
        plan(ModelValues(kv_dtype="fp8"))


def test_activations_of_int8_are_passed_on_and_shown() -> None:
    made = plan(ModelValues("m.gguf", activation_dtype="int8"))
    assert "--activation-dtype=int8" in made.replicas[0].arguments(pathlib.Path("m.gguf"), 9, ROUTER)
    assert made.lines()[-1].endswith("activations int8")
    with pytest.raises(StartError, match="--activation-dtype is 'int4'"):
        plan(ModelValues(activation_dtype="int4"))


def test_a_model_under_another_name_is_shown_with_its_own() -> None:
    assert plan(ModelValues("m.gguf", 1, ("chat", "m"))).replicas[0].description.startswith("chat (m), ")
    assert plan(ModelValues("m.gguf", 1, ("m",))).replicas[0].description.startswith("m, ")


def test_of_several_models_the_first_is_the_default() -> None:
    made = plan(ModelValues("x.gguf", 2, ("x", "y")), ModelValues("z.gguf"))
    assert made.router_arguments(1, ["u", "v", "w"])[-5:] == [
        "--static-models=x", "--static-models=x", "--static-models=z",
        "--static-aliases=default:x", "--static-aliases=y:x",
    ]  # fmt: skip


def test_aliases_and_their_shares_are_the_routers() -> None:
    router = RouterValues(waiting_room_seconds=9.0, aliases=(("chat", "x", 90), ("chat", "z", 9.5)))
    made = plan(ModelValues("x.gguf"), ModelValues("z.gguf"), router=router)
    arguments = made.router_arguments(1, ["u", "v"])
    assert "--waiting-room-seconds=9.0" in arguments
    assert arguments[-3:] == [
        "--static-aliases=default:x", "--static-aliases=chat:x=90", "--static-aliases=chat:z=9.5",
    ]  # fmt: skip
    router = RouterValues(aliases=(("default", "z", 1),))
    made = plan(ModelValues("x.gguf"), ModelValues("z.gguf"), router=router)
    assert made.router_arguments(1, ["u", "v"])[-1:] == ["--static-aliases=default:z=1"]
    with pytest.raises(StartError, match=r"router.aliases.default names z; there are: x"):
        plan(ModelValues("x.gguf"), router=router)


def test_the_router_is_told_of_models_with_policies_of_their_own() -> None:
    model = ModelValues("x.gguf", 1, ("x", "y"), policy="prefix")
    made = plan(model)  # whose replicas tell what it is called
    assert made.router_arguments(1, ["u"])[-3:] == [
        "--model-policies=default=prefix", "--model-policies=x=prefix", "--model-policies=y=prefix",
    ]  # fmt: skip
    assert made.replicas[0].description.endswith(", policy prefix")
    assert plan(model, ModelValues("z.gguf")).router_arguments(1, ["u", "v"])[-3:] == [
        "--static-aliases=default:x", "--static-aliases=y:x", "--model-policies=x=prefix",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("models", "aliases"),
    [
        ([ModelValues("x.gguf", 2, ("x", "y"), policy="prefix")], [("nick", "x", 1)]),
        ([ModelValues("x.gguf", 2, ("x", "y"), policy="prefix", starts_on_first_request=True)], []),
        ([ModelValues("x.gguf", policy="prefix"), ModelValues("z.gguf", policy="least-load")], []),
        (
            [ModelValues("x.gguf", policy="prefix", num_standbys=1), ModelValues("z.gguf")],
            [("x", "x", 90), ("x", "z", 10), ("default", "z", 1)],
        ),
        ([ModelValues("x.gguf", policy="prefix"), ModelValues("z.gguf")], [("x", "z", 1)]),
    ],
)
def test_a_router_starts_with_what_it_is_told(
    models: list[ModelValues], aliases: list[tuple[str, str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(*models, router=RouterValues(aliases=tuple(aliases)))
    monkeypatch.setattr("pkgutil.resolve_name", lambda name: lambda options: 7)
    urls = [f"http://127.0.0.1:{number}" for number in range(1, len(made.replicas) + 1)]
    assert cli.main(made.router_arguments(81, urls)) == 7


def test_a_standby_takes_memory_and_no_cores_and_comes_last() -> None:
    made = plan(ModelValues("x.gguf", 2, num_standbys=1), ModelValues("z.gguf"))
    assert [(r.model_name, r.threads, r.is_standby) for r in made.replicas] == [
        ("x", 2, False), ("x", 2, False), ("z", 1, False), ("x", 1, True),
    ]  # fmt: skip
    assert {replica.kv_cache_memory for replica in made.replicas} == {2 * GIB}
    assert made.lines()[-1] == "r3      x, 1 thread, KV cache 2.0 GiB, standby"
    arguments = made.router_arguments(1, ["u", "v", "w", "s"])
    assert arguments[:4] == ["route", "u", "v", "w"] and "--standby-endpoints=s" in arguments
    assert arguments[-5:-1] == [f"--static-models={name}" for name in "xxzx"]


def test_the_router_is_told_whose_requests_may_wait() -> None:
    model = ModelValues("x.gguf", starts_on_first_request=True, idle_seconds=90.0)
    made = plan(model, router=RouterValues(start_seconds=9.0))
    arguments = made.router_arguments(1, ["u"])
    assert "--start-seconds=9.0" in arguments
    assert arguments[-3:] == ["--on-demand-models=x", "--static-models=x", "--static-aliases=default:x"]
    assert made.lines()[1].endswith(", starts on the first request, sleeps after 90 s without a request")


def test_an_option_that_an_engine_would_refuse_is_refused_at_once() -> None:
    with pytest.raises(StartError, match="--max-num-batched-tokens is 512; allowed: --max-num-seqs"):
        plan(ModelValues(max_num_seqs=600))
    assert "one replica, no failover" in plan(ModelValues()).lines()[0]
    assert plan(ModelValues(), router=RouterValues(is_enabled=False)).lines()[0].startswith("r0")

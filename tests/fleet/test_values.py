"""The Helm chart's values: what they make of a fleet, what is listed without effect, what is a mistake."""

import pathlib
import re

import pytest

from octavo.core.errors import StartError
from octavo.fleet.values import FleetValues, ModelValues, RouterValues, read_values

CHART = """\
replicaCount: 4
model: {name: smollm2-135m-instruct, tensorParallelism: 4}
resources: {limits: {nvidia.com/gpu: 4}}
router: {enabled: true, prefixAwareRouting: true}
observability: {prometheus: true, grafana: true}
"""


def read(folder: pathlib.Path, text: str) -> FleetValues:
    path = folder / "values.yaml"
    path.write_text(text)
    return read_values(path)


def test_the_charts_values_pass_and_what_has_no_effect_is_listed(tmp_path: pathlib.Path) -> None:
    values = read(tmp_path, CHART)
    assert (values.models, values.router) == ((ModelValues(replicas=4),), RouterValues())
    starts = [line.split(":")[:2] for line in values.not_honoured]
    assert starts == [
        ["line 2", " model.tensorParallelism"],
        ["line 3", " resources.limits.nvidia.com/gpu"],
        ["line 5", " observability.grafana"],
    ]


@pytest.mark.parametrize("number", [0, 1])
def test_what_the_documentation_shows_is_valid(tmp_path: pathlib.Path, number: int) -> None:
    page = pathlib.Path(__file__).parents[2] / "docs" / "fleet.md"
    examples = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(examples) == 2
    assert read(tmp_path, examples[number]).not_honoured == ()


def test_an_empty_file_is_one_replica_of_the_built_in_model(tmp_path: pathlib.Path) -> None:
    assert read(tmp_path, "") == FleetValues()


def test_every_field_arrives(tmp_path: pathlib.Path) -> None:
    values = read(
        tmp_path,
        """
models:
- {name: a.gguf, replicas: 2, servedName: [a, b], maxModelLen: 512, maxNumSeqs: 8, kvCacheMemory: 1Gi}
- {name: c.gguf, kvDtype: int8, activationDtype: int8, threads: 3, standby: 1, startOnFirstRequest: true,
   idleTimeout: 5m}
resources: {limits: {cpu: 2}}
router: {host: 0.0.0.0, port: 80, policy: session, sessionKey: x-user, apiKeyFile: keys,
         drainTimeout: 1m, interTokenTimeout: 5s, startTimeout: 9, waitingRoom: 7,
         aliases: {chat: {a: 90, c: 10}, nick: c}}
""",
    )
    assert values.models == (
        ModelValues("a.gguf", 2, ("a", "b"), 512, 8, 1 << 30, max_threads=2),
        ModelValues(
            "c.gguf",
            kv_dtype="int8",
            activation_dtype="int8",
            threads=3,
            max_threads=2,
            num_standbys=1,
            starts_on_first_request=True,
            idle_seconds=300.0,
        ),
    )
    assert values.router == RouterValues(
        True, "0.0.0.0", 80, "session", "x-user", pathlib.Path("keys"), 60.0, 5.0, 9.0, 7.0,
        (("chat", "a", 90), ("chat", "c", 10), ("nick", "c", 1)),
    )  # fmt: skip
    assert (values.num_regular_replicas, values.num_replicas, values.not_honoured) == (3, 4, ())


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("resources: {requests: {cpu: 1}}", "resources.requests.cpu"),
        ("resources: {limits: {memory: 1Gi}}", "resources.limits.memory"),
        ("observability: {prometheus: false}", "observability.prometheus"),
    ],
)
def test_what_one_machine_cannot_honour_is_listed(tmp_path: pathlib.Path, text: str, field: str) -> None:
    (line,) = read(tmp_path, text).not_honoured
    assert line.startswith(f"line 1: {field}: ")


def test_without_prefix_awareness_load_decides(tmp_path: pathlib.Path) -> None:
    assert read(tmp_path, "router: {prefixAwareRouting: false}").router.policy == "least-load"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("replicaCount: 0", "line 1: replicaCount is '0'; allowed: a whole number from 1 to 64."),
        ("\nmodel:\n  nmae: x", "line 3: model.nmae is not a field; did you mean name?"),
        ("model: {threds: 1}", "model.threds is not a field; did you mean threads?"),
        ("replicas: 2", "replicas is not a field; did you mean replicaCount?"),
        ("model: {name: x}\nmodels: [{name: y}]", "line 1: model is for a fleet of one model"),
        ("models: []", "models is empty."),
        ("models: [{name: x},\n {name: x}]", "line 2: models[1].name: x is served already."),
        ("router: {policy: luck}", "router.policy is 'luck'; allowed: round-robin"),
        ("router: {policy: session}", "sessionKey must name the header"),
        (
            "router:\n  prefixAwareRouting: true\n  policy: round-robin",
            "line 3: router.policy is round-robin",
        ),
        ("resources: {limit: {cpu: 1}}", "resources.limit is not a field; did you mean limits?"),
        ("resources: {limits: {cpu: half}}", "resources.limits.cpu is 'half'"),
        ("model: {standby: -1}", "model.standby is '-1'; allowed: a whole number from 0 to 64."),
        ("model: {idleTimeout: soon}", "model.idleTimeout is 'soon'; allowed: a time like 30s, 5m or 1h."),
        (
            "router: {enabled: false}\nmodel:\n  idleTimeout: 5m",
            "line 3: model.idleTimeout needs the router, which is not enabled.",
        ),
        ("router: {aliases: {chat: {a: many}}}", "router.aliases.chat must be a model, or models with"),
        ("router: {aliases: {chat: [a]}}", "router.aliases.chat must be a model, or models with"),
        ("router: {aliases: {chat: {a: 0}}}", "router.aliases.chat has no model with a share"),
        ("model: {name: a}\nrouter:\n  aliases: {chat: b}", "line 3: router.aliases.chat names b;"),
        ("model: {policy: luck}", "model.policy is 'luck'; allowed: round-robin"),
        ("model: {policy: session}", "model.policy is session; router.sessionKey must name the header"),
        ("model: {policy: cost}\nrouter: {enabled: false}", "line 1: model.policy needs the router"),
        ("model: {maxNumSeqs: 600}", "model.maxNumSeqs is '600'; allowed: a whole number from 1 to 512."),
        ("models: [{name: x.gguf}, {name: y/x.gguf}]", "line 1: models[1].name: x is served already."),
        ("observability: {jaeger: true}", "observability.jaeger is not a field"),
    ],
)
def test_a_mistake_is_named_by_line_and_field(tmp_path: pathlib.Path, text: str, complaint: str) -> None:
    with pytest.raises(StartError) as error:
        read(tmp_path, text)
    assert complaint in str(error.value)


def test_a_model_that_cannot_be_is_named_by_line_and_field(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("models:\n- {name: a}\n- {name: b}\n")
    with pytest.raises(StartError) as error:
        read_values(path, lambda name: None if name == "a" else f"There is no {name}.")
    assert str(error.value) == f"{path}, line 3: models[1].name is 'b': There is no b."

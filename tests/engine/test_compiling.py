"""Requests wait for their grammars: with a compiler that does as the test says, on the test's clock."""

import threading
from collections.abc import Iterator

import pytest

from octavo.core.errors import EngineError, InvalidRequestError, OctavoError
from octavo.core.grammar_spec import GrammarKind, GrammarSpec
from octavo.core.messages import Submit
from octavo.core.sampling_params import SamplingParams
from octavo.engine.compiling import MAX_THREADS, Compiling, Grammar, NoGrammars

PATIENCE = 10.0  # seconds, of a thread that hangs


class ToldCompiler(NoGrammars):
    """A grammar's text is its order: `hang` waits for release, `bad` is refused, `crash` is a defect."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.known: dict[GrammarSpec, str] = {}
        self.compiled: list[str] = []

    def find(self, spec: GrammarSpec) -> Grammar | None:
        return self.known.get(spec)  # type: ignore[return-value]

    def compile(self, spec: GrammarSpec) -> Grammar:
        self.compiled.append(spec.text)
        if "hang" in spec.text:
            self.released.wait(PATIENCE)
        if "bad" in spec.text:
            raise InvalidRequestError("bad grammar")
        if "crash" in spec.text:
            raise ZeroDivisionError
        self.known[spec] = f"grammar {spec.text}"
        return self.known[spec]  # type: ignore[return-value]


class Scene:
    def __init__(self) -> None:
        self.compiler = ToldCompiler()
        self.now = 0.0
        self.noted: dict[int, str] = {}  # by place, the request whose grammar is compiled there
        self.compiling = Compiling(self.compiler, note=self.noted.__setitem__, clock=lambda: self.now)
        self._count = 0

    def add(self, text: str, tenant: str = "") -> str:
        self._count += 1
        submit = Submit(f"{self._count}", [1], 1, SamplingParams(), seed=0, arrival=0.0, tenant=tenant)
        submit.grammar = GrammarSpec(GrammarKind.LARK, text)
        self.compiling.add(submit)
        return submit.request_id

    def take(self, count: int = 1) -> dict[str, object]:
        """Waits for so many; by request id, the grammar or the error."""
        taken: dict[str, object] = {}
        while len(taken) < count:
            self.compiling.wait(PATIENCE)
            taken |= self.take_now()
        return taken

    def take_now(self) -> dict[str, object]:
        return {
            submit.request_id: str(result) if isinstance(result, OctavoError) else result
            for submit, result in self.compiling.take()
        }

    def wait_for_threads(self, count: int) -> None:
        """Until no more than so many are left."""
        while self.compiling.num_threads > count:
            threading.Event().wait(0.001)


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.compiler.released.set()
    scene.wait_for_threads(0)


def test_a_request_comes_out_with_its_grammar(scene: Scene) -> None:
    request_id = scene.add("a")
    assert scene.compiling
    assert scene.take() == {request_id: "grammar a"}
    assert not scene.compiling


def test_a_known_grammar_needs_no_thread(scene: Scene) -> None:
    scene.add("a")
    scene.take()
    request_id = scene.add("a")
    assert scene.compiling and scene.compiling.num_threads == 0
    scene.compiling.wait(PATIENCE)  # returns at once
    assert scene.take_now() == {request_id: "grammar a"}


def test_requests_of_one_grammar_wait_for_one_compile(scene: Scene) -> None:
    ids = [scene.add("hang a") for _ in range(3)]
    assert scene.noted == {0: ids[0]}
    scene.compiler.released.set()
    assert scene.take(3) == dict.fromkeys(ids, "grammar hang a")
    assert scene.compiler.compiled == ["hang a"]


def test_what_is_wrong_is_the_requests_own(scene: Scene) -> None:
    bad, crash, good = scene.add("bad"), scene.add("crash"), scene.add("a")
    taken = scene.take(3)
    assert taken == {
        bad: "bad grammar",
        crash: "The grammar could not be compiled: ZeroDivisionError.",
        good: "grammar a",
    }


def test_a_grammar_that_takes_too_long_is_refused_and_its_thread_left_alone(scene: Scene) -> None:
    slow, other = scene.add("hang"), scene.add("a")
    assert scene.take() == {other: "grammar a"}
    scene.now = 5.0
    assert scene.take_now() == {} and scene.compiling
    scene.now = 5.1
    assert scene.take_now() == {slow: "The grammar takes more than 5 s to compile, the most allowed."}
    assert not scene.compiling
    assert scene.compiling.num_threads == 1 and scene.noted == {0: slow, 1: ""}
    scene.compiler.released.set()
    scene.wait_for_threads(0)
    assert scene.take_now() == {}


def test_threads_are_few_and_whoever_waits_too_long_for_one_is_told(scene: Scene) -> None:
    hanging = [scene.add(f"hang {number}") for number in range(MAX_THREADS)]
    waiting = scene.add("a")
    assert scene.compiling.num_threads == MAX_THREADS
    scene.now = 6.0
    assert set(scene.take_now()) == set(hanging)
    late = scene.add("b")
    scene.now = 31.0
    assert scene.take_now() == {waiting: "Other grammars take too long to compile; try again later."}
    scene.compiler.released.set()
    assert scene.take() == {late: "grammar b"}


def test_what_waits_is_compiled_whether_or_not_the_engine_has_a_step_meanwhile(scene: Scene) -> None:
    hanging = [scene.add(f"hang {number}") for number in range(MAX_THREADS)]
    waiting = [scene.add(f"{number}") for number in range(50)]
    scene.compiler.released.set()
    scene.wait_for_threads(0)
    assert scene.take_now().keys() == {*hanging, *waiting}
    assert set(scene.noted.values()) == {""}


def test_tenants_take_turns(scene: Scene) -> None:
    """Whoever sends many grammars that take long holds up nobody else's."""
    for number in range(MAX_THREADS):
        scene.add(f"hang {number}", "a")
    for number in range(10):
        scene.add(f"of a, {number}", "a")
        scene.add(f"of b, {number}", "b")
    scene.add("of c", "c")
    scene.compiler.released.set()
    scene.wait_for_threads(0)
    order = scene.compiler.compiled[MAX_THREADS:]
    assert {text[:4] for text in order[:4]} == {"of a", "of b", "of c"}
    assert sum(text.startswith("of b") for text in order[:10]) in (4, 5, 6)


def test_the_vocabularys_time_is_not_the_grammars(scene: Scene) -> None:
    scene.compiler.prepare = lambda: scene.compiler.released.wait(PATIENCE)  # type: ignore[assignment]
    request_id = scene.add("a")
    scene.now = 20.0
    assert scene.take_now() == {}
    scene.compiler.released.set()
    assert scene.take() == {request_id: "grammar a"}


def test_who_is_gone_is_not_waited_for(scene: Scene) -> None:
    running = [scene.add(f"hang {number}") for number in range(MAX_THREADS)]
    queued = [scene.add("a"), scene.add("a"), scene.add("b")]
    scene.compiling.remove([running[0], queued[0], queued[2], "nobody"])
    scene.compiler.released.set()
    assert scene.take(2).keys() == {running[1], queued[1]}
    scene.wait_for_threads(0)
    assert scene.take_now() == {} and not scene.compiling
    assert "b" not in scene.compiler.compiled


def test_nobody_left_is_nothing_to_wait_for(scene: Scene) -> None:
    request_id = scene.add("hang")
    scene.compiling.remove([request_id])
    assert not scene.compiling and scene.compiling.num_threads == 1


def test_kinds_of_errors(scene: Scene) -> None:
    scene.add("bad")
    scene.compiling.wait(PATIENCE)
    [(_, refused)] = scene.compiling.take()
    scene.add("crash")
    scene.compiling.wait(PATIENCE)
    [(_, failed)] = scene.compiling.take()
    assert isinstance(refused, InvalidRequestError) and isinstance(failed, EngineError)


def test_an_engine_without_a_compiler_refuses_by_name() -> None:
    with pytest.raises(InvalidRequestError, match="This engine has no grammars"):
        NoGrammars().compile(GrammarSpec(GrammarKind.JSON_OBJECT))

"""The soak: random requests over HTTP to a real server whose engine is killed again and again, and witnesses.

A witness is a request whose answer is known: it was asked when the server was quiet. Some are always on their
way, by turns, among whatever else goes on, and must be answered alike to the byte.
"""

import asyncio
import dataclasses
import itertools
import pathlib
import random
import time
from collections.abc import Callable, Iterator

import httpx2

from octavo.engine.model_files import open_model, open_text
from octavo.text.chat_abilities import abilities_of
from tests.soak import report
from tests.soak.asked import Asked, Asker, ModelFacts
from tests.soak.exchange import Choice, Wrong, exchange
from tests.soak.server import MAX_MODEL_LEN, Resources, SoakServer, parse_metrics
from tests.soak.witnesses import witnesses

TIMEOUT_SECONDS = 1200.0  # of a slow machine, where requests of a low priority wait for all others
NUM_WITNESSES = 5  # on their way at a time
SAMPLE_EVERY = 25  # requests
QUIET_SECONDS = 30.0  # that the server may take to become idle
LOOK_SECONDS = 0.1


@dataclasses.dataclass(frozen=True)
class Plan:
    num_requests: int
    kill_every: int  # requests
    concurrency: int = 24
    seed: int = 1


def facts_of(path: pathlib.Path) -> ModelFacts:
    text = open_text(path)
    abilities = abilities_of(text.chat_template, text.tokenizer.vocabulary)
    return ModelFacts(
        open_model(path).architecture.vocab_size,
        MAX_MODEL_LEN,
        reasons=abilities.reasoning is not None,
        fills_in=text.tokenizer.vocabulary.infill is not None,
        has_documents="documents" in abilities.variables,
    )


class Soak:
    """print_progress gets a line now and then."""

    def __init__(
        self, plan: Plan, server: SoakServer, facts: ModelFacts, print_progress: Callable[[str], None]
    ) -> None:
        self.seen = report.Seen()
        self._plan = plan
        self._server = server
        self._facts = facts
        self._print = print_progress
        self._started = time.monotonic()
        self._is_over = False
        self._metrics_at_end: dict[str, float] = {}

    def work_done(self) -> str:
        """The engine's own figures, at the end."""
        names = {
            "vllm:prompt_tokens_total": "prompt tokens",
            "vllm:generation_tokens_total": "generated",
            "vllm:prefix_cache_hits_total": "found in the prefix cache",
            "vllm:num_preemptions_total": "preemptions",
            "vllm:prompt_tokens_recomputed_total": "tokens recomputed",
        }
        return ", ".join(f"{self._metrics_at_end[name]:,.0f} {text}" for name, text in names.items())

    async def run(self) -> list[report.Check]:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx2.AsyncClient(
            base_url=self._server.url, timeout=TIMEOUT_SECONDS, limits=limits
        ) as client:
            known = [
                (witness, await exchange(client, witness, random.Random(0)))
                for witness in witnesses(self._facts)
            ]
        before = await self._quiet()
        async with httpx2.AsyncClient(
            base_url=self._server.url, timeout=TIMEOUT_SECONDS, limits=limits
        ) as client:
            await self._storm(client, known)
        self.seen.seconds = time.monotonic() - self._started
        after = await self._quiet()
        self._metrics_at_end = await self._metrics()
        complaints = self._server.complaints()
        return report.checks(self.seen, before, after, self._metrics_at_end, complaints)

    async def _storm(self, client: httpx2.AsyncClient, known: list[tuple[Asked, list[Choice]]]) -> None:
        asker = Asker(self._plan.seed, self._facts)
        turns = itertools.cycle(known)
        watchers = [asyncio.create_task(self._watch(client, turns)) for _ in range(NUM_WITNESSES)]
        numbers = iter(range(1, self._plan.num_requests + 1))
        async with asyncio.TaskGroup() as group:
            for worker in range(self._plan.concurrency):
                group.create_task(self._work(client, asker, numbers, random.Random(worker)))
        self._is_over = True
        await asyncio.gather(*watchers)

    async def _work(
        self, client: httpx2.AsyncClient, asker: Asker, numbers: Iterator[int], rng: random.Random
    ) -> None:
        for number in numbers:
            item = asker.next()
            self.seen.num_asked = number
            if number % self._plan.kill_every == 0 and self._server.kill_engine():
                self.seen.num_kills += 1
            if number % SAMPLE_EVERY == 0:
                self._sample(number)
            try:
                await exchange(client, item, rng)
            except (Wrong, httpx2.HTTPError, ValueError, KeyError) as error:
                complaint = f"{type(error).__name__}: {error} for {item.path} {item.body[:400]!r}"
                self.seen.wrong.append(complaint)
                self._print(complaint)
            self.seen.by_fate[item.fate] += 1

    async def _watch(self, client: httpx2.AsyncClient, turns: Iterator[tuple[Asked, list[Choice]]]) -> None:
        while not self._is_over:
            witness, answer = next(turns)
            try:
                found = await exchange(client, witness, random.Random(0))
            except (Wrong, httpx2.HTTPError, ValueError, KeyError) as error:
                self.seen.wrong_witnesses.append(f"{type(error).__name__}: {error} for {witness.body!r}")
                await asyncio.sleep(LOOK_SECONDS)
                continue
            self.seen.num_witnessed += 1
            if found != answer:
                complaint = f"{found} instead of {answer} for {witness.body!r}"
                self.seen.wrong_witnesses.append(complaint)
                self._print(complaint)

    def _sample(self, number: int) -> None:
        server, pid = self._server, self._server.engine_pid()
        mine = server.anonymous_mib(server.process.pid)
        assert mine is not None, "the server has died"
        sample = report.MemorySample(number, mine, pid, server.anonymous_mib(pid))
        self.seen.memory.append(sample)
        rate = number / (time.monotonic() - self._started)
        self._print(
            f"{number:,}/{self._plan.num_requests:,} requests, {rate:.0f}/s;"
            f" {self.seen.num_witnessed:,} witnesses;"
            f" {self.seen.num_kills} kills; {len(self.seen.wrong) + len(self.seen.wrong_witnesses)} wrong;"
            f" server {mine:.0f} MiB, engine {sample.engine or 0:.0f} MiB"
        )

    async def _quiet(self) -> Resources:
        """What the server holds when nothing is left to do."""
        deadline = time.monotonic() + QUIET_SECONDS
        while time.monotonic() < deadline:
            metrics = await self._metrics()
            busy = metrics["vllm:num_requests_running"] + metrics["vllm:num_requests_waiting"]
            if not busy and metrics["octavo:engine_up"]:
                break
            await asyncio.sleep(LOOK_SECONDS)
        await asyncio.sleep(LOOK_SECONDS)
        return self._server.resources()

    async def _metrics(self) -> dict[str, float]:
        async with httpx2.AsyncClient(base_url=self._server.url, timeout=TIMEOUT_SECONDS) as client:
            return parse_metrics((await client.get("/metrics")).text)

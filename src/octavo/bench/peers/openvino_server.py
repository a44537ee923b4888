"""A small OpenAI-compatible server on OpenVINO GenAI's continuous batching, which comes without one.

Run by the Python of OpenVINO's own environment, where octavo is not installed: it imports nothing of ours.
Knows prompts of token ids, streamed and greedy: what the benchmark asks. One thread steps the pipeline and
hands a step's tokens to the event loop in one call.
"""

import argparse
import asyncio
import itertools
import json
import queue
import threading
from typing import Any

import numpy as np
import openvino  # type: ignore[import-not-found]
import openvino_genai  # type: ignore[import-not-found]

MODEL = b'{"data":[{"id":"openvino"}]}'
Tokens = list[int] | None  # None: the answer has ended
Outbox = asyncio.Queue[Tokens]


class Stepper(threading.Thread):
    """Owns the pipeline: nobody else calls it."""

    def __init__(self, pipeline: Any, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(daemon=True)
        self._pipeline = pipeline
        self._loop = loop
        self._inbox: queue.SimpleQueue[tuple[list[int], int, Outbox]] = queue.SimpleQueue()
        self._numbers = itertools.count()

    def submit(self, prompt: list[int], max_tokens: int) -> Outbox:
        outbox: Outbox = asyncio.Queue()
        self._inbox.put((prompt, max_tokens, outbox))
        return outbox

    def run(self) -> None:
        live: list[tuple[Any, Outbox]] = []
        while True:
            while not live or not self._inbox.empty():
                live.append(self._add(*self._inbox.get()))
            self._pipeline.step()
            events: list[tuple[Outbox, Tokens]] = []
            for handle, outbox in live:
                if handle.can_read():
                    events.append((outbox, list(handle.read()[0].generated_ids)))
            running = openvino_genai.GenerationStatus.RUNNING
            events += [(outbox, None) for handle, outbox in live if handle.get_status() != running]
            live = [pair for pair in live if pair[0].get_status() == running]
            self._deliver(events)

    def _deliver(self, events: list[tuple[Outbox, Tokens]]) -> None:
        """Returns when they are written: a step of the pipeline keeps the GIL, so nobody else runs in it."""
        is_written = threading.Event()
        self._loop.call_soon_threadsafe(self._put, events, is_written)
        is_written.wait()

    def _put(self, events: list[tuple[Outbox, Tokens]], is_written: threading.Event) -> None:
        for outbox, tokens in events:
            outbox.put_nowait(tokens)
        # who waits for an outbox writes in the loop's next turn, before this in the turn after it
        self._loop.call_soon(self._loop.call_soon, is_written.set)

    def _add(self, prompt: list[int], max_tokens: int, outbox: Outbox) -> tuple[Any, Outbox]:
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens, config.ignore_eos, config.do_sample = max_tokens, True, False
        ids = openvino.Tensor(np.array([prompt], np.int64))
        return self._pipeline.add_request(next(self._numbers), ids, config), outbox


class HttpServer:
    """Connections are kept; an answer is one chunk for each step's tokens."""

    def __init__(self, stepper: Stepper, decode: Any) -> None:
        self._stepper = stepper
        self._decode = decode

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
                body = await reader.readexactly(length)
                if head.startswith(b"post "):
                    await self._complete(json.loads(body), writer)
                else:
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(MODEL), MODEL))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _complete(self, asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        prompt = asked["prompt"]
        outbox = self._stepper.submit(prompt, asked["max_tokens"])
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        count = 0
        while (tokens := await outbox.get()) is not None:
            count += len(tokens)
            text = self._decode(tokens) or "\N{REPLACEMENT CHARACTER}"
            self._send({"choices": [{"index": 0, "text": text}]}, writer)
        usage = {"prompt_tokens": len(prompt), "completion_tokens": count}
        self._send({"choices": [], "usage": usage}, writer)
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        await writer.drain()

    def _send(self, chunk: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        event = b"data: %b\n\n" % json.dumps(chunk).encode()
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))


async def serve(pipeline: Any, port: int) -> None:
    """Until it is cancelled."""
    stepper = Stepper(pipeline, asyncio.get_running_loop())
    stepper.start()
    http = HttpServer(stepper, pipeline.get_tokenizer().decode)
    server = await asyncio.start_server(http.serve, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="OpenVINO GenAI behind the OpenAI API, to be measured.")
    parser.add_argument("--model", required=True, help="a GGUF file")
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1")
    parser.add_argument("--threads", type=int, required=True, help="that compute")
    parser.add_argument("--max-num-seqs", type=int, required=True, help="requests in one step")
    options = parser.parse_args()
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_seqs, scheduler.cache_size = options.max_num_seqs, 4  # GB
    properties = {"INFERENCE_NUM_THREADS": options.threads}
    pipeline = openvino_genai.ContinuousBatchingPipeline(options.model, scheduler, "CPU", properties)
    asyncio.run(serve(pipeline, options.port))


if __name__ == "__main__":
    main()

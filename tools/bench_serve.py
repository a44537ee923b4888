"""Load a running server: N streams at once of random prompts, and what its clients see.

python tools/bench_serve.py http://127.0.0.1:8000/v1 --concurrency 64 --input 128 --output 128
Standard library only, so that it can run beside any server with an OpenAI-compatible /v1/completions.
"""

import argparse
import asyncio
import itertools
import json
import random
import statistics
import time
import urllib.parse


async def stream(url: str, body: dict[str, object]) -> list[float]:
    """Seconds from sending the request to each chunk that carries text."""
    target = urllib.parse.urlsplit(url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    content = json.dumps(body).encode()
    head = (
        f"POST {target.path}/completions HTTP/1.1\r\nHost: {target.netloc}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    start = time.perf_counter()
    writer.write(head.encode() + content)
    arrivals, usage = [], None
    async for line in reader:
        if line.startswith(b"data: {"):
            chunk = json.loads(line[6:])
            if "error" in chunk:
                raise RuntimeError(chunk["error"]["message"])
            usage = chunk.get("usage") or usage
            if chunk["choices"] and chunk["choices"][0].get("finish_reason") is None:
                arrivals.append(time.perf_counter() - start)
    writer.close()
    assert usage is not None and usage["completion_tokens"] == body["max_tokens"], usage
    return arrivals


async def burst(url: str, concurrency: int, num_input: int, num_output: int, seed: int) -> dict[str, float]:
    rng = random.Random(f"{time.time_ns()} {seed}")  # no burst finds another one's prefixes in a cache
    prompts = [[rng.randrange(100, 40000) for _ in range(num_input)] for _ in range(concurrency)]
    common = {"model": "default", "max_tokens": num_output, "temperature": 0, "ignore_eos": True}
    common |= {"stream": True, "stream_options": {"include_usage": True}}
    start = time.perf_counter()
    streams = await asyncio.gather(*(stream(url, common | {"prompt": prompt}) for prompt in prompts))
    seconds = time.perf_counter() - start
    first = sorted(arrivals[0] for arrivals in streams)
    gaps = sorted(b - a for arrivals in streams for a, b in itertools.pairwise(arrivals))
    return {
        "output tok/s": concurrency * num_output / seconds,
        "TTFT p50 ms": 1e3 * quantile(first, 0.5),
        "TTFT p99 ms": 1e3 * quantile(first, 0.99),
        "inter-chunk p50 ms": 1e3 * quantile(gaps, 0.5),
        "inter-chunk p99 ms": 1e3 * quantile(gaps, 0.99),
    }


def quantile(ordered: list[float], q: float) -> float:
    return ordered[min(int(q * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url", help="base URL that ends in /v1")
    parser.add_argument("--concurrency", type=int, default=64, help="streams at once")
    parser.add_argument("--input", type=int, default=128, help="prompt tokens each")
    parser.add_argument("--output", type=int, default=128, help="answer tokens each")
    parser.add_argument("--runs", type=int, default=3, help="bursts; each figure is the median over them")
    options = parser.parse_args()
    runs = [
        asyncio.run(burst(options.url, options.concurrency, options.input, options.output, seed))
        for seed in range(options.runs)
    ]
    for name in runs[0]:
        values = [run[name] for run in runs]
        print(f"{name:20} {statistics.median(values):9.1f}   ({min(values):.1f} to {max(values):.1f})")


if __name__ == "__main__":
    main()

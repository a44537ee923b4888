"""What a request may be at most. One table: `octavo serve --help` and docs/api.md print it, and
tests/server/test_limits.py asks for each limit, and for one more.

Plain data, so that --help need not import what enforces them.
"""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    what: str
    limit: str
    beyond: str  # what is answered
    flag: str = ""  # where it can be changed


LIMITS = (
    Limit("body", "32 MiB", "413", "--max-body-bytes"),
    Limit("commas, colons and brackets in a body", "1,048,576", "413"),
    Limit("URL", "8 KiB", "414"),
    Limit("header fields", "100, of 32 KiB together", "431"),
    Limit("unfinished head, trailers, chunk extension", "64 KiB", "431"),
    Limit("head or body on its way", "30 s", "408"),
    Limit("answer left unread", "64 KiB for 60 s", "cut off"),
    Limit("connections", "the system's limit of open files", "reset"),
    Limit("idle connection", "65 s", "closed"),
    Limit("requests sent ahead", "100", "not read"),
    Limit("prompt and answer", "the context", "400", "--max-model-len"),
    Limit("tokens of all prompts", "2,097,152", "400"),
    Limit("text of a prompt", "64 characters per token of the context", "400"),
    Limit("chat template", "1 s of processor time", "400"),
    Limit("messages, their parts and calls", "one per token of the context", "400"),
    Limit("prompts", "128", "400"),
    Limit("inputs of embeddings", "2,048", "400"),
    Limit("documents to score or rank", "1,024", "400"),
    Limit("choices: n or best_of, times prompts", "128", "400"),
    Limit("logprobs of one token", "20 alternatives", "400"),
    Limit("bad_words", "512, of 256 characters and 32 tokens", "400"),
    Limit("stop strings", "64, of 1,024 characters", "400"),
    Limit("stop_token_ids", "64", "400"),
    Limit("logit_bias", "1,024 entries", "400"),
    Limit("token ids in fields, times choices", "1,048,576", "400"),
    Limit("log-probabilities of all choices", "2,097,152", "400"),
    Limit("cache_salt, user", "256 characters", "400"),
    Limit("metadata", "16 entries, of 64 and 512 characters", "400"),
    Limit("tools", "128, of 64 KiB of parameters", "400"),
    Limit("tool calls in a row, of an answer that has to call", "32", "ends"),
    Limit("JSON schema", "128 levels, 1,000 properties", "400"),
    Limit("regular expression", "8,192 characters", "400"),
    Limit("grammar", "256 KiB", "400"),
    Limit("requests that run", "128", "waits", "--max-num-seqs"),
    Limit("requests that wait", "1,024", "503", "--max-num-queued-requests"),
    Limit("requests of one key", "8/9 of those places", "429", "--api-key-file"),
    Limit("requests, tokens per minute", "per key", "429", "--api-key-file"),
    Limit("requests at once", "per key", "429", "--api-key-file"),
)

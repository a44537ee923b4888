"""Every option octavo has: frozen dataclasses, one per concern, each field with its help and unit.

The only place that validates options and that reads the environment (OCTAVO_HOME, OCTAVO_API_KEY,
OCTAVO_CPU_ISA, OCTAVO_LOG, OCTAVO_SECRET, and everybody's NO_COLOR). A class elsewhere receives the values
it uses, never one of these.
"""

import dataclasses
import os
import pathlib
import re

from octavo.core.activation_dtype import ActivationDType
from octavo.core.errors import StartError
from octavo.core.kv_dtype import KVDType

GIB = 1 << 30


def keep_tokenizers_in_their_thread() -> None:
    """The tokenizers library would start a thread on every core, beside the engine's."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@dataclasses.dataclass(frozen=True, slots=True)
class Environment:
    """The environment variables, read once at a program's entry."""

    home: pathlib.Path
    """Where models and caches are kept (OCTAVO_HOME; default ~/.cache/octavo)."""
    api_key: str | None
    """Bearer key clients must send (OCTAVO_API_KEY); None: no key is asked for."""
    cpu_isa: str | None
    """Force the native kernels' instruction set (OCTAVO_CPU_ISA): portable, avx2, avx512 or amx."""
    log_level: str
    """debug, info, warning or error (OCTAVO_LOG)."""
    secret: str | None = None
    """What a router and its replicas share (OCTAVO_SECRET), so that streams survive a replica's death."""
    no_color: bool = False
    """No colours, even on a terminal (NO_COLOR, set to anything)."""

    @classmethod
    def read(cls) -> "Environment":
        default_home = pathlib.Path(os.environ.get("HOME", "/")) / ".cache" / "octavo"
        return cls(
            home=pathlib.Path(os.environ.get("OCTAVO_HOME") or default_home),
            api_key=_credential("OCTAVO_API_KEY"),
            cpu_isa=os.environ.get("OCTAVO_CPU_ISA") or None,
            log_level=os.environ.get("OCTAVO_LOG") or "info",
            secret=_credential("OCTAVO_SECRET"),
            no_color=bool(os.environ.get("NO_COLOR")),
        )

    @staticmethod
    def for_members(secret: str, api_key: str | None) -> dict[str, str]:
        """All variables of this process, for those it starts, who share the secret and the key."""
        key = {} if api_key is None else {"OCTAVO_API_KEY": api_key}
        return {**os.environ, "OCTAVO_SECRET": secret, **key}


def _credential(name: str) -> str | None:
    """What goes into a header: without the line's end that a file's content brings. Raises StartError."""
    value = os.environ.get(name, "").strip()
    if not value.isprintable():
        raise StartError(f"{name} has characters that no header may have.")
    return value or None


@dataclasses.dataclass(frozen=True, slots=True)
class EngineConfig:
    """What the engine process needs to load a model and to schedule."""

    model: str = "smollm2-135m-instruct"
    """A GGUF file, a model's folder, a name `octavo list` knows, or a hub's org/name."""
    max_model_len: int | None = None
    """Tokens of one sequence at most, prompt and answer; default: the model's own context."""
    max_num_seqs: int = 128
    """Requests computed in one step at most."""
    max_num_batched_tokens: int = 512
    """Tokens computed in one step at most; long prompts are cut into chunks of it."""
    enable_prefix_caching: bool = True
    """Reuse the KV blocks of prompts that begin alike."""
    kv_cache_memory: int | None = None
    """Bytes for KV blocks; default: a quarter of the memory this process may use, 4 GiB at most."""
    kv_dtype: str = "bf16"
    """What the KV cache holds: bf16, or int8, with which it takes half the memory and traffic, and answers
    are exact too but not the same."""
    activation_dtype: str | None = None
    """What quantized weights are multiplied by: bf16, or int8, which is faster where there are no matrix
    units, and answers are exact too but not the same; default: bf16."""
    threads: int | None = None
    """Threads that compute; default: the cores this process may use."""
    max_num_queued_requests: int = 1024
    """Requests that may wait for the engine; one more is answered 503."""
    num_speculative_tokens: int = 15
    """Tokens that an answer guesses ahead in one step at most, from its own text so far, where that is
    likely to be faster; no answer changes. 0: none."""
    target_itl: float | None = None
    """Seconds between two tokens of an answer at most: prompts are cut to fit, and requests wait if need be;
    default: prompts may slow those who generate down to two fifths of their pace."""
    target_ttft: float | None = None
    """Seconds to a request's first token at most: with time to spare, prompts are computed no faster than
    that needs, and those who generate get the rest; default: as fast as --target-itl lets."""

    def __post_init__(self) -> None:
        _require_at_least("max_num_seqs", self.max_num_seqs, 1)
        if not self.max_num_batched_tokens >= self.max_num_seqs:
            raise StartError(
                f"--max-num-batched-tokens is {self.max_num_batched_tokens}; allowed: --max-num-seqs, "
                f"which is {self.max_num_seqs}, or more."
            )
        _require_at_least("num_speculative_tokens", self.num_speculative_tokens, 0)
        _require_at_least("max_num_queued_requests", self.max_num_queued_requests, 1)
        if self.max_model_len is not None:
            _require_at_least("max_model_len", self.max_model_len, 2)  # a prompt and an answer
        if self.threads is not None:
            _require_at_least("threads", self.threads, 1)
        for flag, dtype, allowed in (
            ("--kv-dtype", self.kv_dtype, KV_DTYPES),
            ("--activation-dtype", self.activation_dtype, (None, *ACTIVATION_DTYPES)),
        ):
            if dtype not in allowed:
                names = ", ".join(filter(None, allowed))
                raise StartError(f"{flag} is {dtype!r}; allowed: {names}.")
        for flag, seconds in (("--target-itl", self.target_itl), ("--target-ttft", self.target_ttft)):
            if seconds is not None and not 0 < seconds < float("inf"):
                raise StartError(f"{flag} is {seconds:g}; allowed: above 0.")


@dataclasses.dataclass(frozen=True, slots=True)
class HttpConfig:
    """What whoever serves HTTP needs."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    api_key: str | None = None
    """Bearer key clients must send; default: OCTAVO_API_KEY, else none."""
    api_key_file: pathlib.Path | None = None
    """Keys of several clients, with limits; `octavo keys add` writes it. Read again when it changes."""
    ssl_certfile: pathlib.Path | None = None
    """Serve HTTPS with this certificate (PEM, with its chain)."""
    ssl_keyfile: pathlib.Path | None = None
    """The certificate's key (PEM, not encrypted); default: in the same file."""
    allowed_hosts: tuple[str, ...] = ()
    """What a request's Host header may say, like llm.example.com or *.example.com (may repeat)."""
    allowed_origins: tuple[str, ...] = ()
    """Web pages whose scripts may call the API, like https://app.example.com, or * (may repeat)."""
    drain_seconds: float = 30.0
    """After SIGTERM, how long running answers may take to finish."""
    log_format: str = "text"
    """Request log on stderr: text or json."""
    max_body_bytes: int = 32 << 20
    """A longer request body is answered 413."""

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise StartError(f"--port is {self.port}; allowed: 0 to 65535.")
        if self.log_format not in ("text", "json"):
            raise StartError(f"--log-format is {self.log_format!r}; allowed: text, json.")
        _require_at_least("drain_seconds", self.drain_seconds, 0)
        _require_at_least("max_body_bytes", self.max_body_bytes, 1)
        _check_key("--api-key", self.api_key)


@dataclasses.dataclass(frozen=True, slots=True)
class ServerConfig(HttpConfig):
    """What the HTTP server needs besides."""

    served_model_name: tuple[str, ...] = ()
    """Names clients may use for the model (may repeat); `default` always works."""
    heartbeat_seconds: float = 15.0
    """While a stream waits for its first token, a comment is sent so often; 0: never."""
    prefix_cache_scope: str = "key"
    """Who shares prefix-cache blocks: key (each key its own) or shared (all keys)."""
    tool_call_parser: str | None = None
    """How the model writes tool calls: hermes, llama3_json, mistral or json; default: as its files tell."""
    unknown_fields: str = "refuse"
    """A field of a request that octavo does not know: refuse (400) or warn (and ignore it)."""

    def __post_init__(self) -> None:
        HttpConfig.__post_init__(self)
        if not 0 <= self.heartbeat_seconds < float("inf"):
            raise StartError(f"--heartbeat-seconds is {self.heartbeat_seconds:g}; allowed: 0 or more.")
        if self.prefix_cache_scope not in ("key", "shared"):
            raise StartError(f"--prefix-cache-scope is {self.prefix_cache_scope!r}; allowed: key, shared.")
        if self.tool_call_parser not in (None, *TOOL_CALL_PARSERS):
            allowed = ", ".join(TOOL_CALL_PARSERS)
            raise StartError(f"--tool-call-parser is {self.tool_call_parser!r}; allowed: {allowed}.")
        if self.unknown_fields not in ("refuse", "warn"):
            raise StartError(f"--unknown-fields is {self.unknown_fields!r}; allowed: refuse, warn.")


@dataclasses.dataclass(frozen=True, slots=True)
class RouterConfig(HttpConfig):
    """What a router needs."""

    endpoints: tuple[str, ...] = ()
    """Servers to route to, like http://10.0.0.1:8000; dns://NAME:8000 is all its addresses (may repeat)."""
    standby_endpoints: tuple[str, ...] = ()
    """More servers, each asked only in place of another one that cannot be (may repeat)."""
    endpoints_file: pathlib.Path | None = None
    """More servers, from a YAML file that is read again when it changes."""
    admin_port: int | None = None
    """Listen here too, on the same address, for an operator who adds, drains and removes endpoints."""
    admin_key: str | None = None
    """Bearer key that the operator must send."""
    static_models: tuple[str, ...] = ()
    """What each endpoint serves, in their order, standbys last; default: each is asked."""
    on_demand_models: tuple[str, ...] = ()
    """Models whose servers are started when somebody asks for them: such requests wait (may repeat)."""
    start_seconds: float = 120.0
    """How long they wait."""
    static_aliases: tuple[str, ...] = ()
    """Another name for a model, as alias:model, or for a share of it, as alias:model=95 (may repeat)."""
    policy: str = "cost"
    """Who gets a request: cost, prefix, least-load, session or round-robin."""
    model_policies: tuple[str, ...] = ()
    """Another policy for a model, as model=policy (may repeat)."""
    session_key: str | None = None
    """The header that names a session, for the policy `session`."""
    api_key: str | None = None
    """Bearer key clients must send and endpoints get; default: OCTAVO_API_KEY, else none."""
    connect_seconds: float = 2.0
    """How long an endpoint may take to accept a connection."""
    first_token_seconds: float = 300.0
    """How long a stream may take to begin."""
    inter_token_seconds: float = 30.0
    """How long a stream may pause."""
    total_seconds: float = 3600.0
    """How long any answer may take."""
    failover_mismatch: str = "error"
    """When no replica of the model is left to go on with a stream: error, or continue with another."""
    waiting_room_seconds: float = 0.0
    """How long a request waits when nobody can take it; 0: it is refused at once."""
    max_num_queued_requests: int = 256
    """How many requests may wait; those beyond are refused."""
    max_requests_per_endpoint: int = 0
    """How many requests an endpoint gets at once; 0: any number."""
    health_interval_seconds: float = 2.0
    """Between two looks at an endpoint's health."""
    health_timeout_seconds: float = 5.0
    """How long an endpoint may take to say whether it is ready; silent three times, it is lost."""
    known_answer_seconds: float = 30.0
    """Between two questions whose answer is known, to octavo replicas; who answers wrongly gets no more."""
    compat_metrics: bool = False
    """Tell metrics of production-stack's router also by names that engines have."""

    def __post_init__(self) -> None:
        HttpConfig.__post_init__(self)
        if self.policy not in ROUTING_POLICIES:
            raise StartError(f"--policy is {self.policy!r}; allowed: {', '.join(ROUTING_POLICIES)}.")
        if not self.endpoints and self.endpoints_file is None and self.admin_port is None:
            raise StartError("Name at least one endpoint: octavo route http://HOST:PORT ...")
        if (self.admin_port is None) != (self.admin_key is None):
            raise StartError("--admin-port and --admin-key go together.")
        num_endpoints = len(self.endpoints) + len(self.standby_endpoints)
        if self.static_models and len(self.static_models) != num_endpoints:
            raise StartError(
                f"--static-models names {len(self.static_models)} models for {num_endpoints} "
                "endpoints; name one for each."
            )
        for alias, shares in self.aliases.items():
            if not any(shares.values()):
                raise StartError(f"--static-aliases: no model has a share of {alias!r}.")
            if alias in self.policies_by_model and alias not in shares:
                raise StartError(
                    f"--model-policies: {alias!r} is an alias; name the models that it stands for."
                )
        if "session" in (self.policy, *self.policies_by_model.values()) and self.session_key is None:
            raise StartError("--policy session needs --session-key, the header that names a session.")
        if self.failover_mismatch not in ("error", "continue"):
            raise StartError(f"--failover-mismatch is {self.failover_mismatch!r}; allowed: error, continue.")
        for name, least in (("waiting_room_seconds", 0), ("max_num_queued_requests", 1),
                            ("max_requests_per_endpoint", 0)):  # fmt: skip
            _require_at_least(name, getattr(self, name), least)
        for name in _POSITIVE_SECONDS:
            if not (seconds := getattr(self, name)) > 0:
                raise StartError(f"--{name.replace('_', '-')} is {seconds:g}; allowed: above 0.")
        if self.admin_port is not None and not 0 <= self.admin_port < 65536:
            raise StartError(f"--admin-port is {self.admin_port}; allowed: 0 to 65535.")
        _check_key("--admin-key", self.admin_key)

    @property
    def policies_by_model(self) -> dict[str, str]:
        """Where it is not the router's. Raises StartError."""
        found = {}
        for text in self.model_policies:
            model, _, policy = text.rpartition("=")
            if not model or policy not in ROUTING_POLICIES:
                allowed = ", ".join(ROUTING_POLICIES)
                raise StartError(
                    f"--model-policies is {text!r}; allowed: model=policy, with one of {allowed}."
                )
            found[model] = policy
        return found

    @property
    def aliases(self) -> dict[str, dict[str, float]]:
        """The share of each model, by alias. Raises StartError."""
        found: dict[str, dict[str, float]] = {}
        for text in self.static_aliases:
            alias, model, share = _share(text)
            found.setdefault(alias, {})[model] = share
        return found


def _share(text: str) -> tuple[str, str, float]:
    """Alias, model and share of an item of --static-aliases. Raises StartError."""
    alias, _, model = text.partition(":")
    weighted = _WEIGHTED.fullmatch(model)
    if not alias or not model:
        raise StartError(f"--static-aliases is {text!r}; allowed: alias:model, alias:model=SHARE.")
    return (alias, weighted[1], float(weighted[2])) if weighted else (alias, model, 1.0)


KV_DTYPES = tuple(kind.value for kind in KVDType)
ACTIVATION_DTYPES = tuple(kind.value for kind in ActivationDType)
TOOL_CALL_PARSERS = ("hermes", "llama3_json", "mistral", "json")
_WEIGHTED = re.compile(r"(.+)=(\d{1,9}(?:\.\d{1,9})?)")
ROUTING_POLICIES = ("round-robin", "least-load", "session", "prefix", "cost")
_POSITIVE_SECONDS = (
    "connect_seconds", "first_token_seconds", "inter_token_seconds", "total_seconds",
    "health_interval_seconds", "health_timeout_seconds", "known_answer_seconds", "start_seconds",
)  # fmt: skip


def _check_key(flag: str, key: str | None) -> None:
    if key == "":  # like "$KEY" where there is none: all the world would have access
        raise StartError(f"{flag} is empty; leave it out to ask for no key.")
    if key is not None and not (key.isprintable() and key == key.strip()):
        raise StartError(f"{flag} begins or ends with a space, or has characters that no header may have.")


def _require_at_least(field: str, value: float, minimum: int) -> None:
    if not value >= minimum:  # not a number either
        flag = field.replace("_", "-")
        raise StartError(f"--{flag} is {value}; allowed: {minimum} or more.")

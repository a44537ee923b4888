"""What the router reads of a request: its model, and what tells which endpoint has seen its beginning before.

The body is not decoded further, and what an endpoint gets are the client's own bytes.
"""

import contextlib
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec
import xxhash

from octavo.core.errors import InvalidRequestError
from octavo.http.body import UNREADABLE, not_json, of_shape
from octavo.router.routed_head import PLAIN_HEAD, HeadReader, RoutedHead

CHUNK_BYTES = 256  # of a prompt, as JSON: what a prefix is compared in
PLAIN_FIELDS = frozenset((
    "model", "messages", "prompt", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n",
    "temperature", "top_p", "top_k", "min_p", "seed", "stop", "presence_penalty", "frequency_penalty",
    "repetition_penalty", "ignore_eos", "user", "metadata", "priority", "cache_salt",
))  # fmt: skip
BYTES_PER_TOKEN = 4  # of a prompt: an estimate, for load only
MAX_CHUNKS = 4096  # of one prompt; what comes after them is not compared

Value = TypeVar("Value")
Resolve = Callable[[str, Callable[[], bytes]], str]

_MISSING = re.compile(r"missing required field `(?P<field>\w+)`")
_FIELD = re.compile(r" - at `\$\.(?P<field>\w+)[^`]*`$")


class _Fields(msgspec.Struct):
    """Of any body that names a model; other fields are skipped."""

    model: str
    stream: bool | None = None
    priority: int | None = None
    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    cache_salt: msgspec.Raw = msgspec.Raw()
    user: msgspec.Raw = msgspec.Raw()
    safety_identifier: msgspec.Raw = msgspec.Raw()
    metadata: msgspec.Raw = msgspec.Raw()

    @property
    def end_user(self) -> bytes:
        """Who asks, by what APIs call that (OpenAI's two names, Anthropic's); empty: it does not say."""
        metadata_user = msgspec.Raw()
        with contextlib.suppress(msgspec.DecodeError):  # elsewhere metadata may be anything
            metadata_user = msgspec.json.decode(self.metadata, type=_Metadata).user_id
        names = map(bytes, (self.user, self.safety_identifier, metadata_user))
        return next((name for name in names if name not in (b"", b"null", b'""')), b"")


class _Metadata(msgspec.Struct):
    user_id: msgspec.Raw


class RoutedRequest(msgspec.Struct, frozen=True):
    id: str
    path: str
    model: str  # as the endpoints know it
    is_stream: bool
    body: bytes
    num_prompt_tokens: int  # estimated
    prefix: tuple[int, ...] = ()  # a chain of hashes: equal up to where two prompts are equal
    head: RoutedHead = PLAIN_HEAD
    tenant: str | None = None  # whose key it brought
    priority: int = 0  # lower comes first; as the endpoints allow it: from 0

    @property
    def forwarded_lines(self) -> bytes:
        """The client's headers, as an endpoint is to get them."""
        return b"%bx-request-id: %b\r\n" % (self.head.forwarded, self.id.encode())

    @property
    def is_plain_text(self) -> bool:
        """Nothing is asked for but one text, without a form, tools or figures of the model's."""
        fields = msgspec.json.decode(self.body, type=dict[str, msgspec.Raw])
        return fields.keys() <= PLAIN_FIELDS and bytes(fields.get("n", b"1")) in (b"1", b"null")

    @property
    def raw_body(self) -> msgspec.Raw:
        """The body, to be put into another one as it is."""
        return msgspec.Raw(self.body)


class RequestReader:
    """Bodies to RoutedRequests."""

    def __init__(self, resolve: Resolve = lambda name, key: name, *, session_key: str | None = None) -> None:
        """resolve: the model that a name stands for. session_key: the header that names a session."""
        self.read_head = HeadReader(session_key).read
        self._decoder = msgspec.json.Decoder(_Fields)
        self._fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
        self._resolve = resolve

    def read(
        self,
        body: bytes,
        *,
        id: str,
        path: str,
        head: RoutedHead = PLAIN_HEAD,
        tenant: str | None = None,
        deployment: str | None = None,
    ) -> RoutedRequest:
        """head: from read_head. deployment: stands for the body's model. Raises InvalidRequestError: the body
        is no JSON object, or names no model."""
        if deployment is not None:
            body = self._renamed(body, deployment)
        fields = _decode(self._decoder, body)
        prompt = bytes(fields.messages) or bytes(fields.prompt) or bytes(fields.input)
        session = head.session
        model = self._resolve(
            fields.model, lambda: session.encode() if session is not None else fields.end_user or prompt
        )
        text = bytes(fields.tools) + prompt
        prefix: tuple[int, ...] = ()
        if len(text) >= CHUNK_BYTES:
            root = f"{path} {model} {tenant} ".encode() + bytes(fields.cache_salt)  # who may share blocks
            prefix = prefix_hashes(text, root)
        return RoutedRequest(
            id=id,
            path=path,
            model=model,
            is_stream=bool(fields.stream),
            body=body if model == fields.model else self._renamed(body, model),
            num_prompt_tokens=1 + len(text) // BYTES_PER_TOKEN,
            prefix=prefix,
            head=head,
            tenant=tenant,
            priority=max(0, fields.priority or 0),
        )

    def _renamed(self, body: bytes, model: str) -> bytes:
        """The body with another model name; every other field keeps its bytes."""
        fields = _decode(self._fields, body)
        fields["model"] = msgspec.Raw(msgspec.json.encode(model))
        return msgspec.json.encode(fields)


def _decode(decoder: msgspec.json.Decoder[Value], body: bytes) -> Value:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from None
    except UNREADABLE as error:
        raise not_json(error) from None


def _refusal(message: str) -> InvalidRequestError:
    """msgspec's sentence about a value of the wrong shape, in ours."""
    missing = _MISSING.search(message)
    if missing is not None:
        field = missing["field"]
        return InvalidRequestError(f"{field} is missing.", param=field, code="missing_required_parameter")
    located = _FIELD.search(message)
    if located is None:
        return InvalidRequestError("The body must be a JSON object.")
    field = located["field"]
    return InvalidRequestError(of_shape(field, message[: located.start()]), param=field)


def prefix_hashes(prompt: bytes, root: bytes) -> tuple[int, ...]:
    """One hash per full chunk, over all that comes before it too; the last, partial chunk has none."""
    parent = xxhash.xxh3_64_intdigest(root)
    hashes = []
    for start in range(0, min(len(prompt) - CHUNK_BYTES, MAX_CHUNKS * CHUNK_BYTES) + 1, CHUNK_BYTES):
        parent = xxhash.xxh3_64_intdigest(prompt[start : start + CHUNK_BYTES], seed=parent)
        hashes.append(parent)
    return tuple(hashes)

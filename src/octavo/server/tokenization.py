"""POST /tokenize and /detokenize, as vLLM has them: what a prompt or a chat is in tokens, and back."""

import msgspec
from starlette.types import Send

from octavo.core.errors import InvalidRequestError
from octavo.http.request_log import RequestRecord
from octavo.http.responses import send_json
from octavo.server.chat import without_tools
from octavo.server.decoder import BodyDecoder
from octavo.server.intake import Intake
from octavo.server.messages import ChatMessage, conversation
from octavo.server.origin import Origin
from octavo.server.parameters import Api, parameters_of
from octavo.server.prompts import ChatPrompt
from octavo.server.services import Services
from octavo.server.tools import Tool, tool_use


class TokenizeRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A prompt, as /v1/completions takes it, or messages, as /v1/chat/completions does."""

    model: str | None = None
    prompt: str | None = None
    messages: list[ChatMessage] | None = None
    tools: list[Tool] | None = None  # with messages only
    add_special_tokens: bool | None = None  # the begin token, in front of a prompt; default true
    add_generation_prompt: bool | None = None  # the head of the answer, behind messages; default true
    return_token_strs: bool | None = None


class TokenizeResponse(msgspec.Struct):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    model: str | None = None
    tokens: list[int]


class DetokenizeResponse(msgspec.Struct):
    prompt: str


class Tokenization:
    """Both endpoints."""

    def __init__(self, services: Services) -> None:
        self._services = services
        parameters = parameters_of(Api.CHAT)
        self.tokenize = Intake(BodyDecoder(TokenizeRequest, parameters), services, self._tokenize)
        self.detokenize = Intake(BodyDecoder(DetokenizeRequest, {}), services, self._detokenize)

    async def _tokenize(
        self, request: TokenizeRequest, record: RequestRecord, send: Send, origin: Origin
    ) -> None:
        services = self._services
        if request.model is not None:
            services.model.check(request.model)
        token_ids = await self._token_ids(request)
        strings = services.prompts.spell(token_ids) if request.return_token_strs else None
        answer = TokenizeResponse(len(token_ids), services.model.max_model_len, token_ids, strings)
        await send_json(send, 200, msgspec.json.encode(answer))

    async def _token_ids(self, request: TokenizeRequest) -> list[int]:
        prompts = self._services.prompts
        if (request.prompt is None) == (request.messages is None):
            raise InvalidRequestError("Send either prompt or messages.", param="prompt")
        if request.prompt is not None:
            if request.tools:
                raise InvalidRequestError("tools go with messages, not with a prompt.", param="tools")
            with_begin = request.add_special_tokens is not False
            return await prompts.tokenize(request.prompt, with_begin=with_begin)
        assert request.messages is not None
        if request.add_special_tokens:
            raise InvalidRequestError(
                "add_special_tokens is for a prompt; with messages the chat template adds them.",
                param="add_special_tokens",
            )
        abilities = self._services.abilities
        shown = tool_use(request.tools, None, None).shown
        with_head = request.add_generation_prompt is not False
        messages = conversation(request.messages, prompts.max_model_len)
        chat = ChatPrompt(messages, shown, add_generation_prompt=with_head)
        if not abilities.template_has_tools:
            chat = without_tools(chat, abilities.tool_format)
        return await prompts.tokenize_chat(chat)

    async def _detokenize(
        self, request: DetokenizeRequest, record: RequestRecord, send: Send, origin: Origin
    ) -> None:
        services = self._services
        if request.model is not None:
            services.model.check(request.model)
        answer = DetokenizeResponse(await services.prompts.detokenize(request.tokens))
        await send_json(send, 200, msgspec.json.encode(answer))

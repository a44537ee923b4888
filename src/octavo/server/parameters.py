"""Every parameter clients of OpenAI's and vLLM's APIs send for text generation, in three kinds.

One table: decoder.py goes by it, docs/api.md prints it, and schema.py has the types of what is not refused.
"""

import dataclasses
import enum
from collections.abc import Mapping


class Api(enum.StrEnum):
    CHAT = "chat"
    COMPLETIONS = "completions"


class Kind(enum.StrEnum):
    HONOURED = "honoured"  # does what it says
    RECORDED = "recorded"  # written to the request log, without effect on the answer
    REFUSED = "refused"  # a 400, but for the values that ask for nothing


BOTH = (Api.CHAT, Api.COMPLETIONS)
ONLY_CHAT = (Api.CHAT,)
ONLY_COMPLETIONS = (Api.COMPLETIONS,)


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """neutral: values of a recorded or refused parameter that octavo meets anyway; null always is one."""

    name: str
    kind: Kind
    about: str  # honoured: type and limits; recorded, refused: why
    apis: tuple[Api, ...] = BOTH
    default: str = ""
    neutral: tuple[object, ...] = ()

    def is_neutral(self, value: object) -> bool:
        """JSON's equality: 0 is 0.0, but true is not 1."""
        if value is None:
            return True
        is_flag = isinstance(value, bool)
        return any(value == known and isinstance(known, bool) == is_flag for known in self.neutral)


def _honoured(name: str, about: str, default: str, apis: tuple[Api, ...] = BOTH) -> Parameter:
    return Parameter(name, Kind.HONOURED, about, apis, default)


def _recorded(name: str, about: str, *neutral: object) -> Parameter:
    return Parameter(name, Kind.RECORDED, about, neutral=neutral)


def _refused(name: str, about: str, *neutral: object, apis: tuple[Api, ...] = BOTH) -> Parameter:
    return Parameter(name, Kind.REFUSED, about, apis, neutral=neutral)


PARAMETERS = (
    _honoured("model", "string; on Azure's paths the deployment's name stands for it", "required"),
    _honoured(
        "messages",
        'list of `{"role", "content", "name"}`; role `system`, `developer` (the same), `user`, `assistant` '
        "(which may have `tool_calls`, `reasoning_content`) or `tool` (which has a `tool_call_id`); content "
        'a string or a list of `{"type": "text", "text"}`; name goes to the template',
        "required, at least one",
        ONLY_CHAT,
    ),
    _honoured(
        "prompt",
        "a string, a list of token ids, or a list of 1 to 128 of either, answered as so many choices",
        "required, not empty",
        ONLY_COMPLETIONS,
    ),
    _honoured(
        "suffix",
        "string; what follows the answer, for models with fill-in-the-middle tokens; prompt is then text, in "
        "which names of special tokens are text",
        "none",
        ONLY_COMPLETIONS,
    ),
    _honoured(
        "truncate_prompt_tokens",
        "1 and more: only so many last tokens of the prompt are used; -1: as many as the context holds "
        "beside `max_tokens`",
        "all",
    ),
    _honoured("truncation_side", "`left` or `right`: the last or the first tokens are used", "`left`"),
    _honoured(
        "max_tokens",
        "integer, 1 or more; 0 with `echo` or `prompt_logprobs`: nothing is generated",
        "chat: what the context has left; completions: 16, or less if the context has less left",
    ),
    _honoured(
        "max_completion_tokens",
        "another name of `max_tokens`; both may be given if they are equal",
        "",
        ONLY_CHAT,
    ),
    _honoured("temperature", "0 to 2; 0 takes the most probable token", "1"),
    _honoured("top_p", "above 0, up to 1", "1"),
    _honoured("top_k", "-1 or 0 (all), or 1 and more", "0"),
    _honoured("min_p", "0 to 1", "0"),
    _honoured(
        "n",
        "1 to 128 choices for each prompt, which share its blocks; the usage counts the prompt once",
        "1",
    ),
    _honoured(
        "best_of",
        "`n` to 128: so many choices are generated, and the `n` with the highest mean log-probability of a "
        "token are answered; the usage counts all; not with `stream`",
        "n",
        ONLY_COMPLETIONS,
    ),
    _honoured("presence_penalty", "-2 to 2; subtracted from the logits of tokens in the answer", "0"),
    _honoured("frequency_penalty", "-2 to 2; the same, once for each time the token is there", "0"),
    _honoured("repetition_penalty", "0.01 to 100; divides logits of tokens in prompt and answer", "1"),
    _honoured("logit_bias", "object of up to 1,024 token ids, each with -100 to 100", "none"),
    _honoured("allowed_token_ids", "list of token ids; nothing else is sampled", "all"),
    _honoured(
        "bad_words",
        "list of up to 512 words of 1 to 256 characters and at most 32 tokens; the tokens that spell one, at "
        "the beginning of a text or after a space, are not sampled in a row",
        "none",
    ),
    _honoured("seed", "64-bit integer", "a random one"),
    _honoured(
        "stop",
        "a string or a list of up to 64; each of 1 to 1,024 characters; not part of the answer",
        "none",
    ),
    _honoured("include_stop_str_in_output", "boolean; the stop string ends the answer's text", "false"),
    _honoured(
        "stop_token_ids",
        "list of up to 64 token ids that end the answer; one that is no control token is part of its text",
        "none",
    ),
    _honoured("min_tokens", "0 to `max_tokens`; until then nothing ends the answer", "0"),
    _honoured("ignore_eos", "boolean; the model's end-of-turn tokens do not end the answer", "false"),
    _honoured("skip_special_tokens", "boolean; false: control tokens appear in the text", "true"),
    _honoured("logprobs", "boolean; the log-probability of each token of the answer", "false", ONLY_CHAT),
    _honoured(
        "top_logprobs", "0 to 20 most probable tokens beside each; with `logprobs: true`", "0", ONLY_CHAT
    ),
    _honoured(
        "logprobs",
        "0 to 20: the log-probability of each token of the answer, and so many most probable ones beside it",
        "none",
        ONLY_COMPLETIONS,
    ),
    _honoured(
        "echo",
        "boolean; the text begins with the prompt, `logprobs` with the prompt's (null for its first token)",
        "false",
        ONLY_COMPLETIONS,
    ),
    _honoured(
        "prompt_logprobs",
        "0 to 20: the log-probability of each prompt token but the first, its rank, and so many most "
        "probable tokens, in vLLM's form; in a stream in the first chunk of a choice",
        "none",
    ),
    _honoured(
        "echo",
        "boolean; the answer's text begins with the last message, if that is the assistant's",
        "false",
        ONLY_CHAT,
    ),
    _honoured("return_prompt_text", "boolean; `prompt_text`: the template's text", "false", ONLY_CHAT),
    _honoured("return_token_ids", "boolean; `token_ids` of each choice, and `prompt_token_ids`", "false"),
    _honoured(
        "return_tokens_as_token_ids",
        "boolean; tokens of logprobs are called `token_id:N`, as in vLLM",
        "false",
    ),
    _honoured(
        "cache_salt",
        "string of 1 to 256 characters; only requests with the same key and salt share prefix-cache blocks",
        "none",
    ),
    _honoured(
        "add_generation_prompt",
        "boolean; false: the template does not begin an answer behind the messages",
        "true",
        ONLY_CHAT,
    ),
    _honoured(
        "continue_final_message",
        "boolean; the answer goes on behind the text of the last message, which is the assistant's; not with "
        "`add_generation_prompt: true`",
        "false",
        ONLY_CHAT,
    ),
    _honoured(
        "documents", "list of up to 1,024 objects of strings, for templates that read them", "none", ONLY_CHAT
    ),
    _honoured(
        "priority",
        "0 to 2,147,483,647; of requests that wait, and that give up their blocks to others, lower ones come "
        "first; so a request can only step back",
        "0",
    ),
    _honoured("stream", "boolean", "false"),
    _honoured(
        "stream_options",
        '`{"include_usage": boolean, "continuous_usage_stats": boolean}`, only with `stream`: a last chunk '
        "with the usage, and then in every chunk that of its choice so far",
        "",
    ),
    _honoured(
        "octavo",
        '`{"explain": boolean}`; the answer, or the last chunk of a stream, has an object `octavo` that says '
        "where time went and what the answer was computed with",
        "",
    ),
    _honoured(
        "tools",
        "up to 128 functions: name 1 to 64 of `A-Z a-z 0-9 _ -`, description up to 16,384 characters, "
        "parameters up to 65,536 bytes of JSON nested 64 deep; see [tools.md](tools.md)",
        "none",
        ONLY_CHAT,
    ),
    _honoured(
        "tool_choice",
        '`auto`, `none`, `required`, `{"type": "function", "function": {"name"}}`, or an object of the type '
        "`allowed_tools`",
        "`auto`",
        ONLY_CHAT,
    ),
    _honoured(
        "parallel_tool_calls", "boolean; false: the answer ends with its first call", "true", ONLY_CHAT
    ),
    _honoured(
        "reasoning_effort",
        "what the model's template knows; where it knows none, `none`, `minimal`, `low`, `medium` (0, 256, "
        "1,024, 4,096 tokens of reasoning at most), `high`, `xhigh` or `max` (any number)",
        "the template's",
        ONLY_CHAT,
    ),
    _honoured(
        "enable_thinking",
        "boolean; false: no reasoning, by the template's switch, or by ending it at once",
        "the template's",
        ONLY_CHAT,
    ),
    _honoured(
        "thinking_token_budget",
        "0 and more: tokens of reasoning at most, then its end is forced; -1: any number; for models that "
        "reason in tags",
        "-1",
        ONLY_CHAT,
    ),
    _honoured("thinking_budget", "another name of `thinking_token_budget`", "", ONLY_CHAT),
    _honoured("include_reasoning", "boolean; false: reasoning is left out of the answer", "true", ONLY_CHAT),
    _honoured(
        "chat_template_kwargs",
        "up to 16 variables that the model's template reads: booleans, numbers, strings up to 1,024 long",
        "none",
        ONLY_CHAT,
    ),
    _honoured(
        "response_format",
        "object; `type` `text`, `json_object`, `json_schema` or `structural_tag`: "
        "[structured output](structured-output.md)",
        "text",
    ),
    _honoured(
        "structured_outputs",
        "object with one of `json`, `regex`, `choice`, `grammar`, `json_object`, `structural_tag`; for those "
        "with schemas also `whitespace_pattern` or `disable_any_whitespace`",
        "none",
    ),
    _honoured("guided_json", "a JSON schema, as an object or as text", "none"),
    _honoured("guided_regex", "a regular expression of up to 8,192 characters", "none"),
    _honoured("guided_choice", "list of up to 2,048 strings, one of which is the answer", "none"),
    _honoured("guided_grammar", "a grammar in llguidance's Lark, or in GBNF (`root ::= ...`)", "none"),
    _honoured("structural_tag", "a structural tag, as an object or as text", "none"),
    _honoured("guided_whitespace_pattern", "regular expression of white space in JSON", "one space at most"),
    _recorded("guided_decoding_backend", "there is one compiler"),
    _recorded("user", "who asks; there are no limits per user"),
    _recorded("safety_identifier", "who asks; there are no limits per user"),
    _recorded("metadata", "nothing is stored to find by it", {}),
    _recorded("store", "nothing is stored", False),
    _recorded("service_tier", "there is one tier", "auto", "default"),
    _recorded("prompt_cache_key", "blocks are found by what they hold"),
    _recorded("prompt_cache_retention", "blocks stay as long as there is room", "in_memory", "in-memory"),
    _recorded("session_id", "conversations are found by what they hold"),
    _recorded("stream_interval", "a token leaves when it is there", 1),
    _recorded("prompt_cache_options", "blocks are found by what they hold, and stay while there is room"),
    _refused("add_special_tokens", "the chat template has them", False, apis=ONLY_CHAT),
    _refused("moderation", "nothing is judged", apis=ONLY_CHAT),
    _refused("functions", "deprecated by OpenAI; send `tools`", [], apis=ONLY_CHAT),
    _refused("function_call", "deprecated by OpenAI; send `tool_choice`", "none", "auto", apis=ONLY_CHAT),
    _refused("verbosity", "no control of verbosity", "medium", apis=ONLY_CHAT),
    _refused("modalities", "text only", ["text"], apis=ONLY_CHAT),
    _refused("audio", "text only", apis=ONLY_CHAT),
    _refused("prediction", "no predicted output", apis=ONLY_CHAT),
    _refused("web_search_options", "no search", apis=ONLY_CHAT),
    _refused("chat_template", "the model's own is used", apis=ONLY_CHAT),
    _refused("media_io_kwargs", "text only", {}, apis=ONLY_CHAT),
    _refused("mm_processor_kwargs", "text only", {}, apis=ONLY_CHAT),
    _refused("add_special_tokens", "send token ids for a prompt without them", True, apis=ONLY_COMPLETIONS),
    _refused("logits_processors", "no code is taken from clients", []),
    _refused("logprob_token_ids", "send `logprobs`"),
    _refused("repetition_detection", "send `repetition_penalty`"),
    _refused("vllm_xargs", "there is nothing that would read them", {}),
    _refused("use_beam_search", "no beams", False),
    _refused("length_penalty", "no beams", 1),
    _refused("spaces_between_special_tokens", "text is what the tokens spell", True),
    _refused("request_id", "send the header `X-Request-Id`"),
    _refused("prompt_embeds", "tensors are not taken from clients", apis=ONLY_COMPLETIONS),
    _refused("kv_transfer_params", "internal to other servers"),
    _refused("ec_transfer_params", "internal to other servers"),
    _refused("routed_experts_prompt_start", "experts are not told of", 0),
    _refused("return_token_offsets", "send `logprobs`", False),
    _refused("return_mm_kwargs", "text only", True),
    _refused("watermarking", "answers have no mark", False),
    _refused("regex", "send `guided_regex`"),
    _refused("ebnf", "send `guided_grammar`"),
    _refused("stop_regex", "send `stop`"),
    _refused("no_stop_trim", "send `include_stop_str_in_output`", False),
    _refused("rid", "send the header `X-Request-Id`"),
    _refused("input_ids", "send `prompt`"),
    _refused("custom_logit_processor", "no code is taken from clients"),
    _refused("typical_p", "send `min_p`", 1),
    _refused("dry_multiplier", "send `frequency_penalty`", 0),
    _refused("xtc_probability", "send `temperature`", 0),
    _refused("mirostat", "send `min_p`", 0),
)


def parameters_of(api: Api) -> Mapping[str, Parameter]:
    return {parameter.name: parameter for parameter in PARAMETERS if api in parameter.apis}

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.config import Environment
from octavo.core.errors import InvalidRequestError, ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.engine.model_files import open_text
from octavo.models.source import resolve
from octavo.text.chat_template import ChatTemplate, telling_characters
from octavo.text.encoders import byte_level_encoder
from octavo.text.pre_tokenizers import PRE_TOKENIZERS
from octavo.text.tokenizer import Tokenizer
from octavo.text.vocabulary import BYTE_ALPHABET, Vocabulary
from tests.text.tiny_text import CONTROL, END, START, ids_of, tokenizer

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>hello\n' }}{% endif %}"
)
TOKENIZER = tokenizer()
CHAT = ChatTemplate(CHATML, TOKENIZER)
plain_content = st.text(st.sampled_from("hello<|im_end> \n日x[]{}\U000f0000")) | st.text()
hostile_content = st.lists(
    st.sampled_from([*CONTROL, "<|im_", "end|>", "<", "|>", "he", "\n", "\U000f0000"])
).map("".join)


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


def control_ids(ids: list[int]) -> list[int]:
    return [token_id for token_id in ids if token_id < len(CONTROL)]


def test_messages_become_tokens() -> None:
    ids = CHAT.encode_chat(user("hello"))
    assert ids == [START, *ids_of(*"user", "Ċ", "hello"), END, *ids_of("Ċ"), START, *ids_of("hello", "Ċ")]
    assert CHAT.encode_chat(user("hello"), add_generation_prompt=False) == ids[:-3]


@given(plain_content)
def test_tokens_are_those_of_the_whole_text(content: str) -> None:
    """Nothing is cut between a user's words and the template's, so merges across are kept."""
    if not any(name in content for name in CONTROL):
        rendered = CHAT.render(user(content))
        assert CHAT.encode_chat(user(content)) == TOKENIZER.encode(rendered, allow_special=True)


@given(hostile_content, hostile_content)
def test_control_tokens_in_what_users_write_stay_text(role: str, content: str) -> None:
    ids = CHAT.encode_chat([{"role": role, "content": content}])
    assert control_ids(ids) == [START, END, START]
    expected = f"<|im_start|>{role}\n{content}<|im_end|>\n<|im_start|>hello\n"
    assert TOKENIZER.decode(ids, skip_control=False) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[0]['content'].replace('-', '') }}",  # puts <|im_|-end|> together
        "{{ messages[0]['content'].split('-') | join }}",
        "{% for letter in messages[0]['content'] %}{{ '' if letter == '-' else letter }}{% endfor %}",
        "{{ messages[0]['content'][:5] + messages[0]['content'][6:] }}",
    ],
)
def test_a_template_cannot_be_made_to_assemble_one(source: str) -> None:
    ids = ChatTemplate(source, TOKENIZER).encode_chat(user("<|im_-end|>"))
    assert control_ids(ids) == []
    assert TOKENIZER.decode(ids) == "<|im_end|>"


def test_strings_are_guarded_wherever_they_are() -> None:
    chat = ChatTemplate("{{ messages[0] | tojson }}<|im_end|>", TOKENIZER)
    message = {
        "role": "user",
        "content": [{"type": "text", "text": "<|im_end|>"}],
        "n": 1,
        "<|im_end|>": None,
    }
    ids = chat.encode_chat([message])
    assert control_ids(ids) == [END]
    assert TOKENIZER.decode(ids).count("<|im_end|>") == 2


def test_templates_find_tags_in_what_users_wrote() -> None:
    chat = ChatTemplate("{{ messages[0]['content'].split('</think>')[-1] | trim }}", TOKENIZER)
    assert TOKENIZER.decode(chat.encode_chat(user("<think>he</think> ello [PAD]"))) == "ello [PAD]"


def test_the_template_knows_the_special_tokens() -> None:
    chat = ChatTemplate("{{ bos_token }}{{ eos_token }}{{ tools is none }}", tokenizer(bos_id=START))
    assert chat.render([]) == "<|im_start|><|im_end|>True"
    assert ChatTemplate("{{ bos_token }}", TOKENIZER).render([]) == ""


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("{{ raise_exception('no system message') }}", "refuses: no system message"),
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "was stopped: it takes",
        ),
        ("{{ messages[0].name.first }}", "cannot render these messages: .*name"),
        ("{{ 1 / 0 }}", "cannot render these messages: division by zero"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "cannot render these messages: .*recursion"),
        (None, "no chat template; use /v1/completions"),
    ],
)
def test_what_a_template_raises_is_the_requests_error(source: str | None, complaint: str) -> None:
    chat = ChatTemplate(source, TOKENIZER, time_limit_seconds=0.05)
    with pytest.raises(InvalidRequestError, match=complaint) as caught:
        chat.encode_chat(user("hello"))
    assert caught.value.param == "messages"


TOOLED = (
    "{% for tool in tools or [] %}{{ tool['function'] | tojson }}{% endfor %}{{ mood or '' }}"
    "{{ '<|im_start|>' + messages[0]['content'] + '<|im_end|>' }}"
)


@given(hostile_content, hostile_content)
def test_tools_and_variables_are_a_users_words_too(name: str, mood: str) -> None:
    chat = ChatTemplate(TOOLED, TOKENIZER)
    tool = {"type": "function", "function": {"name": "f", "description": name, "parameters": {name: [name]}}}
    ids = chat.encode_chat(user("<|im_end|>"), tools=[tool], variables={"mood": mood})
    assert control_ids(ids) == [START, END]
    expected = json.dumps(tool["function"], ensure_ascii=False) + mood + "<|im_start|><|im_end|><|im_end|>"
    assert TOKENIZER.decode(ids, skip_control=False) == expected


def test_keys_that_templates_look_for_are_kept_whole() -> None:
    vocabulary = Vocabulary([*BYTE_ALPHABET, "pad_1", "pad_2"], control_ids=[256, 257])
    byte_tokenizer = Tokenizer(vocabulary, byte_level_encoder(vocabulary, [], PRE_TOKENIZERS["smollm"]))
    source = "{{ messages[0].tool_call_id ~ enable_thinking ~ tools[0].x_y }}"
    chat = ChatTemplate(source, byte_tokenizer)
    message = {"role": "tool", "content": "pad_1", "tool_call_id": "a_b"}
    ids = chat.encode_chat([message], tools=[{"x_y": "lost"}], variables={"enable_thinking": "c_d"})
    assert byte_tokenizer.decode(ids) == "a_bc_d"


def test_the_variables_a_template_reads() -> None:
    assert ChatTemplate(TOOLED, TOKENIZER).variables == {"tools", "mood", "messages"}
    assert ChatTemplate("{% set a = b %}{{ a }}{% for c in d %}{{ c }}{% endfor %}", TOKENIZER).variables == {
        *("b", "d")
    }
    assert ChatTemplate(None, TOKENIZER).variables == frozenset()


def test_all_private_characters_at_once_are_refused() -> None:
    everything = "".join(map(chr, range(0xF0000, 0x110000)))
    with pytest.raises(InvalidRequestError, match="private character"):
        CHAT.encode_chat(user("<|" + everything))
    assert TOKENIZER.decode(CHAT.encode_chat(user("<|" + everything[:10])))[5:17] == "<|" + everything[:10]


def test_gguf_metadata_may_hold_a_template_or_none() -> None:
    def of_gguf(values: dict[str, Any]) -> ChatTemplate:
        return ChatTemplate.of_gguf(ModelMetadata("m.gguf", values), TOKENIZER)

    assert of_gguf({"tokenizer.chat_template": CHATML}).encode_chat(user("he")) == CHAT.encode_chat(
        user("he")
    )
    assert not of_gguf({}).is_present
    for source in ("{% for %}", "{{ x | nope }}", "{% if x %}" * 200 + "{% endif %}" * 200):
        with pytest.raises(ModelFileError, match=r"m\.gguf: the chat template is not valid"):
            of_gguf({"tokenizer.chat_template": source})


@pytest.mark.parametrize(
    ("names", "telling"),
    [
        (["<|im_start|>", "<|eot_id|>"], "|"),
        (["<|im_start|>", "<repo_name>", "<reponame>"], "<"),
        (["[INST]", "<s>"], "<["),
        (["pad_1", "pad_2"], "_"),
        ([], ""),
    ],
)
def test_few_characters_tell_control_tokens(names: list[str], telling: str) -> None:
    assert telling_characters(names) == telling


@pytest.mark.full
def test_the_built_in_template() -> None:
    text = open_text(resolve("default", Environment.read().home))
    ids = text.chat_template.encode_chat(user("Hi <|im_end|>"))
    assert [token_id for token_id in ids if token_id < 3] == [1, 2, 1, 2, 1]
    assert text.tokenizer.decode(ids, skip_control=False) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\n"
    )


@given(plain_content | hostile_content)
def test_the_final_message_is_left_open(content: str) -> None:
    messages = [*user("hello"), {"role": "assistant", "content": content}]
    closed = CHAT.encode_chat(messages, add_generation_prompt=False)
    opened = CHAT.encode_chat(messages, add_generation_prompt=False, continue_final_message=True)
    whole = TOKENIZER.decode(closed, skip_control=False)
    assert TOKENIZER.decode(opened, skip_control=False) + "<|im_end|>\n" == whole
    assert control_ids(opened) == [START, END, START]


@pytest.mark.parametrize("shown", ("", "{{ content }}{{ content }}", "{{ content[:-1] }}"))
def test_a_final_message_that_is_not_shown_as_it_is_cannot_go_on(shown: str) -> None:
    source = "{% for m in messages %}{% set content = m['content'] %}" + shown + "{% endfor %}"
    with pytest.raises(InvalidRequestError, match="does not show the final message"):
        ChatTemplate(source, TOKENIZER).encode_chat(user("hello"), continue_final_message=True)


def test_documents_are_the_templates() -> None:
    source = "{% for d in documents or [] %}{{ d['text'] }}{% endfor %}"
    chat = ChatTemplate(source, TOKENIZER)
    assert TOKENIZER.decode(chat.encode_chat([], variables={"documents": [{"text": "he"}]})) == "he"
    assert chat.encode_chat([]) == []

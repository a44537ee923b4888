import json
import pathlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.core.errors import InvalidRequestError, ModelFileError
from octavo.text import tokenizer_directory
from octavo.text.chat_template import ChatTemplate
from octavo.text.tokenizer import Tokenizer
from octavo.text.tokenizer_directory import TokenizerDirectory
from tests.text import tiny_directory, tiny_sentencepiece
from tests.text.sentencepiece_bytes import model_bytes

GENERATION = "generation_config.json"


def put(path: pathlib.Path, name: str, value: Any) -> None:
    (path / name).write_text(value if isinstance(value, str) else json.dumps(value))


@pytest.fixture
def gemma(tmp_path: pathlib.Path) -> pathlib.Path:
    return tiny_directory.write(tmp_path, tiny_directory.gemma())


@pytest.fixture(scope="session", params=tiny_directory.KINDS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Tokenizer]:
    """The library's own tokenizer and ours, from one file."""
    library = tiny_directory.KINDS[request.param]()
    path = tiny_directory.write(tmp_path_factory.mktemp(request.param), library)
    return library, Tokenizer.of_directory(path)


NAMES = ("<s>", "</s>", "<|eot_id|>", "<|user|>", "<mask>", "<think>")
hostile = st.lists(st.sampled_from([*NAMES, " ", "  ", "\n", "hello", "12", "日"])).map("".join)


@given(text=hostile | st.text())
def test_tokens_are_the_librarys(both: tuple[Any, Tokenizer], text: str) -> None:
    library, ours = both
    assert ours.encode(text, allow_special=True) == library.encode(text, add_special_tokens=False).ids


@given(text=hostile | st.text("ab <s>/\n日é"))
def test_special_tokens_in_a_text_stay_text(both: tuple[Any, Tokenizer], text: str) -> None:
    _, ours = both
    ids = ours.encode(text, allow_special=False)
    assert not ours.vocabulary.control_ids & set(ids)
    assert ours.decode(ids) in (text, text.removeprefix(" "))  # Metaspace cannot tell "x" from " x"


def test_the_begin_token_comes_from_flag_or_post_processor(tmp_path: pathlib.Path) -> None:
    def prompt(library: Any, **config: Any) -> list[int]:
        return Tokenizer.of_directory(tiny_directory.write(tmp_path, library, **config)).encode_prompt("ab")

    bos = tiny_directory.llama3().token_to_id("<s>")
    assert prompt(tiny_directory.llama3())[0] == bos
    assert bos not in prompt(tiny_directory.llama3(), add_bos_token=False)
    assert tiny_sentencepiece.BOS not in prompt(tiny_directory.gemma())
    assert prompt(tiny_directory.gemma(), add_bos_token=True)[0] == tiny_sentencepiece.BOS
    assert tiny_sentencepiece.BOS not in prompt(tiny_directory.gemma(), add_bos_token=True, bos_token=None)


def test_a_post_processor_that_names_no_token_is_refused(tmp_path: pathlib.Path) -> None:
    path = tiny_directory.write(tmp_path, tiny_directory.llama3()) / "tokenizer.json"
    fields = json.loads(path.read_text())
    fields["post_processor"]["special_tokens"] = {}
    path.write_text(json.dumps(fields))
    with pytest.raises(ModelFileError, match=r"tokenizer.json: .*(post_processor|cannot be built)"):
        Tokenizer.of_directory(tmp_path)


@pytest.mark.filterwarnings("ignore")  # the library says where it panics
def test_a_model_at_which_the_library_panics_is_refused(tmp_path: pathlib.Path) -> None:
    path = tiny_directory.write(tmp_path, tiny_directory.llama3()) / "tokenizer.json"
    fields = json.loads(path.read_text())
    fields["model"]["continuing_subword_prefix"] = "longer than any token"
    path.write_text(json.dumps(fields))
    with pytest.raises(ModelFileError, match=r"tokenizer.json: the tokenizer cannot be built: .*range"):
        Tokenizer.of_directory(tmp_path)


def test_a_text_without_tokens_is_refused_and_no_others(tmp_path: pathlib.Path) -> None:
    path = tiny_directory.write(tmp_path, tiny_directory.llama3()) / "tokenizer.json"
    fields = json.loads(path.read_text())
    fields["model"]["vocab"]["another"] = fields["model"]["vocab"].pop("b")
    fields["model"] |= {"merges": [], "unk_token": "<missing>"}
    path.write_text(json.dumps(fields))
    tokenizer = Tokenizer.of_directory(tmp_path)
    assert tokenizer.decode(tokenizer.encode("ac", allow_special=True)) == "ac"
    with pytest.raises(InvalidRequestError, match=r"no tokens for the text: .*<missing>"):
        tokenizer.encode("abc", allow_special=True)


def test_special_tokens_may_have_a_file_of_their_own(gemma: pathlib.Path) -> None:
    put(gemma, "tokenizer_config.json", {})
    assert Tokenizer.of_directory(gemma).vocabulary.bos_id is None
    put(gemma, "special_tokens_map.json", {"bos_token": {"content": "<s>"}})
    assert Tokenizer.of_directory(gemma).vocabulary.bos_id == tiny_sentencepiece.BOS


def test_answers_end_at_what_any_configuration_names(gemma: pathlib.Path) -> None:
    def both_ways() -> frozenset[int]:
        found = TokenizerDirectory(gemma).end_ids()
        assert found == Tokenizer.of_directory(gemma).vocabulary.end_ids
        return found

    assert both_ways() == {tiny_sentencepiece.EOS}
    put(gemma, "config.json", {"eos_token_id": 5})
    assert both_ways() == {2, 5}
    put(gemma, GENERATION, {"eos_token_id": [7, 8]})
    assert both_ways() == {2, 5, 7, 8}
    put(gemma, "tokenizer_config.json", {"eos_token": "[INST]"})
    assert both_ways() == {2, 3, 5, 7, 8}


def test_the_template_is_a_string_one_of_several_or_a_file(gemma: pathlib.Path) -> None:
    def render() -> str:
        return ChatTemplate.of_directory(gemma, Tokenizer.of_directory(gemma)).render([{"content": "x"}])

    assert render() == "<s>x</s>"
    several = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "several"}]
    put(gemma, "tokenizer_config.json", {"chat_template": several})
    assert render() == "several"
    put(gemma, "chat_template.jinja", "a file of its own")
    assert render() == "a file of its own"
    put(gemma, "chat_template.jinja", "{% for %}")
    with pytest.raises(ModelFileError, match="the chat template is not valid"):
        render()


def test_a_directory_may_have_no_template(gemma: pathlib.Path) -> None:
    put(gemma, "tokenizer_config.json", {"chat_template": None})
    assert not ChatTemplate.of_directory(gemma, Tokenizer.of_directory(gemma)).is_present


@pytest.mark.parametrize("text", ["hello <s>[INST] the  tab</s>", "", "  日本 é\n<unk>", "<think> ▁▁▁ x"])
def test_a_sentencepiece_model_gives_the_same_tokens(tmp_path: pathlib.Path, text: str) -> None:
    ours, expected = sentencepiece_tokenizer(tmp_path), tiny_sentencepiece.tokenizer()
    assert ours.encode_prompt(text) == expected.encode_prompt(text)


def sentencepiece_tokenizer(path: pathlib.Path) -> Tokenizer:
    tiny = tiny_sentencepiece
    pieces = zip(tiny.TOKENS, tiny.SCORES, tiny.TYPES, strict=True)
    (path / "tokenizer.model").write_bytes(model_bytes(pieces))
    return Tokenizer.of_directory(path)


def test_a_sentencepiece_model_names_its_end_token(tmp_path: pathlib.Path) -> None:
    sentencepiece_tokenizer(tmp_path)
    put(tmp_path, GENERATION, {"eos_token_id": 9})
    assert TokenizerDirectory(tmp_path).end_ids() == {tiny_sentencepiece.EOS, 9}


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("tokenizer.json", "{", "tokenizer.json: "),
        ("tokenizer.json", "[]", "tokenizer.json: Expected `object`"),
        (
            "tokenizer.json",
            '{"model": {"type": "WordPiece"}}',
            "'WordPiece' is not supported",
        ),
        ("tokenizer.json", '{"model": {"type": "BPE"}}', "tokenizer.json: the tokenizer cannot be built"),
        ("tokenizer.json", '{"added_tokens": [{"id": "x"}]}', r"Expected `int`, got `str` - at `\$\[0\].id`"),
        ("tokenizer_config.json", {"bos_token": 3}, "key bos_token is 3; expected a token"),
        ("tokenizer_config.json", {"chat_template": 3}, "key chat_template is 3; expected a string"),
        ("tokenizer_config.json", "[" * 100_000, "tokenizer_config.json: "),
        (GENERATION, {"eos_token_id": "x"}, "eos_token_id is 'x'; expected a token id"),
        (GENERATION, {"eos_token_id": [-1]}, r"eos_token_id is \[-1\]; expected a token id"),
        ("chat_template.jinja", b"\xff", "chat_template.jinja: .*utf-8"),
    ],
)
def test_what_is_wrong_is_named(gemma: pathlib.Path, name: str, content: Any, complaint: str) -> None:
    (gemma / name).write_bytes(content) if isinstance(content, bytes) else put(gemma, name, content)
    with pytest.raises(ModelFileError, match=complaint):
        ChatTemplate.of_directory(gemma, Tokenizer.of_directory(gemma))


def test_a_directory_without_tokenizer_says_what_to_do(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ModelFileError, match=r"neither tokenizer\.json nor tokenizer\.model\. Put"):
        Tokenizer.of_directory(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"IQ== 0\n")
    with pytest.raises(ModelFileError, match=r"tokenizer.model: "):
        Tokenizer.of_directory(tmp_path)


def test_files_beyond_all_measure_are_not_read(gemma: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_directory, "MAX_FILE_BYTES", 100)
    with pytest.raises(ModelFileError, match=r"tokenizer.json: it has \d+ bytes; allowed: 100"):
        Tokenizer.of_directory(gemma)

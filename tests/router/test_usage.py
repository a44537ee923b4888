import pytest

from octavo.router.usage import cached_tokens


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"choices": [{"text": "a"}], "usage": {"prompt_tokens_details": {"cached_tokens": 16}}}', 16),
        (b'{"usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 0}}}', 0),
        (b'{"output": [], "usage": {"input_tokens_details": {"cached_tokens": 3}}}', 3),
        (b'{"usage": {"input_tokens": 4, "cache_read_input_tokens": 7}}', 7),
        (
            b'{"usage": {"prompt_tokens": 5, "prompt_tokens_details": null}}',
            None,
        ),  # vLLM, if it is not told to
        (b'{"usage": {"prompt_tokens_details": {}}}', None),
        (b'{"usage": {"prompt_tokens_details": {"cached_tokens": "all"}}}', None),
        (b'{"usage": null}', None),
        (b'{"data": []}', None),
        (b'["usage"]', None),
        (b"no JSON", None),
        (b'{"text": "\xff"}', None),
    ],
)
def test_what_an_answer_says_of_its_prompt(body: bytes, expected: int | None) -> None:
    assert cached_tokens(body) == expected

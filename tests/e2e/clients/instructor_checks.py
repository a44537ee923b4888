"""Instructor, in those of its modes that a server can hold a model to."""

import sys

import instructor
import openai
from questions import DESCRIBE, City, run

CLIENT = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
ASKED = {
    "model": "default",
    "response_model": City,
    "messages": [{"role": "user", "content": DESCRIBE}],
    "temperature": 0,
    "max_retries": 0,
}


def by_a_schema() -> None:
    client = instructor.from_openai(CLIENT, mode=instructor.Mode.JSON_SCHEMA)
    assert isinstance(client.chat.completions.create(**ASKED), City)


def by_a_tool() -> None:
    for mode in (instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT):
        client = instructor.from_openai(CLIENT, mode=mode)
        assert isinstance(client.chat.completions.create(**ASKED), City)


def a_stream_of_parts() -> None:
    client = instructor.from_openai(CLIENT, mode=instructor.Mode.TOOLS)
    *_, last = client.chat.completions.create_partial(**ASKED)
    City.model_validate(last.model_dump())


sys.exit(run(globals()))

"""YAML that people write: whatever is wrong with it is one kind of error."""

import yaml

VALUE_ERRORS = (ValueError, LookupError, AttributeError)
"""What PyYAML raises for a date, or a value with a tag, that is none."""


class YamlError(Exception):
    """What is wrong, as the end of a sentence that begins with what was read."""


def load_yaml(text: str, kind: str = "YAML") -> object:
    """The text's one document. Raises YamlError, which calls what the text is not by its kind."""
    try:
        document: object = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" in line {mark.line + 1}"
        raise YamlError(f"is not {kind}{where}") from None
    except VALUE_ERRORS as error:
        raise YamlError(f"has a value that YAML cannot read: {error}") from None
    return document

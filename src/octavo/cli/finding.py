"""One line of `octavo doctor`."""

import dataclasses
import enum


class Grade(enum.StrEnum):
    OK = "ok"
    NOTE = "note"  # octavo works; something could be better
    FAIL = "FAIL"  # octavo cannot serve


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    subject: str
    text: str
    grade: Grade = Grade.OK
    advice: str = ""

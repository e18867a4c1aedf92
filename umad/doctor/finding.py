"""Defines what a check found. Values only."""

import enum
from dataclasses import dataclass, field
from typing import Any


class State(enum.Enum):
    """The state of a thing."""

    # As it should be.
    GOOD = "good"
    # Worth knowing. Nothing has to be done.
    NOTE = "note"
    # To be mended.
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    # The subject, a word of `umad.doctor.examination.CHECKS`.
    check: str
    state: State
    # One sentence without an end, for a person.
    words: str
    # The command that mends it, or what to do where no command can; empty where nothing is wrong.
    mend: str = ""
    # Texts within `words` that are nobody else's business, such as paths and names of models. A
    # report leaves them out.
    private: tuple[str, ...] = field(default=())

    def as_map(self) -> dict[str, Any]:
        """The finding as JSON has it."""
        return {
            "check": self.check,
            "state": self.state.value,
            "words": self.words,
            "mend": self.mend or None,
        }


def good(check: str, words: str, *private: str) -> Finding:
    """A finding that all is well."""
    return Finding(check=check, state=State.GOOD, words=words, private=private)


def note(check: str, words: str, *private: str, mend: str = "") -> Finding:
    """A finding that is worth knowing."""
    return Finding(check=check, state=State.NOTE, words=words, mend=mend, private=private)


def wrong(check: str, words: str, *private: str, mend: str) -> Finding:
    """A finding that something is to be mended, and how."""
    return Finding(check=check, state=State.WRONG, words=words, mend=mend, private=private)

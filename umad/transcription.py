"""Describes requests to turn speech into text, and their answers.

    TranscribeRequest   what somebody asks
    Heard               a part of the answer, as it comes
    Transcript          the whole answer

Times are seconds from the beginning of the recording. Values only; pure. Not: the socket's messages
(`umad.protocol.speech_fields`), subtitles (`umad.subtitles`), or how a model hears (`umad.speech`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from umad.errors import BadRequest
from umad.spoken_languages import FOUND_OUT, code_of, near_names

MAX_PROMPT_CHARS = 8192
MAX_LANGUAGE_CHARS = 32
# A request with the bytes of a recording in it. A longer one is named by its path.
MAX_AUDIO_BYTES = 8 * 2**20
MAX_TEMPERATURE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscribeRequest:
    """A request for the text of a recording. Exactly one of `path` and `audio` is set.

    `lane`, `app`, `deadline_ms` and `keep_alive_s` mean the same as in
    `umad.request.GenerateRequest`.
    """

    # A file of this machine, which the daemon's user may read.
    path: str | None = None
    # The bytes of a file.
    audio: bytes | None = None
    # None means the first speech model that is loaded.
    model: str | None = None
    # Such as "en", "german" or "pt-BR"; None and "auto" let the model find out.
    language: str | None = None
    # Write English, whatever is spoken.
    translate: bool = False
    # Words that stand before the recording: names, spellings, a style.
    prompt: str | None = None
    # 0 is greedy, and goes up by itself where a window does not make sense.
    temperature: float = 0.0
    # Tell the time of every word.
    words: bool = False
    lane: str | None = None
    app: str | None = None
    deadline_ms: int | None = None
    keep_alive_s: float | None = None

    @property
    def spoken(self) -> str | None:
        """The code of the language; None where the model is to find out."""
        return None if self.language is None else code_of(self.language)

    def check(self) -> None:
        """Raise `BadRequest` for a request that no model could answer."""
        if (self.path is None) == (self.audio is None):
            raise BadRequest("transcribe names exactly one of path and audio", field="path")
        if self.path is not None and not self.path.startswith("/"):
            raise BadRequest("path is not absolute; start it with /", field="path")
        if self.audio is not None and not self.audio:
            raise BadRequest("audio is empty: there is nothing to hear", field="audio")
        if self.audio is not None and len(self.audio) > MAX_AUDIO_BYTES:
            raise BadRequest(
                f"audio has {len(self.audio)} bytes, and at most {MAX_AUDIO_BYTES} come in one "
                "request; give the path of the file instead",
                field="audio",
            )
        if self.language is not None and not 0 < len(self.language) <= MAX_LANGUAGE_CHARS:
            raise BadRequest("language is a code such as en, or a name", field="language")
        if self.language is not None and self.spoken is None and self.language != FOUND_OUT:
            near = near_names(self.language)
            hint = (
                f"did you mean {' or '.join(near)}?"
                if near
                else "it is a code such as en or eng, or a name such as english"
            )
            raise BadRequest(
                f"language {self.language!r} is none that Whisper models know; {hint}",
                field="language",
            )
        if self.prompt is not None and len(self.prompt) > MAX_PROMPT_CHARS:
            raise BadRequest(
                f"prompt has {len(self.prompt)} characters, more than {MAX_PROMPT_CHARS}",
                field="prompt",
            )
        if not 0 <= self.temperature <= MAX_TEMPERATURE:
            raise BadRequest(
                f"temperature is {self.temperature:g}, not between 0 and {MAX_TEMPERATURE:g}",
                field="temperature",
            )
        if self.deadline_ms is not None and self.deadline_ms < 1:
            raise BadRequest(
                f"deadline_ms is {self.deadline_ms}, not at least 1", field="deadline_ms"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word and when it was said."""

    text: str
    start_s: float
    end_s: float
    # How sure the model is, from 0 to 1.
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of the text that belongs together, mostly a sentence."""

    # With its own space before it.
    text: str
    start_s: float
    end_s: float
    tokens: tuple[int, ...] = ()
    # Of its tokens, on the average.
    logprob: float = 0.0
    # Empty unless they were asked for.
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """News of a transcription that runs."""

    segments: tuple[Segment, ...]
    # Up to here the recording has been heard, of so much.
    done_s: float
    total_s: float
    language: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """The answer to a `TranscribeRequest`."""

    model: str
    # A code, such as "en"; of what was written, where it was translated.
    language: str
    duration_s: float
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """The whole text; empty where nobody spoke."""
        return text_of(self.segments)

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments, where they were asked for."""
        return tuple(word for segment in self.segments for word in segment.words)


TranscriptEvent = Heard | Transcript


def text_of(segments: Sequence[Segment]) -> str:
    """The text of segments one behind the other."""
    return "".join(segment.text for segment in segments).strip()

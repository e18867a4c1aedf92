"""The transcriber's process: loads a Whisper model and hears one window after the other.

    python -m umad.speech.hearing PATH THREADS

It reads `WindowAsked` from stdin and writes answers to stdout: {"facts"} once it is ready, then
{"heard"} or {"failed"} for each window. Its parent stops, continues and kills it
(`umad.speech.transcriber`). Nothing of a window stays behind: tokens that the next one may go on
from are a part of the answer. The only module that imports pywhispercpp.
"""

import contextlib
import importlib
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from umad.engine.prctl import die_with_parent, name_thread
from umad.speech.window import (
    SAMPLE_RATE,
    Part,
    WindowAsked,
    WindowHeard,
    as_map,
    asked_of,
    read,
    write,
)
from umad.speech.words import Token, words_of

# whisper.cpp's clock ticks.
_TICK_S = 0.01
# A window goes on at least so far behind its beginning, or one that finds no end would stand still.
_LEAST_STEP_S = 1.0
# Tokens of the windows before that stand before a window: half of the decoder's, as in whisper.cpp.
_MOST_CONTEXT = 224
# Text that the model was less sure of than this is nothing to go on from: it would repeat it.
_LEAST_LOGPROB = -1.0
# whisper.cpp counts a progress in hundredths. This is the end of a window.
_WHOLE = 99
# What whisper.cpp's models write for a room in which nobody speaks.
_NOBODY_SPEAKS = frozenset({"[BLANK_AUDIO]", "[SILENCE]", "[ Silence ]", "(silence)"})
MISSING = "speech needs pywhispercpp: pip install 'umad[whisper]'"


class Hearing:
    """A loaded model. Its owner is the process's one thread."""

    def __init__(self, path: str, threads: int) -> None:
        """Raises `ImportError` without pywhispercpp, `RuntimeError` for a file that whisper.cpp
        refuses.
        """
        self._pw: Any = importlib.import_module("_pywhispercpp")
        params = self._pw.whisper_context_default_params()
        self._context = self._pw.whisper_init_from_file_with_params(path, params)
        # The binding makes an object of a null pointer too.
        try:
            self._n_vocab = int(self._pw.whisper_n_vocab(self._context))
        except (RuntimeError, ValueError) as error:
            raise RuntimeError("whisper.cpp cannot load it") from error
        self._threads = threads
        # It says much of every window, and nothing that its answer does not.
        self._pw.whisper_log_set(_quiet)
        self._multilingual = bool(self._pw.whisper_is_multilingual(self._context))
        self._first_special = int(self._pw.whisper_token_eot(self._context))

    def facts(self) -> Mapping[str, Any]:
        """What only the library knows of the model."""
        pw = self._pw
        languages = [pw.whisper_lang_str(at) for at in range(pw.whisper_lang_max_id() + 1)]
        return {"languages": languages if self._multilingual else ["en"]}

    def hear(self, asked: WindowAsked) -> WindowHeard:
        """Hear one window. Raises `ValueError` for what cannot be asked of this model, and
        `RuntimeError` where whisper.cpp fails.
        """
        pw = self._pw
        samples = np.frombuffer(asked.samples, np.float32)
        seconds = samples.size / SAMPLE_RATE
        language = self._language(asked)
        whole, began = [False], [0]

        def progress(hundredths: int) -> None:
            whole[0] = hundredths >= _WHOLE

        def encoder_begins(*_: Any) -> bool:
            began[0] += 1
            # What is left of the window is heard with what follows it.
            return began[0] == 1 or asked.is_last

        params = self._params(asked, language)
        pw.assign_progress_callback(params, progress)
        pw.assign_encoder_begin_callback(params, encoder_begins)
        # Where it is found out, whisper.cpp wants to hear a second at least.
        padded = np.pad(samples, (0, max(0, SAMPLE_RATE - samples.size)))
        status = pw.whisper_full(self._context, params, padded, padded.size)
        if status != 0:
            raise RuntimeError(f"whisper.cpp failed with {status}")
        found = self._found_language(asked, language)
        parts = tuple(self._parts(asked, found, seconds))
        next_s = seconds if whole[0] or asked.is_last else _behind(parts, seconds)
        return WindowHeard(
            parts=parts, next_s=next_s, language=found, context=self._context_behind(asked, parts)
        )

    # -- what is asked -----------------------------------------------------------------------------

    def _language(self, asked: WindowAsked) -> str:
        if asked.language is None:
            return "auto" if self._multilingual else "en"
        number = int(self._pw.whisper_lang_id(asked.language))
        if number < 0:
            raise ValueError(f"language {asked.language!r} is none that this whisper.cpp knows")
        code = str(self._pw.whisper_lang_str(number))
        if code != "en" and not self._multilingual:
            raise ValueError(f"this model knows English alone, not {asked.language!r}")
        return code

    def _params(self, asked: WindowAsked, language: str) -> Any:
        pw = self._pw
        params = pw.whisper_full_default_params(
            pw.whisper_sampling_strategy.WHISPER_SAMPLING_GREEDY
        )
        params.n_threads = self._threads
        params.language = language
        params.translate = asked.translate
        params.temperature = asked.temperature
        params.token_timestamps = asked.words
        params.no_context = True
        # The callback of progress hangs on this.
        params.print_progress = True
        params.print_realtime = params.print_timestamps = params.print_special = False
        if asked.context:
            params.set_prompt_tokens(list(asked.context[-_MOST_CONTEXT:]))
        elif asked.prompt:
            params.initial_prompt = asked.prompt
        return params

    # -- what was heard ----------------------------------------------------------------------------

    def _found_language(self, asked: WindowAsked, language: str) -> str:
        if asked.translate:
            return "en"
        if language != "auto":
            return language
        return str(self._pw.whisper_lang_str(self._pw.whisper_full_lang_id(self._context)))

    def _parts(self, asked: WindowAsked, language: str, seconds: float) -> Iterator[Part]:
        pw, context = self._pw, self._context
        for at in range(pw.whisper_full_n_segments(context)):
            text = pw.whisper_full_get_segment_text(context, at).decode("utf-8", "replace")
            if not text.strip() or text.strip() in _NOBODY_SPEAKS:
                continue
            tokens = list(self._tokens(at, seconds))
            logprobs = [math.log(max(one.probability, 1e-9)) for _, one in tokens]
            start_s = min(seconds, pw.whisper_full_get_segment_t0(context, at) * _TICK_S)
            end_s = min(seconds, pw.whisper_full_get_segment_t1(context, at) * _TICK_S)
            words: Sequence[tuple[str, float, float, float]] = ()
            if asked.words:
                words = tuple(words_of((one for _, one in tokens), language=language))
            yield Part(
                text=text,
                start_s=start_s,
                end_s=max(start_s, end_s),
                tokens=tuple(number for number, _ in tokens),
                logprob=sum(logprobs) / len(logprobs) if logprobs else 0.0,
                words=tuple(words),
            )

    def _tokens(self, segment: int, seconds: float) -> Iterator[tuple[int, Token]]:
        """Number and content of each token of a text; times and other signs are left out."""
        pw, context = self._pw, self._context
        for at in range(pw.whisper_full_n_tokens(context, segment)):
            data = pw.whisper_full_get_token_data(context, segment, at)
            if data.id >= self._first_special:
                continue
            yield (
                int(data.id),
                Token(
                    data=pw.whisper_token_to_bytes(context, data.id),
                    start_s=min(seconds, max(0, data.t0) * _TICK_S),
                    end_s=min(seconds, max(0, data.t1) * _TICK_S),
                    probability=float(data.p),
                ),
            )

    def _context_behind(self, asked: WindowAsked, parts: Sequence[Part]) -> tuple[int, ...]:
        if not parts:
            return asked.context
        sure = sum(one.logprob for one in parts) / len(parts)
        own = tuple(token for one in parts for token in one.tokens)
        # A model that repeats itself would go on for ever.
        if sure < _LEAST_LOGPROB or own == asked.context[-len(own) :]:
            return ()
        return (*asked.context, *own)[-_MOST_CONTEXT:]


def _quiet(*_: Any) -> None:
    """Say nothing."""


def _behind(parts: Sequence[Part], seconds: float) -> float:
    """Where the next window begins: behind the last text, or behind the window without one."""
    if not parts:
        return seconds
    return min(seconds, max(parts[-1].end_s, _LEAST_STEP_S))


def main(arguments: Sequence[str]) -> int:
    """Serve windows until stdin ends. Returns the exit status."""
    path, threads = arguments[0], int(arguments[1])
    die_with_parent(os.getppid())
    name_thread("umad-whisper")
    # What whisper.cpp prints must not get between the answers.
    with os.fdopen(os.dup(1), "wb") as answers, os.fdopen(0, "rb") as questions:
        os.dup2(2, 1)
        try:
            hearing = Hearing(path, threads)
        except ImportError:
            write(answers, {"failed": MISSING})
            return 1
        except RuntimeError as error:
            write(answers, {"failed": f"{path}: {error}"})
            return 1
        with contextlib.suppress(BrokenPipeError):
            write(answers, {"facts": hearing.facts()})
            _serve(hearing, questions, answers)
    return 0


def _serve(hearing: Hearing, questions: BinaryIO, answers: BinaryIO) -> None:
    while (message := read(questions)) is not None:
        asked = asked_of(message)
        try:
            write(answers, {"heard": as_map(hearing.hear(asked))})
        except ValueError as error:
            write(answers, {"refused": str(error)})
        except RuntimeError as error:
            write(answers, {"failed": str(error)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

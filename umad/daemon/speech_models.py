"""Keeps work and models of one kind together: speech is asked of speech models, text of the others.

A request for the wrong kind is refused before it reaches an engine, and told of a model here of the
right kind. Not: finding a model by its name (`umad.daemon.meant_models`). Reads names and the first
bytes of files.
"""

from collections.abc import Iterable

from umad.asker import Asker
from umad.daemon.engine import Engine
from umad.daemon.names import ModelNames
from umad.errors import UnknownModel, Unsupported
from umad.models.whisper import is_speech_file

# Names of OpenAI's own speech models: its programs ask for them whatever the server has.
OPENAIS = frozenset(
    {
        "whisper-1",
        "gpt-transcribe",
        "gpt-4o-transcribe",
        "gpt-4o-mini-transcribe",
        "gpt-4o-mini-transcribe-2025-12-15",
        "gpt-4o-transcribe-diarize",
    }
)


class SpeechModels:
    """What is known of speech models. names: the models that may be loaded."""

    def __init__(self, names: ModelNames) -> None:
        self._names = names

    def meant(self, model: str | None, loaded: Iterable[Engine], asker: Asker) -> str:
        """The name of the speech model for a request that names none, or one of OpenAI's; else
        the name itself. Raises `UnknownModel` where there is none.
        """
        if model is not None and (model not in OPENAIS or self._names.find(model) is not None):
            return model
        found = self._one_here(loaded, asker)
        if found is None:
            raise UnknownModel(
                "no speech model is here; fetch one: "
                "umad pull hf:ggerganov/whisper.cpp/ggml-base.en.bin",
                field="model",
            )
        return found

    def check_hears(self, engine: Engine, loaded: Iterable[Engine], asker: Asker) -> None:
        """Raise `Unsupported` for an engine that is asked to hear and cannot."""
        if engine.transcribes:
            return
        other = self._one_here(loaded, asker)
        hint = f"{other} here does" if other else "no speech model is here"
        raise Unsupported(f"{engine.name} does not turn speech into text; {hint}", field="model")

    def check_writes(self, engine: Engine, loaded: Iterable[Engine]) -> None:
        """Raise `Unsupported` for a speech model that is asked for text or vectors."""
        if not engine.transcribes:
            return
        other = next((one.name for one in loaded if not one.transcribes), None)
        hint = f"; {other} here is one of texts" if other else ""
        raise Unsupported(
            f"{engine.name} is a speech model, and does nothing but turn speech into text{hint}",
            field="model",
        )

    def _one_here(self, loaded: Iterable[Engine], asker: Asker) -> str | None:
        """A loaded one, else, for an admin, one that would be loaded."""
        found = next((one.name for one in loaded if one.transcribes), None)
        if found is not None or not asker.is_admin:
            return found
        files = self._names.all().values()
        return next((one.name for one in files if is_speech_file(one.path)), None)

"""Asks the daemon for one completion, and makes of the answer what is shown.

    cursor → cut → manner → an answer that still holds, else: models → prompt → tokens → trim

Leaving the wait cancels the request, so whoever hears the next key cancels the task. Not: the wait
before asking (debounce), which is the editor's side. It knows the service only.
"""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

from umad.errors import UnknownModel, Unsupported
from umad.infill.cut import Cut
from umad.infill.manner import Manner
from umad.infill.prompt import FimTokens, Gap, continuation_ids, prompt_ids
from umad.infill.recent import RecentAnswers
from umad.infill.trim import trimmed
from umad.model_names import KnownModel, resolve
from umad.protocol.errors import error_of_failed
from umad.protocol.fields import MAX_NAME_CHARS
from umad.request import INTERACTIVE, GenerateRequest, SamplingParams
from umad.service import Failed, Service, Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One cursor at which a completion is wanted."""

    cut: Cut
    manner: Manner
    # The file's name, relative to its project; shown to models that know of files.
    name: str = ""
    project: str = ""
    # The model as a person writes it; None for the first that can fill in the middle, else the
    # first.
    model: str | None = None
    lane: str = INTERACTIVE
    # The editor's name, which rules of `apps` and `umad ps` know it by; None for this process's.
    app: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ghost:
    """What is shown at the cursor."""

    # "" for nothing.
    text: str
    # The model that answered; "" where nobody was asked.
    model: str = ""
    # The model has no marks, and saw only the text before the cursor.
    is_blind: bool = False


class GhostWriter:
    """Completes at cursors. Many may be asked at once. Owner: the service's loop."""

    def __init__(self, service: Service, recent: RecentAnswers | None = None) -> None:
        self._service = service
        self._recent = RecentAnswers() if recent is None else recent

    def remembered(self, asked: Asked) -> Ghost | None:
        """What an earlier answer still says here; None where the daemon has to be asked."""
        text = self._recent.find(_scope(asked), asked.cut)
        return None if text is None else Ghost(text=text)

    async def write(self, asked: Asked) -> Ghost:
        """The daemon's completion. Raises the `UmadError` that the daemon answered with."""
        facts = await self._model(asked.model)
        model = str(facts["name"])
        request, is_blind = await self._request(asked, facts)
        text = "" if request is None else await self._shown(asked, request)
        self._recent.keep(_scope(asked), asked.cut, text)
        return Ghost(text=text, model=model, is_blind=is_blind)

    def forget(self) -> None:
        """Drop all answers: the model or the settings have changed."""
        self._recent.clear()

    async def _model(self, asked: str | None) -> Mapping[str, Any]:
        # A model that is still loading has no facts yet.
        rows = [
            row
            for row in await self._service.models()
            if row.get("ctx") and row.get("generates") is not False
        ]
        if asked is None:
            if not rows:
                raise Unsupported(
                    "no model that writes text is loaded: load one with `umad load MODEL`"
                )
            return next((row for row in rows if _can_fill(row)), rows[0])
        meant = resolve(asked, [KnownModel.of_row(row) for row in rows])
        for row in rows:
            if meant is not None and row["name"] == meant.name:
                return row
        try:
            # It still loads, or the daemon loads models for the requests that name them.
            return await self._service.load(asked, as_request=True)
        except UnknownModel as error:
            names = ", ".join(str(row["name"]) for row in rows) or "none"
            raise Unsupported(
                f"the completion model {asked} is not loaded: load it with `umad load`, or choose "
                f"one that is: {names}",
                field="completion_model",
            ) from error

    async def _request(
        self, asked: Asked, facts: Mapping[str, Any]
    ) -> tuple[GenerateRequest | None, bool]:
        """The request, and whether its model sees only what is before the cursor."""
        model = str(facts["name"])
        # The likeliest text: an answer that is kept is what would be said again.
        sampling = SamplingParams(
            temperature=0.0, max_tokens=asked.manner.max_tokens, fit=True, stop=asked.manner.stop
        )
        cells, n_predict = int(facts["ctx"]), asked.manner.max_tokens

        async def tokenize(text: str) -> tuple[int, ...]:
            if not text:
                return ()
            return await self._service.tokenize(_well_formed(text), model=model, special=False)

        is_blind = not _can_fill(facts)
        if is_blind:
            bos = facts.get("bos_token") if facts.get("adds_bos") else None
            ids = await continuation_ids(
                asked.cut.before, tokenize, bos=bos, cells=cells, n_predict=n_predict
            )
        else:
            gap = Gap(
                before=asked.cut.before,
                after=asked.cut.after,
                name=asked.name,
                project=asked.project,
            )
            marks = FimTokens.of_facts(facts)
            ids = await prompt_ids(gap, marks, tokenize, cells=cells, n_predict=n_predict)
        if not ids:
            return None, is_blind
        request = GenerateRequest(
            prompt_ids=ids, model=model, sampling=sampling, lane=asked.lane, app=asked.app
        )
        return request, is_blind

    async def _shown(self, asked: Asked, request: GenerateRequest) -> str:
        text, is_single = "", asked.manner.is_single
        # `Service` says iterator; every one of them is a generator that has to be closed at once.
        async with aclosing(cast(Any, self._service.events(request))) as events:
            async for event in events:
                if isinstance(event, Failed):
                    raise error_of_failed(event)
                if not isinstance(event, Tokens):
                    continue
                text += event.text
                if "\n" in event.text and _is_repeating(text, asked.cut, is_single=is_single):
                    break
        return trimmed(text, asked.cut, is_single=is_single)


def _well_formed(text: str) -> str:
    """`text`, with a sign in the place of halves of surrogate pairs, which an editor's text may
    have and no tokenizer knows.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def app_name(editor: str) -> str | None:
    """An app's name from what an editor calls itself; None where it says nothing of use."""
    return " ".join(editor.split())[:MAX_NAME_CHARS] or None


def _can_fill(facts: Mapping[str, Any]) -> bool:
    try:
        FimTokens.of_facts(facts)
    except Unsupported:
        return False
    return True


def _is_repeating(text: str, cut: Cut, *, is_single: bool) -> bool:
    """Whether the answer has come to the lines behind the cursor: the rest would be cut off."""
    whole = text[: text.rfind("\n")].rstrip()
    return bool(whole) and len(trimmed(whole, cut, is_single=is_single)) < len(whole)


def _scope(asked: Asked) -> str:
    """What besides the text decides an answer."""
    return f"{asked.model or ''}\0{asked.name}\0{asked.manner.is_single}"

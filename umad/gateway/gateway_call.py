"""Gives a handler its HTTP request: body, caller, generations, streams.

`umad.gateway.dispatch` makes it and closes it: once the answer was sent, or the client has left,
everything that the handler opened is closed. Not: anything of one dialect.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from umad.adapters import parted
from umad.conversation import ChatPrompt
from umad.embedding import Embeddings, EmbedRequest, Ranking, RerankRequest
from umad.errors import BadRequest, UmadError, UnknownModel
from umad.gateway.bodies.base import Written
from umad.gateway.dialect import Answering
from umad.gateway.door.keys import Caller
from umad.gateway.door.quotas import Meter
from umad.gateway.field_names import FieldNames, bad_request_of
from umad.gateway.generation import (
    GatewayGeneration,
    Generator,
    Shortcut,
    open_generation,
    refused_within_s,
)
from umad.gateway.listening import Listened, Listener
from umad.gateway.metering import (
    Metered,
    embed_estimate,
    prompt_estimate,
    text_estimate,
    tokenized_share,
)
from umad.gateway.model_facts import has_told, meant_row
from umad.gateway.presets import model_of
from umad.gateway.replies import ChatReply
from umad.gateway.shared import Shared
from umad.gateway.spans import RequestSpan
from umad.gateway.sse import EVENTS, AnswerStream, encode_json
from umad.gateway.text_log import TextLog
from umad.model_names import KnownModel, resolve, unknown_model
from umad.preset import Preset, applied
from umad.request import BACKGROUND, GenerateRequest
from umad.service import Done, Service

B = TypeVar("B", bound=BaseModel)


class GatewayCall:
    """One HTTP request inside a handler. Owner: the task that runs the handler.

    `raw` is the whole body. `whose`: for whom it counts where room is shared.
    """

    def __init__(
        self,
        *,
        request: Request,
        raw: bytes,
        endpoint: Answering,
        shared: Shared,
        caller: Caller,
        request_id: str,
        span: RequestSpan | None,
        exits: AsyncExitStack,
        whose: str,
        meter: Meter | None = None,
    ) -> None:
        self.request = request
        self.raw = raw
        self.endpoint = endpoint
        self.shared = shared
        self.caller = caller
        # The daemon, asked in the caller's name, so that it checks the caller's rights.
        self.service: Service = shared.service.on_behalf(caller.asker)
        self.id = request_id
        self._span = span
        self._meter = meter
        self._whose = whose
        self.exits = exits  # closed with the call
        self._names = FieldNames(endpoint.names)
        self._generations: list[GatewayGeneration] = []

    @property
    def owner(self) -> str:
        """The owner of everything kept for the caller; "-" for the machine's user."""
        return self.caller.asker.owner or "-"

    def body(self, kind: type[B]) -> B:
        """The body as `kind`. Raises `BadRequest` naming the first field that is wrong.

        Errors that come later name its fields as it wrote them, too.
        """
        written = Written()
        try:
            body = kind.model_validate_json(self.raw or b"{}", context=written)
        except ValidationError as error:
            raise bad_request_of(error, kind, written) from None
        except RecursionError:
            raise BadRequest("the body is nested too deep") from None
        self._names.learn(body, written)
        return body

    def written(self, name: str) -> str:
        """The name that the body has for a field."""
        return self._names.written(name)

    async def open(self, request: GenerateRequest) -> GatewayGeneration:
        """Start a generation for this caller; closed with the call, in whatever state it is.

        Presets and aliases of models are resolved; the daemon decides the lane. Raises the errors
        of the daemon and, for a moment, of the engine.
        """
        request = await self._as_preset(request)
        request = replace(request, model=await self.local(request.model), app=self.caller.app)
        names = self._names.of_one_request()
        names.offer(request.chat.tools)
        try:
            request = names.with_files(await self._with_fetched(request))
            request = await self._with_text_biases(request)
            request.check()
            if any(one.number is not None for one in request.lora or ()):
                # They get their numbers when they are listed.
                await self.service.adapters(request.model)
            service = self.listened(request)
            settle_s = refused_within_s(self.shared.settings.settle_s, prompt_estimate(request))
            generation = await open_generation(service, request, settle_s=settle_s)
        except UmadError as error:
            raise names.named(error) from None
        generation.named = names.named
        self._generations.append(generation)
        self.exits.push_async_callback(generation.close)
        generation.on_done = self.count
        return generation

    def named(self, error: UmadError) -> UmadError:
        """`error` with its field as the body calls it."""
        return self._names.named(error)

    async def _with_text_biases(self, request: GenerateRequest) -> GenerateRequest:
        """`request` with the biases that its body has for texts, at every token of each text."""
        if not self._names.text_biases:
            return request
        biases = list(request.sampling.logit_bias)
        for text, bias in self._names.text_biases:
            ids = await self.tokenize(text, model=request.model, special=False)
            biases += [(one, bias) for one in ids]
        return replace(request, sampling=replace(request.sampling, logit_bias=tuple(biases)))

    async def _with_fetched(self, request: GenerateRequest) -> GenerateRequest:
        """`request` with the files that its body names by addresses; `BadRequest`, `Crowded`."""
        remote, bodies = self.shared.remote, self.shared.bodies
        if not remote.wants(request):
            return request
        facts = await self.shared.models.facts(request.model) if request.model else {}
        held = self.exits.enter_context(bodies.fetched(self._whose))
        return await remote.filled(
            request,
            owner=self.owner,
            kinds=tuple(facts.get("media") or ()) if has_told(facts) else None,
            hold=lambda n_bytes: bodies.add(held, n_bytes),
        )

    def listened(self, request: GenerateRequest) -> Generator:
        """The daemon, with listeners where a log, a trace or a quota needs them; or `TooMany`."""
        listeners: list[Listener] = []
        counted = None
        if self._meter is not None:
            most = self.shared.quotas.most_tokens
            metered = Metered(self._meter, request, most_tokens=most)
            listeners.append(metered)
            counted = metered.counted
        if self.shared.verbose:
            listeners.append(TextLog(self.id, request))
        if self._span is not None:
            listeners.append(self._span.generation(request))
        return Listened(self.service, listeners, counted) if listeners else self.service

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Vectors for this caller; given up when the client goes."""
        request = replace(request, **await self._place(request.model, request.lane))
        self.pay(embed_estimate(request))
        try:
            found = await self.service.embed(request)
        except UmadError as error:
            raise self.named(error) from None
        self.pay(found.prompt_tokens - embed_estimate(request))
        self._count_prompt(found.prompt_tokens, found.cached_tokens)
        return found

    async def rerank(self, request: RerankRequest) -> Ranking:
        """Documents in order, for this caller; given up when the client goes."""
        request = replace(request, **await self._place(request.model, request.lane))
        self.pay(embed_estimate(request))
        try:
            found = await self.service.rerank(request)
        except UmadError as error:
            raise self.named(error) from None
        self.pay(found.prompt_tokens - embed_estimate(request))
        self._count_prompt(found.prompt_tokens, found.cached_tokens)
        return found

    async def _place(self, model: str | None, lane: str | None) -> dict[str, Any]:
        return {"model": await self.local(model), "lane": lane, "app": self.caller.app}

    async def local(self, asked: str | None) -> str | None:
        """The name to ask the daemon for: a preset's or an alias's model, or `asked` as it is. None
        stays None, the daemon's default.
        """
        if not asked:
            return None
        preset = await self._preset(asked)
        if preset is not None:
            return model_of(preset)  # no alias for agents' models is meant for it: "*", say
        aliases = self.shared.aliases
        exact = aliases.exact(asked)
        if exact is not None:
            return exact
        near = aliases.near(asked)
        if near is None:
            return asked
        # A model of exactly this name is meant rather than an alias that is written otherwise.
        names = {str(row["name"]) for row in await self.service.models()}
        return asked if asked in names else near

    async def _preset(self, asked: str) -> Preset | None:
        """The preset that a name means: its own, or one that an alias leads to."""
        presets, aliases = self.shared.presets, self.shared.aliases
        if not presets.all():
            return None
        alias = aliases.exact(asked)
        exact = presets.exact(asked) or (None if alias is None else presets.exact(alias))
        near = None if exact or alias else presets.near(asked)
        if near is None:
            return exact
        # A model of exactly this name is meant rather than a preset that is written otherwise.
        return None if asked in {str(row["name"]) for row in await self.service.models()} else near

    async def _as_preset(self, request: GenerateRequest) -> GenerateRequest:
        """`request` as the preset that the body names wants it. Where the caller's work has a
        highest lane, only a preset for the background chooses one: another may be above it, and
        the caller did not ask for that.
        """
        asked = self._names.model or request.model
        preset = await self._preset(asked) if asked else None
        if preset is None:
            return request
        if self.caller.asker.lane is not None and preset.lane != BACKGROUND:
            preset = replace(preset, lane="")
        return applied(preset, request, given=self._names.given)

    async def row(self, asked: str | None, *, stored: bool = False) -> Mapping[str, Any]:
        """The facts of the loaded model that is meant; of the first one if none was named. Raises
        `UnknownModel`, as the daemon does. stored: or of one that a request would load.
        """
        local = await self.local(asked)
        rows = {str(row["name"]): row for row in await self.service.models()}
        if local and stored and local not in rows:
            rows = {str(row["name"]): row for row in await self.service.models(stored=True)}
        if not local:
            if not rows:
                raise UnknownModel("no model is loaded", field="model")
            return next(iter(rows.values()))
        preset = await self._preset(asked or "") if stored else None
        found = meant_row(local, rows, preset=None if preset is None else preset.name)
        if found is None:
            raise unknown_model(asked or local, rows)
        return found

    async def model(self, asked: str | None) -> str:
        """The name of the model that is meant, with the adapters that were named, once the model's
        facts are known; of the first loaded one if none was named. A model that a request would
        load is loaded, and waited for. Raises `UnknownModel`.
        """
        local = await self.local(asked)
        if local and has_told(await self.shared.models.facts(local)):
            return local
        try:
            row = await self.row(asked)
        except UnknownModel:
            if not local:
                raise
            row = {}
        if not has_told(row):
            row = await self.service.load(str(row.get("name") or local), as_request=True)
            self.shared.models.forget()
        name = str(row["name"])
        if not local or resolve(local, [KnownModel(name=name)]) is not None:
            return name
        return name + parted(local)[1]

    async def tokenize(
        self, text: str, *, model: str | None = None, special: bool = True
    ) -> tuple[int, ...]:
        """Tokens of a body's text."""
        self.pay(tokenized_share(text_estimate(text)))
        return await self.service.tokenize(text, model=model, special=special)

    async def render(self, request: GenerateRequest) -> ChatPrompt:
        """The prompt of a chat, without a generation. Raises what the template refuses."""
        request = await self._as_preset(request)
        request = replace(request, model=await self.local(request.model))
        try:
            request = self._names.with_files(await self._with_fetched(request))
            request.check()
            self.pay(tokenized_share(prompt_estimate(request)))
            return await self.service.render(
                request.messages, chat=request.chat, model=request.model
            )
        except UmadError as error:
            raise self.named(error) from None

    def pay(self, tokens: int) -> None:
        """Charge work that is no generation: before it is done, and corrected once its cost is
        known. Raises `TooMany`.
        """
        if self._meter is not None:
            self._meter.pay(tokens)

    async def detokenize(self, ids: tuple[int, ...], model: str) -> str:
        """The text of a body's token ids."""
        self.pay(tokenized_share(len(ids)))
        try:
            return await self.service.detokenize(ids, model=model)
        except UmadError as error:
            raise self.named(error) from None

    def _count_prompt(self, n_tokens: int, n_cached: int) -> None:
        self.shared.counts.tokens.labels("prompt").inc(n_tokens)
        self.shared.counts.tokens.labels("cached").inc(n_cached)

    async def chat(self, request: GenerateRequest) -> ChatReply:
        """Start a generation for `messages`; its answer is split into parts as it comes."""
        fenced = request.chat.fenced_calls and self.shared.settings.fenced_calls
        request = replace(request, chat=replace(request.chat, markup=True, fenced_calls=fenced))
        generation = await self.open(request)

        async def facts() -> Mapping[str, Any]:
            return await self.shared.models.facts(generation.accepted.model)

        reply = ChatReply(generation, request.n, request.chat, facts=facts)
        if has_told(told := await facts()):
            reply.know(told)
        return reply

    def count(self, done: Done) -> None:
        """A completion ended: tokens for metrics."""
        usage, counts = done.usage, self.shared.counts
        counts.tokens.labels("prompt").inc(usage.prompt_tokens)
        counts.tokens.labels("cached").inc(usage.cached_tokens)
        counts.tokens.labels("completion").inc(usage.completion_tokens)
        counts.first_token_s.observe(done.timings.first_token_ms / 1e3)

    def stream(
        self,
        pieces: AsyncGenerator[bytes, None],
        *,
        media_type: str = EVENTS,
        shortcut: Shortcut | None = None,
    ) -> AnswerStream:
        """The answer that sends `pieces`, kept alive in the dialect's way."""
        dialect = self.endpoint.dialect
        return AnswerStream(
            pieces,
            dialect=dialect,
            request_id=self.id,
            quiet_s=self.shared.settings.keep_alive_s,
            media_type=media_type,
            ping=dialect.ping if media_type == EVENTS else None,
            comment=self._loading,
            shortcut=shortcut,
        )

    def _loading(self) -> str | None:
        """How the load stands that a generation waits for; None where none does."""
        for one in self._generations:
            if one.loading is not None:
                share = one.loading.share
                # Not the model's name, which may hold any character.
                return f"model {one.loading.state}" + ("" if share is None else f" {share:.0%}")
        return None


def answer(value: BaseModel | dict[str, Any] | list[Any], status: int = 200) -> Response:
    """A JSON answer."""
    if isinstance(value, BaseModel):
        content = value.model_dump_json(by_alias=True)
    else:
        content = encode_json(value)
    return Response(content, status, media_type="application/json")

"""Makes an engine's order of a client's request: limits, lane, seed, number of tokens.

Not: finding the model (`umad.daemon.supervisor`) or the time at which the order runs (the engine's
scheduler). Owner: the daemon's event loop.
"""

import secrets
from collections import OrderedDict
from dataclasses import replace

from umad.asker import MACHINE_USER, Asker
from umad.config import LimitSettings, Settings
from umad.content import MAX_FILES
from umad.conversation import to_json
from umad.daemon.authority import session_key
from umad.daemon.identity import LaneChoice, LaneRules, Parents
from umad.errors import BadRequest, PromptTooLong, QueueFull
from umad.protocol.link import Submit
from umad.request import SEED_BITS, GenerateRequest, SamplingParams

DEFAULT_MAX_TOKENS = 512
# Most log-probabilities (alternatives to tokens) of one request, all its completions together. The
# gateway collects an answer before it sends it, and holds about a hundred bytes for each: 30 MB.
MOST_LOGPROBS = 2**18
# A client that resumes an answer sends its seed back, and a number of JavaScript has 53 bits.
# Completion i of n draws with seed + i.
CHOSEN_SEED_BITS = 52
# How many sessions of one owner have their lane remembered, and for how many owners. The least
# recently used are forgotten first.
MAX_SESSIONS = 1024
MAX_OWNERS = 256


class Admission:
    """The rules of one daemon, and the lanes its sessions were moved to.

    shares_prefixes: all owners share prefixes, as in `Settings.share_prefixes`. most_files: images
    and sounds of one request.
    """

    def __init__(
        self,
        *,
        lanes: LaneRules,
        limits: LimitSettings,
        shares_prefixes: bool = False,
        most_files: int = MAX_FILES,
    ) -> None:
        self._lanes = lanes
        self._limits = limits
        self._most_files = most_files
        self._shares_prefixes = shares_prefixes
        self._sessions: OrderedDict[str, OrderedDict[str, str | None]] = OrderedDict()

    @classmethod
    def of(cls, settings: Settings) -> "Admission":
        """The rules that the settings have."""
        return cls(
            lanes=LaneRules(lanes=settings.qos, rules=settings.apps, default=settings.default_lane),
            limits=settings.limits,
            shares_prefixes=settings.share_prefixes,
            most_files=settings.media.files,
        )

    def lane(
        self,
        app: str,
        request: GenerateRequest,
        *,
        path: str | None = None,
        parents: Parents = tuple,
        asker: Asker = MACHINE_USER,
    ) -> LaneChoice:
        """The lane in which `request` runs, and the rule that chose it.

        path, parents: those of the app's process; left out unless the app is the connected process
        itself.
        Raises `BadRequest` for an unknown lane and `Refused` for a lane above the asker's.
        """
        of_session = None
        if request.session is not None:
            of_session = self._seen(asker.owner, request.session)
        return self._lanes.choose(
            app=app,
            path=path,
            parents=parents,
            asked=request.lane,
            of_session=of_session,
            ceiling=asker.lane,
        )

    def lane_of(
        self,
        app: str,
        asked: str | None,
        *,
        path: str | None = None,
        parents: Parents = tuple,
        asker: Asker = MACHINE_USER,
    ) -> LaneChoice:
        """The lane of work that belongs to no session. Raises as `lane` does."""
        return self._lanes.choose(
            app=app,
            path=path,
            parents=parents,
            asked=asked,
            of_session=None,
            ceiling=asker.lane,
        )

    def check_lane(self, lane: str, asker: Asker) -> None:
        """Raise `BadRequest` for an unknown lane, `Refused` for a lane above the asker's."""
        self._lanes.below(self._lanes.check(lane), asker.lane)

    def move_session(self, owner: str, session: str, lane: str) -> bool:
        """Remember `lane` for a session of `owner`; return whether that session was known."""
        known = session in self._sessions.get(owner, ())
        if known:
            self._sessions[owner][session] = lane
        return known

    def forget(self, asker: Asker, session: str | None) -> bool:
        """Forget a session of `asker`, or all of them; return whether there was any.

        All sessions of an admin are the sessions of everybody.
        """
        if session is None and asker.is_admin:
            known = bool(self._sessions)
            self._sessions.clear()
            return known
        sessions = self._sessions.get(asker.owner, OrderedDict())
        known = bool(sessions) if session is None else session in sessions
        if session is None:
            sessions.clear()
        else:
            sessions.pop(session, None)
        return known

    def owners(self) -> tuple[str, ...]:
        """The owners that have sessions."""
        return tuple(self._sessions)

    def _seen(self, owner: str, session: str) -> str | None:
        """The lane a session was moved to. Marks the session as just used."""
        sessions = self._sessions.setdefault(owner, OrderedDict())
        self._sessions.move_to_end(owner)
        lane = sessions.setdefault(session, None)
        sessions.move_to_end(session)
        if len(sessions) > MAX_SESSIONS:
            sessions.popitem(last=False)
        if len(self._sessions) > MAX_OWNERS:
            self._sessions.popitem(last=False)
        return lane

    def latency_cap(self, app: str, *, path: str | None = None) -> float | None:
        """The app's own latency cap; None where the daemon's general cap applies."""
        return self._lanes.latency_cap(app=app, path=path)

    def order(
        self,
        request: GenerateRequest,
        *,
        lane: str,
        app: str,
        n_waiting: int,
        latency_cap: float | None = None,
        owner: str = "",
    ) -> Submit:
        """The order for completion 0, with rid 0 until `nth_order` sets it.

        Raises `QueueFull`, `BadRequest` or `PromptTooLong`, naming the limit.
        """
        limits = self._limits
        if n_waiting + request.n > limits.queue:
            raise QueueFull(
                f"{n_waiting} requests wait already, at most {limits.queue} may; try again later"
            )
        if (
            limits.prompt_tokens is not None
            and request.prompt_ids is not None
            and len(request.prompt_ids) > limits.prompt_tokens
        ):
            raise PromptTooLong(
                f"the prompt has {len(request.prompt_ids)} tokens, at most "
                f"{limits.prompt_tokens} are taken (prompt_tokens in the limits)",
                field="prompt_ids",
            )
        if len(request.placed) > self._most_files:
            raise BadRequest(
                f"the request has {len(request.placed)} images and sounds, at most "
                f"{self._most_files} are taken (media.files)",
                field="prompt" if request.messages is None else "messages",
            )
        messages, constraint = request.messages, request.constraint
        sampling = _within_news(self._sampling(request.sampling), request.n)
        if request.sampling.max_tokens is None:
            # Nobody asked for just so many tokens, so the default gives way to a long prompt.
            sampling = replace(sampling, fit=True)
        return Submit(
            rid=0,
            sampling=sampling,
            lane=lane,
            app=app,
            prompt=request.prompt,
            prompt_ids=request.prompt_ids,
            chat=None if messages is None else to_json(messages, request.chat),
            media=tuple(
                (one.file.kind, one.file.data, one.file.place, one.at) for one in request.placed
            ),
            special=request.special,
            constraint=None if constraint is None else (constraint.kind, constraint.text),
            session=session_key(owner, request.session),
            latency_cap=latency_cap,
            deadline_ms=request.deadline_ms,
            logits=request.logits,
            speculate=request.speculate,
            owner=owner,
            salt="" if self._shares_prefixes else owner,
            resume=() if request.resume is None else request.resume.tokens,
            fingerprint="" if request.resume is None else request.resume.fingerprint,
        )

    def _sampling(self, sampling: SamplingParams) -> SamplingParams:
        limit = self._limits.max_tokens
        max_tokens = sampling.max_tokens
        if sampling.fit:
            max_tokens = min(limit if max_tokens is None else max_tokens, limit)
        elif max_tokens is None:
            max_tokens = min(DEFAULT_MAX_TOKENS, limit)
        elif max_tokens > limit:
            raise BadRequest(
                f"max_tokens is {max_tokens}, this daemon allows {limit} (--max-tokens)",
                field="max_tokens",
            )
        seed = sampling.seed
        if seed is None:
            seed = secrets.randbits(CHOSEN_SEED_BITS)
        return replace(sampling, seed=seed, max_tokens=max_tokens)


def _within_news(sampling: SamplingParams, n: int) -> SamplingParams:
    """`sampling` with at most `MOST_LOGPROBS` log-probabilities in the whole request.

    Raises `BadRequest` where the request may not be shortened.
    """
    each = n * (sampling.logprobs or 0)
    max_tokens = sampling.max_tokens or 0
    if each * max_tokens <= MOST_LOGPROBS:
        return sampling
    most = MOST_LOGPROBS // each
    if sampling.fit:
        return replace(sampling, max_tokens=most)
    raise BadRequest(
        f"{n} completions of {max_tokens} tokens with {sampling.logprobs} alternatives each are "
        f"more than {MOST_LOGPROBS} in one request: ask for {most} tokens, or fewer alternatives",
        field="logprobs",
    )


def nth_order(first: Submit, index: int, rid: int) -> Submit:
    """The order for completion `index` of a request: the same, drawn with seed + index."""
    if index == 0:
        return replace(first, rid=rid)
    seed = ((first.sampling.seed or 0) + index) % 2**SEED_BITS
    # The prompt is the same for all, so it is scored once.
    sampling = replace(first.sampling, seed=seed, prompt_logprobs=None)
    return replace(first, rid=rid, sampling=sampling)

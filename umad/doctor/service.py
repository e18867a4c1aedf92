"""Checks the daemon that runs: whether it answers, its models, and what it gave up."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from umad.client import AsyncClient, ClientOptions
from umad.doctor.finding import Finding, good, note, wrong
from umad.doctor.surroundings import Surroundings
from umad.errors import NoDaemon, UmadError
from umad.model_names import load_command

CHECK = "service"
# A daemon that does not answer within this is stopped, or its loop is stuck.
ANSWER_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The models and the scorecard of a daemon, as it tells them."""

    models: Sequence[Mapping[str, Any]] = ()
    # The scorecard.
    card: Mapping[str, Any] = field(default_factory=dict)
    # Why it says nothing; empty where it answers.
    error: str = ""
    # Nothing listens.
    is_absent: bool = False


def ask(around: Surroundings) -> Service:
    """Ask the daemon. Bounded."""
    return asyncio.run(_ask(around.socket or around.settings.socket))


async def _ask(socket: str | None) -> Service:
    client = AsyncClient(socket, options=ClientOptions(name="umad-doctor"))
    try:
        async with asyncio.timeout(ANSWER_S):
            models, card = await client.models(), await client.metrics()
    except NoDaemon as error:
        return Service(error=error.message, is_absent=True)
    except UmadError as error:
        return Service(error=error.message)
    except TimeoutError:
        return Service(error=f"it gave no answer within {ANSWER_S:.0f} s")
    finally:
        await client.close()
    return Service(models=models, card=card)


def check(around: Surroundings) -> list[Finding]:
    """Ask the daemon that this user would reach."""
    return findings(ask(around))


def findings(service: Service) -> list[Finding]:
    """Findings about what a daemon says."""
    if service.is_absent:
        return [note(CHECK, "no daemon runs", mend="umad serve")]
    if service.error:
        return [
            wrong(
                CHECK,
                f"the daemon does not answer: {service.error}",
                service.error,
                mend="stop it with kill PID (the lock beside the socket has its pid), then: "
                "umad serve",
            )
        ]
    n_ready = sum(one.get("state") == "ready" for one in service.models)
    found = [
        good(CHECK, f"the daemon answers, {n_ready} of {len(service.models)} models are ready")
    ]
    for model in service.models:
        found += _model(model)
    stage = service.card.get("memory_given_up", "nothing")
    if stage != "nothing":
        found.append(
            note(
                CHECK,
                f"memory is short, and the daemon gave up: {stage}",
                mend="umad ps says what and for whom; end what needs the memory",
            )
        )
    return found


def _model(model: Mapping[str, Any]) -> list[Finding]:
    name, state = str(model["name"]), model.get("state")
    if state == "failed":
        error = model.get("error") or {}
        why = str(error.get("message", "no reason known"))
        return [wrong(CHECK, f"{name} failed: {why}", why, name, mend=load_command(name))]
    if state == "suspended":
        return [note(CHECK, f"{name} is suspended; its next request loads it", name)]
    restarts = model.get("restarts") or 0
    if restarts:
        times = "once" if restarts == 1 else f"{restarts} times"
        return [
            note(
                CHECK,
                f"the engine of {name} died {times} and was started again",
                name,
                mend="the daemon's log says of what",
            )
        ]
    return []

"""Checks the daemon that runs: whether it answers, its models, and what it gave up.

A daemon that the first connection would start is not asked, because the doctor starts none.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from umad.client import AsyncClient, ClientOptions
from umad.doctor.finding import Finding, good, note, wrong
from umad.doctor.surroundings import Surroundings
from umad.errors import NoDaemon, UmadError
from umad.model_names import load_command
from umad.system_service.choice import service_manager
from umad.system_service.status import ServiceState, ServiceStatus
from umad.version import __version__

CHECK = "service"
# A daemon that does not answer within this is stopped, or its loop is stuck.
ANSWER_S = 10.0
# Without a service manager, or with none that answers.
_NO_SERVICE = ServiceStatus(state=ServiceState.ABSENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The models and the scorecard of a daemon, as it tells them."""

    models: Sequence[Mapping[str, Any]] = ()
    # The scorecard.
    card: Mapping[str, Any] = field(default_factory=dict)
    # Its name and version, as it greets.
    server: str = ""
    # Why it says nothing; empty where it answers.
    error: str = ""
    # Nothing listens, or nobody who is a daemon.
    is_absent: bool = False
    # What the system's service manager says.
    kept: ServiceStatus = _NO_SERVICE


def ask(around: Surroundings) -> Service:
    """Ask the service manager, and the daemon where one runs. Bounded."""
    kept = _kept(around)
    if kept.state is ServiceState.WAITING or (kept.state is ServiceState.FAILED and kept.listens):
        return Service(is_absent=True, kept=kept)
    said = asyncio.run(_ask(around.socket or around.settings.socket))
    return replace(said, kept=kept)


def _kept(around: Surroundings) -> ServiceStatus:
    # A daemon with a socket of its own is not the service's.
    if around.socket is not None or around.environ.get("UMAD_SOCKET"):
        return _NO_SERVICE
    try:
        return service_manager(around.environ, around.platform).status()
    except UmadError:
        return _NO_SERVICE


async def _ask(socket: str | None) -> Service:
    client = AsyncClient(socket, options=ClientOptions(name="umad-doctor"))
    try:
        async with asyncio.timeout(ANSWER_S):
            models, card = await client.models(), await client.metrics()
            server = client.server
    except NoDaemon as error:
        return Service(error=error.message, is_absent=True)
    except UmadError as error:
        return Service(error=error.message)
    except TimeoutError:
        return Service(error=f"it gave no answer within {ANSWER_S:.0f} s")
    finally:
        await client.close()
    return Service(models=models, card=card, server=server)


def check(around: Surroundings) -> list[Finding]:
    """Ask the daemon that this user would reach."""
    return findings(ask(around))


def findings(service: Service) -> list[Finding]:
    """Findings about what a daemon says."""
    if service.is_absent:
        return [_absent(service.kept)]
    if service.error:
        return [
            wrong(
                CHECK,
                f"the daemon does not answer: {service.error}",
                service.error,
                mend="umad service stop, then: umad service start"
                if service.kept.pid
                else "stop it with kill PID (the lock beside the socket has its pid), then: "
                "umad serve",
            )
        ]
    n_ready = sum(one.get("state") == "ready" for one in service.models)
    found = [
        good(CHECK, f"the daemon answers, {n_ready} of {len(service.models)} models are ready")
    ]
    if service.server and service.server != f"umad/{__version__}":
        found.append(
            note(
                CHECK,
                f"the daemon is {service.server}, and this command umad/{__version__}",
                mend="umad service install, which restarts it"
                if service.kept.pid
                else "end the daemon, then: umad serve",
            )
        )
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


def _absent(kept: ServiceStatus) -> Finding:
    match kept.state:
        case ServiceState.WAITING:
            return good(CHECK, "no daemon runs; the service starts one at the first connection")
        case ServiceState.FAILED:
            return wrong(
                CHECK,
                f"the service has failed: {kept.words}",
                mend="umad service logs says why; then: umad service start",
            )
        case ServiceState.STOPPED:
            return note(CHECK, "the service is stopped", mend="umad service start")
        case _:
            return note(CHECK, "no daemon runs", mend="umad serve")


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

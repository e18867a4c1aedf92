"""What is kept of a deployment that was started, as values. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One deployment, as it was started."""

    name: str
    # task, service, or here: a process of this machine.
    kind: str
    engine: str
    model: str
    accelerators: str
    # Seconds since 1970. ends_at_s is 0 where no budget bounds it.
    began_at_s: float
    ends_at_s: float = 0.0
    # Of the dearest offer, until SkyPilot says what was rented.
    price_per_hour: float = 0.0
    uses_spot: bool = False
    # The model is behind a licence, so each launch needs the hub's token.
    needs_token: bool = False
    idle_minutes: int = 0
    # The router's folder of the team that it joins; "" for none.
    router_folder: str = ""
    # Local mode: the process and the moment at which it began, because numbers come again.
    pid: int = 0
    pid_began_s: float = 0.0
    port: int = 0

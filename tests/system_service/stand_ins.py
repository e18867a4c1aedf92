"""Stand-ins for launchctl and systemctl: they keep the state that the real ones keep, and write
down what they were asked. Not a test.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from umad.system_service.programs import Ran


@dataclass(slots=True)
class Launchctl:
    """launchd's state of one job."""

    loaded: bool = False
    disabled: bool = False
    pid: int = 0
    runs: int = 0
    last_exit: int | None = None
    # How often `print` still finds the job after a bootout: its daemon drains.
    drains_for: int = 0
    asked: list[str] = field(default_factory=list)

    def __call__(self, words: Sequence[str]) -> Ran:
        assert words[0] == "launchctl"
        self.asked.append(words[1])
        match words[1]:
            case "print":
                return self._print()
            case "enable":
                self.disabled = False
            case "bootstrap":
                if self.loaded or self.disabled:
                    return Ran(code=5, err="Bootstrap failed: 5: Input/output error")
                self.loaded, self.pid, self.runs = True, 4711, 1  # RunAtLoad
            case "bootout":
                self.pid = 0
                if self.drains_for:
                    return Ran(code=36, err="Boot-out failed: 36: Operation now in progress")
                self.loaded = False
            case "kickstart":
                assert self.loaded
                assert not self.pid
                self.pid, self.runs = 4712, self.runs + 1
            case other:
                raise AssertionError(other)
        return Ran(code=0)

    def dies(self, code: int) -> None:
        self.pid, self.last_exit = 0, code

    def _print(self) -> Ran:
        if self.drains_for:
            self.drains_for -= 1
            self.loaded = self.drains_for > 0
        if not self.loaded:
            return Ran(code=113, err='Could not find service "umad.daemon" in domain for user gui')
        lines = [f"\tstate = {'running' if self.pid else 'not running'}", f"\truns = {self.runs}"]
        if self.pid:
            lines.append(f"\tpid = {self.pid}")
        never = "(never exited)"
        lines.append(f"\tlast exit code = {never if self.last_exit is None else self.last_exit}")
        return Ran(code=0, out="gui/501/umad.daemon = {\n" + "\n".join(lines) + "\n}\n")


@dataclass(slots=True)
class Systemctl:
    """What a user's systemd knows of umad's two units."""

    loaded: bool = False
    enabled: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    answers: bool = True
    # Units whose files have changed since systemd read them.
    unread: set[str] = field(default_factory=set)
    # The folders in which it looks, as its property has them; unknown where empty.
    unit_path: str = ""
    restarts: int = 0
    asked: list[str] = field(default_factory=list)

    def __call__(self, words: Sequence[str]) -> Ran:
        assert words[:2] == ("systemctl", "--user")
        rest = [one for one in words[2:] if one not in ("--no-block", "--quiet")]
        verb, units = rest[0], [one for one in rest[1:] if not one.startswith("--")]
        if not self.answers:
            return Ran(code=1, err="Failed to connect to bus: No medium found\n")
        if verb not in ("show", "reset-failed"):
            self.asked.append(" ".join([verb, *units]))
        match verb:
            case "daemon-reload":
                self.loaded = True
                self.unread.clear()
            case "show":
                return self._show(units[0]) if units else Ran(code=0, out=self._manager())
            case "enable" | "reenable":
                self.enabled.update(units)
            case "disable":
                self.enabled.difference_update(units)
                if "--now" in rest:
                    self.active.difference_update(units)
            case "start":
                if not self.loaded:
                    return Ran(code=5, err=f"Failed to start {units[0]}: not found.")
                self.active.update(units)
            case "restart":
                self.active.update(units)
                self.restarts += 1
            case "stop":
                self.active.difference_update(units)
            case "reset-failed":
                self.failed.difference_update(units)
            case other:
                raise AssertionError(other)
        return Ran(code=0)

    def connected(self) -> None:
        """A client has connected to the socket."""
        assert "umad.socket" in self.active
        self.active.add("umad.service")

    def _manager(self) -> str:
        return f"UnitPath={self.unit_path}\n" if self.unit_path else "Version=257\n"

    def _show(self, unit: str) -> Ran:
        active = "active" if unit in self.active else "inactive"
        facts = {
            "LoadState": "loaded" if self.loaded else "not-found",
            "ActiveState": "failed" if unit in self.failed else active,
            "Result": "exit-code" if unit in self.failed else "success",
            "MainPID": "4711" if unit in self.active and unit.endswith("service") else "0",
            "NRestarts": str(self.restarts),
            "StatusText": "ready: nano=1" if unit in self.active else "",
            "NeedDaemonReload": "yes" if unit in self.unread else "no",
        }
        return Ran(code=0, out="".join(f"{name}={value}\n" for name, value in facts.items()))

"""Makes a local network of hosts on this machine: network namespaces behind one switch. Linux.

Each host has a namespace with an address, and a cable (a veth pair) to a switch (a bridge in a
namespace of its own), so nothing of this machine's own network is touched. A cable that is pulled
takes a host's packets away without a word to anybody: no connection is reset, unlike when a process
dies. Unix sockets and files are shared by all hosts, since only networks are apart.
It needs the rights of root over networks, and `ip` and `nsenter`. Not a test.
"""

import ctypes
import functools
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_NET = "10.77.0"
_MARK = "umad-team"
_BOUND_S = 60.0
# From linux/sched.h; os.setns is in Python 3.12 and later.
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine of the network."""

    name: str
    address: str
    # Of the whole system, as `ip netns` knows it.
    namespace: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """Words before a command that is to run there. Its process id stays the command's."""
        return ("nsenter", f"--net=/run/netns/{self.namespace}", "--")

    def run(self, work: Callable[[], T]) -> T:
        """Do something there: sockets that it opens are this host's. Threads that it starts are,
        too."""
        done: list[T] = []
        failed: list[BaseException] = []

        def there() -> None:
            try:
                _enter(Path("/run/netns") / self.namespace)
                done.append(work())
            except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
                failed.append(error)

        thread = threading.Thread(target=there, name=f"host-{self.name}")
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return done[0]


class Lan:
    """The switch, and the cables of its hosts."""

    def __init__(self, switch: str, hosts: dict[str, Host]) -> None:
        self._switch = switch
        self.hosts = hosts

    def unplug(self, name: str) -> None:
        """Pull a host's cable."""
        _ip("-n", self._switch, "link", "set", name, "down")

    def plug(self, name: str) -> None:
        """Put it back."""
        _ip("-n", self._switch, "link", "set", name, "up")


@functools.cache
def missing() -> str:
    """Why no such network can be made here, for a person; "" where it can."""
    for program in ("ip", "nsenter"):
        if shutil.which(program) is None:
            return f"{program} is not installed: apt install iproute2 util-linux"
    probe = f"{_MARK}-{os.getpid()}-probe"
    try:
        _ip("netns", "add", probe)
    except subprocess.CalledProcessError as error:
        why = str(error.stderr).strip().partition("\n")[0]
        return f"network namespaces cannot be made ({why}): run it as root, on Linux"
    try:
        _ip("-n", probe, "link", "add", "name", "plugs", "type", "bridge")
        _ip("-n", probe, "link", "add", "name", "end", "type", "veth", "peer", "name", "other")
    except subprocess.CalledProcessError as error:
        return f"this kernel has no bridges or no veth: {str(error.stderr).strip()}"
    finally:
        _ip("netns", "del", probe)
    return ""


@contextmanager
def lan(names: Sequence[str]) -> Iterator[Lan]:
    """Hosts of these names, at 10.77.0.1, 10.77.0.2 and so on."""
    _forget_left_ones()
    mark = f"{_MARK}-{os.getpid()}"
    switch = f"{mark}-switch"
    hosts = {
        name: Host(name=name, address=f"{_NET}.{number}", namespace=f"{mark}-{name}")
        for number, name in enumerate(names, 1)
    }
    with ExitStack() as stack:
        for namespace in (switch, *(one.namespace for one in hosts.values())):
            _ip("netns", "add", namespace)
            stack.callback(_ip, "netns", "del", namespace)
        _ip("-n", switch, "link", "add", "name", "plugs", "type", "bridge")
        _ip("-n", switch, "link", "set", "plugs", "up")
        for host in hosts.values():
            _ip(
                *("-n", switch, "link", "add", "name", host.name, "type", "veth"),
                *("peer", "name", "eth0", "netns", host.namespace),
            )
            _ip("-n", switch, "link", "set", host.name, "master", "plugs", "up")
            _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", host.namespace, "link", "set", device, "up")
        yield Lan(switch, hosts)


def _forget_left_ones() -> None:
    """Remove namespaces of processes that were killed before they could."""
    for left in Path("/run/netns").glob(f"{_MARK}-*"):
        if not Path("/proc", left.name.removeprefix(f"{_MARK}-").partition("-")[0]).exists():
            _ip("netns", "del", left.name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=_BOUND_S)


def _enter(namespace: Path) -> None:
    """This thread's network is that one from now on."""
    libc: Any = ctypes.CDLL(None, use_errno=True)
    with namespace.open() as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(namespace))

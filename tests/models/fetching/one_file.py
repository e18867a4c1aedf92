"""Fetches one file of a loopback hub, with figures that suit a test."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx2

from tests.models.loopback_hub import LoopbackHub
from umad.clock import MonotonicClock
from umad.models.fetching.checksum import Checksum
from umad.models.fetching.download import Download
from umad.models.fetching.limits import FetchLimits, RateLimit
from umad.models.fetching.progress import FetchProgress
from umad.models.fetching.remote import RemoteFile, origin_of

FILE = "model-Q4_K_M.gguf"
REPOSITORY = "org/repo"
# Small pieces without a wait, and no room kept: tests run on small disks. A hub that holds bytes
# back for a test is not silent for so long.
QUICK = FetchLimits(keep_free_bytes=0, first_wait_s=0.01, silence_s=100.0)


def remote_of(hub: LoopbackHub, *, token: str | None = None) -> RemoteFile:
    """`FILE` of `REPOSITORY`, as the hub would tell of it."""
    repository = hub.repositories[REPOSITORY]
    checksum = Checksum.of_etag(repository.etag(FILE))
    assert checksum is not None
    return RemoteFile(
        name=FILE,
        url=f"{hub.url}/{REPOSITORY}/resolve/main/{FILE}",
        size_bytes=len(repository.files[FILE]),
        checksum=checksum,
        token=token,
        token_origins=frozenset({origin_of(hub.url)}),
    )


def download(
    remote: RemoteFile,
    final: Path,
    *,
    limits: FetchLimits = QUICK,
    on_progress: Callable[[FetchProgress], None] = lambda progress: None,
) -> None:
    """Fetch it to `final`, in this thread."""
    # Loopback has no certificates, and reading the system's takes longer than a test.
    with httpx2.Client(verify=False) as client:
        Download(
            remote,
            final,
            final.with_name(final.name + ".lock"),
            client=client,
            limits=limits,
            rate=RateLimit(limits.bytes_per_s),
            clock=MonotonicClock(),
            on_progress=on_progress,
        ).run()


def patient(**more: float) -> FetchLimits:
    """`QUICK`, with some of its figures changed."""
    return replace(QUICK, **more)  # type: ignore[arg-type]

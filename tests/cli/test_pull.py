"""`umad pull`: what a person reads, what a program reads, and how it ends."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.fetching.test_hub import REPOSITORY, model_bytes
from tests.models.gguf_bytes import adapter
from tests.models.loopback_hub import LoopbackHub
from umad.cli.app import main
from umad.jobs.book import opened
from umad.jobs.job import JobEvent, PullOrder
from umad.models.fetching.hub import HubAccess

REFERENCE = f"hf:{REPOSITORY}"
# Test machines have small disks.
QUICK = ("--keep-free", "0")


@pytest.fixture(scope="module")
def loopback_hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as one:
        yield one


@pytest.fixture(autouse=True)
def this_hub(
    loopback_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> LoopbackHub:
    """The hub that every command here asks, with one small model."""
    loopback_hub.reset()
    loopback_hub.add(REPOSITORY, {"Fox-3B-Q5_K_M.gguf": model_bytes()})
    access = HubAccess(endpoint=loopback_hub.url, cache=tmp_path / "hub")
    monkeypatch.setattr(HubAccess, "of_client", classmethod(lambda cls: access))
    monkeypatch.setenv("UMAD_MODELS", str(tmp_path / "store"))
    monkeypatch.setenv("UMAD_CONFIG", str(tmp_path / "umad.yaml"))
    monkeypatch.setenv("UMAD_SOCKET", str(tmp_path / "none.sock"))
    return loopback_hub


def test_a_pull_says_what_comes_what_was_chosen_and_what_to_do_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(["pull", *QUICK, REFERENCE])

    said = capsys.readouterr()
    assert code == 0
    assert "has no Q4_K_M" in said.err
    assert f"{REFERENCE}:Q5_K_M: 262 kB to fetch" in said.err
    assert "Fox-3B-Q5_K_M.gguf: 100 % of 262 kB" in said.err
    assert said.out.splitlines() == [
        "Fox-3B-Q5_K_M is here: 262 kB, F32, 65.5k parameters",
        "chat with it: umad run Fox-3B-Q5_K_M",
    ]


def test_a_program_reads_where_the_model_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", *QUICK, "--json", REFERENCE]) == 0

    row = json.loads(capsys.readouterr().out)

    assert row["name"] == "Fox-3B-Q5_K_M"
    assert row["source"] == f"{REFERENCE}:Q5_K_M"
    assert Path(row["files"][0]).read_bytes() == model_bytes()
    assert row["problem"] is None


def test_a_gated_repository_ends_as_refused_in_one_line(
    this_hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    this_hub.repositories[REPOSITORY].gated = True

    code = main(["pull", *QUICK, REFERENCE])

    assert code == 4
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"umad: {REPOSITORY} is gated: accept its licence at {this_hub.url}")


def test_a_disk_without_room_ends_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["pull", "--keep-free", "1000T", REFERENCE])

    assert code == 1
    assert "1000.0 TB stay free" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("size", ["fast", "-1", "1X", "0", "nan", "inf", "1e999"])
def test_a_rate_that_is_none_is_wrong_usage(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", f"--limit={size}", REFERENCE]) == 2

    assert "--limit" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["20M", "1.5GB", "500k/s", "2 MiB/s", "1048576"])
def test_a_rate_is_written_in_any_usual_way(size: str) -> None:
    assert main(["pull", *QUICK, f"--limit={size}", REFERENCE]) == 0


def test_every_name_is_looked_at_before_the_first_model_is_fetched(
    this_hub: LoopbackHub,
) -> None:
    assert main(["pull", *QUICK, REFERENCE, "hf:"]) == 2

    assert this_hub.seen == []


def test_a_job_in_the_background_needs_a_daemon(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "--background", REFERENCE]) == 3

    assert "umad serve" in capsys.readouterr().err


def test_whole_weights_that_are_none_are_refused_before_anything_is_asked(
    this_hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull", "--quantize", "Q8_0", f"{REFERENCE}:Q4_K_M"]) == 2

    assert "is quantized already" in capsys.readouterr().err
    assert this_hub.seen == []


def test_whole_weights_that_a_repository_does_not_have_are_said_with_what_it_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["pull", *QUICK, "--quantize", "auto", REFERENCE]) == 1

    assert "no file of F16, BF16 or F32 to quantize; it has: Q5_K_M" in capsys.readouterr().err


def test_an_adapter_is_pulled_like_a_model_and_says_how_it_is_used(
    loopback_hub: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loopback_hub.add("fox/pirate-lora", {"pirate-F16.gguf": adapter()})
    file = tmp_path / "robot.gguf"
    file.write_bytes(adapter("robot"))

    assert main(["pull", *QUICK, "hf:fox/pirate-lora", str(file)]) == 0

    said = capsys.readouterr()
    assert "it is an adapter: umad run MODEL+pirate-F16, with the model" in said.out
    assert "it is an adapter: umad run MODEL+robot, with the model" in said.out
    assert "cannot" not in said.err


# -- jobs, where no daemon runs --------------------------------------------------------------------


def test_no_jobs_are_no_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == []


def test_jobs_that_an_earlier_daemon_left_are_listed_and_cancelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(tmp_path / "store") as book:
        waiting, _ = book.submit(PullOrder(reference="hf:a/waits"), owner="")
        gone, _ = book.submit(PullOrder(reference="hf:a/gone"), owner="")
        book.claim(gone.id, most_at_once=1)

    assert main(["jobs"]) == 0
    said = capsys.readouterr()
    assert "hf:a/waits" in said.out
    assert "jobs that wait begin with the next one" in said.err
    for job in (waiting, gone):
        assert main(["jobs", "cancel", job.id]) == 0
        assert capsys.readouterr().out == f"job {job.id} is cancelled\n"
    assert main(["jobs", "cancel", "ffffffff"]) == 1
    assert "there is no job 'ffffffff'" in capsys.readouterr().err


def test_a_job_that_failed_is_followed_to_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(tmp_path / "store") as book:
        job, _ = book.submit(PullOrder(reference="hf:a/b"), owner="")
        book.claim(job.id, most_at_once=1)
        error = {"code": "disk_full", "message": "no room for b", "field": None}
        book.end(job.id, 1, JobEvent.FAIL, error=error)

    assert main(["jobs", "follow", job.id]) == 1
    assert capsys.readouterr().err == "umad: no room for b\n"
    assert main(["jobs"]) == 0
    assert f"{job.id} failed: no room for b" in capsys.readouterr().out

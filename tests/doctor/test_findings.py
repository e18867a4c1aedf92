"""What each check finds on machines that have something wrong, and the command that mends it."""

import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.doctor.surrounded import around, only, states
from tests.models.gguf_bytes import adapter
from umad import nano
from umad.config import EngineSettings, HttpSettings
from umad.daemon.bandwidth import BandwidthMemory
from umad.doctor import (
    bandwidth,
    clocks,
    cores,
    disk,
    engine,
    memory,
    service,
    settings_check,
    socket_folder,
    store,
    versions,
)
from umad.doctor.examination import CHECKS, examine, exit_code
from umad.doctor.finding import State, good, note, wrong
from umad.doctor.service import Service
from umad.doctor.surroundings import surroundings
from umad.memory_pressure import MemoryReading, MemoryRoom
from umad.models.files import ModelFiles
from umad.models.store import Store, StoredModel
from umad.system_service.status import ServiceState, ServiceStatus
from umad.version import __version__

GB = 10**9
CPU: Mapping[str, Any] = {
    "name": "CPU",
    "description": "a processor",
    "kind": "cpu",
    "backend": "CPU",
    "memory_bytes": 16 * GB,
}
SOUND: Mapping[str, Any] = {
    "build": "0.3.36; CPU : AVX2 = 1",
    "devices": [CPU],
    "struct_faults": [],
    "instructions": [],
    "repack": {"AMX": "", "CPU_REPACK": ""},
    "repack_unknown": "",
}


# -- the examination -------------------------------------------------------------------------------


def test_a_check_that_fails_itself_is_a_finding_and_the_others_go_on(tmp_path: Path) -> None:
    def breaks(_: object) -> list[Any]:
        raise ValueError("no such thing")

    found = examine(
        around(tmp_path), {"one": breaks, "two": lambda _: [good("two", "as it should be")]}
    )

    assert [one.check for one in found] == ["one", "two"]
    assert found[0].words == "could not be looked at: ValueError: no such thing"


def test_the_exit_code_tells_whether_something_has_to_be_mended() -> None:
    fine = [good("a", "fine"), note("b", "worth knowing")]

    assert exit_code(fine) == 0
    assert exit_code([*fine, wrong("c", "broken", mend="do this")]) == 1


def test_every_subject_of_the_doctor_is_checked() -> None:
    assert list(CHECKS) == [
        "settings",
        "versions",
        "engine",
        "memory",
        "cores",
        "bandwidth",
        "socket",
        "service",
        "store",
        "disk",
        "clock",
    ]


# -- settings and versions -------------------------------------------------------------------------


def test_a_wrong_configuration_is_a_finding_and_the_doctor_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "umad.yaml"
    path.write_text("ctx_size: many\n")

    found = settings_check.check(surroundings({"HOME": str(tmp_path)}, path=path))

    assert f"{path}:1" in only(found, State.WRONG).words
    assert only(found, State.WRONG).mend.endswith("umad config check")


@pytest.mark.parametrize("option", ["models", "preload"])
def test_a_model_of_the_configuration_that_is_not_there_is_wrong(
    tmp_path: Path, option: str
) -> None:
    models: dict[str, Any] = {option: ("nano", str(tmp_path / "gone.gguf"))}
    here = around(tmp_path, **models)

    assert "no such file" in only(settings_check.check(here), State.WRONG).words


def test_a_model_that_is_no_gguf_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "text.gguf"
    path.write_text("hello")

    assert states(settings_check.check(around(tmp_path, models=(str(path),)))) == [
        State.GOOD,
        State.WRONG,
    ]


def test_the_packages_of_this_installation_are_as_needed(tmp_path: Path) -> None:
    assert State.WRONG not in states(versions.check(around(tmp_path)))


def test_a_package_that_is_too_old_or_missing_is_named_with_the_command() -> None:
    found = list(
        versions._faults(["click>=999.1", "no-such-package-here>=1.0", "pytest>=1; extra == 'dev'"])
    )

    assert found[0].mend == "pip install --upgrade 'click>=999.1'"
    assert found[1].words == "no-such-package-here is not installed"
    assert len(found) == 2


# -- llama.cpp -------------------------------------------------------------------------------------


def test_a_sound_llama_cpp_is_good(tmp_path: Path) -> None:
    found = engine.findings(SOUND, around(tmp_path, platform="darwin"))

    assert states(found) == [State.GOOD] * 3
    assert "0.3.36 computes on CPU (a processor)" in found[0].words


def test_amx_that_is_advertised_and_kills_is_a_note_with_the_build_that_goes_around_it(
    tmp_path: Path,
) -> None:
    broken = {
        **SOUND,
        "instructions": ["amx_tile", "amx_int8"],
        "repack": {"AMX": "signal SIGILL", "CPU_REPACK": ""},
    }
    settings = EngineSettings(repack=True)

    found = engine.findings(broken, around(tmp_path, platform="darwin", engine=settings))

    told = only(found, State.NOTE)
    assert "advertises amx_tile, amx_int8, and a process that uses it ends by signal SIGILL" in (
        told.words
    )
    assert "repack is left off for it" in told.words
    assert told.mend.startswith("CXXFLAGS=-U__AMX_INT8__ pip install")


def test_structs_that_do_not_fit_the_library_are_wrong(tmp_path: Path) -> None:
    found = engine.findings(
        {**SOUND, "struct_faults": ["llama_context_default_params.type_k"]}, around(tmp_path)
    )

    assert "llama_context_default_params.type_k" in only(found, State.WRONG).words


def test_a_gpu_that_this_build_cannot_use_is_named_with_its_flag(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kfd").touch()

    (found,) = engine._unused_gpu([CPU], tmp_path)

    assert "-DGGML_HIP=on" in found.mend
    assert engine._unused_gpu([{**CPU, "kind": "gpu"}], tmp_path) == []


def test_a_library_that_cannot_be_loaded_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "python_module", lambda *_: ["sh", "-c", "echo no lib >&2; exit 3"])

    (found,) = engine.check(around(tmp_path))

    assert found.words == "llama.cpp cannot be loaded: exit status 3: no lib"
    assert "pip install" in found.mend


def test_a_library_that_the_configuration_names_and_that_does_not_fit_is_wrong(
    tmp_path: Path,
) -> None:
    path = tmp_path / "libllama.so"
    path.write_text("not a library\n")

    (found,) = engine.check(around(tmp_path, llama_library=str(path)))

    assert found.state is State.WRONG
    assert found.words == f"llama_library {path} is not used: it is no shared library"
    assert "UMAD_LLAMA_LIBRARY" in found.mend


def test_a_backend_that_is_no_file_is_wrong_and_the_devices_without_it_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMAD_BACKENDS", "")
    path = str(tmp_path / "libggml-vulkan.so")

    (found,) = engine.check(around(tmp_path, backends=(path,)))

    assert found.state is State.WRONG
    assert found.words.startswith(f"backends names {path}")
    assert "there is no such file; the devices without it are " in found.words
    assert "CPU" in found.words
    assert path in found.private
    assert "UMAD_BACKENDS" in found.mend


def test_a_device_that_is_not_there_is_wrong_and_those_that_are_there_are_shown(
    tmp_path: Path,
) -> None:
    def found(device: str) -> list[Any]:
        settings = EngineSettings(device=device)
        return engine.findings(SOUND, around(tmp_path, platform="darwin", engine=settings))

    one = only(found("CPU, Vulkan3"), State.WRONG)
    assert one.words == (
        "device names 'Vulkan3', and there is none of that name; there are CPU (a processor)"
    )
    assert "UMAD_DEVICE" in one.mend
    assert State.WRONG not in states(found("cpu"))
    assert State.WRONG not in states(found("none"))


def test_the_child_looks_at_this_machine() -> None:
    found = engine.look()

    assert found["devices"]
    assert found["struct_faults"] == []
    assert found["repack"] is not None or found["repack_unknown"]


# -- memory, cores, bandwidth ----------------------------------------------------------------------


def room(headroom_gb: float) -> MemoryReading:
    return MemoryReading(
        rooms=(
            MemoryRoom(
                name="machine",
                limit_bytes=16 * GB,
                headroom_bytes=int(headroom_gb * GB),
                some_pct=2.5,
                full_pct=0.0,
            ),
        )
    )


def test_memory_with_room_is_good_and_says_how_much() -> None:
    (found,) = memory.rooms(room(9))

    assert found.state is State.GOOD
    assert "9.0 GB of 16.0 GB" in found.words
    assert "2.5 % of the time" in found.words


def test_memory_that_is_short_names_the_program_that_has_most() -> None:
    (found,) = memory.rooms(room(0.2), largest=lambda *_: "hog (9000 MB)")

    assert found.state is State.WRONG
    assert found.words.startswith("memory is severe")
    assert "hog (9000 MB)" in found.mend
    assert "hog (9000 MB)" in found.private


def test_mlock_without_the_right_to_lock_is_wrong() -> None:
    assert "ulimit -l unlimited" in only(memory.locked(8 * 2**20), State.WRONG).mend
    assert states(memory.locked(resource.RLIM_INFINITY)) == [State.GOOD]


@pytest.mark.parametrize(
    ("asked", "state"),
    [(None, State.GOOD), (8, State.GOOD), (6, State.NOTE), (12, State.WRONG), (40, State.WRONG)],
)
def test_threads_are_held_against_cores(asked: int | None, state: State) -> None:
    (found,) = cores.threads(asked, 8, 16)

    assert found.state is state
    if state is State.WRONG:
        assert found.mend == "umad serve --threads 8, or without it"


def remembering(tmp_path: Path, before: float | None, now: float | None) -> BandwidthMemory:
    path = tmp_path / "bandwidth.json"
    if before is not None:
        path.write_text(f'{{"this machine": {before}}}')
    return BandwidthMemory(path, "this machine", lambda: now)


@pytest.mark.parametrize(
    ("before", "now", "state"),
    [
        (30.0, 28.0, State.GOOD),
        (None, 28.0, State.GOOD),
        (30.0, 10.0, State.NOTE),
        (5.0, 28.0, State.WRONG),
        (30.0, None, State.WRONG),
    ],
)
def test_the_read_rate_is_held_against_what_is_remembered(
    tmp_path: Path, before: float | None, now: float | None, state: State
) -> None:
    (found,) = bandwidth.findings(remembering(tmp_path, before, now), "auto")

    assert found.state is state
    assert bool(found.mend) is (state is not State.GOOD)


def test_a_probe_of_the_doctor_is_not_remembered(tmp_path: Path) -> None:
    remembered = remembering(tmp_path, 5.0, 28.0)

    bandwidth.findings(remembered, "auto")

    assert remembered.remembered() == 5.0


def test_a_budget_above_the_machine_holds_nothing_back(tmp_path: Path) -> None:
    found = bandwidth.findings(remembering(tmp_path, 30.0, 29.0), 320.0)

    assert only(found, State.NOTE).mend == "bmt_budget_gbps: auto"


# -- socket, service, store, disk, clocks ----------------------------------------------------------


def test_a_folder_of_the_socket_that_others_may_write_to_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / ".local/state/umad"
    folder.mkdir(parents=True)
    folder.chmod(0o777)

    found = socket_folder.check(around(tmp_path))

    assert only(found, State.WRONG).mend == f"chmod go-w {folder}"


def test_a_folder_that_others_may_look_into_is_a_note_and_a_private_one_is_good(
    tmp_path: Path,
) -> None:
    folder = tmp_path / ".local/state/umad"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    assert only(socket_folder.check(around(tmp_path)), State.NOTE).mend == f"chmod 700 {folder}"

    folder.chmod(0o700)
    assert State.NOTE not in states(socket_folder.check(around(tmp_path)))


def test_a_file_in_the_place_of_the_socket_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / ".local/state/umad"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "umad.sock").write_text("")

    assert "is no socket" in only(socket_folder.check(around(tmp_path)), State.WRONG).words


def test_a_path_that_is_too_long_for_a_socket_is_wrong(tmp_path: Path) -> None:
    found = socket_folder.check(around(tmp_path, environ={"UMAD_SOCKET": "/" + "a" * 200}))

    assert states(found) == [State.WRONG]


def test_no_daemon_is_a_note_and_a_silent_one_is_wrong() -> None:
    assert service.findings(Service(error="nobody", is_absent=True))[0].mend == "umad serve"
    assert states(service.findings(Service(error="it gave no answer"))) == [State.WRONG]


@pytest.mark.parametrize(
    ("state", "found", "mend"),
    [
        (ServiceState.WAITING, State.GOOD, ""),
        (ServiceState.STOPPED, State.NOTE, "umad service start"),
        (ServiceState.FAILED, State.WRONG, "umad service logs says why; then: umad service start"),
    ],
)
def test_a_daemon_that_a_service_manager_keeps_is_mended_by_it(
    state: ServiceState, found: State, mend: str
) -> None:
    kept = ServiceStatus(state=state, words="exit-code")

    (finding,) = service.findings(Service(error="nobody", is_absent=True, kept=kept))

    assert (finding.state, finding.mend) == (found, mend)


@pytest.mark.parametrize(("pid", "mend"), [(4711, "umad service install"), (0, "umad serve")])
def test_a_daemon_of_another_version_is_named_with_what_restarts_it(pid: int, mend: str) -> None:
    kept = ServiceStatus(state=ServiceState.RUNNING, pid=pid)

    (_, finding) = service.findings(Service(server="umad/0.0.1", kept=kept))

    assert finding.state is State.NOTE
    assert "umad/0.0.1" in finding.words
    assert mend in finding.mend
    assert len(service.findings(Service(server=f"umad/{__version__}"))) == 1


def test_a_daemon_of_the_service_that_hangs_is_ended_by_its_manager() -> None:
    kept = ServiceStatus(state=ServiceState.RUNNING, pid=4711)

    (finding,) = service.findings(Service(error="it gave no answer", kept=kept))

    assert finding.mend == "umad service stop, then: umad service start"


@pytest.mark.parametrize("state", [ServiceState.WAITING, ServiceState.FAILED])
def test_a_daemon_that_only_waits_for_a_connection_is_not_started_by_the_doctor(
    monkeypatch: pytest.MonkeyPatch, state: ServiceState
) -> None:
    class Waiting:
        def status(self) -> ServiceStatus:
            return ServiceStatus(state=state, listens=True)

    async def refuse(_: str | None) -> Service:
        raise AssertionError("a connection starts the daemon")

    monkeypatch.setattr(service, "service_manager", lambda *_: Waiting())
    monkeypatch.setattr(service, "_ask", refuse)

    assert service.ask(surroundings({"HOME": "/nonexistent"})).is_absent


def test_a_daemon_tells_of_failed_suspended_and_restarted_models_and_of_what_it_gave_up() -> None:
    found = service.findings(
        Service(
            models=(
                {"name": "a", "state": "ready", "restarts": 2},
                {"name": "b b", "state": "failed", "error": {"message": "it crashed"}},
                {"name": "c", "state": "suspended"},
            ),
            card={"memory_given_up": "models"},
        )
    )

    assert found[0].words == "the daemon answers, 1 of 3 models are ready"
    assert "died 2 times" in found[1].words
    assert only(found, State.WRONG).mend == "umad load 'b b'"
    assert "c is suspended" in found[3].words
    assert "gave up: models" in found[4].words


def kept(home: Path, name: str = "fox:3b") -> StoredModel:
    """A model of the store in that home."""
    there = Store(home / ".local/share/umad/models")
    path = there.files_folder / "fox.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(nano.path().read_bytes())
    added = StoredModel(name=name, files=ModelFiles(parts=(path,)), source="ollama:fox:3b")
    there.add(added)
    there.index.note_use(name)
    return added


def test_a_store_is_good_where_it_is_empty_or_whole(tmp_path: Path) -> None:
    (empty,) = store.check(around(tmp_path))
    kept(tmp_path)
    (whole,) = store.check(around(tmp_path))

    assert (empty.state, whole.state) == (State.GOOD, State.GOOD)
    assert empty.words == "no model is kept yet"
    assert whole.words == "1 model is kept, all whole"


def test_an_adapter_in_the_store_is_whole_though_it_is_no_model(tmp_path: Path) -> None:
    kept(tmp_path).files.main.write_bytes(adapter())

    (whole,) = store.check(around(tmp_path))

    assert whole.state is State.GOOD


def test_a_model_whose_file_is_gone_or_cut_short_is_wrong(tmp_path: Path) -> None:
    path = kept(tmp_path).files.main
    os.truncate(path, path.stat().st_size - 1)
    (short,) = store.check(around(tmp_path))
    path.unlink()
    (gone,) = store.check(around(tmp_path))

    assert (short.state, gone.state) == (State.WRONG, State.WRONG)
    assert "is cut short" in short.words
    assert short.mend == "umad rm fox:3b, then: umad pull ollama:fox:3b"
    assert "lacks its file" in gone.words
    assert gone.mend.startswith("umad pull ollama:fox:3b")
    assert {"fox:3b", str(path)} <= set(gone.private)


def test_a_damaged_record_and_a_damaged_index_are_named(tmp_path: Path) -> None:
    kept(tmp_path)
    folder = tmp_path / ".local/share/umad/models"
    (folder / "records" / "hen.json").write_bytes(b"{")
    (folder / "models.sqlite3").write_bytes(b"this is no database at all" * 1000)

    record, index = store.check(around(tmp_path))

    assert record.state is State.WRONG
    assert record.mend.startswith(f"rm {folder}/records/hen.json")
    assert (index.state, index.mend) == (State.NOTE, f"rm {folder}/models.sqlite3")


def test_what_a_stopped_download_has_left_is_a_note(tmp_path: Path) -> None:
    blobs = tmp_path / ".cache/huggingface/hub/models--org--fox/blobs"
    blobs.mkdir(parents=True)
    (blobs / "abc.umad.incomplete").write_bytes(bytes(4096))

    found = only(store.check(around(tmp_path)), State.NOTE)

    assert "downloads that were stopped" in found.words
    assert found.mend.endswith(f"rm {blobs}/abc.umad*.incomplete")


def test_a_model_of_the_configuration_may_be_any_name_that_is_here(tmp_path: Path) -> None:
    kept(tmp_path)

    assert states(settings_check.check(around(tmp_path, models=("fox:3b",)))) == [State.GOOD]
    missing = only(settings_check.check(around(tmp_path, models=("qwen3-coder:30b",))), State.WRONG)
    assert missing.mend.startswith("umad pull qwen3-coder:30b")


def test_a_users_file_of_models_that_cannot_be_read_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / ".config/umad/models.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("modells: {}\n")

    found = only(settings_check.check(around(tmp_path)), State.WRONG)

    assert f"{path}:1" in found.words


def test_a_full_disk_is_wrong_and_a_nearly_full_one_a_note(tmp_path: Path) -> None:
    here = around(tmp_path, http=HttpSettings(store=str(tmp_path / "answers.sqlite3")))

    n_places = 4  # umad's cache, its models, those of the hub, the answers
    assert states(disk.findings(here, lambda _: 10**6)) == [State.WRONG] * n_places
    assert states(disk.findings(here, lambda _: GB)) == [State.NOTE] * n_places
    assert states(disk.findings(here, lambda _: 100 * GB)) == [State.GOOD] * n_places
    assert "umad rm MODEL" in disk.findings(here, lambda _: 10**6)[1].mend


def test_sessions_that_may_take_more_than_is_left_are_a_note(tmp_path: Path) -> None:
    kept = EngineSettings(session_dir=str(tmp_path), session_bytes=900 * GB)

    found = disk.findings(around(tmp_path, engine=kept), lambda _: 100 * GB)

    assert only(found, State.NOTE).mend == "a smaller --session-bytes"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / ".cache/umad"
    folder.mkdir(parents=True)
    folder.chmod(0o500)

    assert only(disk.findings(around(tmp_path), lambda _: 100 * GB), State.WRONG).mend


def test_a_clock_before_the_installation_is_wrong() -> None:
    assert clocks.time_of_day(0.0, 1.7e9, None).state is State.WRONG
    assert clocks.time_of_day(1.8e9, 1.7e9, False).state is State.NOTE
    assert clocks.time_of_day(1.8e9, 1.7e9, True).state is State.GOOD


def test_a_slow_clock_is_a_note() -> None:
    assert clocks.step_clock(60.0).state is State.GOOD
    assert clocks.step_clock(1500.0).state is State.NOTE


def test_whatever_is_not_good_says_what_to_do(tmp_path: Path) -> None:
    """Of this machine, whatever it is like; the probe of bandwidth is left out, as it is slow."""
    quick = {name: check for name, check in CHECKS.items() if name not in ("bandwidth", "engine")}

    found = examine(around(tmp_path), quick)

    assert {one.check for one in found} == quick.keys()
    assert all(one.mend for one in found if one.state is State.WRONG)
    assert all("\n" not in one.words + one.mend for one in found)

"""A library is looked at before it is used, and refused in one line where it does not fit."""

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.libraries import moved, pretended
from umad.engine.library.asking import ask
from umad.engine.library.choice import VARIABLE
from umad.engine.llamacpp import library_defaults, library_trial
from umad.engine.llamacpp.library import lib
from umad.engine.llamacpp.library_binding import bound_media
from umad.engine.llamacpp.library_child import checked_version
from umad.engine.llamacpp.library_layout import layout_faults, media_faults
from umad.engine.llamacpp.library_symbols import MTMD, missing
from umad.engine.llamacpp.library_trial import trial_fault
from umad.errors import BadConfig
from umad.isolated import python_module

EXPECTED = r"\(llama-cpp-python [\d.]+, llama\.cpp 0\.5\)"


def test_the_library_of_the_wheel_fits_also_where_another_program_has_it(tmp_path: Path) -> None:
    path = moved(tmp_path)

    found = ask(path)

    assert found.path == path
    assert found.version.startswith(f"{library_defaults.LLAMA_VERSION}.")
    assert "CPU" in found.devices
    assert {one.parent for one in found.files} == {tmp_path}, "and none of the wheel's own"
    assert any("ggml-base" in one.name for one in found.files)


def test_the_tables_are_those_of_the_library_that_is_installed() -> None:
    """After a new llama-cpp-python: look at what changed, then write it down."""
    assert layout_faults(lib, lib._lib) == []
    assert missing(lib._lib) == ()
    for table, kind in (
        (library_defaults.MODEL, lib.llama_model_params),
        (library_defaults.CONTEXT, lib.llama_context_params),
        (library_defaults.QUANTIZE, lib.llama_model_quantize_params),
    ):
        assert list(table) == [name for name, *_ in kind._fields_]


def test_the_table_of_the_library_for_media_is_that_of_the_one_installed() -> None:
    media = bound_media()

    assert media_faults(media, media._libmtmd) == []
    assert missing(media._libmtmd, MTMD) == ()
    fields = [name for name, *_ in media.mtmd_context_params._fields_]
    assert [*library_defaults.MEDIA, "media_marker"] == sorted(
        fields, key=lambda name: (name == "media_marker", fields.index(name))
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("GROWN", "its llama_context_params has 168 bytes, and 160 are expected"),
        ("SHORTER", "its llama_context_params has 152 bytes, and 160 are expected"),
        ("SWAPPED", "its llama_context_params.n_batch is 512, and 2048 is expected"),
        ("INSERTED", "its llama_context_params has 168 bytes, and 160 are expected"),
        ("FLAG_INSERTED", "its llama_context_params.no_perf is 0, and 1 is expected"),
        ("WIDE_BATCH", "its llama_batch has 64 bytes, and 56 are expected"),
    ],
)
def test_a_struct_that_is_laid_out_otherwise_is_named(
    change: str, told: str, tmp_path: Path
) -> None:
    library = ctypes.CDLL(str(pretended(tmp_path / "libllama.so", change)))

    assert layout_faults(lib, library)[0] == told


def test_a_pretended_library_without_a_change_is_laid_out_as_llama_cpps(tmp_path: Path) -> None:
    """Or the tests above would show nothing."""
    library = ctypes.CDLL(str(pretended(tmp_path / "libllama.so")))

    assert layout_faults(lib, library) == []


def test_a_library_with_other_structs_is_refused_in_one_line_with_what_was_expected(
    tmp_path: Path,
) -> None:
    path = pretended(tmp_path / "libllama.so", "SWAPPED")

    with pytest.raises(BadConfig) as refused:
        ask(path)

    assert re.fullmatch(
        rf"llama_library {path} is not used: its llama_context_params\.n_batch is 512, and 2048 is "
        rf"expected, its llama_context_params\.n_ubatch is 2048, and 512 is expected {EXPECTED}",
        refused.value.message,
    )


def test_a_library_that_only_looks_right_does_not_compute(tmp_path: Path) -> None:
    path = pretended(tmp_path / "libllama.so")

    with pytest.raises(BadConfig, match="it does not load a small model"):
        ask(path)


def test_the_library_that_is_installed_computes_what_it_should(nano_path: Path) -> None:
    assert trial_fault(nano_path) == ""


def test_a_library_that_computes_something_else_is_noticed(
    nano_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_trial, "NEXT", b"export")

    assert "goes on with b'import'" in trial_fault(nano_path)


def test_an_option_that_arrives_in_another_field_is_noticed(
    nano_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lib, "llama_n_ubatch", lambda _context: 512)

    assert trial_fault(nano_path) == "a context that is asked for n_ubatch 32 has 512"


@pytest.mark.parametrize(
    ("version", "changes", "told"),
    [
        ("0.4.9", (), r"it is llama\.cpp 0\.4\.9, and another one is expected"),
        ("0.50.0", (), r"it is llama\.cpp 0\.50\.0, and another one is expected"),
        ("1.0", (), r"it is llama\.cpp 1\.0, and another one is expected"),
        ("", ("NO_VERSION",), "it says no version, so it is older than the one expected"),
    ],
)
def test_a_library_of_another_version_is_refused_with_both(
    version: str, changes: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    library = ctypes.CDLL(str(pretended(tmp_path / "libllama.so", *changes, version=version)))

    with pytest.raises(BadConfig, match=f"^{told} {EXPECTED}$"):
        checked_version(library)


@pytest.mark.parametrize("version", ["0.5", "0.5.0-dev", "0.5.12"])
def test_builds_between_releases_and_mended_ones_are_of_the_same_version(
    version: str, tmp_path: Path
) -> None:
    library = ctypes.CDLL(str(pretended(tmp_path / "libllama.so", version=version)))

    assert checked_version(library) == version


def test_functions_that_are_missing_are_named(tmp_path: Path) -> None:
    path = pretended(tmp_path / "libllama.so", without=("llama_decode", "gguf_free"))

    with pytest.raises(BadConfig, match=r"it lacks llama_decode, gguf_free, which umad calls$"):
        ask(path)


def test_a_library_that_nothing_can_compute_on_is_refused(tmp_path: Path) -> None:
    path = pretended(tmp_path / "libllama.so", "NO_DEVICES")

    with pytest.raises(BadConfig, match="it has no device to compute on"):
        ask(path)


def test_devices_that_are_files_are_looked_for_beside_the_library_and_not_where_the_user_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ggml itself would load them from the working folder, which anybody may have filled."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "downloads").mkdir()
    path = pretended(tmp_path / "lib/libllama.so", "DEVICES_BESIDE")
    monkeypatch.chdir(tmp_path / "downloads")
    (tmp_path / "downloads/libggml-cpu.so").touch()

    with pytest.raises(BadConfig, match="it has no device to compute on"):
        ask(path)

    (tmp_path / "lib/libggml-cpu.so").touch()
    with pytest.raises(BadConfig, match="it does not load a small model"):
        ask(path)


def test_a_library_that_ends_its_process_is_refused_by_the_signal(tmp_path: Path) -> None:
    path = pretended(tmp_path / "libllama.so", "DIES")

    with pytest.raises(BadConfig, match=r"ended while its structs were looked at.*SIGABRT"):
        ask(path)


def test_a_library_that_does_not_come_back_is_refused_after_a_while(tmp_path: Path) -> None:
    path = pretended(tmp_path / "libllama.so", "HANGS")

    with pytest.raises(BadConfig, match="not done within 2 s"):
        ask(path, within_s=2.0)


def test_another_programs_library_is_not_taken_for_llama_cpps(tmp_path: Path) -> None:
    source = tmp_path / "other.c"
    source.write_text("int answer(void) { return 42; }\n")
    path = tmp_path / "libllama.so"
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", path, source], check=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("there is no C compiler")

    with pytest.raises(BadConfig, match=r"it is no library of llama\.cpp"):
        ask(path)


def test_a_library_whose_own_libraries_are_missing_says_which(tmp_path: Path) -> None:
    path = moved(tmp_path)
    for one in tmp_path.glob("libggml-base.*"):
        one.unlink()

    with pytest.raises(BadConfig, match=r"the system cannot open it: .*ggml-base"):
        ask(path)


ENGINE = """
import json, sys
from umad import nano
from umad.engine.llamacpp import llama

llama.start()
model = llama.Model(str(nano.path()), gpu_layers=0)
with open("/proc/self/maps") as maps:
    loaded = {line.split()[-1] for line in maps if "libllama" in line or "libggml" in line}
print(json.dumps([str(llama.library_path()), model.description, sorted(loaded)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of a process")
def test_backends_are_loaded_into_the_ggml_that_llama_cpp_computes_with() -> None:
    """In a wheel libggml.so and libggml.so.0 are two files, and each would have its own list."""
    ended = subprocess.run(
        [sys.executable, "-c", ENGINE],
        env={name: text for name, text in os.environ.items() if name != VARIABLE},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    _, _, loaded = json.loads(ended.stdout.splitlines()[-1])
    stems = [Path(one).name.partition(".")[0] for one in loaded]
    assert "libggml" in stems
    assert sorted(set(stems)) == sorted(stems)


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of a process")
def test_a_process_computes_with_the_library_that_was_chosen_and_loads_no_other(
    tmp_path: Path,
) -> None:
    path = moved(tmp_path / "other")
    environ = os.environ | {VARIABLE: str(path), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    ended = subprocess.run(
        [sys.executable, "-c", ENGINE],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    where, description, loaded = json.loads(ended.stdout)
    assert where == str(path)
    assert description
    assert loaded
    assert all(Path(one).parent == path.parent for one in loaded)


def test_a_library_that_was_replaced_meanwhile_is_looked_at_again(tmp_path: Path) -> None:
    """As a package manager does under a daemon that runs: the next engine is refused in a line."""
    path = moved(tmp_path / "other")
    environ = os.environ | {VARIABLE: str(path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    run = _with(environ)
    assert run("import umad.engine.llamacpp.library").returncode == 0

    pretended(path, "GROWN")
    ended = run("import umad.engine.llamacpp.library")

    assert ended.returncode
    assert "llama_context_params has 168 bytes" in ended.stderr.splitlines()[-1]


def test_a_ggml_to_which_a_link_leads_since_is_looked_at_and_not_taken_for_the_old_one(
    tmp_path: Path,
) -> None:
    """Homebrew and Debian upgrade ggml apart, and the old file may stay where it was."""
    path = moved(tmp_path / "other")
    base = path.with_name("libggml-base.so.0")
    if not base.exists():
        pytest.skip("the wheel's ggml has other names here")
    for one in ("old", "new"):
        (tmp_path / one).mkdir()
        shutil.copy2(base, tmp_path / one / base.name)
    environ = os.environ | {VARIABLE: str(path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    run = _with(environ)

    def looked_at(folder: str) -> bool:
        base.unlink()
        base.symlink_to(tmp_path / folder / base.name)
        ended = run("import umad.engine.llamacpp.library")
        assert ended.returncode == 0, ended.stderr
        kept = json.loads((tmp_path / "cache/umad/libraries.json").read_text())
        return str(tmp_path / folder / base.name) in kept[str(path)]["found"]["files"]

    assert looked_at("old")
    assert looked_at("new")


def _with(environ: dict[str, str]) -> Callable[[str], "subprocess.CompletedProcess[str]"]:
    return lambda program: subprocess.run(
        [sys.executable, "-c", program],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_serve_refuses_a_library_before_anything_else_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "libllama.so"
    path.write_text("not a library\n")

    ended = subprocess.run(
        [
            *python_module("umad", "serve", "--socket", str(tmp_path / "s")),
            *("--config", os.devnull, "--llama-library", str(path)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode
    assert ended.stderr.splitlines() == [
        f"umad: llama_library {path} is not used: it is no shared library"
    ]

"""Which library the option `llama_library` means, and what is remembered of those that fit."""

import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from umad.config import Settings
from umad.configuration.sources import load
from umad.engine.library.accepted import AcceptedLibraries, AcceptedLibrary
from umad.engine.library.backends import named_backends
from umad.engine.library.choice import (
    VARIABLE,
    is_another,
    settle,
    use_libraries,
    use_library,
)
from umad.engine.library.file_format import file_fault
from umad.engine.library.places import library_folders, library_in
from umad.errors import BadConfig

LINUX = "linux"


def library_of(path: Path) -> AcceptedLibrary:
    return AcceptedLibrary(
        path=path, version="0.5.1", ggml="0.25.3", devices=("Vulkan0", "CPU"), files=(path,)
    )


class Asked:
    """Answers for libraries, and counts how often it was asked."""

    def __init__(self, *unfit: str) -> None:
        self.unfit = unfit
        self.asked: list[Path] = []

    def __call__(self, path: Path) -> AcceptedLibrary:
        self.asked.append(path)
        if path.parent.name in self.unfit:
            raise BadConfig(f"llama_library {path} is not used: it is llama.cpp 0.4.0")
        return library_of(path)


def memory(
    folder: Path, ask: Callable[[Path], AcceptedLibrary], binding: str = "this"
) -> AcceptedLibraries:
    return AcceptedLibraries(folder / "umad" / "libraries.json", binding=binding, ask=ask)


def made(folder: Path, name: str = "libllama.so") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(b"first")
    return path


# -- what the option means -------------------------------------------------------------------------


def test_without_the_option_it_is_the_bindings_own_and_nothing_is_looked_at(
    tmp_path: Path,
) -> None:
    asked = Asked()

    choice = settle(None, {}, accepted=memory(tmp_path, asked))

    assert choice.path is None
    assert not choice.line
    assert asked.asked == []


def test_the_bindings_own_variable_names_a_library_that_is_looked_at_like_any_other(
    tmp_path: Path,
) -> None:
    """llama-cpp-python would open it unchecked, and its own ggml beside it."""
    path = made(tmp_path / "build")
    made(tmp_path / "old")

    def settled(folder: str) -> Path | None:
        known = memory(tmp_path / "c", Asked("old"))
        environ = {"LLAMA_CPP_LIB_PATH": str(tmp_path / folder)}
        return settle(None, environ, platform=LINUX, accepted=known).path

    assert settled("build") == path
    with pytest.raises(BadConfig, match=r"^LLAMA_CPP_LIB_PATH: llama_library .* it is llama\.cpp"):
        settled("old")


def test_a_folder_means_the_library_in_it(tmp_path: Path) -> None:
    path = made(tmp_path / "build")

    choice = settle(str(path.parent), {}, platform=LINUX, accepted=memory(tmp_path / "c", Asked()))

    assert choice.path == path


def test_auto_takes_the_first_that_fits_and_says_so_in_one_line(tmp_path: Path) -> None:
    folders = (tmp_path / "empty", tmp_path / "old", tmp_path / "good", tmp_path / "last")
    for folder in folders[1:]:
        made(folder)
    asked = Asked("old")

    choice = settle(
        "auto", {}, platform=LINUX, accepted=memory(tmp_path / "c", asked), folders=folders
    )

    assert choice.path == tmp_path / "good/libllama.so"
    assert choice.line == (
        f"llama_library auto: {choice.path} (llama.cpp 0.5.1, ggml 0.25.3; Vulkan0, CPU)"
    )
    assert [path.parent.name for path in asked.asked] == ["old", "good"]


def test_auto_falls_back_on_the_bindings_own_and_says_why(tmp_path: Path) -> None:
    made(tmp_path / "old")

    def settled(folder: str) -> tuple[Path | None, str]:
        known = memory(tmp_path / "c", Asked("old"))
        choice = settle("auto", {}, platform=LINUX, accepted=known, folders=(tmp_path / folder,))
        return choice.path, choice.line

    assert settled("old") == (
        None,
        (
            "llama_library auto: the library of llama-cpp-python, because "
            f"{tmp_path}/old/libllama.so is not used: it is llama.cpp 0.4.0"
        ),
    )
    assert settled("none") == (
        None,
        (
            "llama_library auto: the library of llama-cpp-python, because no other is in the known "
            "places"
        ),
    )


def test_auto_looks_once_at_a_folder_with_two_names(tmp_path: Path) -> None:
    made(tmp_path / "old")
    (tmp_path / "link").symlink_to("old")
    asked = Asked("old", "link")
    folders = (tmp_path / "old", tmp_path / "link")

    settle("auto", {}, platform=LINUX, accepted=memory(tmp_path, asked), folders=folders)

    assert len(asked.asked) == 1


def test_children_get_the_whole_path_and_without_the_option_none(tmp_path: Path) -> None:
    environ = {VARIABLE: "left by somebody", "XDG_CACHE_HOME": str(tmp_path)}

    use_library(None, environ)

    assert VARIABLE not in environ


def test_backends_are_left_for_children_as_whole_paths_whatever_is_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"UMAD_BACKENDS": "before"}

    use_libraries(Settings(backends=("a,b.so", "~/c.so")), environ)
    left = named_backends(environ)
    # A child that reads its options finds the same there.
    read = load(environ={"UMAD_BACKENDS": environ["UMAD_BACKENDS"]}).settings.backends
    use_libraries(Settings(), environ)

    assert left == read == (str(tmp_path / "a,b.so"), os.path.expanduser("~/c.so"))
    assert named_backends({"UMAD_BACKENDS": "/a.so, /b.so"}) == ("/a.so", "/b.so")
    assert named_backends(environ) == ()


@pytest.mark.parametrize("variable", [VARIABLE, "LLAMA_CPP_LIB_PATH"])
def test_a_library_that_the_environment_names_is_another_than_the_bindings_own(
    variable: str,
) -> None:
    assert is_another({variable: "/opt/llama"})
    assert not is_another({variable: ""})
    assert not is_another({})


def test_a_path_that_does_not_fit_is_an_error_and_leaves_the_environment(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    path = tmp_path / "nothing.so"

    with pytest.raises(BadConfig) as refused:
        use_library(str(path), environ)

    assert refused.value.message == f"llama_library {path} is not used: there is no such file"
    assert refused.value.field == "llama_library"
    assert VARIABLE not in environ


def test_a_path_that_the_system_itself_does_not_take_is_refused_in_its_words(
    tmp_path: Path,
) -> None:
    with pytest.raises(BadConfig, match="is not used: it cannot be read: File name too long"):
        settle(str(tmp_path / ("x" * 300)), {"XDG_CACHE_HOME": str(tmp_path)})


def test_a_refusal_is_one_line_whatever_the_path_has_in_it(tmp_path: Path) -> None:
    with pytest.raises(BadConfig) as refused:
        settle(str(tmp_path / "two\nlines.so"), {"XDG_CACHE_HOME": str(tmp_path)})

    assert "two\\nlines.so' is not used: there is no such file" in refused.value.message
    assert "\n" not in refused.value.message


def test_what_auto_has_passed_over_is_not_opened_by_the_binding_after_all(tmp_path: Path) -> None:
    environ = {"LLAMA_CPP_LIB_PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "c")}
    (tmp_path / "libllama.so").write_text("not a library\n")
    (tmp_path / "libllama.dylib").write_text("not a library\n")

    choice = use_library("auto", environ)

    assert f"{tmp_path}/libllama" in choice.line
    assert "LLAMA_CPP_LIB_PATH" not in environ or choice.path is not None


# -- places ----------------------------------------------------------------------------------------


def test_named_folders_come_before_homebrews_and_the_systems() -> None:
    environ = {"LLAMA_CPP_LIB_PATH": "/opt/own/lib", "HOMEBREW_PREFIX": "/opt/homebrew"}

    mac = [str(one) for one in library_folders(environ, "darwin")]
    debian = [str(one) for one in library_folders({}, LINUX, multiarch="aarch64-linux-gnu")]

    assert mac == ["/opt/own/lib", "/opt/homebrew/lib", "/usr/local/lib", "/opt/local/lib"]
    assert debian[-3:] == ["/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"]


def test_a_folder_named_relative_to_the_working_folder_is_not_looked_in() -> None:
    assert Path("lib") not in library_folders({"LLAMA_CPP_LIB_PATH": "lib"}, LINUX)


@pytest.mark.parametrize(
    ("platform", "names", "taken"),
    [
        (LINUX, ["libllama.so", "libllama.so.0", "libllama.so.0.5.0"], "libllama.so"),
        # Without a development package there is no plain name.
        (LINUX, ["libllama.so.0.9.0", "libllama.so.0.10.0"], "libllama.so.0.10.0"),
        (LINUX, ["libllama.a", "libllama-common.so", "libllamafile.so.1"], None),
        (LINUX, ["libllama.dylib"], None),
        (LINUX, ["libllama.so.old", "libllama.so.0.bak"], None),
        ("darwin", ["libllama.0.dylib", "libllama.dylib"], "libllama.dylib"),
        ("darwin", ["libllama.0.dylib", "libllama.0.5.0.dylib"], "libllama.0.5.0.dylib"),
    ],
)
def test_a_library_is_found_with_or_without_its_version(
    platform: str, names: list[str], taken: str | None
) -> None:
    found = library_in(Path("/lib"), platform, names=lambda _: names)

    assert found == (taken and Path("/lib") / taken)


# -- files -----------------------------------------------------------------------------------------


def elf(machine: int, *, kind: int = 3, big: bool = False) -> bytes:
    order = ">" if big else "<"
    return (
        b"\x7fELF"
        + bytes([2, 2 if big else 1, 1])
        + bytes(9)
        + struct.pack(f"{order}HH", kind, machine)
    )


def mach(machine: int, *, kind: int = 6) -> bytes:
    return struct.pack("<IIII", 0xFEEDFACF, machine, 0, kind)


def fat(*machines: int) -> bytes:
    entries = b"".join(struct.pack(">IIIII", one, 0, 0, 0, 0) for one in machines)
    return struct.pack(">II", 0xCAFEBABE, len(machines)) + entries


ARM_MAC, INTEL_MAC = 0x0100000C, 0x01000007


@pytest.mark.parametrize(
    ("data", "platform", "machine", "fault"),
    [
        (elf(62), "linux", "x86_64", ""),
        (elf(183), "linux", "aarch64", ""),
        (elf(183), "linux", "x86_64", "it is built for aarch64, and this machine needs x86_64"),
        (elf(62), "linux", "aarch64", "it is built for x86_64, and this machine needs aarch64"),
        (elf(21), "linux", "ppc64le", ""),
        (elf(9999), "linux", "x86_64", "it is built for architecture 9999, and this machine needs"),
        (elf(62, kind=2), "linux", "x86_64", "it is a program or a part of one"),
        (elf(62)[:18], "linux", "x86_64", "it is no shared library"),
        (b"", "linux", "x86_64", "it is no shared library"),
        (b"not a library\n", "linux", "x86_64", "it is no shared library"),
        (b"\xca\xfe\xba\xbe\0\0\0\x41" + bytes(99), "darwin", "arm64", "it is no shared library"),
        (mach(ARM_MAC), "linux", "x86_64", "it is a library of another system"),
        (elf(183), "darwin", "arm64", "it is a library of another system"),
        (mach(ARM_MAC), "darwin", "arm64", ""),
        (mach(INTEL_MAC), "darwin", "arm64", "it is built for x86_64, and this machine needs"),
        (fat(INTEL_MAC, ARM_MAC), "darwin", "arm64", ""),
        (fat(INTEL_MAC), "darwin", "arm64", "it is built for x86_64"),
        (mach(ARM_MAC, kind=2), "darwin", "arm64", "it is a program or a part of one"),
    ],
)
def test_a_file_says_for_which_machine_it_is_a_library(
    data: bytes, platform: str, machine: str, fault: str, tmp_path: Path
) -> None:
    path = tmp_path / "libllama.so"
    path.write_bytes(data)

    found = file_fault(path, platform=platform, machine=machine)

    assert found.startswith(fault)
    assert bool(found) == bool(fault)


def test_what_is_no_file_at_all_is_said(tmp_path: Path) -> None:
    def fault(path: Path) -> str:
        return file_fault(path, platform=LINUX, machine="x86_64")

    assert fault(tmp_path) == "it is a folder without llama.cpp's library"
    assert fault(tmp_path / "none") == "there is no such file"
    os.mkfifo(tmp_path / "pipe")
    assert fault(tmp_path / "pipe") == "it is no file"
    assert fault(Path("/dev/zero")) == "it is no file"
    assert fault(tmp_path / "a\0b") == "there is no such file"
    (tmp_path / "dangling").symlink_to("none")
    assert fault(tmp_path / "dangling") == "there is no such file"


# -- memory ----------------------------------------------------------------------------------------


def test_a_library_that_fits_is_looked_at_once(tmp_path: Path) -> None:
    path = made(tmp_path / "lib")
    asked = Asked()

    first = memory(tmp_path, asked).known(path)
    again = memory(tmp_path, asked).known(path)

    assert first == again == library_of(path)
    assert len(asked.asked) == 1


@pytest.mark.parametrize("how", ["written", "touched", "replaced", "gone"])
def test_a_change_of_any_of_its_files_is_looked_at(how: str, tmp_path: Path) -> None:
    path, ggml = made(tmp_path / "lib"), made(tmp_path / "lib", "libggml.so.0")
    asked = Asked()

    def ask(library: Path) -> AcceptedLibrary:
        found = asked(library)
        return AcceptedLibrary.of_map({**found.as_map(), "files": [str(path), str(ggml)]})

    memory(tmp_path, ask).known(path)
    match how:
        case "written":
            ggml.write_bytes(b"longer than before")
        case "touched":
            os.utime(ggml, ns=(1, 1))
        case "replaced":
            found = ggml.stat()
            other = made(tmp_path / "new", "libggml.so.0")
            os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
            other.rename(ggml)
        case _:
            ggml.unlink()
    memory(tmp_path, ask).known(path)

    assert len(asked.asked) == 2


@pytest.mark.parametrize("how", ["replaced", "a link led elsewhere"])
def test_what_changed_under_the_look_is_not_remembered(how: str, tmp_path: Path) -> None:
    """The answer is of the old file, and the new one has its name: it would never be looked at."""
    path, ggml = tmp_path / "lib/libllama.so", made(tmp_path / "lib", "libggml.so.0")
    old, new = made(tmp_path / "lib", "old.so"), made(tmp_path / "lib", "new.so")
    path.symlink_to(old)
    new.write_bytes(b"second")
    asked: list[Path] = []

    def ask(library: Path) -> AcceptedLibrary:
        asked.append(library)
        if how == "replaced":
            now_ns = time.time_ns()
            made(tmp_path / "new", "libggml.so.0").rename(ggml)
            # The clock of the file system goes in steps of milliseconds.
            while ggml.stat().st_ctime_ns <= now_ns:
                ggml.touch()
        elif library.readlink() == old:
            library.unlink()
            library.symlink_to(new)
        return AcceptedLibrary.of_map(
            {**library_of(path).as_map(), "files": [str(path), str(ggml)]}
        )

    for _ in range(2):
        memory(tmp_path, ask).known(path)

    assert len(asked) == 2


def test_an_answer_covers_the_files_that_it_names() -> None:
    found = library_of(Path("/lib/libllama.so"))

    assert found.covers([])
    assert found.covers([Path("/lib/libllama.so")])
    assert not found.covers([Path("/lib/libllama.so"), Path("/new/libggml.so.0")])


def test_another_umad_python_or_binding_looks_for_itself(tmp_path: Path) -> None:
    path = made(tmp_path / "lib")
    asked = Asked()

    memory(tmp_path, asked).known(path)
    memory(tmp_path, asked, binding="newer").known(path)

    assert len(asked.asked) == 2


def test_a_refusal_is_not_remembered(tmp_path: Path) -> None:
    """What was missing may have been installed."""
    path = made(tmp_path / "lib")
    asked = Asked("lib")
    for _ in range(2):
        with pytest.raises(BadConfig):
            memory(tmp_path, asked).known(path)

    assert len(asked.asked) == 2


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[1]", '{"/x": 1}', '{"/x": {"found": {}, "stamps": []}}', "[" * 5000],
)
def test_a_broken_memory_is_begun_anew(text: str, tmp_path: Path) -> None:
    path = made(tmp_path / "lib")
    asked = Asked()
    file = tmp_path / "umad/libraries.json"
    file.parent.mkdir(mode=0o700)
    file.write_text(text)
    file.chmod(0o600)

    memory(tmp_path, asked).known(path)
    memory(tmp_path, asked).known(path)

    assert len(asked.asked) == 1
    assert list(json.loads(file.read_text())) == [str(path)]

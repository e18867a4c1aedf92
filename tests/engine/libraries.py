"""Libraries to look at: the wheel's own in another folder, and pretended ones made with cc."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from umad.engine.llamacpp.library import libggml
from umad.engine.llamacpp.library_symbols import GGML, LLAMA

SOURCE = Path(__file__).with_name("pretended_library.c")
_WRITTEN_OUT = {
    "llama_max_devices",
    "ggml_backend_dev_count",
    "llama_model_default_params",
    "llama_context_default_params",
    "llama_model_quantize_default_params",
    "llama_batch_get_one",
}


def moved(folder: Path) -> Path:
    """The wheel's own library, copied into `folder` as another program would have it there."""
    folder.mkdir(parents=True, exist_ok=True)
    own = Path(libggml._name).parent
    for file in own.iterdir():
        # The wheel has each file under several names. A library is opened by one of them.
        if file.suffix == ".dylib" or file.suffix == ".so" or file.name.endswith(".so.0"):
            shutil.copy2(file, folder / file.name)
    return next(one for one in sorted(folder.iterdir()) if one.name.startswith("libllama."))


def pretended(
    path: Path,
    *changes: str,
    version: str = "0.5.0",
    without: Iterable[str] = (),
) -> Path:
    """A library made by the C compiler, with these changes. Skips the test where there is none."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    names = set(LLAMA + GGML) - _WRITTEN_OUT - set(without)
    stubs = "\n".join(f"void *{name}(void) {{ return 0; }}" for name in sorted(names))
    source = path.with_suffix(".c")
    source.write_text(SOURCE.read_text().replace("\nSTUBS\n", f"\n{stubs}\n"))
    flags = [f"-D{one}" for one in changes] + [f'-DVERSION="{version}"']
    subprocess.run(
        [compiler, "-O2", "-fno-builtin", "-shared", "-fPIC", *flags, "-o", path, source],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return path

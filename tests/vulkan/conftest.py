"""The Vulkan backend, for this process and all that it starts.

`make vulkan-test` names its folder in VULKAN_LIBRARY: with a whole llama.cpp in it, or with the
backend alone, which is loaded into the library that umad always uses. On a machine without a GPU it
runs on Mesa's software device, which llama.cpp takes only where it is named
(GGML_VK_VISIBLE_DEVICES).
"""

import os
from pathlib import Path

import pytest

from umad.engine.library.choice import use_library
from umad.errors import Unsupported

FOLDER = os.environ.get("VULKAN_LIBRARY", "")
if FOLDER and list(Path(FOLDER).glob("libllama.*")):
    use_library(FOLDER, os.environ)
elif FOLDER:
    os.environ["GGML_BACKEND_PATH"] = str(Path(FOLDER).absolute() / "libggml-vulkan.so")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a library nothing here can run, and an old driver would end this process."""
    if not FOLDER:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="VULKAN_LIBRARY names no folder"))
        return
    # Only now, because it loads the library.
    from umad.engine.llamacpp import llama  # noqa: PLC0415
    from umad.engine.llamacpp.vulkan_driver import refuse_old_software  # noqa: PLC0415

    try:
        refuse_old_software(llama.devices())
    except Unsupported as error:
        raise pytest.UsageError(error.message) from error

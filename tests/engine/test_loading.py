from pathlib import Path

import psutil
import pytest

from tests.engine.harness import engine
from umad.engine.llamacpp.memory_check import check_memory, park_bytes
from umad.errors import ModelTooLarge

PATH = Path("/models/big.gguf")
MB = 1_000_000


def test_what_fits_with_room_to_spare_is_let_through() -> None:
    check_memory(
        file_bytes=50 * MB, kv_bytes=45 * MB, available_bytes=100 * MB, path=PATH, cells=8192
    )


def test_a_context_that_is_too_large_is_refused_with_what_would_help() -> None:
    with pytest.raises(ModelTooLarge) as caught:
        check_memory(
            file_bytes=50 * MB, kv_bytes=46 * MB, available_bytes=100 * MB, path=PATH, cells=8192
        )

    message = caught.value.message
    assert all(figure in message for figure in ("50 MB", "46 MB", "100 MB", "8192 cells"))
    assert "--ctx-size" in message


def test_weights_that_are_too_large_by_themselves_need_another_model() -> None:
    with pytest.raises(ModelTooLarge, match="smaller model"):
        check_memory(
            file_bytes=200 * MB, kv_bytes=1 * MB, available_bytes=100 * MB, path=PATH, cells=8192
        )


def test_what_other_models_take_is_named_and_is_not_there() -> None:
    check_memory(
        file_bytes=40 * MB, kv_bytes=5 * MB, available_bytes=100 * MB, path=PATH, cells=8192
    )
    with pytest.raises(ModelTooLarge, match=r"100 MB, of which other models take 60 MB: unload"):
        check_memory(
            file_bytes=40 * MB,
            kv_bytes=5 * MB,
            available_bytes=100 * MB,
            path=PATH,
            cells=8192,
            taken_bytes=60 * MB,
        )


def test_a_tenth_of_the_memory_is_for_parking_unless_weights_and_kv_leave_less() -> None:
    assert park_bytes(None, left_bytes=800 * MB, memory_bytes=1000 * MB) == 100 * MB
    assert park_bytes(None, left_bytes=90 * MB, memory_bytes=1000 * MB) <= 20 * MB
    assert park_bytes(None, left_bytes=-1, memory_bytes=1000 * MB) == 0


def test_more_room_for_parking_than_there_is_memory_is_refused() -> None:
    assert park_bytes(700 * MB, left_bytes=800 * MB, memory_bytes=1000 * MB) == 700 * MB

    with pytest.raises(ModelTooLarge, match=r"park_bytes of 800 MB .* 750 MB"):
        park_bytes(800 * MB, left_bytes=800 * MB, memory_bytes=1000 * MB)


@pytest.mark.skipif(not psutil.LINUX, reason="only Linux says how much of a process is locked")
def test_locked_weights_stay_in_memory_or_the_log_says_how_many_do_not(nano_path: Path) -> None:
    with engine(nano_path, mlock=True) as running:
        size_bytes = running.ready()["size_bytes"]
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        words = running.stderr

    (locked,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmLck:")]
    is_locked = int(locked) * 1024 >= 0.9 * size_bytes
    assert is_locked != ("raise the limit on locked memory" in words)


def test_names_of_caches_that_llama_cpp_does_not_have_are_said_in_one_line(nano_path: Path) -> None:
    with engine(nano_path, kv_type="q6", kv_pack="head-major") as running:
        facts = running.ready()
        words = running.stderr

    assert (facts["kv_type_asked"], facts["kv_type"], facts["kv_pack"]) == ("q6", "Q5_1", "unified")
    assert words.count("kv type q6 is kept as Q5_1, the nearest there is") == 1


def test_tensors_are_placed_as_the_options_say_and_a_place_that_is_not_there_is_named(
    nano_path: Path,
) -> None:
    with engine(nano_path, n_cpu_moe=2, override_tensor=r"\.ffn_up=CPU") as running:
        running.ready()
    with engine(nano_path, override_tensor="ffn=Moon") as running:
        fatal = running.fatal()

    assert fatal.code == "bad_config"
    assert "'Moon', and this machine has CPU" in fatal.message

"""`umad scale plan`, which asks nobody when it is told so."""

import json
from pathlib import Path

from tests.cli.conftest import Umad
from umad.scale.known_models import KNOWN


def test_a_plan_says_the_split_the_parts_why_and_the_command(umad: Umad) -> None:
    ended = umad("scale", "plan", "Mixtral-8x7B-Instruct-v0.1", "A100-80GB:2", "--offline")

    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].startswith("mistralai/Mixtral-8x7B-Instruct-v0.1: 46.7B weights, vLLM")
    assert lines[1] == "TP=2, PP=1, DP=1, EP=2"
    assert {"weights", "activations", "cells", "of"} <= {one.split()[0] for one in lines if one}
    assert "- 8 experts, 2 a token; EP=2 gives each accelerator 4 of them, whole." in lines
    assert lines[-1].startswith("vllm serve mistralai/Mixtral-8x7B-Instruct-v0.1")


def test_json_of_a_plan_is_for_programs(umad: Umad) -> None:
    words = ("scale", "plan", "Qwen/Qwen3-14B-FP8", "H100:1", "--engine", "sglang", "--offline")
    ended = umad(*words, "--draft", "RedHatAI/Qwen3-14B-speculator.eagle3", "--json")

    found = json.loads(ended.out)
    assert ended.code == 0
    assert (found["tp"], found["pp"], found["dp"], found["ep"]) == (1, 1, 1, 1)
    assert found["fits"] is True
    assert found["draft"]["method"] == "eagle3"
    assert found["memory"]["cells_bytes"] >= found["memory"]["text_bytes"]
    assert found["command"][:3] == ["python", "-m", "sglang.launch_server"]


def test_what_does_not_fit_ends_with_1_and_says_what_would(umad: Umad) -> None:
    words = ("scale", "plan", "Llama-3.1-70B-Instruct", "A100", "--offline")
    ended = umad(*words)
    as_json = umad(*words, "--json")

    assert ended.code == as_json.code == 1
    assert "does not fit A100:1" in ended.err
    assert "what would fit: A100:4" in ended.err
    found = json.loads(as_json.out)
    assert found["fits"] is False
    assert found["command"] == []
    assert {"option": "accelerators", "value": "A100:4", "words": "A100:4"} in found["instead"]


def test_wrong_words_are_one_line_and_2(umad: Umad) -> None:
    for words, says in (
        (("Qwen2.5-7B-Instruct", "H10O"), "did you mean H100"),
        (("Qwen2.5-7B-Instruct", "A100:2", "--tp", "4"), "tp 4 is above the 2 of A100:2"),
        (("Qwen2.5-7B-Instruct", "A100", "--quantization", "fp9"), "did you mean fp8"),
        (
            ("Qwen2.5-7B-Instruct", "A100", "--draft", "Qwen3-14B", "--draft-method", "egle"),
            "eagle",
        ),
    ):
        ended = umad("scale", "plan", *words, "--offline")

        assert ended.code == 2, words
        assert ended.err.count("\n") == 1
        assert says in ended.err


def test_a_config_of_one_s_own_is_planned(umad: Umad, tmp_path: Path) -> None:
    config = dict(KNOWN["deepseek-ai/DeepSeek-V3"])
    (tmp_path / "config.json").write_text(json.dumps(config))

    ended = umad("scale", "plan", str(tmp_path), "MI325X:8", "--json", "--offline")

    found = json.loads(ended.out)
    assert ended.code == 0
    assert found["memory"]["token_bytes"] == 61 * 576 * 2


def test_a_name_from_a_file_cannot_write_to_the_terminal(umad: Umad, tmp_path: Path) -> None:
    folder = tmp_path / "a\x1b[31mb"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dict(KNOWN["Qwen/Qwen2.5-7B-Instruct"])))

    ended = umad("scale", "plan", str(folder), "L4", "--offline")

    assert "\x1b" not in ended.out

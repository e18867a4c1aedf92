"""`umad scale plan`, which asks nobody when it is told so."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Umad
from tests.models.loopback_hub import LoopbackHub
from umad.models.fetching.hub import HubAccess
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
        (("Qwen2.5-7B-Instruct", "MI300"), "did you mean MI300X"),
        (("Qwen2.5-7B-Instruct", "A100:two"), "is no accelerator"),
        (("Qwen2.5-7B-Instruct", "A100:0"), "1 to 16"),
        (("Qwen2.5-7B-Instruct", "A100:99"), "--nodes"),
        (("Qwen2.5-7B-Instruct", "A100", "--nodes", "0"), "0 machines: there are 1 to 64"),
        (("Qwen2.5-7B-Instruct", "A100:2", "--tp", "-1"), "tp is -1"),
        (("Qwen2.5-7B-Instruct", "A100:2", "--dp", "9"), "ask for 9 accelerators"),
        (("Qwen2.5-7B-Instruct", "A100:2", "--ctx", "99999999"), "the engines refuse more"),
        (("Qwen2.5-7B-Instruct", "A100:2", "--memory-share", "7"), "within 0.05 and 1"),
        (("Qwen2.5-7B-Instruct", "A100:2", "--kv-dtype", "fp4"), "auto, fp8"),
    ):
        ended = umad("scale", "plan", *words, "--offline")

        assert ended.code == 2, words
        assert ended.err.count("\n") == 1
        assert says in ended.err


def test_what_the_engine_would_refuse_is_refused_first_with_its_reason(umad: Umad) -> None:
    for words, says in (
        (
            ("Qwen2.5-7B-Instruct", "A100:3", "--tp", "3"),
            "28 attention heads do not divide by TP=3",
        ),
        (("Qwen2.5-7B-Instruct", "A100:2", "--ep"), "EP=2 needs experts"),
    ):
        ended = umad("scale", "plan", *words, "--offline")

        assert ended.code == 1, words
        assert says in ended.err


def test_a_model_that_is_nowhere_is_1_and_near_ones_are_named(umad: Umad) -> None:
    for model, says in (
        ("Qwen/Qwen2.5-7B-Instrukt", "did you mean"),
        ("/nope", "does not exist"),
        ("nobody/nothing", "--offline asks nobody else"),
    ):
        ended = umad("scale", "plan", model, "A100", "--offline")

        assert ended.code == 1, model
        assert ended.err.count("\n") == 1
        assert says in ended.err


def test_a_gated_model_is_4_and_says_where_to_accept_its_licence(
    umad: Umad, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with LoopbackHub() as hub:
        access = HubAccess(endpoint=hub.url, cache=tmp_path)
        monkeypatch.setattr(HubAccess, "of_client", lambda: access)
        hub.add("org/closed", {"config.json": b"{}"}, plain=frozenset({"config.json"}), gated=True)

        ended = umad("scale", "plan", "org/closed", "A100")

    assert ended.code == 4
    assert ended.err.count("\n") == 1
    assert "accept its licence" in ended.err


def test_a_gated_model_that_is_known_is_planned_and_says_so(umad: Umad) -> None:
    ended = umad("scale", "plan", "meta-llama/Llama-3.1-8B-Instruct", "L40S", "--offline")

    assert ended.code == 0
    assert "- The hub gives it to those who accepted its licence: set HF_TOKEN." in ended.out


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

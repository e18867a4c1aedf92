"""A model's shape from files, from the hub, and from names; and from files that anybody wrote."""

import contextlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.models import gguf_bytes
from tests.models.loopback_hub import LoopbackHub
from umad.errors import BadRequest, ModelLoadFailed, UmadError, UnknownModel
from umad.models.catalogue import Catalogue, CatalogueEntry
from umad.models.fetching.hub import HubAccess
from umad.scale.accelerators import parse
from umad.scale.choice import Wish
from umad.scale.hf_config import shape_of
from umad.scale.known_models import KNOWN
from umad.scale.plan import planned
from umad.scale.reading import find_config, find_shape
from umad.scale.weights import file_bytes

QWEN = KNOWN["Qwen/Qwen2.5-7B-Instruct"]


def write_safetensors(path: Path, n_bytes: int) -> None:
    """A file of one tensor, as the format has it, without its data."""
    header = {
        "__metadata__": {},
        "w": {"dtype": "BF16", "shape": [1], "data_offsets": [0, n_bytes]},
    }
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(dict(QWEN)))
    return tmp_path


def test_a_folder_and_its_config_are_the_same_model(folder: Path) -> None:
    by_folder = find_shape(str(folder), Catalogue())
    by_file = find_shape(str(folder / "config.json"), Catalogue())

    assert by_folder.layers == by_file.layers
    # Which is what an engine is given.
    assert by_folder.name == by_file.name == str(folder)
    assert by_folder.weights_bytes == 0


def test_headers_of_safetensors_say_what_the_weights_take(folder: Path) -> None:
    write_safetensors(folder / "model-00001-of-00002.safetensors", 9_000_000_000)
    write_safetensors(folder / "model-00002-of-00002.safetensors", 6_000_000_000)

    found = find_shape(str(folder), Catalogue())

    assert file_bytes(found) == 15_000_000_000
    assert found.weights_source == "headers of the safetensors"


def test_an_index_alone_is_enough(folder: Path) -> None:
    index = {"metadata": {"total_size": 15_231_233_024}, "weight_map": {}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    assert find_shape(str(folder), Catalogue()).weights_bytes == 15_231_233_024


def test_a_gguf_file_says_everything_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / "small.gguf"
    metadata = {
        "general.architecture": "llama", "llama.block_count": 2, "llama.embedding_length": 256,
        "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2,
        "llama.feed_forward_length": 512, "llama.context_length": 4096,
    }  # fmt: skip
    tensors = (("token_embd.weight", (256, 1000), 8, 256 * 1000 // 32 * 34),)
    path.write_bytes(gguf_bytes.gguf(metadata, tensors))

    found = find_shape(str(path), Catalogue())

    assert (found.width, found.n_layers, found.vocabulary) == (256, 2, 1000)
    assert (found.attentions[0].n_kv_heads, found.attentions[0].head_dim) == (2, 64)
    assert found.weights_bytes == 256 * 1000 // 32 * 34
    assert found.quantization is not None
    assert found.quantization.method == "gguf"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attention.head_count_kv", [0.5, float("inf")]),
        ("attention.kv_lora_rank", "wide"),
        ("rope.dimension_count", "x"),
        ("ssm.inner_size", 1.5),
        ("ssm.time_step_rank", 0),
        ("block_count", 2**31),
        ("attention.sliding_window_pattern", [True, False]),
    ],
)
def test_a_gguf_that_says_nonsense_is_refused_or_planned(
    tmp_path: Path, key: str, value: object
) -> None:
    path = tmp_path / "odd.gguf"
    metadata = {
        "general.architecture": "llama", "llama.block_count": 2, "llama.embedding_length": 256,
        "llama.attention.head_count": 4, "llama.feed_forward_length": 512,
        "llama.attention.sliding_window": 64, "llama.attention.kv_lora_rank": 0,
        "llama.ssm.inner_size": 512, f"llama.{key}": value,
    }  # fmt: skip
    path.write_bytes(gguf_bytes.gguf(metadata, (("token_embd.weight", (256, 1000), 0, 1024000),)))

    with contextlib.suppress(UmadError):
        planned(find_shape(str(path), Catalogue()), parse("L4"), Wish(engine="sglang"))


def test_gguf_is_for_sglang_alone(tmp_path: Path, nano_path: Path) -> None:
    shape = find_shape(str(nano_path), Catalogue())

    on_vllm = planned(shape, parse("L4"), Wish(engine="vllm"))
    on_sglang = planned(shape, parse("L4"), Wish(engine="sglang"))

    assert "does not serve files quantized with gguf" in on_vllm.refused
    assert on_sglang.fits


# -- the hub ---------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub() as found:
        access = HubAccess(endpoint=found.url, cache=tmp_path)
        monkeypatch.setattr(HubAccess, "of_client", lambda: access)
        yield found


def test_the_hub_s_config_goes_before_what_umad_knows(hub: LoopbackHub) -> None:
    text = json.dumps({**QWEN, "max_position_embeddings": 4096}).encode()
    hub.add("Qwen/Qwen2.5-7B-Instruct", {"config.json": text}, plain=frozenset({"config.json"}))

    found = find_shape("Qwen/Qwen2.5-7B-Instruct", Catalogue())

    assert found.context_tokens == 4096


def test_a_gated_model_that_nobody_knows_says_what_to_do(hub: LoopbackHub) -> None:
    hub.add("org/closed", {"config.json": b"{}"}, plain=frozenset({"config.json"}), gated=True)

    with pytest.raises(UmadError, match="accept its licence"):
        find_shape("org/closed", Catalogue())


def test_a_gated_model_that_is_known_is_planned_without_a_token(hub: LoopbackHub) -> None:
    name = "meta-llama/Llama-3.1-8B-Instruct"
    hub.add(name, {"config.json": b"{}"}, plain=frozenset({"config.json"}), gated=True)

    found = find_shape(name, Catalogue())

    assert found.is_gated
    assert found.n_layers == 32


def test_a_gguf_repository_stands_for_what_it_was_made_from(hub: LoopbackHub) -> None:
    made = hub.add("someone/Llama-3.1-8B-Instruct-GGUF", {"m-Q4_K_M.gguf": b"GGUF"})
    made.base = "meta-llama/Llama-3.1-8B-Instruct"
    hub.add(made.base, {"config.json": b"{}"}, plain=frozenset({"config.json"}), gated=True)

    found = find_shape("someone/Llama-3.1-8B-Instruct-GGUF", Catalogue())

    assert found.name == "meta-llama/Llama-3.1-8B-Instruct"
    assert found.quantization is None


def test_a_repository_that_there_is_not_is_no_known_model(hub: LoopbackHub) -> None:
    with pytest.raises(UnknownModel, match="has no repository"):
        find_shape("Qwen/Qwen9", Catalogue())


# -- names -----------------------------------------------------------------------------------------


def test_a_known_model_needs_no_network() -> None:
    long = find_shape("hf:Qwen/Qwen3-14B-FP8", Catalogue(), offline=True)
    short = find_shape("qwen3-14b-fp8", Catalogue(), offline=True)

    assert long == short
    assert long.name == "Qwen/Qwen3-14B-FP8"


@pytest.mark.parametrize("name", ["Qwen/Qwen3-14B-FP9", "qwen3-14b-fp9"])
def test_a_slip_in_a_name_names_near_ones(name: str) -> None:
    with pytest.raises(UnknownModel, match=r"did you mean .*Qwen/Qwen3-14B-FP8"):
        find_shape(name, Catalogue(), offline=True)


def test_a_name_that_only_the_hub_knows_is_told_so_where_nobody_is_asked() -> None:
    with pytest.raises(UnknownModel, match="--offline asks nobody else"):
        find_shape("nobody/nothing", Catalogue(), offline=True)


def test_a_name_of_the_catalogue_is_its_repository() -> None:
    entry = CatalogueEntry(
        name="big:7b", repository="Qwen/Qwen2.5-7B-Instruct", does=("chat",), purpose="x",
        parameters="7B", context_tokens=32768, licence="apache-2.0",
    )  # fmt: skip

    found = find_shape("big:7b", Catalogue(entries={"big:7b": entry}), offline=True)

    assert found.name == "Qwen/Qwen2.5-7B-Instruct"


def test_a_draft_is_found_by_name_and_by_folder(folder: Path) -> None:
    name, config, _ = find_config("Qwen3-14B-speculator.eagle3", offline=True)

    assert name == "RedHatAI/Qwen3-14B-speculator.eagle3"
    assert config["draft_vocab_size"] == 32000
    assert find_config(str(folder))[1]["hidden_size"] == 3584


# -- what anybody may write ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"hidden_size": "big"}, "hidden_size is no whole number"),
        ({"num_hidden_layers": 10**9}, "no model has so many"),
        ({"num_hidden_layers": -1}, "out of range"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"vocab_size": True}, "vocab_size is no whole number"),
        ({"layer_types": ["full_attention"]}, "1 entries for 28 layers"),
        ({"layer_types": ["quantum"] * 28}, "cannot reckon"),
        ({"compress_ratios": [1, 4]}, "cannot reckon"),
        ({"intermediate_size": float("inf")}, "no whole number"),
    ],
)
def test_a_config_that_is_wrong_names_the_field(change: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRequest, match=says) as caught:
        shape_of({**QWEN, **change}, name="m")

    assert caught.value.field == "model"


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 100_000])
def test_a_file_that_is_no_config_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)

    with pytest.raises(UmadError) as caught:
        find_shape(str(path), Catalogue())

    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "text",
    ["", "~nobody-here/m", "x" * 5000, "a\0b", "./none.gguf", "org/", "ollama:qwen3:8b", "\n"],
)
def test_a_text_that_names_no_model_is_one_line(text: str) -> None:
    with pytest.raises(UmadError) as caught:
        find_shape(text, Catalogue(), offline=True)

    assert "\n" not in caught.value.message


def _header(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 64,
        b"",
        _header(b"[1]"),
        _header(b'{"w": {}}'),
        _header(b'{"w": 7}'),
        _header(b'{"w": {"data_offsets": [1]}}'),
        _header(b'{"w": {"data_offsets": [null, 1]}}'),
        _header(b'{"w": {"data_offsets": [9, 1]}}'),
        _header(b"[" * 100_000),
    ],
)
def test_a_damaged_header_of_safetensors_is_said(folder: Path, data: bytes) -> None:
    (folder / "model.safetensors").write_bytes(data)

    with pytest.raises(ModelLoadFailed, match="damaged"):
        find_shape(str(folder), Catalogue())


def test_a_model_that_sees_has_its_text_model_planned() -> None:
    found = shape_of(KNOWN["google/gemma-3-27b-it"], name="m")

    assert found.has_encoder
    assert found.architecture == "Gemma3ForConditionalGeneration"
    assert sum(1 for one in found.attentions if one.window_tokens) == 52

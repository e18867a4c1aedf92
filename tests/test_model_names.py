"""Which model a client means by what it writes: one row a case, named by what was meant."""

import pytest

from umad.errors import UnknownModel
from umad.model_names import KnownModel, quantization_of, resolve, unknown_model

QWEN = KnownModel(name="qwen2.5-0.5b-instruct-q4_k_m", n_params=494_000_000, quantization="Q4_K_M")
LLAMA = KnownModel(name="Llama-3.2-1B-Instruct-Q4_K_M", path="/models/Llama-3.2.gguf")
LLAMA_30 = KnownModel(name="llama-30b")
NANO = KnownModel(name="nano", n_params=4_200_000, quantization="Q8_0")
CODER = KnownModel(name="qwen2.5-coder-7b")


def meant(asked: str, *known: KnownModel, whole: bool = False) -> str | None:
    found = resolve(asked, known, whole=whole)
    return None if found is None else found.name


@pytest.mark.parametrize(
    ("asked", "known", "name"),
    [
        pytest.param("nano", [NANO], "nano", id="its name"),
        pytest.param("nano:latest", [NANO], "nano", id="Ollama's tag for the newest"),
        pytest.param("nano:LATEST", [NANO], "nano", id="that tag in capitals"),
        pytest.param("Nano", [NANO], "nano", id="other letters"),
        pytest.param("NANO:latest", [NANO], "nano", id="other letters and the tag"),
        pytest.param("nano.gguf", [NANO], "nano", id="its file"),
        pytest.param("Nano.GGUF", [NANO], "nano", id="its file in other letters"),
        pytest.param("nano.gguf:latest", [NANO], "nano", id="its file and the tag"),
        pytest.param("models/nano.gguf", [NANO], "nano", id="its file in a folder"),
        pytest.param("library/nano", [NANO], "nano", id="Ollama's library"),
        pytest.param("registry.ollama.ai/library/nano:latest", [NANO], "nano", id="its registry"),
        pytest.param("nano:q8_0", [NANO], "nano", id="the tag is its quantization"),
        pytest.param("nano:Q8_0", [NANO], "nano", id="its quantization in capitals"),
        pytest.param("nano:4m", [NANO], "nano", id="the tag is its size"),
        pytest.param("nano:instruct", [NANO], "nano", id="a tag that contradicts nothing"),
        pytest.param("n", [NANO], "nano", id="its first letter, of the only model"),
        pytest.param("qwen", [QWEN, NANO], QWEN.name, id="its beginning"),
        pytest.param("Qwen", [QWEN, NANO], QWEN.name, id="its beginning in other letters"),
        pytest.param("qwen:latest", [QWEN, NANO], QWEN.name, id="its beginning and the tag"),
        pytest.param("qwen2.5", [QWEN, NANO], QWEN.name, id="its family"),
        pytest.param("qwen2.5:0.5b", [QWEN, NANO], QWEN.name, id="family and size, Ollama's way"),
        pytest.param("qwen2.5:0.5b-instruct-q4_K_M", [QWEN], QWEN.name, id="Ollama's whole name"),
        pytest.param("qwen2.5:instruct", [QWEN, NANO], QWEN.name, id="a word from its middle"),
        pytest.param("qwen2.5:q4_k_m", [QWEN, CODER], QWEN.name, id="the tag decides"),
        pytest.param("qwen2.5-coder", [QWEN, CODER], CODER.name, id="the longer of two beginnings"),
        pytest.param(
            "bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M", [LLAMA], LLAMA.name, id="Hugging Face's"
        ),
        pytest.param("hf.co/x/Llama-3.2-1B-Instruct-GGUF", [LLAMA], LLAMA.name, id="without a tag"),
        pytest.param("/models/Llama-3.2.gguf", [LLAMA], LLAMA.name, id="the path of its file"),
        pytest.param(
            "nano", [KnownModel(name="nano-2"), NANO], "nano", id="a whole name before a beginning"
        ),
        pytest.param(
            "A", [KnownModel(name="a"), KnownModel(name="A")], "A", id="the very letters first"
        ),
        pytest.param("llama-3", [LLAMA_30], None, id="no number is the beginning of another"),
        pytest.param("qwen2.5:7b", [QWEN], None, id="another size than it has"),
        pytest.param("nano:7b", [NANO], None, id="another size than a whole name's model has"),
        pytest.param("nano:f16", [NANO], None, id="another quantization than it has"),
        pytest.param("/other/nano.gguf", [NANO], None, id="a file in another place"),
        pytest.param("~/nano.gguf", [NANO], None, id="a file in somebody's home"),
        pytest.param("./nano.gguf", [NANO], None, id="a file in a working folder"),
        pytest.param("x/../nano", [NANO], None, id="a path that climbs"),
        pytest.param("mistral", [NANO, QWEN], None, id="a model that is not there"),
        pytest.param("ano", [NANO], None, id="the end of a name"),
        pytest.param(":latest", [NANO], None, id="a tag alone"),
        pytest.param(".gguf", [NANO], None, id="an ending alone"),
        pytest.param("/", [NANO], None, id="a slash"),
        pytest.param("nano", [], None, id="nothing is loaded"),
    ],
)
def test_a_name_means_one_model_or_none(
    asked: str, known: list[KnownModel], name: str | None
) -> None:
    assert meant(asked, *known) == name


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        pytest.param("qwen", [QWEN, CODER], id="two begin so"),
        pytest.param("QWEN2.5:latest", [QWEN, CODER], id="two begin so, in another spelling"),
        pytest.param("NA", [KnownModel(name="na"), KnownModel(name="Na")], id="two but for case"),
        pytest.param(
            "a.b", [KnownModel(name="a-b"), KnownModel(name="a_b")], id="two but for a character"
        ),
    ],
)
def test_a_name_that_may_mean_several_is_refused_with_the_candidates(
    asked: str, known: list[KnownModel]
) -> None:
    with pytest.raises(UnknownModel) as refusal:
        resolve(asked, known)

    assert all(one.name in refusal.value.message for one in known)
    assert refusal.value.field == "model"


def test_a_list_of_candidates_ends() -> None:
    many = [KnownModel(name=f"qwen-{at}-x") for at in range(40)]

    with pytest.raises(UnknownModel, match="32 more"):
        resolve("qwen", many)


def test_where_names_are_not_everybodys_only_whole_ones_count() -> None:
    assert meant("NANO:latest", NANO, whole=True) == "nano"
    assert meant("nan", NANO, whole=True) is None
    assert meant("qwen2.5:instruct", QWEN, whole=True) is None


def test_an_unknown_name_is_answered_with_the_known_ones_and_the_command_for_the_one_meant() -> (
    None
):
    error = unknown_model("qwen", ["nano"], load="qwen2.5-0.5b")

    assert "loaded are nano" in error.message
    assert error.message.endswith("umad load qwen2.5-0.5b")


@pytest.mark.parametrize(
    ("description", "quantization"),
    [
        ("qwen2 1B Q4_K - Medium", "Q4_K_M"),
        ("qwen2 1B Q3_K - Large", "Q3_K_L"),
        ("llama 4M Q8_0", "Q8_0"),
        ("llama 7B IQ2_XXS - 2.0625 bpw", "IQ2_XXS"),
        ("llama 7B BF16", "BF16"),
        ("gpt-oss 20B MXFP4 MoE", "MXFP4"),
        ("llama 7B all F32", "F32"),
        ("numpy toy", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_a_quantization_has_its_usual_name(description: object, quantization: str) -> None:
    assert quantization_of(description) == quantization

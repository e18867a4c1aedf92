"""lm-evaluation-harness's log-likelihoods of umad are llama-server's.

`make harness-test`. `HARNESS_PYTHON` has lm_eval and transformers. `LLAMA_SERVER` names the program
it is compared with; without it, the one that `python -m bench.peers` has built is taken.
"""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gguf import GGUFReader

from bench import peers
from tests.gateway.gateways import LiveGateway, live_gateway
from tests.live import wait_until
from umad import nano

PYTHON = os.environ.get("HARNESS_PYTHON")
NANO = Path(nano.__file__).parent / "nano.gguf"
pytestmark = pytest.mark.skipif(PYTHON is None, reason="make harness-test sets HARNESS_PYTHON")

QUESTIONS = [
    {"question": "def add(a, b):", "choices": ["\n    return a + b", "\n    return a - b"]},
    {"question": "import os\nimport", "choices": [" sys", " sea", " json"]},
    {"question": "Once upon a time there was a", "choices": [" girl", " the", "."]},
    {"question": "for i in range(", "choices": ["10):", "hello", "len(x)):"]},
    {"question": "The first line of a file", "choices": [" is read", " are", " of the of"]},
]
TASK = """
task: umad_tiny
dataset_path: json
dataset_kwargs:
  data_files:
    test: {questions}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: 0
target_delimiter: ""
metric_list:
  - metric: acc
"""


@pytest.fixture(scope="module")
def umad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with live_gateway(tmp_path_factory.mktemp("umad")) as one:
        yield one


@pytest.fixture(scope="module")
def llama_server() -> Iterator[str]:
    program = os.environ.get("LLAMA_SERVER")
    if program is None:
        built = peers.built()
        assert built is not None, "build llama-server first: python -m bench.peers"
        program = str(built.server)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "-m", str(NANO), "--port", str(port), "-c", "1024", "-np", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/health", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(answers, within_s=60, what="llama-server")
        yield url
    finally:
        process.terminate()
        process.wait(30)


_BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}


def write_tokenizer(folder: Path) -> None:
    """Nano's tokenizer as Hugging Face's libraries read one."""
    reader = GGUFReader(NANO)
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = reader.fields["tokenizer.ggml.merges"].contents()
    kinds = reader.fields["tokenizer.ggml.token_type"].contents()
    control = 3  # LLAMA_TOKEN_TYPE_CONTROL
    added = [
        {
            "id": at,
            "content": token,
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
        for at, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind == control
    ]
    whole = {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": _BYTE_LEVEL,
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "vocab": {token: at for at, token in enumerate(tokens)},
            "merges": merges,
        },
    }
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def test_the_harness_finds_what_llama_server_finds(
    umad: LiveGateway, llama_server: str, tmp_path: Path
) -> None:
    assert PYTHON is not None
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(json.dumps(one) + "\n" for one in QUESTIONS))
    (tmp_path / "tiny.yaml").write_text(TASK.format(questions=questions))
    write_tokenizer(tmp_path)
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "cache"),
        "OPENAI_API_KEY": "none",
    }

    program = Path(__file__).with_name("scores.py")
    ran = subprocess.run(
        [PYTHON, str(program), umad.address, llama_server, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr[-4000:]
    pairs = json.loads(ran.stdout.splitlines()[-1])
    assert len(pairs) == sum(len(one["choices"]) for one in QUESTIONS)
    for pair in pairs:
        assert pair["umad"] == pytest.approx(pair["peer"], abs=1e-3), pair["text"]

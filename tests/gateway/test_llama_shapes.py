"""Answers of llama.cpp's endpoints against those that its tools/server documents and makes.

Each example has the fields of llama-server's own answer: from the examples of its README.md, and
from `to_json` of server-task.cpp and server-context.cpp where these have more. Of a value only the
type counts. What umad does not know is not made up: such fields are left out, and listed here.
"""

from typing import Any

import pytest
from typing_extensions import override

from tests.gateway.answering_service import MODEL, Answering
from tests.gateway.gateways import LiveGateway
from tests.gateway.in_process import answers
from umad.client.rows import ModelRow

STORY = "Once upon a time there was a little"
PARAMS = {
    "seed": 1,
    "temperature": 0.8,
    "dynatemp_range": 0.0,
    "dynatemp_exponent": 1.0,
    "top_k": 40,
    "top_p": 0.95,
    "min_p": 0.05,
    "top_n_sigma": -1.0,
    "xtc_probability": 0.0,
    "xtc_threshold": 0.1,
    "typical_p": 1.0,
    "repeat_last_n": 64,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "dry_multiplier": 0.0,
    "mirostat": 0,
    "max_tokens": -1,
    "n_predict": -1,
    "n_keep": 0,
    "n_discard": 0,
    "ignore_eos": False,
    "stream": True,
    "n_probs": 0,
    "min_keep": 0,
    "samplers": ["top_k"],
    "timings_per_token": False,
    "post_sampling_probs": False,
    "lora": [],
}
# Of samplers that umad does not have, of drafts, and of a chat, which such a prompt is not:
#   dry_base dry_allowed_length dry_penalty_last_n dry_sequence_breakers mirostat_tau mirostat_eta
#   adaptive_target adaptive_decay speculative.* backend_sampling chat_format reasoning_format
#   reasoning_in_content generation_prompt grammar_lazy grammar_triggers preserved_tokens
SETTINGS = {**PARAMS, "stop": [], "logit_bias": [], "grammar": ""}
TIMINGS = {
    "cache_n": 0,
    "prompt_n": 1,
    "prompt_ms": 1.0,
    "prompt_per_token_ms": 1.0,
    "prompt_per_second": 1.0,
    "predicted_n": 1,
    "predicted_ms": 1.0,
    "predicted_per_token_ms": 1.0,
    "predicted_per_second": 1.0,
}
COMPLETION = {
    "index": 0,
    "content": "",
    "tokens": [],
    "id_slot": 0,
    "stop": True,
    "model": "",
    "tokens_predicted": 1,
    "tokens_evaluated": 1,
    "generation_settings": SETTINGS,
    "prompt": "",
    "has_new_line": False,
    "truncated": False,
    "stop_type": "limit",
    "stopping_word": "",
    "tokens_cached": 1,
    "timings": TIMINGS,
}
# Left out: ui, ui_settings, cors_proxy_enabled, chat_template_tool_use: of llama-server's own page.
PROPS = {
    "default_generation_settings": {"n_ctx": 1, "params": PARAMS},
    "total_slots": 1,
    "model_alias": "",
    "model_ftype": "",
    "model_path": "",
    "modalities": {"vision": False, "video": False, "audio": False},
    "media_marker": "",
    "endpoint_slots": True,
    "endpoint_props": False,
    "endpoint_metrics": True,
    "chat_template": "",
    "chat_template_caps": {"supports_tools": True, "supports_tool_calls": True},
    "bos_token": "",
    "eos_token": "",
    "build_info": "",
    "is_sleeping": False,
}
IDLE_SLOT = {"id": 0, "n_ctx": 1, "speculative": False, "is_processing": False}
# Left out: meta.vocab_type.
META = {"n_vocab": 1, "n_ctx": 1, "n_ctx_train": 1, "n_embd": 1, "n_params": 1, "size": 1}
MODEL_OF_A_LIST = {
    "id": "",
    "aliases": [],
    "tags": [],
    "object": "model",
    "created": 1,
    "owned_by": "",
    "meta": {**META, "ftype": ""},
    # Left out: args, which an engine has none of.
    "status": {"value": "loaded"},
    "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
}


def unlike(example: Any, found: Any, at: str = "") -> list[str]:
    """The places where an answer is not of the example's shape."""
    if isinstance(example, dict):
        if not isinstance(found, dict):
            return [f"{at}: {type(found).__name__}, not an object"]
        missing = [f"{at}/{name} is missing" for name in example if name not in found]
        both = [name for name in example if name in found]
        return missing + [
            one for name in both for one in unlike(example[name], found[name], f"{at}/{name}")
        ]
    if isinstance(example, list):
        if not isinstance(found, list):
            return [f"{at}: {type(found).__name__}, not a list"]
        return [one for item in example[:1] for each in found for one in unlike(item, each, at)]
    kinds: tuple[type, ...] = (int, float) if isinstance(example, float) else (type(example),)
    is_flag = isinstance(found, bool) == isinstance(example, bool)
    return [] if isinstance(found, kinds) and is_flag else [f"{at}: {found!r}"]


EXAMPLES: dict[str, tuple[str, str, Any, Any]] = {
    "a completion": ("POST", "/completion", {"prompt": STORY, "n_predict": 2}, COMPLETION),
    "an infill": (
        "POST",
        "/infill",
        {"input_prefix": "a = ", "input_suffix": "\n", "n_predict": 2},
        COMPLETION,
    ),
    "several completions": (
        "POST",
        "/completion",
        {"prompt": ["a", "b"], "n_predict": 2},
        [COMPLETION],
    ),
    "properties": ("GET", "/props", None, PROPS),
    "slots": ("GET", "/slots", None, [IDLE_SLOT]),
    "the list of models": ("GET", "/models", None, {"object": "list", "data": [MODEL_OF_A_LIST]}),
    "the list under /v1": (
        "GET",
        "/v1/models",
        None,
        {"object": "list", "data": [MODEL_OF_A_LIST]},
    ),
    "one model": ("GET", "/v1/models/nano", None, MODEL_OF_A_LIST),
    "tokens": ("POST", "/tokenize", {"content": "Hello"}, {"tokens": [1]}),
    "tokens and their texts": (
        "POST",
        "/tokenize",
        {"content": "Hello", "with_pieces": True},
        {"tokens": [{"id": 1, "piece": ""}]},
    ),
    "tokens of nothing": ("POST", "/tokenize", {}, {"tokens": []}),
    "a text of tokens": ("POST", "/detokenize", {"tokens": [40]}, {"content": ""}),
    "a text of nothing": ("POST", "/detokenize", {}, {"content": ""}),
    "an error": (
        "POST",
        "/completion",
        {"prompt": STORY, "grammar": "root ::= ("},
        {"error": {"code": 400, "message": "", "type": "invalid_request_error"}},
    ),
    "what is not served": (
        "POST",
        "/slots/0?action=erase",
        None,
        {"error": {"code": 501, "message": "", "type": "not_supported_error"}},
    ),
}


@pytest.mark.parametrize("meant", EXAMPLES)
def test_an_answer_has_the_shape_of_llama_servers(gateway: LiveGateway, meant: str) -> None:
    method, path, body, example = EXAMPLES[meant]
    with gateway.http() as http:
        answer = http.request(method, path, json=body)

    assert unlike(example, answer.json()) == []
    error = example.get("error") if isinstance(example, dict) else None
    assert answer.status_code == (error["code"] if error else 200)


def test_the_sizes_in_lists_are_the_models_own(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        nano = http.get("/v1/models/nano").json()
        props = http.get("/props").json()
        row = http.get("/status").json()["models"][0]

    context = props["default_generation_settings"]["n_ctx"]
    assert {nano[name] for name in ("max_input_tokens", "context_length", "max_model_len")} == {
        context
    }
    assert nano["meta"]["n_ctx"] == context == row["ctx"]
    assert nano["meta"]["size"] == row["size_bytes"]
    assert nano["created"] == row["modified_s"] > 1_600_000_000


def test_a_models_other_names_are_its_aliases(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        listed = {one["id"]: one["aliases"] for one in http.get("/v1/models").json()["data"]}

    assert listed == {"nano": ["gpt-4o"], "gpt-4o": ["nano"]}


def test_texts_and_tokens_in_one_list_are_tokenized_as_one(gateway: LiveGateway) -> None:
    with gateway.http() as http:

        def tokens(content: Any) -> list[int]:
            found: list[int] = http.post("/tokenize", json={"content": content}).json()["tokens"]
            return found

        hello, there = tokens("Hello"), tokens(" there")
        mixed = tokens(["Hello", *there])
        faults = [
            http.post("/tokenize", json={"content": one}).json()["error"]["param"]
            for one in (["Hello", 1.5], ["Hello", True], ["Hello", -1], 7, {"a": 1})
        ]

    assert mixed == [*hello, *there]
    assert faults == ["content.1", "content.1", "content.1", "content", "content"]


# -- models that have no process -------------------------------------------------------------------


class Resting(Answering):
    """A model in some state, which nobody may ask anything."""

    def __init__(self, **facts: Any) -> None:
        super().__init__()
        self._row = {"name": MODEL, **facts}
        # Shared with the copies that ask for others.
        self.rendered: list[str] = []

    @override
    async def models(self, **_which: Any) -> list[ModelRow]:
        return [ModelRow.of(self._row)]

    @override
    async def render(self, *_what: Any, **_more: Any) -> Any:
        self.rendered.append(MODEL)
        return await super().render(*_what, **_more)

    @override
    async def sessions(self) -> Any:
        return []


KNOWN = {"architecture": "llama", "ctx": 4096, "seqs": 2, "description": "llama 1B Q4_K - Medium"}


def test_a_suspended_model_sleeps_and_is_not_woken_by_a_question() -> None:
    service = Resting(state="suspended", **KNOWN)

    props = answers("GET", "/props", service=service).json()
    (entry,) = answers("GET", "/v1/models", service=service).json()["data"]

    assert service.rendered == []
    assert props["is_sleeping"] is True
    assert props["default_generation_settings"]["n_ctx"] == 4096
    assert (props["total_slots"], props["model_ftype"]) == (2, "Q4_K - Medium")
    assert "chat_template" not in props, "only its process could tell"
    assert entry["status"] == {"value": "sleeping"}
    assert entry["meta"] == {"n_ctx": 4096, "ftype": "Q4_K - Medium"}


STATES: dict[str, dict[str, Any]] = {
    "starting": {"value": "loading"},
    "waiting": {"value": "loading"},
    "ready": {"value": "loaded"},
    "yielding": {"value": "loaded"},
    "suspending": {"value": "sleeping"},
    "draining": {"value": "unloaded"},
    "failed": {"value": "unloaded", "failed": True},
}


@pytest.mark.parametrize("state", STATES)
def test_a_models_state_is_told_in_llama_servers_words(state: str) -> None:
    service = Resting(state=state, **KNOWN)

    for path in ("/models", "/v1/models"):
        (entry,) = answers("GET", path, service=service).json()["data"]
        assert entry["status"] == STATES[state]


def test_a_model_that_is_being_loaded_is_not_waited_for_by_who_will_not() -> None:
    service = Resting(state="starting", **KNOWN)

    props = answers("GET", f"/props?model={MODEL}&autoload=false", service=service).json()

    assert service.rendered == []
    assert props["default_generation_settings"]["n_ctx"] == 4096
    assert props["is_sleeping"] is False


def test_a_load_tells_how_far_it_is() -> None:
    service = Resting(state="starting", load_share=0.25)

    (entry,) = answers("GET", "/models", service=service).json()["data"]

    progress = {"stages": ["text_model"], "current": "text_model", "value": 0.25}
    assert entry["status"] == {"value": "loading", "progress": progress}
    assert entry["meta"] is None, "it has told nothing yet"


def test_a_model_that_has_told_nothing_has_no_slots_and_no_context() -> None:
    service = Resting(state="failed")

    assert answers("GET", "/slots", service=service).json() == []
    props = answers("GET", "/props", service=service).json()
    assert "total_slots" not in props
    assert "n_ctx" not in props["default_generation_settings"]
    assert service.rendered == []

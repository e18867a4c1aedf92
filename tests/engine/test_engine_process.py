"""A real engine with the model that ships, over a real socket, as its daemon sees it.

kv_type q8 wherever runs are compared: one attention kernel for every batch shape, so equal tokens
give equal bits (see bench/determinism.py).
"""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.harness import (
    RunningEngine,
    engine,
    submit,
)
from umad import nano
from umad.conversation import ChatMessage
from umad.protocol.link import CancelOrder, Pause, Resume, SetLane
from umad.request import BACKGROUND

RIDS = itertools.count(10_000)
PROMPT = "def add(a, b):\n    return"
SAMPLED: dict[str, Any] = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "ignore_eos": True,
}


@pytest.fixture(scope="module")
def served() -> Iterator[RunningEngine]:
    """One engine for all tests that leave it as they found it; rids are theirs to keep apart."""
    with engine(nano.path(), kv_type="q8", ctx_size=4096) as running:
        running.ready()
        yield running


def test_ready_tells_what_the_model_is_and_what_it_costs() -> None:
    with engine(nano.path(), kv_type="q6", ctx_size=512) as running:
        facts = running.ready()

    assert facts["name"] == "model"
    assert facts["n_vocab"] > 1000
    assert 0 < facts["active_weight_bytes"] <= facts["size_bytes"]
    assert (facts["kv_type_asked"], facts["kv_type"]) == ("q6", "Q5_1")
    assert facts["kv_pool_bytes"] == facts["n_cells"] * facts["kv_cell_bytes"]
    assert facts["can_share_prefix"] is True
    assert facts["has_chat_template"] is True


def test_text_and_ids_of_a_completion_agree(served: RunningEngine) -> None:
    completion = served.generate(101, prompt=PROMPT, max_tokens=24, **SAMPLED)

    assert len(completion.ids) == 24
    assert completion.ending.reason == "length"
    assert completion.ending.completion_tokens == 24
    assert served.call("detokenize", ids=tuple(completion.ids)).value == completion.text


def test_the_same_seed_gives_the_same_tokens_alone_and_in_company(served: RunningEngine) -> None:
    alone = served.generate(111, prompt=PROMPT, seed=7, max_tokens=32, **SAMPLED)
    others = [submit(112 + n, prompt="import os\n" * n, seed=n, **SAMPLED) for n in (1, 2, 3)]
    served.send(*others)

    beside = served.generate(116, prompt=PROMPT, seed=7, max_tokens=32, **SAMPLED)
    served.finish(113, 114, 115)

    assert beside.ids == alone.ids
    assert served.of(113).ids != alone.ids


@pytest.mark.parametrize("sent", [1, 5, 19])
@pytest.mark.parametrize("stop", [(), ("\n\n\n\n",)])
def test_a_resumed_completion_goes_on_as_if_nothing_had_happened(
    served: RunningEngine, sent: int, stop: tuple[str, ...]
) -> None:
    options = {**SAMPLED, "seed": 5, "max_tokens": 20, "stop": stop, "presence_penalty": 0.5}
    rid = next(RIDS)
    whole = served.generate(rid, prompt=PROMPT, **options)

    served.call("forget", session="none")
    rest = served.generate(next(RIDS), prompt=PROMPT, resume=tuple(whole.ids[:sent]), **options)

    assert rest.ids == whole.ids[sent:]
    assert whole.text.endswith(rest.text)
    assert rest.ending.completion_tokens == whole.ending.completion_tokens
    assert rest.ending.prompt_tokens == whole.ending.prompt_tokens


def test_a_completion_resumed_at_its_limit_has_ended(served: RunningEngine) -> None:
    whole = served.generate(131, prompt=PROMPT, max_tokens=4, **SAMPLED)

    rest = served.generate(132, prompt=PROMPT, max_tokens=4, resume=tuple(whole.ids), **SAMPLED)

    assert rest.ids == []
    assert rest.ending.reason == "length"
    assert rest.ending.completion_tokens == 4


def test_a_stop_string_ends_the_stream_and_is_not_part_of_its_text(served: RunningEngine) -> None:
    whole = served.generate(141, prompt=PROMPT, max_tokens=48, seed=3, **SAMPLED)
    at = len(whole.text) // 2
    stop = whole.text[at : at + 3]

    stopped = served.generate(142, prompt=PROMPT, max_tokens=48, seed=3, stop=(stop,), **SAMPLED)

    assert stopped.text == whole.text[: whole.text.index(stop)]
    assert stopped.ending.reason == "stop"
    assert stopped.ending.stop == stop
    assert len(stopped.ids) < len(whole.ids)


def test_a_prompt_sent_again_is_taken_from_the_cache(served: RunningEngine) -> None:
    first = served.generate(151, prompt="class Cache:\n    pass\n" * 8)

    again = served.generate(152, prompt="class Cache:\n    pass\n" * 8)

    assert again.ids == first.ids
    assert again.ending.cached_tokens == again.ending.prompt_tokens - 1


def test_chat_messages_are_rendered_by_the_models_template(served: RunningEngine) -> None:
    completion = served.generate(
        161, messages=(ChatMessage(role="user", content="What is a list?"),)
    )

    bare = served.call("tokenize", text="What is a list?", special=True).value
    assert completion.ending.prompt_tokens > len(bare)


def test_log_probabilities_come_with_each_token(served: RunningEngine) -> None:
    completion = served.generate(171, prompt=PROMPT, logprobs=3, max_tokens=5)

    assert len(completion.logprobs) == len(completion.ids)
    for token, (logprob, top) in zip(completion.ids, completion.logprobs, strict=True):
        assert len(top) == 3
        assert top[0] == (token, logprob)  # greedy takes the most probable


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"prompt_ids": (1, 10**6)}, "bad_request", "prompt_ids"),
        ({"prompt": "x " * 6000}, "prompt_too_long", "prompt"),
        ({"prompt": "x", "max_tokens": 100_000}, "prompt_too_long", "prompt"),
        ({"prompt": "x", "logit_bias": ((10**6, 1.0),)}, "bad_request", "logit_bias"),
        ({"prompt": "x", "lane": "nowhere"}, "bad_request", "lane"),
        ({"messages": (ChatMessage(role="nobody", content="b"),)}, None, None),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_alone(
    served: RunningEngine, fields: dict[str, Any], code: str | None, field: str | None
) -> None:
    completion = served.generate(next(RIDS), **fields)

    if code is None:  # the template decides; either answer is an answer
        assert completion.over
    else:
        assert (completion.refusal.code, completion.refusal.field) == (code, field)
    assert served.generate(next(RIDS), prompt=PROMPT).ending.completion_tokens == 8


def test_a_cancelled_completion_ends_and_frees_its_cells(served: RunningEngine) -> None:
    served.send(submit(181, prompt=PROMPT, max_tokens=3000, ignore_eos=True))
    while len(served.of(181).ids) < 5:
        served.hear()

    served.send(CancelOrder(rid=181))
    cancelled = served.finish(181)[0]
    served.generate(182, prompt="x", max_tokens=1)

    assert cancelled.ending.reason == "cancelled"
    assert cancelled.ending.completion_tokens >= 5
    assert served.last_stats.running == 0
    assert served.last_stats.cells_live == 0


def test_a_paused_stream_says_nothing_while_others_run(served: RunningEngine) -> None:
    served.send(submit(191, prompt=PROMPT, max_tokens=200, **SAMPLED), Pause(rid=191))
    served.generate(192, prompt=PROMPT, max_tokens=20)
    heard = len(served.of(191).ids)
    served.generate(193, prompt=PROMPT, max_tokens=20)

    assert len(served.of(191).ids) == heard < 200
    served.send(Resume(rid=191))
    assert len(served.finish(191)[0].ids) == 200


def test_words_and_ids_are_translated_both_ways(served: RunningEngine) -> None:
    text = "naïve = '日本'  # <|im_end|>"

    ids = served.call("tokenize", text=text, special=True).value

    assert served.call("detokenize", ids=ids).value == text
    pieces = served.call("detokenize", ids=ids, pieces=True).value
    assert len(pieces) == len(ids)
    assert b"".join(pieces) == text.encode()
    assert len(served.call("tokenize", text=text, special=False).value) > len(ids)
    error = served.call("detokenize", ids=(10**7,)).error
    assert error is not None
    assert error[0] == "bad_request"
    unknown = served.call("dance").error
    assert unknown is not None
    assert unknown[0] == "unsupported"


def test_a_session_can_be_forgotten_once(served: RunningEngine) -> None:
    served.generate(201, prompt="a session of its own", session="s1")

    first = served.call("forget", session="s1").value
    again = served.call("forget", session="s1").value

    assert first == {"sessions": ("s1",), "in_use": ()}
    assert again == {"sessions": (), "in_use": ()}


def test_stats_add_up(served: RunningEngine) -> None:
    served.reports.clear()

    completion = served.generate(211, prompt="one two three four five", max_tokens=6, **SAMPLED)

    stats = [report.stats for report in served.reports if report.stats is not None]
    fresh = completion.ending.prompt_tokens - completion.ending.cached_tokens
    assert sum(one.n_prefill_tokens for one in stats) == fresh
    assert sum(one.n_decode for one in stats) == 5  # the first token comes with the prompt
    assert sum(one.bytes_moved for one in stats) > 6 * 1_000_000
    assert sum(one.device_ms for one in stats) > 0
    assert all(one.began_ns <= one.ended_ns for one in stats)
    assert all(one.cells_total == 4096 for one in stats)


def test_a_lane_can_be_changed_on_the_way(served: RunningEngine) -> None:
    served.send(submit(221, prompt=PROMPT, max_tokens=3000, lane=BACKGROUND, ignore_eos=True))
    while not (served.of(221).ids and served.last_stats.n_background_tokens):
        served.hear()

    served.send(SetLane(rid=221, lane="interactive"))

    # Steps under way are still the background's; then come some that are not, of the same stream.
    while served.last_stats.n_background_tokens or not served.last_stats.n_decode:
        assert not served.of(221).over, "it stayed in the background to its end"
        served.hear()
    served.send(CancelOrder(rid=221))
    assert served.finish(221)[0].ending.reason == "cancelled"

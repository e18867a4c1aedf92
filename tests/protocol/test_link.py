"""What daemon and engine tell each other arrives as it was sent."""

from dataclasses import MISSING, fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol import strategies
from umad.protocol import events, link

rids = st.integers(0, 2**62)
names = st.text(max_size=20)
token_ids = st.lists(strategies.token_ids, max_size=8).map(tuple)
counts = st.integers(0, 2**40)
numbers = st.floats(allow_nan=False)
maps = st.dictionaries(names, st.none() | counts | names | token_ids, max_size=4)
_alternatives = st.lists(st.tuples(strategies.token_ids, numbers), max_size=3).map(tuple)

stats = st.builds(
    link.StepStats,
    **{
        field.name: numbers if isinstance(field.default, float) else counts
        for field in fields(link.StepStats)
        if field.default is not MISSING
    },
    waiting=st.dictionaries(names, counts, max_size=3),
)
emitted = st.builds(
    link.Emitted,
    rid=rids,
    ids=token_ids,
    text=names,
    logprobs=st.none() | st.lists(st.tuples(numbers, _alternatives), max_size=3).map(tuple),
)
ended = st.builds(
    link.Ended,
    rid=rids,
    reason=st.sampled_from(["stop", "length", "cancelled", "error"]),
    prompt_tokens=counts,
    cached_tokens=counts,
    completion_tokens=counts,
    stop=st.none() | names,
)
rejected = st.builds(link.Rejected, rid=rids, code=names, message=names, field=st.none() | names)
prefilled = st.builds(link.Prefilled, rid=rids, done_tokens=counts, total_tokens=counts)


def several(news: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(news, max_size=3).map(tuple)


messages = st.one_of(
    st.builds(
        link.Submit,
        rid=rids,
        sampling=strategies.sampling,
        lane=names,
        app=names,
        prompt=st.none() | names,
        prompt_ids=st.none() | token_ids,
        chat=st.none() | names,
        special=st.booleans(),
        constraint=st.none() | st.tuples(names, names),
        session=st.none() | names,
        resume=token_ids,
    ),
    st.builds(link.CancelOrder, rid=rids),
    st.builds(link.SetLane, rid=rids, lane=names),
    st.builds(link.Pause, rid=rids),
    st.builds(link.Resume, rid=rids),
    st.builds(link.EngineCall, call=rids, op=names, args=maps),
    st.just(link.Stop()),
    st.builds(link.EngineReady, facts=maps),
    st.builds(link.Fatal, code=names, message=names),
    st.builds(
        link.StepReport,
        emitted=several(emitted),
        ended=several(ended),
        rejected=several(rejected),
        prefilled=several(prefilled),
        stats=st.none() | stats,
    ),
    st.builds(
        link.EngineReply,
        call=rids,
        value=st.none() | names | token_ids,
        error=st.none() | st.tuples(names, names, st.none() | names),
    ),
)


@settings(max_examples=200, deadline=None)
@given(messages)
def test_a_message_arrives_as_it_was_sent(message: link.ToEngine | link.FromEngine) -> None:
    assert link.decode(link.encode(message)) == message


@pytest.mark.parametrize("kind", [*link.ToEngine.__args__, *link.FromEngine.__args__])
def test_every_message_of_the_link_has_a_number(kind: type) -> None:
    assert kind in link._NUMBER


@settings(max_examples=100, deadline=None)
@given(several(st.tuples(rids, strategies.token_ids, names)), st.floats(0, 1e6), st.integers(0, 15))
def test_a_step_of_tokens_says_in_short_what_a_report_says(
    news: tuple[tuple[int, int, str], ...], solo_ms: float, carried: int
) -> None:
    rows: list[int | bytes] = []
    for rid, token, text in news:
        rows += (rid, token, events.tokens_tail(text, token))

    heard = link.decode(link.encode_step_tokens(solo_ms, rows, carried=carried))

    assert heard == link.StepReport(
        emitted=tuple(link.Emitted(rid=rid, ids=(token,), text=text) for rid, token, text in news),
        solo_ms=solo_ms,
        carried=carried,
    )


def test_no_message_has_the_number_of_a_step_of_tokens() -> None:
    assert link.STEP_TOKENS not in link._NUMBER.values()


@given(strategies.ids, st.integers(0, 100), strategies.token_ids, names)
def test_head_and_tail_are_the_body_of_a_tokens_message(
    request_id: int | str, index: int, token: int, text: str
) -> None:
    body = events.tokens_head(request_id, index) + events.tokens_tail(text, token)

    assert body == events.encode_tokens(request_id, index, text, (token,))

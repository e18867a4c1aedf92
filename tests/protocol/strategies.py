"""Random requests and events, as Hypothesis strategies."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from umad.adapters import MOST_ADAPTERS, MOST_SCALE, AdapterChoice
from umad.constraint import Constraint
from umad.content import MEDIA_KINDS, MediaFile, joined
from umad.conversation import RESERVED_KWARGS, ChatOptions, Tool, ToolCall
from umad.embedding import MAX_DIMENSIONS, EmbedRequest, RerankRequest
from umad.protocol import messages
from umad.request import (
    LOGITS_USES,
    MAX_LOGPROBS,
    MAX_N,
    ChatMessage,
    GenerateRequest,
    SamplingParams,
    Timings,
    Usage,
)
from umad.service import Accepted, Done, Failed, Loading, Logits, Progress, TokenLogprob, Tokens

ids = st.integers(-(2**63), 2**64 - 1) | st.text(min_size=1, max_size=128)
names = st.text(min_size=1, max_size=40)
token_ids = st.integers(0, 2**31 - 1)
counts = st.integers(0, 2**40)
milliseconds = st.floats(0, 1e9)
texts = st.text(max_size=60)

sampling = st.builds(
    SamplingParams,
    temperature=st.floats(0, 100),
    top_k=st.integers(0, 1_000_000),
    top_p=st.floats(0, 1),
    min_p=st.floats(0, 1),
    typical_p=st.floats(0, 1),
    repetition_penalty=st.floats(0.01, 100),
    frequency_penalty=st.floats(-100, 100),
    presence_penalty=st.floats(-100, 100),
    penalty_last_n=st.integers(0, 1_000_000),
    logit_bias=st.lists(st.tuples(token_ids, st.floats(-1e6, 1e6)), max_size=4).map(tuple),
    seed=st.none() | st.integers(0, 2**64 - 1),
    max_tokens=st.none() | st.integers(1, 10_000_000),
    stop=st.lists(st.text(min_size=1, max_size=20), max_size=4).map(tuple),
    logprobs=st.none() | st.integers(0, MAX_LOGPROBS),
    prompt_logprobs=st.none() | st.integers(0, MAX_LOGPROBS),
    ignore_eos=st.booleans(),
    fit=st.booleans(),
)
_json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-100, 100) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
_json_maps = st.dictionaries(texts, _json_values, max_size=3)
_constraints = st.builds(
    Constraint, kind=st.sampled_from(["gbnf", "lark", "regex"]), text=names
) | st.builds(Constraint.json_schema, _json_maps)
_keep_alive_s = st.none() | st.floats(-1, 1e9)
_work = {
    "model": st.none() | names,
    "truncate": st.booleans(),
    "lane": st.none() | names,
    "app": st.none() | names,
    "deadline_ms": st.none() | st.integers(1, 2**31),
    "keep_alive_s": _keep_alive_s,
}
_inputs = st.lists(names | st.lists(token_ids, min_size=1, max_size=5).map(tuple), min_size=1)
_embeds = st.builds(
    EmbedRequest,
    inputs=_inputs.map(tuple),
    dimensions=st.none() | st.integers(1, MAX_DIMENSIONS),
    normalize=st.booleans(),
    **_work,
)
_reranks = st.builds(
    RerankRequest,
    query=names,
    documents=st.lists(texts, min_size=1, max_size=4).map(tuple),
    top_n=st.none() | st.integers(1, 100),
    **_work,
)
_scales = st.floats(-MOST_SCALE, MOST_SCALE)
_adapters = st.lists(
    st.builds(AdapterChoice, name=names, scale=_scales)
    | st.builds(AdapterChoice, number=st.integers(0, 100), scale=_scales),
    max_size=MOST_ADAPTERS,
    unique_by=lambda one: one.said,
).map(tuple)
_place = {
    "model": st.none() | names,
    "n": st.integers(1, MAX_N),
    "lane": st.none() | names,
    "session": st.none() | names,
    "deadline_ms": st.none() | st.integers(1, 2**40),
    "keep_alive_s": _keep_alive_s,
    "lora": st.none() | _adapters,
    "speculate": st.booleans(),
}
_sampled = st.fixed_dictionaries({"sampling": sampling}) | st.fixed_dictionaries(
    {"sampling": sampling.map(lambda s: replace(s, ignore_eos=False)), "constraint": _constraints}
)
_calls = st.builds(ToolCall, name=names, arguments=texts, id=st.none() | names)
_files = st.builds(MediaFile, kind=st.sampled_from(MEDIA_KINDS), data=st.binary(max_size=20))
_contents = st.lists(texts | _files, max_size=4).map(joined)


def _turn(content: tuple[str, Any], **fields: Any) -> ChatMessage:
    return ChatMessage(content=content[0], media=content[1], **fields)


_turns = st.builds(
    _turn,
    content=_contents,
    role=st.sampled_from(["system", "user", "tool", "assistant"]),
    name=st.none() | names,
    tool_calls=st.lists(_calls, max_size=2).map(tuple),
    tool_call_id=st.none() | names,
    reasoning=st.none() | texts,
)
_tools = st.lists(
    st.builds(Tool, name=names, description=texts, parameters=_json_maps),
    max_size=3,
    unique_by=lambda tool: tool.name,
).map(tuple)
_kwargs = _json_maps.filter(lambda given: not given.keys() & RESERVED_KWARGS)
chats = st.builds(
    ChatOptions,
    tools=_tools,
    tool_choice=st.sampled_from(["auto", "none"]),
    template_kwargs=_kwargs,
    markup=st.booleans(),
    thinking_tokens=st.none() | st.integers(0, 100_000),
    context=st.lists(token_ids, max_size=5).map(tuple),
)


def _requests(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[GenerateRequest]:
    return st.builds(
        lambda sampled, given: GenerateRequest(**sampled, **given),
        _sampled,
        st.fixed_dictionaries({**fields, **_place}),
    )


generate_requests = (
    _requests(prompt=st.text(min_size=1), special=st.booleans())
    | _requests(prompt_ids=st.lists(token_ids, min_size=1, max_size=30).map(tuple))
    | _requests(messages=st.lists(_turns, min_size=1, max_size=4).map(tuple), chat=chats)
)
_read_by_client = st.builds(
    GenerateRequest,
    prompt=st.text(min_size=1),
    logits=st.sampled_from(LOGITS_USES),
    session=st.none() | names,
)
requests: st.SearchStrategy[messages.Request] = st.one_of(
    st.builds(messages.Generate, id=ids, request=generate_requests | _read_by_client),
    st.builds(
        messages.Tokenize, id=ids, text=texts, model=st.none() | names, special=st.booleans()
    ),
    st.builds(
        messages.Detokenize,
        id=ids,
        ids=st.lists(token_ids, max_size=20).map(tuple),
        model=st.none() | names,
        pieces=st.booleans(),
    ),
    st.builds(
        messages.Render,
        id=ids,
        messages=st.none() | st.lists(_turns, min_size=1, max_size=3).map(tuple),
        chat=chats,
        model=st.none() | names,
    ).map(lambda asked: asked if asked.messages else replace(asked, chat=ChatOptions())),
    st.builds(messages.Cancel, id=ids, request=names),
    st.builds(messages.Cancel, id=ids, own_id=ids),
    st.builds(messages.Priority, id=ids, target=names, lane=names),
    st.builds(messages.Load, id=ids, model=names),
    st.builds(messages.Unload, id=ids, model=names),
    st.builds(
        messages.Estimate,
        id=ids,
        model=names,
        ctx_size=st.none() | st.integers(256, 2**24),
        max_seqs=st.none() | st.integers(1, 256),
        kv_type=st.sampled_from([None, "f16", "q8", "q6", "q4"]),
    ),
    st.builds(messages.Models, id=ids, stored=st.none() | st.booleans()),
    st.builds(messages.Adapters, id=ids, model=st.none() | names),
    st.builds(messages.Sessions, id=ids),
    st.builds(messages.Forget, id=ids, session=names),
    st.builds(messages.Forget, id=ids, all=st.just(True)),
    st.builds(messages.Metrics, id=ids),
    st.builds(messages.AttachLogits, id=ids, request=names, choose=st.booleans()),
    st.builds(messages.ChooseToken, id=ids, request=names, position=token_ids, token=token_ids),
    st.builds(messages.Ping, id=ids),
    st.builds(messages.Embed, id=ids, request=_embeds),
    st.builds(messages.Rerank, id=ids, request=_reranks),
)


@st.composite
def _tokens(draw: st.DrawFn) -> Tokens:
    new = draw(st.lists(token_ids, max_size=5).map(tuple))
    numbers = st.floats(max_value=0)
    logprobs = None
    if draw(st.booleans()):
        tops = st.lists(st.tuples(token_ids, numbers), max_size=3).map(tuple)
        logprobs = tuple(
            TokenLogprob(id=token, logprob=draw(numbers), top=draw(tops)) for token in new
        )
    return Tokens(index=draw(st.integers(0, 15)), text=draw(texts), ids=new, logprobs=logprobs)


events = st.one_of(
    st.builds(Accepted, request=names, model=names, lane=names, queue_position=counts),
    st.builds(Loading, model=names, state=names, share=st.none() | st.floats(0, 1), why=texts),
    st.builds(Progress, index=st.integers(0, 15), done_tokens=counts, total_tokens=counts),
    _tokens(),
    st.builds(Logits, index=st.integers(0, 15), position=st.none() | counts),
    st.builds(
        Done,
        index=st.integers(0, 15),
        finish_reason=st.sampled_from(["stop", "length", "cancelled", "error"]),
        usage=st.builds(
            Usage, prompt_tokens=counts, cached_tokens=counts, completion_tokens=counts
        ),
        timings=st.builds(
            Timings, queued_ms=milliseconds, first_token_ms=milliseconds, total_ms=milliseconds
        ),
        stop=st.none() | texts,
    ),
    st.builds(Failed, code=names, message=texts, field=st.none() | names, retryable=st.booleans()),
)

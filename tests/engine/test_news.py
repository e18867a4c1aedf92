from umad.engine.mail.step_news import DrawnToken, News, report
from umad.engine.steps.completion_stream import CompletionStream
from umad.protocol.link import Prefilled
from umad.request import FinishReason, SamplingParams
from umad.sampling.detokenizer import Detokenizer
from umad.sampling.sampler import Sampler
from umad.service import TokenLogprob
from umad.step import Finished

PIECES = {5: b"caf", 6: b"\xc3", 7: b"\xa9", 8: b" EN", 9: b"D"}


def stream(rid: int, *, stops: tuple[str, ...] = ()) -> CompletionStream:
    params = SamplingParams(temperature=0.0)
    return CompletionStream(
        rid=rid,
        sampler=Sampler(params, seed=1, n_vocab=16, eog=frozenset({2}), history=()),
        detokenizer=Detokenizer(lambda token: PIECES[token], stops=stops),
        eog=frozenset({2}),
        n_prompt=1,
        n_generated=0,
        text_decides=bool(stops),
        guarded=True,
    )


def finished(rid: int, reason: FinishReason = "length") -> Finished:
    return Finished(rid=rid, reason=reason, prompt_tokens=1, cached_tokens=0, completion_tokens=3)


def drawn(of: CompletionStream, token: int, text: str | None = None) -> DrawnToken:
    return DrawnToken(of, token, None, text)


def test_half_a_character_waits_for_its_other_half() -> None:
    one = stream(1)

    texts = [report(News(drawn=[drawn(one, token)])).emitted[0].text for token in (5, 6, 7)]

    assert texts == ["caf", "", "é"]


def test_what_is_held_back_comes_with_the_last_token() -> None:
    one = stream(1)
    last = News(drawn=[drawn(one, 6)], ended=[(finished(1), one)])

    message = report(last)

    assert message.emitted[0].text == "\N{REPLACEMENT CHARACTER}"
    assert message.ended[0].reason == "length"


def test_a_stop_string_found_at_the_very_end_is_the_reason() -> None:
    # "END" could still have become "ENDING" until the last token was known to be the last.
    one = stream(1, stops=("END", "ENDING"))
    text = "".join(one.text_of(token) for token in (5, 8, 9))

    message = report(News(ended=[(finished(1), one)]))

    assert text == "caf "
    assert (message.ended[0].reason, message.ended[0].stop) == ("stop", "END")
    assert message.emitted == ()


def test_nobody_waits_for_the_rest_of_a_cancelled_text() -> None:
    one = stream(1, stops=("END",))
    one.text_of(8)

    message = report(News(ended=[(finished(1, "cancelled"), one)]))

    assert message.emitted == ()
    assert message.ended[0].reason == "cancelled"


def test_all_streams_of_a_step_go_into_one_report() -> None:
    streams = [stream(rid) for rid in (1, 2, 3)]
    logprob = TokenLogprob(id=5, logprob=-0.5, top=((5, -0.5),))
    news = News(
        drawn=[DrawnToken(one, 5, logprob, None) for one in streams],
        prefilled=[Prefilled(rid=4, done_tokens=10, total_tokens=20)],
    )

    message = report(news)

    assert [one.rid for one in message.emitted] == [1, 2, 3]
    assert message.emitted[0].logprobs == ((-0.5, ((5, -0.5),)),)
    assert message.prefilled[0].done_tokens == 10


def test_news_of_nothing_need_not_be_sent() -> None:
    assert not News()
    assert News(prefilled=[Prefilled(rid=1, done_tokens=1, total_tokens=1)])

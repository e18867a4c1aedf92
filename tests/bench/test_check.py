"""When the fast check calls a ratio lost; what was computed while a user waited."""

from bench.arrivals import Arrival
from bench.check import Figure, attempts
from bench.company import background_tokens_per_wait
from bench.latency import Trace


def at(*times_and_tokens: tuple[int, int]) -> tuple[Arrival, ...]:
    return tuple(Arrival(at_ns=at_ns, tokens=tokens) for at_ns, tokens in times_and_tokens)


def test_each_wait_is_charged_what_was_computed_within_it() -> None:
    user = Trace(sent_ns=0, arrivals=at((10, 1), (20, 2), (30, 3)))
    jobs = [
        Trace(sent_ns=25, prompt=at((28, 500))),
        Trace(sent_ns=0, prompt=at((5, 40), (15, 100), (22, 130))),
    ]

    assert background_tokens_per_wait([user], jobs) == [60, 530]


def test_a_bound_may_be_the_most_or_the_least() -> None:
    assert Figure(name="wait", value=2.0, bound=2.0).holds
    assert not Figure(name="wait", value=2.1, bound=2.0).holds
    assert Figure(name="speed", value=0.5, bound=0.5, least=True).holds
    assert not Figure(name="speed", value=0.4, bound=0.5, least=True).holds


def test_what_a_busy_moment_spoils_is_measured_again() -> None:
    waits, speeds = iter([9.0, 9.0, 1.0]), iter([0.9, 0.1, 0.1])

    def measure() -> list[Figure]:
        return [
            Figure(name="wait", value=next(waits), bound=2.0),
            Figure(name="speed", value=next(speeds), bound=0.5, least=True),
        ]

    kept = {figure.name: figure.value for figure in attempts(measure)}

    assert kept == {"wait": 1.0, "speed": 0.9}


def test_what_stays_out_of_bounds_is_lost_after_three_attempts() -> None:
    values = iter([9.0, 8.0, 7.0])

    (figure,) = attempts(lambda: [Figure(name="wait", value=next(values), bound=2.0)])

    assert (figure.value, figure.holds) == (7.0, False)

"""The benchmark of comebacks: what it makes of its times, and when it fails."""

from rich.console import Console

from bench.comeback import Comebacks, table


def test_the_longest_of_each_time_is_told_and_what_ran_beside() -> None:
    found = Comebacks(answered_s=(0.5, 0.7, 1.9), first_token_s=(1.0, 1.5, 2.5))
    console = Console(width=80, record=True)

    console.print(table(found, beside=6))

    told = console.export_text()
    assert "0.70" in told
    assert "1.90" in told
    assert "2.50" in told
    assert "beside 6 busy programs" in told

"""The order in which contenders take their turns."""

from collections.abc import Sequence

from bench.speed import measure


class Recorded:
    """A contender that notes when it ran and on which prompts."""

    method = "scripted"

    def __init__(self, name: str, runs: list[tuple[str, list[list[int]]]]) -> None:
        self.name = name
        self._runs = runs

    def start(self) -> None:
        """Nothing to get ready."""

    def run(self, prompts: Sequence[Sequence[int]]) -> float:
        self._runs.append((self.name, [list(prompt) for prompt in prompts]))
        return float(len(self._runs))

    def stop(self) -> None:
        """Nothing to free."""


def test_contenders_take_turns_in_a_turning_order_after_a_warm_up() -> None:
    runs: list[tuple[str, list[list[int]]]] = []
    contenders = [Recorded("a", runs), Recorded("b", runs)]

    samples = measure(
        contenders, streams=[2], repetitions=2, prompt_tokens=4, progress=lambda _: None
    )

    assert [name for name, _ in runs] == ["a", "b", "b", "a", "a", "b"]
    assert samples == {"2": {"a": [4.0, 5.0], "b": [3.0, 6.0]}}


def test_no_prompt_comes_twice_to_the_same_contender() -> None:
    runs: list[tuple[str, list[list[int]]]] = []

    measure(
        [Recorded("a", runs)],
        streams=[1, 3],
        repetitions=3,
        prompt_tokens=16,
        progress=lambda _: None,
    )

    prompts = [tuple(prompt) for _, batch in runs for prompt in batch]
    assert len(prompts) == 16
    assert len(set(prompts)) == 16

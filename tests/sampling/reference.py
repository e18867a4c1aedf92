"""What sampling means, written down as slowly and plainly as possible: sorts, float64, lists.

The reference the tests hold `umad.sampling` against; it shares no code with it.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from umad.request import SamplingParams

Row = NDArray[np.float32]


def noise(seed: int, n_vocab: int, scale: float = 1.0, *, step: float = 0.0) -> Row:
    """Normal logits; a step above 0 rounds them to it, which makes ties."""
    row = np.random.default_rng(seed).standard_normal(n_vocab) * scale
    return (np.round(row / step) * step if step else row).astype(np.float32)


def log_softmax(logits: Row) -> NDArray[np.float64]:
    """Natural-log probabilities, float64 (n_vocab,)."""
    wide = logits.astype(np.float64)
    norm = wide.max() + math.log(math.fsum(np.exp(wide - wide.max())))
    return np.asarray(wide - norm)


def edited(
    logits: Row, params: SamplingParams, *, prompt: list[int], completion: list[int]
) -> NDArray[np.float64]:
    """The row after logit bias and penalties."""
    out = logits.astype(np.float64)
    for token, bias in params.logit_bias:
        out[token] += bias
    last_n = params.penalty_last_n
    recent = (prompt + completion)[-last_n:] if last_n else []
    for token in set(recent):
        penalty = params.repetition_penalty
        out[token] = out[token] / penalty if out[token] > 0 else out[token] * penalty
    for token in set(completion):
        out[token] -= params.frequency_penalty * completion.count(token)
        out[token] -= params.presence_penalty
    return out


def distribution(logits: Row, params: SamplingParams) -> dict[int, float]:
    """Probability of every token that can be drawn, by token, ascending; temperature > 0."""
    wide = logits.astype(np.float64).tolist()
    left = [token for token in range(len(wide)) if wide[token] > -math.inf]
    left.sort(key=lambda token: (-wide[token], token))
    if 0 < params.top_k < len(wide):
        left = left[: params.top_k]
    if params.typical_p < 1.0:
        share = _softmax(wide, left)
        surprise = {token: -math.log(p) if p else math.inf for token, p in share.items()}
        entropy = math.fsum(p * surprise[token] for token, p in share.items() if p)
        left.sort(key=lambda token: (abs(surprise[token] - entropy), token))
        left = _prefix(left, share, lambda held: held > params.typical_p)
        left.sort(key=lambda token: (-wide[token], token))
    if params.top_p < 1.0:
        left = _prefix(left, _softmax(wide, left), lambda held: held >= params.top_p)
    if params.min_p > 0.0:
        best = wide[left[0]]
        left = [token for token in left if math.exp(wide[token] - best) >= params.min_p]
    return _softmax([one / params.temperature for one in wide], sorted(left))


def _softmax(wide: list[float], tokens: list[int]) -> dict[int, float]:
    best = max(wide[token] for token in tokens)
    odds = {token: math.exp(wide[token] - best) for token in tokens}
    total = math.fsum(odds.values())
    return {token: one / total for token, one in odds.items()}


def _prefix(
    ordered: list[int], share: dict[int, float], enough: Callable[[float], bool]
) -> list[int]:
    held = 0.0
    for at, token in enumerate(ordered):
        held += share[token]
        if enough(held):
            return ordered[: at + 1]
    return ordered


def chi_square_limit(degrees: int) -> float:
    """What chi-square exceeds once in 10,000 times (Wilson, Hilferty 1931, within 1 %)."""
    spread = 2 / (9 * degrees)
    return float(degrees * (1 - spread + 3.719 * math.sqrt(spread)) ** 3)


def chi_square(observed: dict[int, int], expected: dict[int, float]) -> tuple[float, int]:
    """The statistic and its degrees of freedom; cells expected under 5 times are pooled."""
    draws = sum(observed.values())
    cells = [(observed.get(token, 0), p * draws) for token, p in expected.items()]
    rare = [cell for cell in cells if cell[1] < 5]
    cells = [cell for cell in cells if cell[1] >= 5]
    if rare:
        cells.append((sum(cell[0] for cell in rare), sum(cell[1] for cell in rare)))
    return sum((seen - want) ** 2 / want for seen, want in cells if want), len(cells) - 1

"""Context-aware contrastive decoding with umad: the client chooses every token itself.

    umad serve nano &
    python examples/contrastive.py "def area(width, height):" "    return "

The prompt is read twice, with its context and without. What the context makes likelier is made
likelier still (Shi et al., arXiv 2305.14739):

    logits = (1 + alpha) * with_context - alpha * without_context

among tokens that are plausible with the context (Li et al., arXiv 2210.15097). Both requests run in
the same steps of the engine, and their rows of logits are read where the engine has put them.
"""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable

import numpy as np
from numpy.typing import NDArray

from umad import (
    AsyncClient,
    GenerateRequest,
    GenerationEvent,
    LogitsRow,
    SamplingParams,
    Tokens,
    UmadError,
    read_logits_async,
)

# A token with less than this part of the best one's probability is not plausible.
PLAUSIBLE = 0.1

Logits = NDArray[np.float32]


def contrast(with_context: Logits, without: Logits, alpha: float) -> int:
    """The token that the context speaks for most; float32 (n_vocab,) twice."""
    scores = (1 + alpha) * with_context - alpha * without
    scores[with_context < with_context.max() + np.log(PLAUSIBLE)] = -np.inf
    return int(scores.argmax())


async def next_row(
    events: AsyncIterator[GenerationEvent | LogitsRow], show: Callable[[str], object]
) -> LogitsRow | None:
    """The next row, the text before it shown; None at the end."""
    async for event in events:
        if isinstance(event, LogitsRow):
            return event
        if isinstance(event, Tokens):
            show(event.text)
    return None


async def generate(
    client: AsyncClient,
    context: str,
    prompt: str,
    *,
    alpha: float,
    max_tokens: int,
    show: Callable[[str], object],
) -> None:
    """Show the text that follows `prompt`, as it comes."""

    def request(text: str) -> GenerateRequest:
        return GenerateRequest(
            prompt=text, logits="choose", sampling=SamplingParams(max_tokens=max_tokens)
        )

    async with (
        contextlib.aclosing(read_logits_async(client, request(context + prompt))) as knowing,
        contextlib.aclosing(read_logits_async(client, request(prompt))) as guessing,
    ):
        while True:
            row, other = await asyncio.gather(
                next_row(knowing, show), next_row(guessing, lambda text: None)
            )
            if row is None or other is None:
                return
            token = contrast(row.values, other.values, alpha)
            row.choose(token)
            other.choose(token)


async def main(arguments: argparse.Namespace) -> None:
    """Print an answer."""

    def show(text: str) -> None:
        print(text, end="", flush=True)

    async with AsyncClient(arguments.socket) as client:
        await generate(
            client,
            arguments.context + "\n",
            arguments.prompt,
            alpha=arguments.alpha,
            max_tokens=arguments.max_tokens,
            show=show,
        )
    print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("context", help="what the answer should hold on to")
    parser.add_argument("prompt", help="what is to be gone on from")
    parser.add_argument("--alpha", type=float, default=0.5, help="0: no contrast; default 0.5")
    parser.add_argument("--max-tokens", type=int, default=40)
    parser.add_argument("--socket", default=None, help="of the daemon; default: the usual one")
    try:
        asyncio.run(main(parser.parse_args()))
    except UmadError as error:
        sys.exit(f"{error.code}: {error.message}")

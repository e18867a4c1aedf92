"""A chat in the terminal: the answer streams, thinking is dimmed, the conversation goes on.

    umad serve nano &
    python examples/chat.py

Each line is a turn; an empty line, or Ctrl-D, ends it. The session's name lets the daemon keep what
it has computed of the conversation; `umad forget example` removes that.
"""

import argparse
import sys

from umad import ChatMessage, ChatResult, Client, Content, Reasoning, UmadError


def answer(
    client: Client, turns: list[ChatMessage], *, max_tokens: int, temperature: float
) -> ChatResult:
    """Print an answer as it comes; all of it."""
    for piece in client.stream(
        turns, session="example", max_tokens=max_tokens, temperature=temperature
    ):
        match piece:
            case Content():
                print(piece.text, end="", flush=True)
            case Reasoning():
                print(f"\x1b[2m{piece.text}\x1b[0m", end="", flush=True)
            case ChatResult():
                print()
                return piece
            case _:
                pass
    raise AssertionError("a stream ends with its result")


def main(arguments: argparse.Namespace) -> None:
    """Read, ask, answer, until there is no more to read."""
    turns: list[ChatMessage] = []
    with Client(arguments.socket) as client:
        for line in sys.stdin:
            if not line.strip():
                return
            turns.append(ChatMessage(role="user", content=line.strip()))
            result = answer(
                client,
                turns,
                max_tokens=arguments.max_tokens,
                temperature=arguments.temperature,
            )
            turns.append(result.turn)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=0.8, help="0: the same every time")
    parser.add_argument("--socket", default=None, help="of the daemon; default: the usual one")
    try:
        main(parser.parse_args())
    except UmadError as error:
        sys.exit(f"{error.code}: {error.message}")

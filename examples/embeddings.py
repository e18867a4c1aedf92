"""Search by meaning: the lines of a text, the likest to a question first.

    umad serve nano &
    python examples/embeddings.py "read a file" < umad/nano/MODEL_CARD.md

Vectors have length 1, so their dot product is the cosine of the angle between them. Embedding runs
in the background lane here: whoever chats beside it does not feel it.
"""

import argparse
import sys

from umad import Client, UmadError


def main(arguments: argparse.Namespace) -> None:
    """Print the likest lines."""
    lines = [line.strip() for line in sys.stdin if line.strip()]
    with Client(arguments.socket) as client:
        texts = client.embed(lines, lane="background", truncate=True)
        question = client.embed(arguments.question, model=texts.model)
    likeness = texts.vectors @ question.vectors[0]
    for at in likeness.argsort()[::-1][: arguments.top]:
        print(f"{likeness[at]:.3f}  {lines[at]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("question")
    parser.add_argument("--top", type=int, default=3, help="how many lines; default 3")
    parser.add_argument("--socket", default=None, help="of the daemon; default: the usual one")
    try:
        main(parser.parse_args())
    except UmadError as error:
        sys.exit(f"{error.code}: {error.message}")

"""An answer that keeps to a JSON schema: the model cannot write anything else.

    umad serve nano &
    python examples/structured.py "Ada Lovelace, mathematician, born 1815 in London"

Tokens that would break the schema are never drawn, so the answer parses whatever the model is; with
`nano`, which only knows Python, what stands in it is nonsense.
"""

import argparse
import json
import sys

from umad import Client, UmadError

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "born": {"type": "integer", "minimum": 0, "maximum": 2100},
        "trades": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 3},
    },
    "required": ["name", "born", "trades"],
    "additionalProperties": False,
}


def main(arguments: argparse.Namespace) -> None:
    """Print what is known of the person."""
    with Client(arguments.socket) as client:
        answer = client.chat(
            [
                {"role": "system", "content": "Take the facts out of the text, as JSON."},
                {"role": "user", "content": arguments.text},
            ],
            schema=PERSON,
            max_tokens=400,
            temperature=0,
        )
    print(json.dumps(answer.json(), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("text", help="about a person")
    parser.add_argument("--socket", default=None, help="of the daemon; default: the usual one")
    try:
        main(parser.parse_args())
    except UmadError as error:
        sys.exit(f"{error.code}: {error.message}")

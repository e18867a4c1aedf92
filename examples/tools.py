"""A model that calls a function: ask, run the call, ask again with what it returned.

    umad serve nano &
    python examples/tools.py "What is 12.5 times 8?"

The first answer has to be a call (`tool_choice="required"`). A grammar made of the tool's schema
forces it, so the arguments always parse. The second answer is free.
"""

import argparse
import json
import operator
import sys
from contextlib import closing
from typing import Any

from umad import ChatMessage, Client, Tool, ToolCall, UmadError

OPERATIONS = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul}
CALCULATE = Tool(
    name="calculate",
    description="Computes with two numbers.",
    parameters={
        "type": "object",
        "properties": {
            "operation": {"enum": list(OPERATIONS)},
            "left": {"type": "number", "minimum": -1000, "maximum": 1000},
            "right": {"type": "number", "minimum": -1000, "maximum": 1000},
        },
        "required": ["operation", "left", "right"],
        "additionalProperties": False,
    },
)


def calculate(asked: dict[str, Any]) -> str:
    """What the tool answers."""
    return str(OPERATIONS[asked["operation"]](asked["left"], asked["right"]))


def first_call(client: Client, turns: list[ChatMessage]) -> ToolCall:
    """The first call the model makes. Leaving the stream cancels what it would write behind it."""
    with closing(client.stream(turns, tools=[CALCULATE], tool_choice="required")) as pieces:
        for piece in pieces:
            if isinstance(piece, ToolCall):
                return piece
    sys.exit("the answer ended inside its call")


def main(arguments: argparse.Namespace) -> None:
    """Print the call, what it came to, and the answer."""
    turns = [ChatMessage(role="user", content=arguments.question)]
    with Client(arguments.socket) as client:
        call = first_call(client, turns)
        asked = json.loads(call.arguments)
        result = calculate(asked)
        print(f"{call.name}({json.dumps(asked)}) = {result}")
        turns += [
            ChatMessage(role="assistant", content="", tool_calls=(call,)),
            ChatMessage(role="tool", content=result, name=call.name, tool_call_id=call.id),
        ]
        print(client.chat(turns, tools=[CALCULATE], tool_choice="none", max_tokens=60))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("question")
    parser.add_argument("--socket", default=None, help="of the daemon; default: the usual one")
    try:
        main(parser.parse_args())
    except UmadError as error:
        sys.exit(f"{error.code}: {error.message}")

"""Removes Claude Code's attribution line from a system prompt.

Claude Code begins its system prompt with a line for Anthropic's billing,
`x-anthropic-billing-header: cc_version=…; cc_entrypoint=…; cch=…;`. Its values change with every
request, and the model has no use for them. A prefix cache ends at the first changed token. So this
line, left in, would cost an agent its whole prefix cache in every turn.
"""

import re

# Matches only at the beginning, where it is sent; further down the words are a user's text.
_LINE = re.compile(r"\A\s*x-anthropic-billing-header:[^\n]*(?:\n+|\Z)", re.IGNORECASE)


def without_attribution(system: str) -> str:
    """`system` without the line."""
    return _LINE.sub("", system, count=1)

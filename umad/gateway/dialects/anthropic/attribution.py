"""Removes Claude Code's attribution line from a system prompt.

Claude Code begins its system prompt with a line for Anthropic's billing,
`x-anthropic-billing-header: cc_version=…; cc_entrypoint=…; cch=…;`. Its values change with every
request, and the model has no use for them. A prefix cache ends at the first changed token. So this
line, left in, would cost an agent its whole prefix cache in every turn.
"""

import re

# Only where it is sent: at the beginning. The same words further down are somebody's text.
_LINE = re.compile(r"\A\s*x-anthropic-billing-header:[^\n]*(?:\n+|\Z)", re.IGNORECASE)


def without_attribution(system: str) -> str:
    """`system` as it reads without the line."""
    return _LINE.sub("", system, count=1)

"""Take Claude Code's attribution line out of a system prompt.

Claude Code begins its system prompt with a line for Anthropic's billing,
`x-anthropic-billing-header: cc_version=…; cc_entrypoint=…; cch=…;`, whose values change with every
request. The model has no use for it, and what follows a changed line is a prompt never seen
before: left in, it would cost every turn of an agent its whole prefix cache.
"""

import re

# Only where it is sent: at the beginning. The same words further down are somebody's text.
_LINE = re.compile(r"\A\s*x-anthropic-billing-header:[^\n]*(?:\n+|\Z)", re.IGNORECASE)


def without_attribution(system: str) -> str:
    """`system` as it reads without the line."""
    return _LINE.sub("", system, count=1)

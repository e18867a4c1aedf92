"""Says who may share which cells: by their owner and by the adapters they were computed with.

Adapters change keys and values, so a cell is another one under another set of adapters, or under
another scale. An activated adapter (aLoRA) leaves what stands before its invocation as the model
computes it alone. So the beginning of such a sequence is shared with those that have no adapter,
in both directions, and the rest only with those whose invocation stands at the same place.
Values only. Pure.
"""

from typing import NamedTuple

# Joins an owner's salt and a set of adapters. No salt of an owner contains it.
_BETWEEN = "\x00+"


class Invoked(NamedTuple):
    """The salt of a sequence whose adapters act from a place in it on."""

    # The salt of the same owner without adapters.
    base: str
    # The set of adapters.
    adapters: str
    # How many tokens stand before that place, at least 1.
    n_base: int

    @property
    def text(self) -> str:
        """One text for all of it, where nothing is shared with the base."""
        return f"{self.base}{_BETWEEN}{self.adapters} from {self.n_base}"


# The salt of an owner, with a set of adapters in it where they act on everything.
Salt = str | Invoked


def salt_of(owner: str, adapters: str, invoked_at: int) -> Salt:
    """The salt of cells that are computed for `owner` with a set of adapters, from the token
    `invoked_at` on. adapters: the set's key, or "" for none."""
    if not adapters:
        return owner
    if invoked_at:
        return Invoked(owner, adapters, invoked_at)
    return f"{owner}{_BETWEEN}{adapters}"


def text_of(salt: Salt) -> str:
    """The salt as one text. States of recurrent layers are shared by it: a state is that of all
    tokens before it, and the digest of its tokens begins with the salt."""
    return salt if isinstance(salt, str) else salt.text

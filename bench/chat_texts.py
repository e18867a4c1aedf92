"""Makes the texts of chats: random common words, so that no two texts begin alike.

The words mean nothing together. They are common, so nearly every vocabulary has each as one token,
and their number is that of the tokens but for a factor. Pure. Owner: the caller.
"""

import random
import re

_WORDS = tuple(
    re.findall(
        r"[a-z]+",
        "the of and to in is that for it was on are as with his they at be this from have or "
        "by one had not but what all were when we there can an your which their said if do "
        "will each about how up out them then she many some so these would other into has "
        "more her two like him see time could no make than first been its who now people my "
        "made over did down only way find use may water long little very after words called "
        "just where most know get through back much before also around another came come work "
        "three word must because does part even place well such here take why things help put "
        "years different away again off went old number ",
    )
)


class ChatTexts:
    """Random texts of one seed. words_per_token: of the model that reads them."""

    def __init__(self, *, seed: int, words_per_token: float = 1.0) -> None:
        self._random = random.Random(seed)
        self._words_per_token = words_per_token

    def draw(self, tokens: int) -> str:
        """About so many tokens."""
        n_words = max(1, round(tokens * self._words_per_token))
        return " ".join(self._random.choices(_WORDS, k=n_words))

"""Makes next turns' prompts on a thread of its own, at low priority, one at a time.

Rendering and tokenizing a chat may take long, and nobody waits for this. Of the chats that come
meanwhile only the latest is kept. Threads: `put` is the step thread's.
"""

import logging
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from umad.engine.ahead.turns import EndedTurn
from umad.engine.prctl import name_thread
from umad.engine.process import let_others_first, start_deep_thread

log = logging.getLogger("umad.engine")

_WAIT_S = 60.0


class AheadReader:
    """make: the tokens of a turn's next prompt, or None. found: is told of them."""

    def __init__(
        self,
        *,
        make: Callable[[EndedTurn], NDArray[np.int32] | None],
        found: Callable[[EndedTurn, NDArray[np.int32]], None],
    ) -> None:
        self._make = make
        self._found = found
        self._next: EndedTurn | None = None
        self._changed = threading.Condition()
        self._started = False

    def put(self, turn: EndedTurn) -> None:
        """Make the prompt that follows this turn, instead of any that waits to be made."""
        with self._changed:
            self._next = turn
            self._changed.notify()
        if not self._started:
            self._started = True
            start_deep_thread(self._run, "umad-ahead")

    def _run(self) -> None:
        name_thread("umad-ahead")
        let_others_first()
        while True:
            with self._changed:
                while self._next is None:
                    self._changed.wait(_WAIT_S)
                turn, self._next = self._next, None
            try:
                ids = self._make(turn)
            except Exception:
                # Nobody asked for this, so nobody else may suffer from it.
                log.exception("next turn's prompt cannot be made rid=%d", turn.rid)
                continue
            if ids is not None:
                self._found(turn, ids)

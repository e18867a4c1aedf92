"""Removes files of saved sessions, also those of models that are not loaded.

The folders of all models lie under one root. A loaded engine removes the files of its own model
(`umad.engine.sessions.folder`). Not: writing or reading sessions. Blocks; any thread.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from umad.engine.sessions.file import read_name
from umad.engine.sessions.folder import file_name, mark_of
from umad.forgetting import ForgetScope
from umad.session_names import asked_name

log = logging.getLogger(__name__)


class SavedSessions:
    """The saved sessions of all models.

    root: the folder of all models' folders; None where no sessions are saved.
    """

    def __init__(self, root: Path | None) -> None:
        self._root = root

    def forget(self, scope: ForgetScope) -> set[str]:
        """Remove the files that `scope` covers; return the names of their sessions, where a file
        tells it.

        Raises `OSError` for the first file that cannot be removed, after all have been tried.
        """
        names, failure = set[str](), None
        for path in self._files(scope):
            name = scope.session or _name(path)
            if not (scope.is_everything if name is None else scope.takes_file(name)):
                continue  # it belongs to somebody else, or to an unknown owner
            try:
                path.unlink()
                mark_of(path).unlink(missing_ok=True)
            except FileNotFoundError:
                continue  # its engine was quicker
            except OSError as error:
                log.warning("a saved session cannot be removed path=%s reason=%s", path, error)
                failure = failure or error
                continue
            if name is not None:
                names.add(asked_name(name))
        if failure is not None:
            raise failure
        return names

    def _files(self, scope: ForgetScope) -> Iterator[Path]:
        if self._root is None:
            return
        own = None if scope.session is None else file_name(scope.session)
        for path in sorted(self._root.glob("*/*.kv")):
            if own is None or path.name == own:
                yield path
                continue
            # It may be the same session under adapters, which only its name inside tells.
            name = _name(path)
            if name is not None and scope.takes_file(name):
                yield path


def _name(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return read_name(file)
    except OSError:
        return None

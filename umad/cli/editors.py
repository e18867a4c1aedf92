"""Runs `umad lsp` and `umad acp`, which editors start and talk to over stdin and stdout.

Their packages come with the extra `editors`; without it one line says how to install it.
"""

from umad.errors import Unsupported

_MISSING = "this needs packages that are not installed: pip install 'umad[editors]'"


def lsp(socket: str | None, model: str | None) -> int:
    """Serve inline completions to an editor."""
    try:
        from umad.lsp.server import UmadLanguageServer  # noqa: PLC0415  # an extra's packages
        from umad.lsp.settings import LspSettings  # noqa: PLC0415
    except ImportError as error:
        raise _without(error) from None
    return UmadLanguageServer(socket, LspSettings(model=model)).serve()


def acp(socket: str | None, model: str | None, lane: str | None) -> None:
    """Serve chats with tools to an editor."""
    try:
        from umad.acp.serving import serve  # noqa: PLC0415  # an extra's packages
    except ImportError as error:
        raise _without(error) from None
    serve(socket, model=model, lane=lane)


def _without(error: ImportError) -> Exception:
    """The error to show. A module of umad that is missing is a fault of ours, and stays one."""
    if (error.name or "").split(".")[0] == "umad":
        return error
    return Unsupported(f"{_MISSING} ({error.name})")

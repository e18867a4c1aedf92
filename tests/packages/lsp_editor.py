"""Editors as pytest-lsp plays them, with the capabilities that real ones announce.

Not collected here: `tests/packages/test_language_server.py` runs it where pytest-lsp is installed.
"""

import json
import os
from collections.abc import AsyncIterator

import pytest
import pytest_lsp
from lsprotocol import types
from pytest_lsp import ClientServerConfig, LanguageClient, client_capabilities

SERVER = ClientServerConfig(server_command=json.loads(os.environ["UMAD_LSP_COMMAND"]))
URI = "file:///project/f.py"
FILE = types.TextDocumentIdentifier(uri=URI)
END = types.Position(line=1, character=11)


def opened(client: LanguageClient) -> None:
    file = types.TextDocumentItem(
        uri=URI, language_id="python", version=1, text="def f():\n    return "
    )
    client.text_document_did_open(types.DidOpenTextDocumentParams(text_document=file))


async def begun(client: LanguageClient, capabilities: types.ClientCapabilities) -> None:
    params = types.InitializeParams(capabilities=capabilities, root_uri="file:///project")
    await client.initialize_session(params)
    opened(client)


@pytest_lsp.fixture(config=SERVER)
async def with_grey_text(lsp_client: LanguageClient) -> AsyncIterator[None]:
    capabilities = client_capabilities("neovim")
    assert capabilities.text_document is not None
    # What Neovim 0.12 adds; the package knows 0.11.
    capabilities.text_document.inline_completion = types.InlineCompletionClientCapabilities()
    await begun(lsp_client, capabilities)
    yield
    await lsp_client.shutdown_session()


@pytest_lsp.fixture(config=SERVER)
async def with_a_list(lsp_client: LanguageClient) -> AsyncIterator[None]:
    await begun(lsp_client, client_capabilities("emacs"))
    yield
    await lsp_client.shutdown_session()


@pytest.mark.asyncio
async def test_an_editor_with_inline_completions_gets_grey_text(
    with_grey_text: LanguageClient,
) -> None:
    params = types.InlineCompletionParams(
        text_document=FILE,
        position=END,
        context=types.InlineCompletionContext(
            trigger_kind=types.InlineCompletionTriggerKind.Invoked
        ),
    )

    answer = await with_grey_text.text_document_inline_completion_async(params)

    assert isinstance(answer, types.InlineCompletionList)
    assert [item.insert_text for item in answer.items] == ["value"]
    assert not with_grey_text.messages


@pytest.mark.asyncio
async def test_an_editor_without_them_gets_an_entry_of_its_list(
    with_a_list: LanguageClient,
) -> None:
    params = types.CompletionParams(text_document=FILE, position=END)

    answer = await with_a_list.text_document_completion_async(params)

    assert isinstance(answer, types.CompletionList)
    assert [item.label for item in answer.items] == ["value"]
    assert not with_a_list.messages

"""What a client of a whole team tells of it, and to whom."""

import asyncio
import json
from pathlib import Path

from umad.asker import Asker
from umad.client.remote.team import TeamClient
from umad.team_files import TEAM_FILE

MODEL = {
    "name": "nano",
    "state": "ready",
    "ctx": 4096,
    "path": "/home/alice/nano.gguf",
    "prompt_changes": [{"app": "alices-diary", "token": 7}],
    "live": 3,
    "a_fact_of_tomorrow": "secret",
    "nodes": ["mini"],
}


def test_a_user_is_told_of_a_teams_models_what_a_daemon_tells(tmp_path: Path) -> None:
    file = tmp_path / TEAM_FILE
    file.write_text(json.dumps({"models": [MODEL], "requests": [], "scorecard": {}}))
    file.chmod(0o600)
    client = TeamClient.of_folder(str(tmp_path))

    (told,) = asyncio.run(client.on_behalf(Asker(owner="key:bob", role="user")).models())
    (known,) = asyncio.run(client.models())

    assert dict(told) == {"name": "nano", "state": "ready", "ctx": 4096}
    assert dict(known) == MODEL

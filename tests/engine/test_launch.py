import json
import subprocess
import sys

from umad.config import EngineSettings, LaneSettings, SchedulerSettings, Settings
from umad.engine.launch import EngineOptions, command

OPTIONS = EngineOptions(
    name="nano",
    path="/models/with space/é.gguf",
    engine=EngineSettings(ctx_size=4096, kv_type="q8", threads=3, repack=True),
    scheduler=SchedulerSettings(max_merge=4),
    lanes={"interactive": LaneSettings(priority=10), "batch": LaneSettings(priority=1, floor=0.1)},
    latency_cap=1.5,
    prompt_tokens=1000,
    log_level="debug",
)


def test_options_survive_the_command_line() -> None:
    assert EngineOptions.from_json(OPTIONS.to_json()) == OPTIONS


def test_the_command_names_the_socket_and_carries_the_options() -> None:
    line = command(OPTIONS, 7)

    assert line[:2] == [sys.executable, "-I"]
    assert "umad.engine" in line
    assert line[line.index("--fd") + 1] == "7"
    assert json.loads(line[line.index("--options") + 1])["name"] == "nano"


def test_a_daemons_settings_hold_everything_an_engine_needs() -> None:
    settings = Settings(latency_cap=1.3, engine=EngineSettings(ctx_size=512))

    options = EngineOptions.of(settings, name="m", path="/m.gguf")

    assert (options.latency_cap, options.engine.ctx_size) == (1.3, 512)
    assert options.lanes == settings.qos


def test_a_daemon_can_start_engines_without_having_llama_cpp() -> None:
    script = (
        "import sys; sys.modules['llama_cpp'] = None; sys.modules['numpy'] = None\n"
        "import umad.engine.launch"
    )

    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)

    assert run.returncode == 0, run.stderr.decode()

"""The Dockerfile and the example of compose are what the docs say of them. Nothing is built."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from umad.cli.commands import serve
from umad.config import Settings

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "examples" / "compose.yaml").read_text())


def instructions() -> list[tuple[str, str]]:
    """Each instruction and its words, with lines that go on joined."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    pairs = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(word, rest.strip()) for word, _, rest in pairs]


def last(word: str) -> str:
    return [rest for name, rest in instructions() if name == word][-1]


def test_it_runs_as_a_user_who_is_not_root() -> None:
    assert last("USER") == "1000:1000"


def test_socket_and_models_are_volumes_and_its_health_is_asked() -> None:
    assert last("VOLUME") == '["/run/umad", "/models"]'
    assert "UMAD_SOCKET=/run/umad/umad.sock" in last("ENV")
    assert 'CMD ["umad", "ps", "--json"]' in last("HEALTHCHECK")
    assert last("ENTRYPOINT") == '["umad"]'


def test_nothing_is_fetched_but_packages_of_the_distribution_and_pinned_ones() -> None:
    for word, rest in instructions():
        assert word != "ADD"
        assert "curl" not in rest
        assert "wget" not in rest
    assert "--constraint constraints.txt" in DOCKERFILE
    assert "syntax=" not in DOCKERFILE


def test_all_that_the_wheel_is_made_of_reaches_the_build() -> None:
    taken = {
        line.lstrip("!").rstrip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }

    assert taken == {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "umad", "config"}
    assert all((ROOT / name).exists() for name in taken)


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("no hadolint here")

    done = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout) == (0, "")


def test_the_example_gives_its_answers_time_and_its_apps_the_socket() -> None:
    umad, app = COMPOSE["services"]["umad"], COMPOSE["services"]["app"]

    assert int(umad["stop_grace_period"].removesuffix("s")) > Settings().limits.drain_s
    assert app["user"] == umad["user"], "umad takes its own user's connections only"
    assert set(app["volumes"]) < set(umad["volumes"])
    assert app["depends_on"]["umad"]["condition"] == "service_healthy"


def test_the_example_opens_nothing_to_other_machines_and_asks_for_a_key() -> None:
    umad = COMPOSE["services"]["umad"]

    assert all(port.startswith("127.0.0.1:") for port in umad["ports"])
    assert "--api-key-file" in umad["command"]
    known = {flag for one in serve.params for flag in one.opts}
    assert {word for word in umad["command"] if word.startswith("--")} <= known

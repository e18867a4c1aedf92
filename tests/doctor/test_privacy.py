"""A report of the doctor has no text of the configuration that its user chose."""

from dataclasses import replace
from pathlib import Path

from tests.doctor.surrounded import around
from umad.configuration.kinds import LIBRARY, PATH
from umad.configuration.options import OPTIONS
from umad.configuration.sources import load
from umad.doctor.privacy import about


def test_the_file_of_every_option_is_private_wherever_its_name_stands(tmp_path: Path) -> None:
    options = [one for one in OPTIONS if one.kind in (PATH, LIBRARY)]
    environ = {one.variables[0]: f"/srv/own-{n}.x" for n, one in enumerate(options)}
    loaded = load(environ={**environ, "UMAD_HTTP": "unix:/srv/own-http.x"})
    privacy = about(replace(around(tmp_path), loaded=loaded))

    told = privacy.clean(" ".join([*(f"own-{n}.x" for n in range(len(options))), "own-http.x"]))

    assert len(options) > 5
    assert "own-" not in told

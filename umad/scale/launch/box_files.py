"""The files that a machine gets: HAProxy's configuration, the keeper and its settings, the meter.

Pure but for reading the two programs from the package. None of them has a key in it.
"""

import json
from importlib.resources import files

from umad.scale.launch import box_proxy
from umad.scale.launch.box_proxy import BoxProxy
from umad.scale.launch.deployment import PORT, Deployment
from umad.scale.launch.engine_line import ENGINE_PORT, ENVIRONMENT, engine_line

# Folders of the machine's user. HAProxy does not know ~, so the run script replaces @HOME@.
BOX, TLS, RUN = "umad-box", "umad-tls", "umad-run"
HOME = "@HOME@"
CACHE = "/mnt/umad-cache"
# A model of hundreds of gigabytes is fetched within it, or it is not worth the rent.
_LOAD_S = 2 * 3600


def box_files(wanted: Deployment) -> dict[str, str]:
    """Texts by name, of the folder that the machine has as `~/umad-box`."""
    settings = {
        "engine": _engine(wanted),
        "proxy": ["haproxy", "-W", "-db", "-f", f"~/{RUN}/haproxy.cfg"],
        "run_folder": f"~/{RUN}",
        "engine_port": ENGINE_PORT,
        "idle_s": wanted.idle_minutes * 60,
        "load_s": _LOAD_S,
        "environment": {
            # Where `--middleware meter.Meter` is found, and where it writes.
            "PYTHONPATH": f"~/{BOX}",
            "UMAD_USAGE_FOLDER": f"~/{RUN}/usage",
            **({"HF_HOME": CACHE} if wanted.cache else {}),
        },
    }
    programs = files("umad.scale.launch.box")
    return {
        "haproxy.cfg": box_proxy.render(_proxy(wanted)).replace("/-HOME-", HOME),
        "keeper.json": json.dumps(settings, indent=2) + "\n",
        **{name: (programs / name).read_text("utf-8") for name in ("keeper.py", "meter.py")},
    }


def _engine(wanted: Deployment) -> list[str]:
    program, *words = engine_line(wanted.plan, logs_requests=wanted.logs_requests)
    return [f"~/{ENVIRONMENT}/bin/{program}", *words]


def _proxy(wanted: Deployment) -> BoxProxy:
    is_plain = wanted.kind == "service"
    return BoxProxy(
        run_folder=f"/-HOME-/{RUN}",
        certificate=None if is_plain else f"/-HOME-/{TLS}/node.pem",
        authority=f"/-HOME-/{TLS}/ca.pem" if wanted.in_team else None,
        port=PORT,
        networks=wanted.networks,
    )

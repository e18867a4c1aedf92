"""Writes the engine's command line on the machine: the plan's, and what serving there adds. Pure.

The engine listens on the machine's loopback, because HAProxy in front of it has the keys: vLLM's
own key leaves `/invocations` open. It logs no request unless somebody asks. No key stands here,
because command lines are shown and logged.
"""

from umad.scale.engines import VERSIONS, EngineName
from umad.scale.plan import Plan

ENGINE_PORT = 8000
# Where its packages are installed on the machine, relative to the home there.
ENVIRONMENT = "umad-engine"
METER = "meter.Meter"
# The label that SGLang's counters of tokens get, from a header that HAProxy sets.
KEY_LABEL = "key"


def engine_line(plan: Plan, *, logs_requests: bool = False) -> tuple[str, ...]:
    """The words, without the program itself being found: `vllm serve …` or `python -m sglang…`."""
    words = [*plan.command, "--host", "127.0.0.1", "--port", str(ENGINE_PORT)]
    if plan.wish.engine == "vllm":
        # Streams end with their usage, which the meter counts.
        words += ["--enable-force-include-usage", "--middleware", METER]
        words.append("--enable-log-requests" if logs_requests else "--disable-uvicorn-access-log")
    else:
        words += ["--enable-metrics", "--tokenizer-metrics-allowed-custom-labels", KEY_LABEL]
        words += ["--log-requests"] if logs_requests else ["--log-level-http", "warning"]
    return tuple(words)


def package(engine: EngineName) -> str:
    """What pip installs there: the version whose rules the plan follows."""
    return f"{engine}=={VERSIONS[engine]}"

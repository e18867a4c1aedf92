"""Lists the options that say which models are loaded, for how long, and how many at once. A part of
`options`. Pure.
"""

from umad.configuration.kinds import KEEP_ALIVE, SWITCH, TEXT, ValueKind, whole
from umad.configuration.option import Option

MODELS: tuple[Option, ...] = (
    Option(
        name="lazy_load",
        target=("lazy_load",),
        kind=SWITCH,
        help="A request that names a model which is not loaded loads it, and waits for it.",
        effect="It has to name one of those that `umad ls` lists, by its whole name. false refuses "
        "such a request; models are then loaded by umad load alone.",
    ),
    Option(
        name="auto_pull",
        target=("auto_pull",),
        kind=SWITCH,
        help="A request that names a model which can be fetched has it fetched, and waits for it.",
        effect="It has to be somebody's who may pull, by a name of the catalogue or a reference. A "
        "slip of the pen may fetch gigabytes. It needs lazy_load.",
    ),
    Option(
        name="max_models",
        target=("max_models",),
        kind=whole(1, 64, unit="models", word="auto"),
        help="Most models loaded at once.",
        effect="One more makes that one leave which was used longest ago. auto is as many as "
        "memory holds.",
        shown=True,
    ),
)
PRELOAD = Option(
    name="preload",
    target=("preload",),
    kind=ValueKind(
        wants="a model's name or path, or a list of them",
        metavar="MODEL",
        unit="names or paths",
        read=TEXT.read,
    ),
    help="Models to load once the daemon is ready; may be given several times.",
    effect="The daemon does not wait for them, no other model leaves for them, and one that fails "
    "is only a line in the log.",
    example="[qwen3-coder-30b]",
)
KEEP = Option(
    name="keep_alive",
    target=("keep_alive",),
    kind=ValueKind(
        wants="a time such as 30m, -1 for ever, or a map of models to such times",
        metavar="TIME|YAML",
        unit="seconds; a number with s, m or h; -1 pins a model",
        read=KEEP_ALIVE.read,
        write=KEEP_ALIVE.write,
    ),
    help="How long a model stays loaded after its last use, as TIME or {pattern: TIME}.",
    effect="Shorter gives memory back sooner; the next request waits for a load. -1 pins a model: "
    "no other makes it leave. * and ? match, and the first pattern that fits decides. A model that "
    "was loaded at the start or by umad load stays until another needs its room, unless a pattern "
    "other than * fits it. Requests of Ollama's clients may say their own time.",
)

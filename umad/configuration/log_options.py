"""Lists the options of the log. A part of `umad.configuration.options`, in a file of its own."""

from umad.configuration.kinds import BYTES, PATH, SECONDS, SWITCH, choice
from umad.configuration.option import Option, nested_option

LEVELS = ("debug", "info", "warning", "error")

LOGGING: tuple[Option, ...] = (
    Option(
        name="log_level",
        target=("logging", "level"),
        kind=choice(*LEVELS),
        help="What is logged to stderr.",
        effect="debug says most, error least.",
        shown=True,
        alias="logging.level",
    ),
    Option(
        name="verbose",
        target=("logging", "verbose"),
        kind=SWITCH,
        help="Log what prompts and completions say.",
        effect="false keeps what users write out of the log, also out of unexpected errors.",
    ),
    nested_option(
        "logging",
        "scorecard_interval_s",
        SECONDS,
        "Time between rows of the scorecard.",
        "Shorter writes more rows to the log and to scorecard_csv.",
    ),
    nested_option(
        "logging",
        "scorecard_csv",
        PATH,
        "File that scorecard rows are appended to.",
        "Unset, rows stand in the log only.",
        example="/var/log/umad/scorecard.csv",
    ),
    nested_option(
        "logging",
        "file",
        PATH,
        "File that the log goes to instead of stderr.",
        "Set, nothing more is written to the terminal once the daemon has its socket.",
        example="~/umad.log",
    ),
    nested_option(
        "logging",
        "file_bytes",
        BYTES,
        "Length at which that file is begun anew.",
        "The last three are kept beside it, as FILE.1 to FILE.3.",
    ),
)

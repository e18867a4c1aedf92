"""Turns flags, `UMAD_…` variables and a YAML file into one frozen `umad.config.Settings`.

Not: the settings' values and defaults (`umad.config`), or the command line (`umad.cli.flags` makes
its flags from the options defined here).

    sources  `load`: decides which source wins, and refuses errors with their place
    options  every option once: name, kind, its place in `Settings`, its texts; http_options (the
             gateway's), limit_options, media_options, log_options, model_options and
             context_options are parts of it in files of their own
    option   Option: one of them
    sample   writes config/umad.yaml from that table
    shown    writes one option's value as a line of such a file
    kinds    the values an option accepts: read from text, written as text, and their unit
    meanings words that are accepted but mean less here: one line each at start
    refused  options of other servers that would change answers: refused, with the reason
    rules    lanes, rules of apps and times of models, the options with a structure of their own
    nodes    reads YAML nodes and suggests the nearest known name

Owner: none; called once at start, holds no state. Only `sources` reads a file.
"""

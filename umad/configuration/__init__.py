"""From flags, `UMAD_…` variables and a YAML file to one frozen `umad.config.Settings`.

Not: the settings' values and defaults (`umad.config`), or the command line (`umad.cli.flags` makes
its flags of the options told here).

    sources  `load`: which source wins, and what is refused, with its place
    options  every option once: name, kind, where it goes in `Settings`, its texts; those of
             http_options (the gateway's) and limit_options in files of their own
    option   Option: one of them
    sample   config/umad.yaml, written from that table
    kinds    the values an option accepts: read from text, written as text, and their unit
    meanings words that are accepted and mean less here: one line each at start
    rules    lanes and rules of apps, the two options with a structure of their own
    nodes    YAML nodes: where they stand, what they say, what is near a wrong name

Nobody's thread: called once at start, holds no state. Only `sources` reads a file.
"""

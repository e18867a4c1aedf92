"""The doctor: looks at this machine and this installation, and says what to mend and how.

    finding        Finding: what was looked at, how it is, and the command that mends it
    surroundings   Surroundings: the settings, environment and platform that checks look at
    examination    runs every check, each within a bound, and keeps the order

One module a subject, each with one function `check`:

    settings_check   the configuration can be read, and its models are there
    versions         the packages that umad needs, and their versions
    engine           llama.cpp: devices, structs, AMX that is advertised and does not work
    memory           the room there is, and how often programs wait for it
    bandwidth        what is remembered of the machine's read rate, against a probe now
    cores            threads against cores and performance cores
    socket_folder    the folder of the socket, its owner and permissions
    service          the daemon that runs, its models, what it gave up
    store            the models that umad keeps
    disk             room on the disks that umad writes to
    clocks           the time of day, and the clock that steps are measured with

    report           writes a file for a bug report, with nothing private in it
    privacy          the texts that such a file must not have, and their removal

The doctor mends nothing itself, starts no daemon and loads no model. What may kill a process runs
in a process of its own (`umad.engine.llamacpp.self_check`).
"""

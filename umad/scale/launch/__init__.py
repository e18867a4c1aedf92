"""Starts what a plan says on rented machines, on a team's own, or on this one.

SkyPilot rents, mounts and ends machines; HAProxy on the machine has TLS, keys and networks. This
package writes what they read, and keeps what was started. SkyPilot needs an older click than umad
can have, so it is a program with an environment of its own. umad starts it and imports none
of it.

    deployment      what somebody wants started, as values, checked
    budget          hours and money to a moment that ends it; cost of 1,000 tokens
    engine_line     the engine's command line on the machine
    box_proxy       HAProxy's configuration there
    sky_task        SkyPilot's task or service
    box_files       the files that the machine gets
    box             programs that run there: keeper and meter; the standard library alone
    keys            names, keys and their digests
    scrubbing       takes secrets out of what other programs print
    usage           tokens by key, from what the engine tells
    prices          what SkyPilot's optimiser says, as values
    sky_program     finds SkyPilot's Python and asks it
    sky_driver      what runs there: the only file that imports sky
    record          what is kept of one that was started, as values
    records         keeps them, in files of this user
    here            local mode: an engine as a process of this machine
    asking          asks a machine whether it is well, and for its usage
    tending         what is to be done with a deployment, from how it is; pure

No key is ever in a file that is rendered: the machine gets digests, by SkyPilot's secrets. Owner:
whoever calls. All block; only `sky_program`, `records`, `here` and `asking` touch the system.
"""

"""Makes umad a service of the operating system: launchd's on macOS, systemd's on Linux.

    job             Job: one daemon that the system is to keep running, as a command and variables
    status          ServiceStatus and ServiceManager: what is asked of any service manager
    launchd_plist   the property list of a job; pure
    systemd_units   the two units of a job, a socket and a service; pure
    launchd         carries out requests by launchctl
    systemd         carries out requests by systemctl
    own_files       writes and removes the files that umad has written, and no others
    programs        runs a program of the system, bounded
    choice          the service manager of this machine

The system restarts a daemon that died, and starts it again after a login. umad keeps no process for
that, so that there is nothing that could die instead. There are never two daemons of one user: the
lock beside the socket decides (`umad.daemon.socket_file`).

Not: the daemon's own part (`umad.daemon.activation`, `umad.daemon.notify`), nor the command line
(`umad.cli.service`). Owner of state: the operating system. A call blocks until its program ends.
"""

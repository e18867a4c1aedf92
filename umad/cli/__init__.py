"""The command line: words to service calls, events to text, errors to one line and an exit code.

Not: anything a daemon decides. Every command but `serve`, `demo` and `config` is one more client
of the socket.

    app          the root command, and `main`
    exits        error -> line on stderr and exit code; the one place that knows the codes
    connect      from a command's options to a connected client
    serve        serve (becomes the daemon)          config     config show, config check
    run          run: one prompt                     chat       run: a conversation
    running      ps, cancel, priority                models     load, unload
    metrics      metrics                             demo       demo, with demo_apps, demo_view

Owner: the process's main thread.
"""

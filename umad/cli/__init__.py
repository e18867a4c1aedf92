"""Runs the command line: words to service calls, events to text, errors to a line and an exit code.

Not: decisions, which are the daemon's. Every command but `serve`, `demo`, `config`, `estimate`,
`node`, `quantize`, `router`, `scale`, `service` and those that look at models on the disk is one
more client of the socket.

    app          the root command, and `main`        commands   every command's words and help;
                                                     model_commands: those about models on the disk
                                                     service_commands: those of umad service
                                                     editor_commands: those that editors start
                                                     scale_commands: those about other engines
                                                     router_commands: umad router, umad node
                                                     speech_commands: umad transcribe
    exits        error -> line on stderr and exit code; the one place that knows the codes
    connect      a connected client                  printed    safe names and texts
    flags        one flag per option of the configuration   sampling_flags  those of drawing
    tables       tables and figures as every command prints them
    serve        serve (becomes the daemon)          gateway    gateway (HTTP in front of one)
    run          run: one prompt (stream: to stdout) chat       run: a conversation
    talk         its turns, settings and /commands   typed      what a person types or pastes
    piped        text that is piped in               answer_form  --format
    running      ps, cancel, priority, forget                models     load, unload
    here         the library of this machine         stored     ls, rm, cp, verify; shown: show
    transcribe   transcribe: what is said in a file
    search       search                              pull       pull
    jobs         jobs                                following  how far a pull or a job is, shown
    estimate     estimate                            quantize   quantize
    scale        scale plan                          router     umad router
    scale_launch  scale launch: on a rented machine  scale_here  with --local, on this one
    scale_running  scale status, down, watch
    node         umad node
    metrics      metrics                             config     config show, check, example
    top          top, a package: the only part that imports Textual
    completion   completion, and its answers to a shell; known_names: the names that it offers
    manual       the manual page, made from the commands
    doctor       doctor, report                      service    service install, status, …
    editors      lsp, acp
    bench        bench                               launch     launch; agents: settings of each
    agent_files  what programs need that take an address only from a file
    demo         demo: demo_app and demo_report in processes of their own, demo_view for the screen
    parent       ends a process together with the one that started it
    wakeup       Ctrl-C is heard by a loop that is about to sleep

Owner: the process's main thread.
"""

"""Is an agent for editors that speak the Agent Client Protocol: `umad acp`, over stdin and stdout.

    serving    the process: streams, the agent, its end
    lines      the editor's messages, and those that are none
    agent      the protocol's methods: sessions, prompts, modes, cancelling
    turn       one prompt: the model answers and calls tools until it has said what it had to
    tools      the tools, which the editor carries out, each behind its permission
    terminals  commands in the editor's terminals, and their end
    sessions   conversations: in memory, and in files of this user alone
    content    what an editor puts into a prompt, as text, images and sounds
    senses     what the model sees and hears

The editor reads and writes files and runs commands; this process does none of it, and asks the
editor's user before each, unless the session's mode says otherwise. It is a client of the socket
and nothing more. Not: the messages' types and answers (the package `acp`).
State belongs to the process's one event loop.
"""

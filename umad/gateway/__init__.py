"""Serves HTTP to clients that do not speak umad's socket: several dialects in front of one core.

The gateway is a process of its own (`umad gateway`, started by `umad serve --http`) and one more
client of the socket. It knows `umad.service` and the client behind that, and nothing of engines,
lanes or KV. It may be killed and started again without effect on the socket's other clients.

    app         puts the ASGI application together from endpoints
    dialect     how one family of clients is spoken to
    endpoint    a row of a dialect's table: one method of one path, and its handler
    gateway_call  one HTTP request inside a handler: its body, its caller, its generations
    field_names  names the fields of errors as the body has them
    dispatch    takes one HTTP request from the door to its log line; cancels the handler when
                the client leaves
    arriving    reads the whole body of a request, within limits of size and time
    replies     splits a chat's answer into content, reasoning and tool calls
    aliases     local models by names that agents have built in; presets: those that stand for a
                model with a system prompt, sampling and a lane
    recordings  hands recordings to the daemon
    written_files  images and sounds as dialects write them; marked_prompts: at marks in a prompt
    remote/     fetches those that are named by an address, where that is allowed
    vectors     writes vectors as JSON, one row at a time
    generation  opens, iterates and closes one generation of the daemon, in every state
    sse         streams: headers at once, keep-alive while no token comes
    errors      maps each error to a status and a kind; each dialect gives them its shape
    door/       decides who may come in and under which name: connections (reading: their
                bytes), keys, hosts and origins (cross_origin: their headers), quotas, places
    bodies/     pydantic models of requests and answers, a file per dialect
    dialects/   a file per family of endpoints
    listening   lets the log (text_log), traces (spans, otel) and quotas (metering) hear a
                generation
    unrouted    refuses unknown paths and methods; near_path finds the path that was meant
    file_time   when a model's file was written, as lists tell it
    model_entries  a model as an entry of a list, for the clients of every dialect
    following   follows jobs for clients that want a stream
    watchers    the streams that tell of changes, which end with the gateway
    serving     the process: listening socket, uvicorn, signals

Not: chat templates, tools, reasoning or grammars, which belong to the engine; nor the choice of a
request's lane, which belongs to the daemon. The gateway logs prompt text only if `UMAD_VERBOSE`
asks for it. Owner of all state: the process's one event loop; the SQLite store of responses works
on a thread of its own.
"""

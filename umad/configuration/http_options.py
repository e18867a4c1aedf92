"""Lists the options of the HTTP gateway. A part of the table in `options`. Pure."""

from umad.configuration.kinds import (
    BYTES,
    LISTEN,
    METRIC_PREFIX,
    ORIGIN,
    PATH,
    SECONDS,
    SWITCH,
    TEXT,
    count,
)
from umad.configuration.option import Option, gateway_option

HTTP: tuple[Option, ...] = (
    Option(
        name="http",
        target=("http", "listen"),
        kind=LISTEN,
        help="Where the HTTP gateway listens.",
        effect="off starts no gateway. 127.0.0.1:8080 serves this machine; an address others can "
        "reach needs api_key_file.",
        shown=True,
    ),
    Option(
        name="api_key_file",
        target=("http", "api_key_file"),
        kind=PATH,
        help="Keys that HTTP clients need, one a line or YAML with names and lanes.",
        effect="Set, a request without one of its keys is refused.",
        example="~/.config/umad/keys.yaml",
        shown=True,
    ),
    gateway_option(
        "all_users",
        SWITCH,
        "Other users of this machine need no key, either.",
        "true lets every user and container here use the models, each seeing only what is its own. "
        "false lets in processes of the user who runs umad, and root's.",
    ),
    gateway_option(
        "exposed",
        SWITCH,
        "Listen beyond this machine without any key.",
        "true lets everybody who reaches the address use the models, each seeing only what is its "
        "own; loading by path, unloading and metrics stay with this machine's user.",
    ),
    gateway_option(
        "team",
        PATH,
        "Folder with the certificates of a team: HTTPS for its router alone.",
        "Set, the gateway speaks TLS with own.pem, and only the router comes in: a client with a "
        "certificate of the team's authority (ca.pem) that may ask. The router's clients need keys "
        "where api_key_file is set, and are users otherwise, one for each address.",
        example="~/.config/umad/node",
    ),
    gateway_option(
        "router",
        PATH,
        "Folder of a team's router, on this machine: requests go to the team's machines.",
        "Set, `umad gateway` asks no daemon. Keys and quotas are looked at before a machine is "
        "chosen, and an answer whose machine dies goes on at another one with the same model.",
        example="~/.config/umad/router",
    ),
    gateway_option(
        "open_load",
        SWITCH,
        "GET /metrics/load needs no key.",
        "true tells everybody who reaches the gateway how many requests wait and run and how full "
        "the cells are, for pickers of endpoints, which have no key. false: there is no such page.",
    ),
    gateway_option(
        "load_prefix",
        METRIC_PREFIX,
        "What stands before a second set of the same three gauges.",
        'Under "vllm:" they are called as in vLLM (vllm:num_requests_waiting, '
        "vllm:num_requests_running, vllm:kv_cache_usage_perc), so a picker takes umad for it.",
        example='"vllm:"',
    ),
    gateway_option(
        "connections",
        count("connections"),
        "HTTP connections open at once.",
        "One more closes the connection that has been idle longest.",
    ),
    gateway_option(
        "head_s",
        SECONDS,
        "How long a request's head may take to arrive.",
        "A slower head is answered with 408 and closed.",
    ),
    gateway_option(
        "idle_s",
        SECONDS,
        "How long an HTTP connection may idle between requests.",
        "Shorter than a client keeps its own makes it send into closed connections.",
    ),
    gateway_option(
        "body_bytes",
        BYTES,
        "Largest HTTP body.",
        "A larger one is refused with 413.",
    ),
    gateway_option(
        "body_s",
        SECONDS,
        "How long an HTTP body may take to arrive.",
        "A slower one is refused with 408.",
    ),
    gateway_option(
        "concurrency",
        count("requests"),
        "HTTP requests worked on at once.",
        "One more is refused with 429.",
    ),
    gateway_option(
        "keep_alive_s",
        SECONDS,
        "Longest silence of an HTTP stream.",
        "After it the dialect's own ping is sent, so that proxies do not hang up.",
    ),
    gateway_option(
        "settle_s",
        SECONDS,
        "How long a stream's status waits for a bad prompt.",
        "Longer turns more late errors into a proper status; streams may begin later. Long prompts "
        "have up to five seconds more.",
    ),
    gateway_option(
        "fenced_calls",
        SWITCH,
        "A fenced block of JSON that is a tool call counts as one.",
        "Small models write calls this way. It counts if it has the name of a tool on offer and "
        "arguments that fit its schema. false leaves it text.",
    ),
    gateway_option(
        "store",
        PATH,
        "File that responses are kept in.",
        "Where /v1/responses keeps answers for previous_response_id. Unset, it is "
        "responses.sqlite3 in umad's cache folder.",
        example="~/.local/state/umad/responses.sqlite3",
    ),
    gateway_option(
        "store_bytes",
        BYTES,
        "How much of responses is kept.",
        "Beyond it the oldest go.",
    ),
)
HTTP_LISTS: tuple[Option, ...] = (
    Option(
        name="cors_origin",
        target=("http", "cors_origins"),
        kind=ORIGIN,
        help="Web pages and apps that may use the gateway; may be given several times.",
        effect="A page of another origin, be it on localhost, is refused. A * stands for the "
        "beginning of a host (https://*.example.org), for a whole host (app://*), for a port "
        "(http://localhost:*), or, alone, for every page. Without keys a page sees only what it "
        "asked for itself.",
        example="[https://example.org, app://obsidian.md]",
        shown=True,
    ),
    Option(
        name="gateway.hosts",
        target=("http", "hosts"),
        kind=TEXT,
        help="Host names the gateway answers to besides this machine's own.",
        effect="A request under another name is refused, which stops DNS rebinding.",
        example="[llm.example.org]",
    ),
)

"""Writes the configuration of the HAProxy that stands before an engine on a machine. Pure.

What the text makes sure of:
    - Only addresses of the allowed networks get as far as TLS. In a team, only who has the router's
      certificate does.
    - Every path needs a key, but for `/health`. A path that is not listed is refused, whoever asks:
      engines have paths that stop them, load weights or run anything (`/invocations`,
      `/update_weights_from_disk`, `/collective_rpc`).
    - The engine never sees a key. It is told the key's name.
    - The router's own gateway needs no key where its certificate was seen: its mark is believed.
    - Requests are not logged, and none is sent twice.
HAProxy 2.4 or later: Ubuntu 22.04 has it, which most clouds' machines run.
"""

import re
from dataclasses import dataclass

from umad.errors import BadRequest
from umad.scale.launch.engine_line import ENGINE_PORT, KEY_LABEL

# What clients of the three dialects ask, at vLLM and SGLang.
PATHS = (
    "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages",
    "/v1/messages/count_tokens", "/v1/models", "/v1/rerank", "/v1/responses", "/v1/score",
    "/tokenize", "/detokenize",
)  # fmt: skip
# Asked by whoever watches, so they do not keep a machine from being idle.
WATCHED = ("/health", "/metrics", "/umad/usage")
# HAProxy reads $, % and quotes; none of the paths that umad writes has them.
_PATH = re.compile(r"[A-Za-z0-9_./~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxProxy:
    """Where things are on the machine."""

    # A folder for the admin socket and the map of keys, which only its user may enter.
    run_folder: str
    # Certificate and key in one file; None is plain HTTP, behind SkyServe's balancer.
    certificate: str | None
    # The team's authority; None where clients need no certificate.
    authority: str | None
    port: int
    networks: tuple[str, ...] = ()
    engine_port: int = ENGINE_PORT
    # "" is every address of the machine.
    host: str = ""

    @property
    def keys_path(self) -> str:
        """The map from digests to names. The keeper writes it from a secret."""
        return f"{self.run_folder}/keys.map"

    @property
    def admin_path(self) -> str:
        """HAProxy's admin socket, of which the keeper asks how busy the engine is."""
        return f"{self.run_folder}/admin.sock"


def render(proxy: BoxProxy) -> str:
    """The whole file."""
    for path in (proxy.run_folder, proxy.certificate, proxy.authority):
        if path is not None and not _PATH.fullmatch(path):
            raise BadRequest(f"{path[:80]!r} is no path that HAProxy takes", field="path")
    return "\n".join(
        [
            "# Written by umad; changes are lost.",
            *_section(
                "global",
                "log stderr format raw local0 notice",
                f"stats socket {proxy.admin_path} mode 600 level operator",
                "maxconn 4096",
                "hard-stop-after 30s",
                "ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets",
            ),
            *_section(
                "defaults",
                "mode http",
                "log global",
                "option http-no-delay",
                "option abortonclose",
                "retries 0",
                "timeout connect 5s",
                # A long prompt is silent until its first token.
                "timeout client 900s",
                "timeout server 900s",
                "timeout http-request 10s",
                "timeout http-keep-alive 60s",
                "timeout queue 60s",
            ),
            *_section("frontend front", *_front(proxy)),
            # Apart, so that watching does not count as use.
            *_section("backend watched", f"server engine 127.0.0.1:{proxy.engine_port}"),
            *_section("backend engine", f"server engine 127.0.0.1:{proxy.engine_port}"),
        ]
    )


def _front(proxy: BoxProxy) -> list[str]:
    lines = [_bind(proxy)]
    if proxy.networks:
        lines.append(
            "tcp-request connection reject unless { src " + " ".join(proxy.networks) + " }"
        )
    lines += [
        "http-request deny deny_status 403 unless { path " + " ".join((*PATHS, *WATCHED)) + " }",
        "http-request del-header x-umad-key",
        "http-request del-header x-custom-labels",
        "acl is_watched path " + " ".join(WATCHED),
        _set("credential", "req.fhdr(authorization)"),
        # Clients of Anthropic's dialect.
        _set("other", "req.fhdr(x-api-key)"),
        _set("credential", "str('Bearer '),concat(,txn.other)", "{ req.fhdr(x-api-key) -m found }"),
        _set("key", f"var(txn.credential),sha2(256),hex,lower,map_str({proxy.keys_path})"),
    ]
    if proxy.authority is not None:
        # It has looked at its clients' keys itself; the router takes its mark from all others.
        lines.append(_set("key", "str(team)", "{ req.hdr(x-umad-front) 1 }"))
    lines += [
        "http-request deny deny_status 401 unless { path /health } || { var(txn.key) -m found }",
        "http-request del-header authorization",
        "http-request del-header x-api-key",
        "http-request set-header x-umad-key %[var(txn.key)]",
        f'http-request set-header x-custom-labels \'{{"{KEY_LABEL}":"%[var(txn.key)]"}}\'',
        "use_backend watched if is_watched",
        "default_backend engine",
    ]
    return lines


def _bind(proxy: BoxProxy) -> str:
    bind = f"bind {proxy.host}:{proxy.port}"
    if proxy.certificate is None:
        return bind
    bind += f" ssl crt {proxy.certificate} alpn h2,http/1.1"
    if proxy.authority is not None:
        bind += f" ca-file {proxy.authority} verify required"
    return bind


def _set(name: str, expression: str, condition: str = "") -> str:
    line = f"http-request set-var(txn.{name}) {expression}"
    return f"{line} if {condition}" if condition else line


def _section(head: str, *lines: str) -> list[str]:
    return [head, *(f"    {line}" for line in lines), ""]

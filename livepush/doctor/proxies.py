"""Remedies for proxies other than nginx, whose directives are in ``problems``."""

from __future__ import annotations

from typing import NamedTuple

from livepush.doctor.problems import Problem


class Remedies(NamedTuple):
    """What to write, or to look for, in the configuration of each proxy."""

    apache: str
    haproxy: str
    varnish: str
    caddy: str
    traefik: str


NAMES = Remedies("Apache", "HAProxy", "Varnish", "Caddy", "Traefik")

_HOST = Remedies(
    "`ProxyPreserveHost On`",
    "no `http-request set-header Host`",
    "no `.host_header` in the backend, and no `set bereq.http.Host`",
    "no `header_up Host`",
    "`passHostHeader: true`",
)

REMEDIES: dict[Problem, Remedies] = {
    Problem.HOST_REFUSED: _HOST,
    Problem.HOST_CHANGED: _HOST,
    Problem.TAKEN_FOR_HTTP: Remedies(
        "`RequestHeader set X-Forwarded-Proto expr=%{REQUEST_SCHEME}`",
        "`http-request set-header X-Forwarded-Proto https if { ssl_fc }`",
        "have what ends TLS set `X-Forwarded-Proto`",
        "`trusted_proxies` if another proxy is in front",
        "`forwardedHeaders.trustedIPs` if another proxy is in front",
    ),
    Problem.NO_HTTP2: Remedies(
        "`Protocols h2 http/1.1` with `mod_http2`",
        "`bind :443 ssl crt … alpn h2,http/1.1`",
        "have what ends TLS offer it",
        "no `protocols` without `h2`",
        "no `alpnProtocols` without `h2`",
    ),
    Problem.BUFFERED: Remedies(
        "no `mod_buffer` and no filter for livepush's prefix",
        "no filter for livepush's prefix",
        "`return (pipe);` in `vcl_recv` for livepush's prefix",
        "`flush_interval -1`",
        "no `buffering` middleware",
    ),
    Problem.COMPRESSED: Remedies(
        '`SetEnvIf Request_URI "^/livepush/" no-gzip no-brotli`',
        "no `text/event-stream` in `compression type`",
        "`set beresp.do_gzip = false;`",
        "no `encode` for livepush's prefix",
        "`excludedContentTypes: [text/event-stream]` in the `compress` middleware",
    ),
    Problem.HEADERS_LOST: Remedies(
        "no `Header` and no `ExpiresActive` for livepush's prefix",
        "no `http-response set-header` and no `del-header`",
        "`return (pipe);` in `vcl_recv` for livepush's prefix",
        "no `header` for livepush's prefix",
        "no `headers` middleware",
    ),
    Problem.IDLE_CUT: Remedies(
        "`ProxyTimeout 60`",
        "`timeout client 60s` and `timeout server 60s`",
        "`between_bytes_timeout` and `pipe_timeout` of 60 s or more",
        "no `read_timeout` and no `write_timeout` below 60 s",
        "`respondingTimeouts.writeTimeout: 0`",
    ),
    Problem.NO_UPGRADE: Remedies(
        "`ProxyPass … upgrade=websocket` (2.4.47 or newer)",
        "no `http-request del-header Upgrade`, and `timeout tunnel 1h`",
        "`return (pipe);` in `vcl_recv`, and `set bereq.http.Upgrade = req.http.Upgrade;` in `vcl_pipe`",
        "no `header_up -Upgrade`",
        "no `headers` middleware that removes `Upgrade`",
    ),
}


def remedy(problem: Problem) -> str:
    """Return a problem's remedy, with a line for each other proxy that has one of its own."""
    others = REMEDIES.get(problem)
    if others is None:
        return problem.remedy
    return "\n".join([problem.remedy, *(f"{name}: {text}" for name, text in zip(NAMES, others, strict=True))])

"""The proxies, each configured as somebody would who knows it well: keep-alive pools towards the upstream, TLS session
reuse, verified certificates, one thread, one buffer-friendly access log or none.

A peer is a function from a `Setup` to the command that runs it in the foreground; it writes its files into the setup's
folder. What is measured, and in which workloads a peer takes part, is in workloads.py.
"""

import base64
import dataclasses
import json
import os
import pathlib

import machine
from origin import HERE, KEY, LUA, MODULES, NAME, TOKEN, Origin, modules, temporary

CONNECTIONS = 8192  # slots for workers, everywhere


@dataclasses.dataclass
class Setup:
    """One start of one peer."""

    folder: pathlib.Path
    origin: Origin
    programs: dict  # name of a peer to its binary
    kind: str  # bearer, h2, hmac, mtls, intercept, routes, secrets
    log: bool = False
    many: int = 0  # routes or secrets
    port: int = 0

    def __post_init__(self):
        self.port = machine.free_port()
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def upstream(self):
        return self.origin.ports[{"h2": "h2", "mtls": "mtls", "hmac": "hmac"}.get(self.kind, "h1")]

    @property
    def ca(self):
        return self.origin.folder / "ca.crt"

    def pair(self, end):
        return self.origin.folder / f"client.{end}"

    def write(self, name, text):
        path = self.folder / name
        if "/" in name:
            path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", opener=lambda file, flags: os.open(file, flags, 0o600)) as out:
            out.write(text)
        return path


def host(many):
    """The Host that a workload asks for: with many, the last."""
    return f"r{many - 1}.bench.example" if many else NAME


def nginx(s):
    extra, preamble = "", modules(*LUA) if s.kind == "hmac" else ""
    location = f'proxy_set_header Authorization "Bearer {TOKEN}";'
    if s.kind == "hmac":
        extra = f'lua_package_path "{HERE}/?.lua;;";'
        location = f"""set $time ""; set $signature "";
rewrite_by_lua_block {{ ngx.req.read_body()
  local var, time = ngx.var, tostring(ngx.time())
  var.time = time
  var.signature = require("sign").signature("{KEY}", time, ngx.req.get_method(), var.request_uri, ngx.req.get_body_data() or "") }}
proxy_set_header X-Timestamp $time; proxy_set_header X-Signature $signature;"""
    if s.many:  # one hash for all hosts: a server block or location each would cost hundreds of MiB
        entries = "".join(f'r{i}.bench.example "Bearer {TOKEN}-{i}";\n' for i in range(s.many))
        extra = f'map_hash_max_size {max(2048, 4 * s.many)}; map_hash_bucket_size 128;\nmap $host $authorization {{ default "";\n{entries} }}'
        location = 'if ($authorization = "") { return 421; } proxy_set_header Authorization $authorization;'
    certificate = f"proxy_ssl_certificate {s.pair('crt')}; proxy_ssl_certificate_key {s.pair('key')};" if s.kind == "mtls" else ""
    access = "off"
    if s.log:
        extra += "\nlog_format line '$time_iso8601 $remote_addr $host \"$request_method $uri\" $status $request_length $bytes_sent $request_time $upstream_response_time';"
        access = f"{s.folder}/access.log line buffer=64k flush=1s"
    path = s.write("nginx.conf", f"""{preamble}
daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 16000; pid {s.folder}/pid; error_log {s.folder}/error.log;
events {{ worker_connections {CONNECTIONS}; }}
http {{
{temporary(s.folder)}{extra}
access_log {access}; tcp_nodelay on; keepalive_timeout 1h; keepalive_requests 1000000000; client_max_body_size 0;
upstream origin {{ server 127.0.0.1:{s.upstream}; keepalive 256; keepalive_requests 1000000000; keepalive_timeout 1h; }}
server {{
  listen 127.0.0.1:{s.port} backlog=4096;
  proxy_http_version 1.1;
  proxy_request_buffering {"on" if s.kind == "hmac" else "off"}; proxy_max_temp_file_size 0;
  proxy_ssl_server_name on; proxy_ssl_name {NAME}; proxy_ssl_verify on; proxy_ssl_trusted_certificate {s.ca}; proxy_ssl_protocols TLSv1.3;
  proxy_ssl_session_reuse on; {certificate}
  location / {{
    # All headers at this level: one that is set here hides those of the levels above.
    proxy_set_header Connection ""; proxy_set_header Host $http_host; {location}
    proxy_pass https://origin;
  }}
}} }}
""")
    return ["nginx", "-p", s.folder, "-e", s.folder / "error.log", "-c", path]


def haproxy(s):
    rules = [f'http-request set-header Authorization "Bearer {TOKEN}"']
    if s.kind == "hmac":
        key = base64.b64encode(KEY.encode()).decode()
        rules = ["option http-buffer-request",
                 "http-request set-var(txn.time) date", "http-request set-var(txn.method) method", "http-request set-var(txn.target) pathq",
                 "http-request set-var(txn.body) req.body,sha2(256),hex,lower",
                 "http-request set-header X-Timestamp %[var(txn.time)]",
                 f"http-request set-header X-Signature %[var(txn.time),concat(\\n,txn.method),concat(\\n,txn.target),concat(\\n,txn.body),hmac(sha256,{key}),hex,lower]"]
    if s.many:
        path = s.write("routes.map", "".join(f"r{i}.bench.example {TOKEN}-{i}\n" for i in range(s.many)))
        rules = [f"http-request set-var(txn.token) req.hdr(host),map_str({path})",
                 "http-request deny deny_status 421 unless { var(txn.token) -m found }",
                 'http-request set-header Authorization "Bearer %[var(txn.token)]"']
    certificate = f"crt {s.pair('pem')}" if s.kind == "mtls" else ""
    text = "\n  ".join(rules)
    path = s.write("haproxy.cfg", f"""global
  nbthread 1
  maxconn {CONNECTIONS}
  {"log stdout format raw local0" if s.log else ""}
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  option http-keep-alive
  http-reuse always
  {"log global" if s.log else ""}
  {"option httplog" if s.log else ""}
frontend workers
  bind 127.0.0.1:{s.port} backlog 4096
  {text}
  default_backend origin
backend origin
  server origin 127.0.0.1:{s.upstream} ssl verify required ca-file {s.ca} verifyhost {NAME} sni str({NAME}) ssl-min-ver TLSv1.3 alpn {"h2" if s.kind == "h2" else "http/1.1"} pool-max-conn 256 {certificate}
""")
    return ["haproxy", "-db", "-f", path]


def envoy(s):
    api = "type.googleapis.com/envoy.extensions"

    def site(name, domains, token):
        return {"name": name, "domains": domains, "routes": [{
            "match": {"prefix": "/"}, "route": {"cluster": "origin", "timeout": "0s"},
            "request_headers_to_add": [{"header": {"key": "Authorization", "value": f"Bearer {token}"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]}]}
    sites = [site(f"r{i}", [f"r{i}.bench.example"], f"{TOKEN}-{i}") for i in range(s.many)] or [site("all", ["*"], TOKEN)]
    manager = {"@type": f"{api}.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "workers",
               "generate_request_id": False, "stream_idle_timeout": "0s", "route_config": {"virtual_hosts": sites},
               "common_http_protocol_options": {"idle_timeout": "3600s"},
               "http_filters": [{"name": "router", "typed_config": {"@type": f"{api}.filters.http.router.v3.Router", "suppress_envoy_headers": True}}]}
    if s.log:
        manager["access_log"] = [{"name": "file", "typed_config": {"@type": f"{api}.access_loggers.file.v3.FileAccessLog", "path": f"{s.folder}/access.log"}}]
    tls = {"tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
           "validation_context": {"trusted_ca": {"filename": str(s.ca)}, "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": NAME}}]}}
    if s.kind == "mtls":
        tls["tls_certificates"] = [{"certificate_chain": {"filename": str(s.pair("crt"))}, "private_key": {"filename": str(s.pair("key"))}}]
    many = {"max_connections": 20000, "max_pending_requests": 20000, "max_requests": 20000}
    cluster = {"name": "origin", "type": "STATIC", "connect_timeout": "5s", "circuit_breakers": {"thresholds": [many]},
               "typed_extension_protocol_options": {f"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                   "@type": f"{api}.upstreams.http.v3.HttpProtocolOptions",
                   "explicit_http_config": {"http2_protocol_options": {}} if s.kind == "h2" else {"http_protocol_options": {}}}},
               "transport_socket": {"name": "tls", "typed_config": {
                   "@type": f"{api}.transport_sockets.tls.v3.UpstreamTlsContext", "sni": NAME, "common_tls_context": tls}},
               "load_assignment": {"cluster_name": "origin", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
                   "socket_address": {"address": "127.0.0.1", "port_value": s.upstream}}}}]}]}}
    path = s.write("envoy.json", json.dumps({"static_resources": {"clusters": [cluster], "listeners": [{
        "name": "workers", "address": {"socket_address": {"address": "127.0.0.1", "port_value": s.port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}]}}))
    return [s.programs["envoy"], "-c", path, "--concurrency", "1", "-l", "error", "--disable-hot-restart"]


def bare(s):
    command = [s.programs["bare"], "--listen", f"127.0.0.1:{s.port}", "--upstream", f"127.0.0.1:{s.upstream}", "--name", NAME,
               "--ca", s.ca, "--token", s.write("token", TOKEN)]
    if s.kind == "mtls":
        command += ["--cert", s.pair("crt"), "--key", s.pair("key")]
    return command + (["--h2"] if s.kind == "h2" else [])


def mitmproxy(s):
    return [s.programs["mitmproxy"], "-q", "--listen-host", "127.0.0.1", "-p", s.port, "--set", f"confdir={s.folder}",
            "--set", f"ssl_verify_upstream_trusted_ca={s.ca}", "--set", "connection_strategy=lazy", "--set", "http2=false",
            "--map-remote", f"|https://{NAME}/|https://127.0.0.1:{s.upstream}/", "--modify-headers", f"/~q/Authorization/Bearer {TOKEN}"]


def countersign(s):
    s.write("secrets/ca.crt", s.ca.read_text())
    tls, credential = f'ca = "ca.crt"\nserver_name = "{NAME}"\n', 'bearer = { secret = "token" }\n'
    if s.kind == "mtls":
        for end in ("crt", "key"):
            s.write(f"secrets/client.{end}", s.pair(end).read_text())
        tls += 'client_cert = "client.crt"\nclient_key = "client.key"\n'
    if s.kind == "hmac":
        s.write("secrets/key", KEY)
        credential = ('hmac = { secret = "key", sign = "{timestamp}\\n{method}\\n{target}\\n{body|sha256|hex}", '
                      'set = { "X-Timestamp" = "{timestamp}", "X-Signature" = "{signature}" } }\n')
    elif not s.many:
        s.write("secrets/token", TOKEN)

    def route(name, address, credential_name, more=""):
        return (f'[[route]]\nname = "{name}"\nhost = "{address}"\nupstream = "https://127.0.0.1:{s.upstream}"\n'
                f'credential = "{credential_name}"\n{more}[route.tls]\n{tls}')
    if s.kind == "routes":
        parts = []
        for i in range(s.many):
            s.write(f"secrets/r{i}", f"{TOKEN}-{i}")
            parts.append(f'[credential.r{i}]\nbearer = {{ secret = "r{i}" }}\n' + route(f"r{i}", f"r{i}.bench.example", f"r{i}"))
        body = "\n".join(parts)
    elif s.kind == "secrets":
        for i in range(s.many):
            s.write(f"secrets/shops/r{i}", f"{TOKEN}-{i}")
        body = '[credential.origin]\nbearer = { secret = "shops/{tenant}" }\n' + route("origin", "{shop}.bench.example", "origin", 'tenant = "{shop}"\n')
    else:
        body = f"[credential.origin]\n{credential}" + route("origin", NAME, "origin")
    intercept = '[intercept]\ndir = "public"\nephemeral = true\n' if s.kind == "intercept" else ""
    path = s.write("proxy.toml", f"""[listen]
proxy = ["127.0.0.1:{s.port}"]
admin = "off"
[secrets]
dir = "secrets"
[runtime]
threads = 1
[log]
access = "{"on" if s.log else "off"}"
{intercept}{body}""")
    return [s.programs["countersign"], "run", "-c", path]


ALL = {"nginx": nginx, "haproxy": haproxy, "envoy": envoy, "bare": bare, "mitmproxy": mitmproxy, "countersign": countersign}
CA_OF_INTERCEPTION = {"mitmproxy": "mitmproxy-ca-cert.pem", "countersign": "public/countersign-ca.crt"}

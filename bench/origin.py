"""The upstream of every workload: nginx with TLS on loopback, which refuses a wrong or missing credential with 401.

Also the certificates, made with openssl. Who talks to it and how it is loaded is elsewhere.
"""

import pathlib
import subprocess
import time
import urllib.request
import ssl

import machine

HERE = pathlib.Path(__file__).resolve().parent
MODULES = pathlib.Path("/usr/lib/nginx/modules")
NAME = "origin.bench.example"
TOKEN = "bench-4f1d2c9a7be04e5f9b1c6d7788aa0011"
KEY = "bench-hmac-key-0123456789abcdef0"
ANSWER = 1024
BLOB = 10 * 2**20
MANY = (10, 10_000, 100_000)  # of routes and secrets: the token of the last one is TOKEN-<number>


def certificates(folder):
    """ca.crt, server.crt/.key, client.crt/.key and client.pem (both in one file), all on P-256."""
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=Bench CA",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    for who, usage, names in [("server", "serverAuth", f"DNS:{NAME},DNS:*.bench.example,IP:127.0.0.1"), ("client", "clientAuth", "DNS:worker")]:
        (folder / f"{who}.ext").write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\nextendedKeyUsage={usage}\n")
        openssl("req", *new, "-keyout", f"{who}.key", "-out", f"{who}.csr", "-subj", f"/CN={who}")
        openssl("x509", "-req", "-in", f"{who}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", f"{who}.ext", "-out", f"{who}.crt")
    (folder / "client.pem").write_text((folder / "client.crt").read_text() + (folder / "client.key").read_text())


def modules(*names):
    return "".join(f"load_module {MODULES}/{name}_module.so;\n" for name in names)


LUA = ("ndk_http", "ngx_http_lua")


def temporary(folder):
    return "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])


class Origin:
    """Ports by what they speak: h1, h2 (offers both by ALPN), mtls (wants a client certificate), hmac (wants signatures)."""

    def __init__(self, folder, core):
        self.folder = folder
        folder.mkdir(parents=True)
        certificates(folder)
        (folder / "blob").write_bytes(bytes(range(256)) * (BLOB // 256))
        self.ports = {name: machine.free_port() for name in ["h1", "h2", "mtls", "hmac"]}
        (folder / "nginx.conf").write_text(self._configuration())
        self.process = machine.Process(["nginx", "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"], folder, core)
        self._check()

    def _configuration(self):
        tokens = "".join(f'"Bearer {token}" 1;\n' for token in [TOKEN, *(f"{TOKEN}-{n - 1}" for n in MANY)])
        answer = '{"ok":true,"text":"' + "x" * (ANSWER - 21) + '"}'
        guard = 'if ($known = 0) { return 401 "who are you"; }'
        plain = f"""
location / {{ {guard} return 200 '{answer}'; }}
location = /blob {{ {guard} root {self.folder}; }}
location = /upload {{ {guard} content_by_lua_block {{
    ngx.req.read_body() local body = ngx.req.get_body_data() or "" ngx.header.content_length = 8 ngx.print(string.format("%8d", #body)) }} }}"""
        signed = f"""
location / {{ access_by_lua_block {{
    ngx.req.read_body()
    local var = ngx.var
    local time, signature = var.http_x_timestamp, var.http_x_signature
    if not time or not signature or math.abs(ngx.time() - tonumber(time)) > 300
       or require("sign").signature("{KEY}", time, ngx.req.get_method(), var.request_uri, ngx.req.get_body_data() or "") ~= signature
    then return ngx.exit(401) end }}
  content_by_lua_block {{ ngx.header.content_length = {len(answer)} ngx.print('{answer}') }} }}"""

        def server(name, flags, extra, locations):
            return (f"server {{ listen 127.0.0.1:{self.ports[name]} ssl {flags} backlog=4096; server_name _; {extra}\n{locations}\n}}\n")
        demand = f"ssl_client_certificate {self.folder}/ca.crt; ssl_verify_client on;"
        return f"""{modules(*LUA)}
daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 16000; pid {self.folder}/pid;
events {{ worker_connections 8192; }}
http {{
{temporary(self.folder)}
access_log off; sendfile on; tcp_nodelay on; default_type application/json; lua_package_path "{HERE}/?.lua;;";
map_hash_bucket_size 128; keepalive_timeout 1h; keepalive_requests 1000000000; http2_max_concurrent_streams 256;
client_max_body_size 0; client_body_buffer_size 11m;
ssl_certificate {self.folder}/server.crt; ssl_certificate_key {self.folder}/server.key;
ssl_protocols TLSv1.3; ssl_session_cache shared:sessions:4m; ssl_session_tickets on;
map $http_authorization $known {{ default 0;
{tokens} }}
{server("h1", "", "", plain)}{server("h2", "http2", "", plain)}{server("mtls", "", demand, plain)}{server("hmac", "", "", signed)}
}}
"""

    def status(self, path="/", port="h1", headers=None):
        context = ssl.create_default_context(cafile=self.folder / "ca.crt")
        request = urllib.request.Request(f"https://127.0.0.1:{self.ports[port]}{path}", headers=headers or {})
        try:
            with urllib.request.urlopen(request, context=context, timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def _check(self):
        """It answers the right credential, and refuses a wrong one and none: otherwise no figure means anything."""
        right, wrong = {"Authorization": f"Bearer {TOKEN}"}, {"Authorization": "Bearer wrong"}
        for _ in range(500):
            if not self.process.alive():
                raise SystemExit(f"the origin ended:\n{self.process.tail()}{(self.folder / 'error.log').read_text()}")
            try:
                found = [self.status(headers=right), self.status(headers=wrong), self.status(), self.status(port="hmac"), self.status("/blob")]
                break
            except OSError:
                time.sleep(0.02)
        else:
            raise SystemExit("the origin does not answer")
        if found != [200, 401, 401, 401, 401]:
            raise SystemExit(f"the origin does not tell credentials apart: {found}")

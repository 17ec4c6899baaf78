"""curl, Python requests and httpx, and Node over each way in, towards nginx that demands a client certificate.

Behind nginx a checker written here with hashlib refuses every request without the right signature. Without
countersign both refuse; through it each client gets its answer.
"""

import hashlib
import hmac
import json
import subprocess
import time

import httpx
import lib
import requests

KEY = "a-partner-key-that-no-worker-has"
HOST = "api.partner.example"
TARGET = "/v2/orders?limit=5&state=open%20now"
BODY = b'{"order": 17, "note": "caf\xc3\xa9"}'


def text_to_sign(request, timestamp):
    return "\n".join([request.method, request.target, timestamp, hashlib.sha256(request.body).hexdigest()])


def checker(request):
    """The upstream's own rule: refuses a wrong or old signature, otherwise says what it saw."""
    def answer(status, value):
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        return head + (b"" if request.method == "HEAD" else body)

    timestamp = request.one("x-timestamp") or "0"
    wanted = hmac.new(KEY.encode(), text_to_sign(request, timestamp).encode(), hashlib.sha256).hexdigest()
    if request.one("x-signature") != wanted or abs(time.time() - int(timestamp)) > 300:
        return answer(401, {"error": "wrong signature"})
    if request.target.startswith("/status/"):
        return f"HTTP/1.1 {request.target[8:]} X\r\nETag: \"e\"\r\n\r\n".encode()
    return answer(200, {"method": request.method, "target": request.target, "host": request.one("host"),
                        "body": request.body.decode(), "client": request.one("x-client")})


def nginx_block(folder, port, upstream, authority):
    certificate, key = authority.issue("server", [HOST, "localhost"])
    (folder / "server.crt").write_bytes(certificate)
    (folder / "server.key").write_bytes(key)
    (folder / "ca.crt").write_bytes(authority.pem)
    return f"""server {{
        listen 127.0.0.1:{port} ssl;
        server_name {HOST};
        ssl_certificate {folder}/server.crt;
        ssl_certificate_key {folder}/server.key;
        ssl_client_certificate {folder}/ca.crt;
        ssl_verify_client on;
        client_max_body_size 0;
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Client $ssl_client_s_dn;
        }}
    }}"""


def setup(bench):
    authority, folder = lib.Authority(), bench.subfolder("pki")
    behind = bench.serve(lib.Recorder(answer=checker))
    tls_port, own_port = lib.free_port(), lib.free_port()
    bench.nginx(nginx_block(folder, tls_port, behind.port, authority))
    certificate, key = authority.issue("countersign-sidecar")
    secrets = bench.subfolder("secrets")
    bench.secrets(secrets, partner__key=KEY, partner__tls_crt=certificate, partner__tls_key=key, partner__ca_crt=authority.pem)
    for name in ("crt", "key"):
        (folder / f"client.{name}").write_bytes(certificate if name == "crt" else key)
    socket_path = bench.folder / "proxy.sock"
    proxy = bench.proxy("proxy", f"""
[credential.partner.hmac]
secret    = "partner/key"
algorithm = "sha256"
encoding  = "hex"
sign      = "{{method}}\\n{{target}}\\n{{timestamp}}\\n{{body|sha256|hex}}"
set       = {{ "X-Signature" = "{{signature}}", "X-Timestamp" = "{{timestamp}}" }}

[[route]]
name       = "partner"
host       = "{HOST}"
prefix     = "/partner"
listen     = "127.0.0.1:{own_port}"
upstream   = "https://127.0.0.1:{tls_port}"
credential = "partner"
tls        = {{ client_cert = "partner/tls-crt", client_key = "partner/tls-key", ca = "partner/ca-crt" }}
""", secrets, listen=[f"unix:{socket_path}"], own=own_port)
    lib.wait_for("nginx", lambda: lib.listening(tls_port))
    return proxy, folder, tls_port, socket_path


def curl(*arguments, data=None):
    done = subprocess.run(["curl", "-sS", "-m", "20", "-w", "\n%{http_code}", *map(str, arguments)], input=data, capture_output=True)
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status or 0), body, done.stderr.decode()


def refused_directly(report, folder, tls_port):
    url = f"https://{HOST}:{tls_port}{TARGET}"
    base = ["--resolve", f"{HOST}:{tls_port}:127.0.0.1", "--cacert", folder / "ca.crt"]
    status, body, _ = curl(*base, url)
    report.check("nginx refuses curl without a client certificate", status == 400 and b"SSL certificate" in body, (status, body))
    pair = ["--cert", folder / "client.crt", "--key", folder / "client.key"]
    status, body, _ = curl(*base, *pair, url)
    report.check("the upstream refuses a client certificate without a signature", status == 401, (status, body))
    status, body, _ = curl(*base, *pair, "-H", "X-Signature: 00", "-H", f"X-Timestamp: {int(time.time())}", url)
    report.check("the upstream refuses a wrong signature", status == 401, (status, body))


def good(status, body, method="GET", sent=b"", target=TARGET):
    """Whether the answer is the checker's, about this very request; `host` proves which name the upstream was sent."""
    try:
        seen = json.loads(body)
    except ValueError:
        return False
    return status == 200 and seen == {"method": method, "target": target, "host": HOST, "body": sent.decode(),
                                      "client": "CN=countersign-sidecar"}


def by_curl(report, proxy, socket_path):
    base = f"http://127.0.0.1:{proxy.port}"
    ways = {
        "Host header": ["-H", f"Host: {HOST}", base + TARGET],
        "path prefix": [f"{base}/partner{TARGET}"],
        "own port": [f"http://127.0.0.1:{proxy.ports['own']}{TARGET}"],
        "forward proxy": ["--proxy", base, f"http://{HOST}{TARGET}"],
        "Unix socket with Host": ["--unix-socket", socket_path, f"http://{HOST}{TARGET}"],
        "Unix socket with prefix": ["--unix-socket", socket_path, f"http://localhost/partner{TARGET}"],
    }
    for way, arguments in ways.items():
        answers = [("GET", b"", curl(*arguments)),
                   ("POST", BODY, curl("--data-binary", "@-", *arguments, data=BODY)),
                   ("PUT", BODY, curl("-T", "-", "-H", "Transfer-Encoding: chunked", *arguments, data=BODY))]
        bad = [(m, a) for m, sent, a in answers if not good(a[0], a[1], m, sent)]
        report.check(f"curl by {way}: GET, POST with a length, chunked PUT", not bad, bad)
    status, body, error = curl("-I", *ways["path prefix"])
    report.check("curl HEAD has the head alone", status == 200 and b"content-length" in body.lower() and not error, (status, body, error))
    for code in (204, 304):
        status, body, error = curl(f"{base}/partner/status/{code}")
        report.check(f"curl gets {code} without a body and at once", status == code and not body and not error, (status, body, error))
    status, body, _ = curl("-H", "Host: api.stranger.example", base + "/")
    report.check("a host without a route gets 421 no_route", status == 421 and b"no_route" in body, (status, body))
    status, body, _ = curl("-p", "--proxy", base, f"http://{HOST}{TARGET}")
    report.check("CONNECT opens no tunnel", status in (0, 421), (status, body))


def by_requests(report, proxy):
    base = f"http://127.0.0.1:{proxy.port}"
    ways = {
        "Host header": (base + TARGET, {"headers": {"Host": HOST}}),
        "path prefix": (f"{base}/partner{TARGET}", {}),
        "own port": (f"http://127.0.0.1:{proxy.ports['own']}{TARGET}", {}),
        "forward proxy": (f"http://{HOST}{TARGET}", {"proxies": {"http": base}}),
    }
    with requests.Session() as session:
        session.trust_env = False
        for way, (url, more) in ways.items():
            got = session.get(url, timeout=20, **more)
            posted = session.post(url, data=iter([BODY[:7], BODY[7:]]), timeout=20, **more)
            report.check(f"requests by {way}: GET and a chunked POST", good(got.status_code, got.content)
                         and good(posted.status_code, posted.content, "POST", BODY), (got.text, posted.text))


def by_httpx(report, proxy, socket_path):
    base = f"http://127.0.0.1:{proxy.port}"
    ways = {
        "Host header": (base + TARGET, {"headers": {"Host": HOST}}, {}),
        "path prefix": (f"{base}/partner{TARGET}", {}, {}),
        "own port": (f"http://127.0.0.1:{proxy.ports['own']}{TARGET}", {}, {}),
        "forward proxy": (f"http://{HOST}{TARGET}", {}, {"proxy": base}),
        "Unix socket": (f"http://{HOST}{TARGET}", {}, {"transport": httpx.HTTPTransport(uds=str(socket_path))}),
    }
    for way, (url, more, client) in ways.items():
        with httpx.Client(trust_env=False, timeout=20, **client) as session:
            got = session.get(url, **more)
            posted = session.post(url, content=BODY, **more)
            report.check(f"httpx by {way}: GET and POST", good(got.status_code, got.content)
                         and good(posted.status_code, posted.content, "POST", BODY), (got.text, posted.text))


NODE = """
import { request as plain } from "node:http";
import { Agent, ProxyAgent, fetch as undici } from "undici";
const { base, own, host, target, socket, body } = JSON.parse(process.argv[2]);
const byHost = (options) => new Promise((resolve, reject) => {
  const call = plain({ host: "127.0.0.1", port: new URL(base).port, path: target, headers: { host }, ...options }, async (answer) => {
    let text = ""; for await (const piece of answer) text += piece;
    resolve({ status: answer.statusCode, text });
  });
  call.on("error", reject); call.end(options.method === "POST" ? body : undefined);
});
const read = async (answer) => ({ status: answer.status, text: await answer.text() });
const ways = {
  "http.request with a Host header": (method) => byHost({ method }),
  "fetch by path prefix": async (method) => read(await fetch(`${base}/partner${target}`, { method, body: method === "POST" ? body : undefined })),
  "fetch by own port": async (method) => read(await fetch(own + target, { method, body: method === "POST" ? body : undefined })),
  "fetch by forward proxy": async (method) => read(await undici(`http://${host}${target}`,
    { method, body: method === "POST" ? body : undefined, dispatcher: new ProxyAgent({ uri: base, proxyTunnel: false }) })),
  "fetch by Unix socket": async (method) => read(await undici(`http://${host}${target}`,
    { method, body: method === "POST" ? body : undefined, dispatcher: new Agent({ connect: { socketPath: socket } }) })),
};
for (const [way, call] of Object.entries(ways)) {
  const out = { way };
  try { out.got = await call("GET"); out.posted = await call("POST"); } catch (error) { out.error = String(error.cause ?? error); }
  console.log(JSON.stringify(out));
}
process.exit(0);
"""


def by_node(report, bench, proxy, socket_path):
    script = bench.node / "ways_in.mjs"
    script.write_text(NODE)
    given = {"base": f"http://127.0.0.1:{proxy.port}", "own": f"http://127.0.0.1:{proxy.ports['own']}", "host": HOST,
             "target": TARGET, "socket": str(socket_path), "body": BODY.decode()}
    done = subprocess.run(["node", script, json.dumps(given)], capture_output=True, text=True, timeout=120, cwd=bench.node)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    report.check("Node's script ran", done.returncode == 0 and len(lines) == 5, done.stderr[-2000:])
    for line in lines:
        got, posted = line.get("got") or {}, line.get("posted") or {}
        report.check(f"Node {line['way']}: GET and POST", good(got.get("status"), got.get("text", ""))
                     and good(posted.get("status"), posted.get("text", ""), "POST", BODY), line)


def checks(bench):
    proxy, folder, tls_port, socket_path = setup(bench)
    report = bench.report
    refused_directly(report, folder, tls_port)
    by_curl(report, proxy, socket_path)
    by_requests(report, proxy)
    by_httpx(report, proxy, socket_path)
    by_node(report, bench, proxy, socket_path)
    report.equal("SIGTERM ends countersign with status 0", proxy.stop(), 0)

"""Canary secrets through every path, error and log level; they may appear upstream and nowhere else.

Each secret is looked for whole, by its first 12 characters, and as base64, hexadecimal and percent-encoding of it, in:
the log at every level, all answers of the proxy, the admin pages, the outputs of check, explain and status, and the
command line and environment of the process.
"""

import base64
import json
import pathlib
import re
import socket
import socketserver
import time
import urllib.parse

import lib

CANARIES = {
    "header": "CANARYheader7f3d9cQ2",
    "query": "CANARYquery/91c2aa+Q&",
    "cookie": "CANARYcookie5b1e77Q2",
    "bearer": "CANARYbearer0aa4e1Q2",
    "password": "CANARYpassword:c8d2Q",
    "hmac": "CANARYhmackey44f0b3Q",
    "awskey": "CANARYawskey/+71c3dQ2",
    "awstoken": "CANARYawstoken/+==93e0Q",
    "tenant": "CANARYtenant99d1e4Q2",
    "consumer-secret": "CANARYconsumer6e0b&Q",
    "token-secret": "CANARYtokens%c1f7Q+",
}
# Never usable, but read: the reasons that are logged about them must not quote them.
BROKEN = {"inner": b"CANARYinner\nline7712Q", "control": b"CANARYctl\x1b[31m8813Q2", "bom": b"\xef\xbb\xbfCANARYbom990154Q",
          "latin": b"CANARYlatin\xe9\xe8 5521Q"}


def spellings(secret):
    """Ways in which a secret could be printed."""
    raw = secret if isinstance(secret, bytes) else secret.encode()
    text = raw.decode("latin-1")
    found = {text, text[:12], urllib.parse.quote(raw, safe=""), urllib.parse.quote_plus(raw), raw.hex(), raw.hex().upper()}
    for shift in range(3):  # base64 has three looks, by where the secret begins within the encoded text
        encoded = base64.b64encode(b"x" * shift + raw).decode()
        found.add(encoded[4 if shift else 0: len(encoded) - 4])
    return {s for s in found if len(s) >= 8}


def private_parts(pem):
    """Lines of a private key's body that are long enough to be recognised."""
    return {line for line in pem.decode().splitlines() if len(line) >= 32 and "-----" not in line}


CONFIG = """
[credential.header]
api_key = {{ secret = "header", header = "X-API-Key", prefix = "Token " }}
[credential.query]
api_key = {{ secret = "query", query = "key" }}
[credential.cookie]
api_key = {{ secret = "cookie", cookie = "sid" }}
[credential.bearer]
bearer = {{ secret = "bearer" }}
[credential.basic]
basic = {{ username = "user", password = {{ secret = "password" }} }}
[credential.hmac.hmac]
secret = "hmac"
algorithm = "sha256"
encoding = "hex"
sign = "{{secret:hmac}}{{method}}{{target}}{{timestamp}}"
set = {{ "X-Signature" = "{{signature}}", "X-Timestamp" = "{{timestamp}}" }}
[credential.oauth1]
oauth1 = {{ consumer_key = "ck", consumer_secret = {{ secret = "consumer-secret" }}, token = "tk", token_secret = {{ secret = "token-secret" }}, method = "PLAINTEXT" }}
[credential.aws.aws_sigv4]
access_key_id = "AKIAEXAMPLE"
secret_access_key = {{ secret = "awskey" }}
session_token = {{ secret = "awstoken" }}
region = "eu-west-1"
service = "s3"
[credential.tenant]
bearer = {{ secret = "shops/{{tenant}}" }}
[credential.broken-inner]
bearer = {{ secret = "broken/inner" }}
[credential.broken-control]
bearer = {{ secret = "broken/control" }}
[credential.broken-bom]
bearer = {{ secret = "broken/bom" }}
[credential.broken-latin]
bearer = {{ secret = "broken/latin" }}
"""
SCHEMES = ["header", "query", "cookie", "bearer", "basic", "hmac", "oauth1", "aws"]


def routes(tls_port, plain_port, dead_port, rude_port):
    text = ""
    for name in SCHEMES:
        text += (f'[[route]]\nname = "{name}"\nhost = "{name}.example"\nupstream = "https://127.0.0.1:{tls_port}"\n'
                 f'credential = "{name}"\ntls = {{ ca = "ca-crt", client_cert = "client-pem" }}\n')
        for kind, url in [("dead", f"http://127.0.0.1:{dead_port}"), ("rude", f"http://127.0.0.1:{rude_port}"),
                          ("untrusted", f"https://127.0.0.1:{tls_port}"), ("not-tls", f"https://127.0.0.1:{rude_port}")]:
            text += (f'[[route]]\nname = "{name}-{kind}"\nhost = "{name}.{kind}.example"\nupstream = "{url}"\n'
                     f'credential = "{name}"\n')
    for name in ("inner", "control", "bom", "latin"):
        text += (f'[[route]]\nname = "broken-{name}"\nhost = "broken-{name}.example"\nupstream = "http://127.0.0.1:{plain_port}"\n'
                 f'credential = "broken-{name}"\n')
    return text + (f'[[route]]\nname = "tenants"\nhost = "{{shop}}.shops.example"\nupstream = "http://127.0.0.1:{plain_port}"\n'
                   f'credential = "tenant"\ntenant = "{{shop}}"\n')


class Slammer(socketserver.ThreadingTCPServer):
    """Answers whatever comes first, a TLS hello too, with a line of text and closes."""

    allow_reuse_address = daemon_threads = True

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(65536)
            self.request.sendall(b"this is no HTTP and no TLS\r\n\r\n")

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)


def raw(port, data):
    """Sends bytes as they are and reads to the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(data)
        out = b""
        try:
            while got := connection.recv(65536):
                out += got
        except OSError:
            pass
        return out


def exercise(proxy, answers):
    """Good and bad requests over every route; all answers are kept."""
    port = proxy.port

    def send(host, path="/p?a=1", method="GET", body=None, **headers):
        status, fields, text = lib.ask(("127.0.0.1", port), path, method, {"Host": host, **headers}, body)
        answers.append((host, status, json.dumps(fields).encode() + text))
        return status

    good = [send(f"{name}.example") for name in SCHEMES] + [send(f"{name}.example", "/p", "POST", b"x=1") for name in SCHEMES]
    good.append(send("acme.shops.example"))
    failed = [send(f"{name}.{kind}.example") for name in SCHEMES for kind in ("dead", "rude", "untrusted", "not-tls")]
    failed += [send(f"broken-{name}.example") for name in BROKEN]
    failed += [send("nobody.shops.example"), send("stranger.example"), send("a_b.shops.example")]
    for own in (b"Authorization: Bearer mine", b"X-API-Key: mine", b"Cookie: sid=mine; other=1", b"x_api_key: mine"):
        for name in SCHEMES:
            answers.append((name, 0, raw(port, b"GET /p?key=mine HTTP/1.1\r\nHost: %s.example\r\n%s\r\nConnection: close\r\n\r\n"
                                         % (name.encode(), own))))
    for bad in (b"GET / HTTP/1.1\r\n\r\n", b"TRACE / HTTP/1.1\r\nHost: header.example\r\n\r\n", b"\x16\x03\x01\x00\x00",
                b"GET /%s HTTP/1.1\r\nHost: header.example\r\n\r\n" % (b"a" * 100_000),
                b"POST / HTTP/1.1\r\nHost: header.example\r\nContent-Length: x\r\n\r\n"):
        answers.append(("bad", 0, raw(port, bad)))
    return good, failed


def literal_in_config(bench, secrets):
    """A secret written where only a name may stand is reported without being shown."""
    literal = "CANARYliteral6631Q2"
    path = bench.folder / "literal.toml"
    path.write_text(f'[secrets]\ndir = "{secrets}"\n[credential.x]\nbasic = {{ username = "u", password = "{literal}" }}\n'
                    '[[route]]\nname = "x"\nhost = "x.example"\ncredential = "x"\n')
    text, data = bench.command("check", "-c", path), bench.command("check", "-c", path, "--format", "json")
    out = text.stdout + text.stderr + data.stdout + data.stderr
    bench.report.check("check refuses a literal secret and does not show it", text.returncode == 1 and data.returncode == 1
                       and literal not in out and literal[:12] not in out, out)


def checks(bench):
    report, authority, folder = bench.report, lib.Authority(), bench.subfolder("pki")
    hosts = [f"{name}.example" for name in SCHEMES]
    tls = bench.serve(lib.Recorder(lib.server_context(folder, authority, hosts, authority)))
    plain = bench.serve(lib.Recorder())
    rude = bench.serve(Slammer()).server_address[1]
    certificate, key = authority.issue("sidecar")
    secrets = bench.subfolder("secrets")
    bench.secrets(secrets, ca_crt=authority.pem, client_pem=certificate + key, shops__acme=CANARIES["tenant"],
                  **{f"broken__{n}": v for n, v in BROKEN.items()}, **{n: v for n, v in CANARIES.items() if n != "tenant"})
    config = CONFIG.format() + routes(tls.port, plain.port, lib.free_port(), rude)
    wanted = {s for c in [*CANARIES.values(), *BROKEN.values()] for s in spellings(c)} | private_parts(key)
    outputs = {}
    for level in ("error", "warn", "info", "debug", "trace"):
        # The broken secrets would refuse a normal start; "serve" answers 503 for their routes.
        proxy = bench.proxy(f"proxy-{level}", config, secrets, log=level, secret_keys='at_start = "serve"\noverlap = "0s"\n')
        answers = []
        good, failed = exercise(proxy, answers)
        if level == "info":
            report.check("every scheme works", set(good) == {200}, good)
            report.check("every failing route fails in the proxy", all(s in (400, 421, 502, 503) for s in failed), failed)
            upstream_has_them(report, tls.take() + plain.take())
        # Rotation to values that cannot be used, and back.
        for name in ("header", "bearer", "hmac"):
            (secrets / name).write_bytes(CANARIES[name].encode() + b"\nsecond line")
        time.sleep(0.7)
        exercise(proxy, answers)
        for name in ("header", "bearer", "hmac"):
            (secrets / name).write_bytes(CANARIES[name].encode())
        pages = [proxy.page(p)[2] for p in ("/", "/readyz?verbose", "/metrics", "/api/status", "/api/routes", "/api/credentials")]
        process = pathlib.Path(f"/proc/{proxy.process.pid}")
        outputs[f"answers at {level}"] = b"".join(a[2] for a in answers)
        outputs[f"admin pages at {level}"] = b"".join(pages)
        outputs[f"command line and environment at {level}"] = (process / "cmdline").read_bytes() + environment(process)
        if level == "info":
            limits = (process / "limits").read_text()
            report.check("no core dump can be written", re.search(r"Max core file size +0 +0", limits), limits)
            outputs.update(commands(bench, proxy, hosts))
        proxy.stop()
        outputs[f"log at {level}"] = proxy.log.encode()
    report.check("the log says something at trace", len(outputs["log at trace"]) > len(outputs["log at error"]))
    for what, data in outputs.items():
        text = data.decode("latin-1")
        found = [s for s in wanted if s in text]
        shown = [text[max(0, text.index(s) - 120): text.index(s) + 60] for s in found[:2]]
        report.check(f"no secret in the {what} ({len(data)} bytes)", not found and (data or "environment" in what), shown)
    literal_in_config(bench, secrets)


def environment(process):
    try:
        return (process / "environ").read_bytes()
    except PermissionError:  # the process is not dumpable: nothing to read, which is better still
        return b""


def upstream_has_them(report, seen):
    """The positive control: the canaries do arrive where they belong, so looking for them elsewhere proves something."""
    text = "\n".join(f"{r.target} {r.headers}" for r in seen)
    basic = base64.b64encode(f"user:{CANARIES['password']}".encode()).decode()
    query = urllib.parse.quote(CANARIES["query"], safe="")
    shared = {name: urllib.parse.quote(urllib.parse.quote(CANARIES[name], safe=""), safe="") for name in ("consumer-secret", "token-secret")}
    for name, value in {**CANARIES, "password": basic, "query": query, **shared}.items():
        if name not in ("hmac", "awskey"):  # keys, of which only signatures leave
            report.check(f"the upstream received the {name} secret", value in text)


def commands(bench, proxy, hosts):
    config = ["-c", proxy.folder / "proxy.toml"]
    out = {}
    for form in ("text", "json"):
        form_arguments = ["--format", form]
        out[f"output of check as {form}"] = bench.command("check", *config, *form_arguments)
        out[f"output of status as {form}"] = bench.command("status", *config, *form_arguments)
        for host in hosts:
            out[f"output of explain as {form} for {host}"] = bench.command("explain", "GET", f"https://{host}/p?a=1", *config, *form_arguments)
    return {what: (done.stdout + done.stderr).encode() for what, done in out.items()}

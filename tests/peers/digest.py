"""Digest against servers that judge it: Debian's lighttpd (MD5, SHA-256, both at once; qop=auth) and npm http-auth (MD5,
MD5-sess, and without qop; it refuses a count that comes after a higher one). curl's own Digest is the cross-check, and
what `explain` prints is replayed with curl.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import threading

import lib

HERE = pathlib.Path(__file__).parent
AT_ONCE = 200
LIGHTTPD = """
server.modules = ("mod_auth", "mod_authn_file")
server.document-root = "{www}"
server.port = {port}
server.bind = "127.0.0.1"
server.max-connections = 1024
index-file.names = ("index.html")
auth.backend = "plain"
auth.backend.plain.userfile = "{users}"
auth.require = ("/" => ("method" => "digest", "realm" => "http-auth@example.org", "require" => "valid-user", "algorithm" => "{algorithm}"))
"""
CONFIG = """
[credential.{name}]
digest = {{ username = "Mufasa", password = {{ secret = "{secret}" }} }}
[[route]]
name = "{name}"
host = "{name}.test"
upstream = "http://127.0.0.1:{port}"
credential = "{name}"
limits = {{ in_flight = 1000 }}
"""


def lighttpd(bench, name, algorithm):
    program = pathlib.Path(shutil.which("lighttpd", path=os.environ["PATH"] + ":/usr/sbin")).resolve()
    folder, port = bench.subfolder(f"lighttpd-{name}"), lib.free_port()
    (folder / "www/dir").mkdir(parents=True)
    (folder / "www/index.html").write_text("hello\n")
    (folder / "www/dir/a b+c.txt").write_text("spaces\n")
    (folder / "users").write_text("Mufasa:Circle of Life\n")
    (folder / "conf").write_text(LIGHTTPD.format(www=folder / "www", users=folder / "users", port=port, algorithm=algorithm))
    modules = program.parent.parent / "lib/lighttpd"
    bench.program(program, "-D", "-m", modules, "-f", folder / "conf", log="lighttpd.log")
    lib.wait_for("lighttpd", lambda: lib.listening(port))
    return port


def http_auth(bench):
    port = lib.free_port()
    bench.program("node", HERE / "digest_server.mjs", log="http-auth.log", cwd=bench.node, env={**os.environ, "PORT": str(port)})
    lib.wait_for("http-auth", lambda: lib.listening(port))
    return port


def burst(address, host, path, count=AT_ONCE):
    """So many requests at once, bodies of different lengths; how many were answered otherwise than well."""
    gate = threading.Barrier(count)

    def one(index):
        gate.wait()
        method, body = ("POST", b"x" * index) if index % 2 else ("GET", None)
        status, _, answer = lib.ask(address, path, method=method, headers={"Host": host}, body=body, timeout=60)
        return None if status == 200 and (method == "GET" or b"hello" in answer or json.loads(answer)["length"] == index) else (status, answer[:80])

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return [found for found in pool.map(one, range(count)) if found]


def curl(*words):
    ran = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *map(str, words)], capture_output=True, text=True, timeout=30)
    return ran.stdout


def against_lighttpd(bench, proxy, address, ports):
    report = bench.report
    for name, port in ports.items():
        host = {"Host": f"{name}.test"}
        report.equal(f"lighttpd {name}: without proof it refuses", lib.ask(("127.0.0.1", port), "/")[0], 401)
        report.equal(f"lighttpd {name}: curl's own Digest is accepted", curl("--digest", "-u", "Mufasa:Circle of Life", f"http://127.0.0.1:{port}/"), "200")
        report.equal(f"lighttpd {name}: through the proxy", lib.ask(address, "/", headers=host)[::2], (200, b"hello\n"))
        for target in ["/?a=%2F+x&b", "/dir/a%20b+c.txt", "/dir/../index.html", "//index.html?q=%C3%A9"]:
            found = lib.ask(address, target, headers=host)[0]
            report.check(f"lighttpd {name}: {target}", found in (200, 404), f"found {found}")
        report.equal(f"lighttpd {name}: HEAD", lib.ask(address, "/", method="HEAD", headers=host)[0], 200)
        report.equal(f"lighttpd {name}: {AT_ONCE} at once, none fails", burst_gets(address, f"{name}.test", "/"), [])
        wrong = lib.ask(address, "/", headers={"Host": f"{name}-wrong.test"})
        report.check(f"lighttpd {name}: a wrong password is refused, and by the upstream", wrong[0] == 401 and "countersign-error" not in wrong[1], wrong)

        challenges = re.findall(r"(?im)^www-authenticate: (.*?)\r?$", subprocess.run(
            ["curl", "-si", f"http://127.0.0.1:{port}/"], capture_output=True, text=True, timeout=30).stdout)
        words = [word for line in challenges for word in ("--challenge", line)]
        ran = bench.command("explain", "-c", proxy.folder / "proxy.toml", "--format", "json", "GET", f"http://{name}.test/?x=1", *words)
        report.check(f"lighttpd {name}: explain takes its challenge", ran.returncode == 0, ran.stderr)
        headers = dict(json.loads(ran.stdout)["headers"])
        report.check(f"lighttpd {name}: the strongest is answered", ("algorithm=MD5" in headers["authorization"]) == (name == "md5"), headers)
        replayed = curl("-H", f"Authorization: {headers['authorization']}", f"http://127.0.0.1:{port}/?x=1")
        report.equal(f"lighttpd {name}: what explain prints is accepted when curl sends it", replayed, "200")


def burst_gets(address, host, path):
    def one(_):
        return lib.ask(address, path, headers={"Host": host}, timeout=60)[0]

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return [status for status in pool.map(one, range(AT_ONCE)) if status != 200]


def against_http_auth(bench, address, port):
    report, upstream = bench.report, ("127.0.0.1", port)

    def came(kind):
        return json.loads(lib.ask(upstream, "/count")[2]).get(kind, 0)

    for kind in ["md5", "sess", "old"]:
        path, host = f"/{kind}/x?a=1", "node.test"
        report.equal(f"http-auth {kind}: without proof it refuses", lib.ask(upstream, path)[0], 401)
        before = came(kind)
        for number in range(5):
            status, _, body = lib.ask(address, path, method="PUT", headers={"Host": host}, body=b"x" * number)
            report.equal(f"http-auth {kind}: request {number + 1}", (status, json.loads(body)["length"]), (200, number))
        report.equal(f"http-auth {kind}: five requests cost one challenge", came(kind) - before, 6)
        for number in range(3):
            report.equal(f"http-auth {kind}: {AT_ONCE} at once, none fails, round {number + 1}", burst(address, host, path), [])
        before = came(kind)
        report.equal(f"http-auth {kind}: and once more", burst(address, host, path), [])
        report.note(f"{kind}: {came(kind) - before} requests reached the server for {AT_ONCE}")
        report.equal(f"http-auth {kind}: wrong password", lib.ask(address, path, headers={"Host": "node-wrong.test"})[0], 401)

        ended = threading.Event()

        def forget():
            while not ended.wait(0.5):
                lib.ask(upstream, "/forget", method="POST")

        thread = threading.Thread(target=forget)
        thread.start()
        found = [failed for _ in range(10) for failed in burst(address, host, path, 50)]
        ended.set()
        thread.join()
        report.equal(f"http-auth {kind}: nonces that end under load cost no request", found, [])


def checks(bench):
    secrets = bench.subfolder("secrets")
    bench.secrets(secrets, right="Circle of Life", wrong="circle of life")
    ports = {name: lighttpd(bench, name, algorithm) for name, algorithm in
             [("md5", "MD5"), ("sha256", "SHA-256"), ("both", "MD5|SHA-256")]}
    node = http_auth(bench)
    body = ""
    for name, port in [*ports.items(), ("node", node)]:
        body += CONFIG.format(name=name, secret="right", port=port) + CONFIG.format(name=f"{name}-wrong", secret="wrong", port=port)
    proxy = bench.proxy("digest", "[limits]\nin_flight = 2000\n" + body, secrets)
    address = ("127.0.0.1", proxy.port)
    against_lighttpd(bench, proxy, address, ports)
    against_http_auth(bench, address, node)
    bench.report.check("no password is in the log", "Circle of Life" not in proxy.log and "circle of life" not in proxy.log)

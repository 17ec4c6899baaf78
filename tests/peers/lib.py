"""What the checks share: the report, scratch folders, certificates, countersign itself, nginx, a recording upstream.

No check lives here. Everything binds to loopback; `Bench` ends what it started, by process id.
"""

import contextlib
import datetime
import http.client
import ipaddress
import json
import os
import pathlib
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import tempfile
import threading
import time
import traceback

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class Report:
    """Counts and prints; one line a check."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.begin = self.topic_begin = time.monotonic()
        self.name = ""

    def topic(self, name):
        self.name, self.topic_begin = name, time.monotonic()
        print(f"\n# {name}", flush=True)

    def check(self, what, ok, detail=""):
        self.passed, self.failed = self.passed + bool(ok), self.failed + (not ok)
        shown = f"\n       {detail}" if detail and not ok else ""
        print(f"{'ok  ' if ok else 'FAIL'} {self.name}: {what}{shown}", flush=True)
        return bool(ok)

    def equal(self, what, found, wanted):
        return self.check(what, found == wanted, f"found {found!r}, wanted {wanted!r}")

    def note(self, text):
        print(f"     {self.name}: {text}", flush=True)

    def broken(self, topic, error):
        traceback.print_exception(error)
        self.check(f"the checks of {topic} run to their end", False, repr(error))

    def close(self):
        print(f"\n{time.monotonic() - self.begin:.1f} s")
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        return 1 if self.failed or not self.passed else 0


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(what, condition, seconds=10.0, step=0.005):
    """Polls until the condition gives something true, and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(step)
    raise TimeoutError(f"waited {seconds} s for {what}")


def ask(address, path, method="GET", headers=None, body=None, timeout=10):
    """One plain HTTP request over a connection of its own: (status, headers in lower case, body)."""
    host, port = address
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def replay(shown, body, port, tls=False):
    """Sends what `explain --format json` printed with curl to a port of this machine; (status, body)."""
    headers = [word for name, value in shown["headers"] for word in ("-H", f"{name}: {value}" if value else f"{name};")]
    host = next(value for name, value in shown["headers"] if name == "host")
    url = f"{'https' if tls else 'http'}://{host}{shown['target']}"
    done = subprocess.run(["curl", "-s", "-S", "-k", "-g", "--path-as-is", "-X", shown["method"], "--data-binary", "@-", *headers,
                           "--connect-to", f"::127.0.0.1:{port}", "-w", "\n%{http_code}", url],
                          input=body, capture_output=True, timeout=30)
    said, _, status = (done.stdout + done.stderr).decode(errors="replace").rpartition("\n")
    return status, said


class Authority:
    """A private certificate authority on P-256."""

    def __init__(self, name="Peers CA"):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._build(self.name, self.key.public_key(), x509.BasicConstraints(ca=True, path_length=0), [])

    def _build(self, subject, public, constraints, extensions):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=2))
        builder = builder.add_extension(constraints, critical=True)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    @property
    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name, hosts=()):
        """(certificate, key) in PEM: a server's for `hosts`, otherwise a client's."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        extensions = [x509.ExtendedKeyUsage([usage]),
                      x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())]
        if hosts:
            extensions.append(x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address(h)) if h[0].isdigit() else x509.DNSName(h) for h in hosts]))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._build(subject, key.public_key(), x509.BasicConstraints(ca=False, path_length=None), extensions)
        return (certificate.public_bytes(serialization.Encoding.PEM),
                key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def server_context(folder, authority, hosts, client_authority=None):
    """A TLS context for a Python server; with `client_authority` it demands client certificates."""
    certificate, key = authority.issue("server", hosts)
    pair = folder / f"server-{time.monotonic_ns()}.pem"
    pair.write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    if client_authority:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_authority.pem.decode())
    return context


class Kubelet:
    """Writes a directory the way the kubelet projects a Secret: all files in a new directory, one rename of `..data`."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.turn = 0

    def write(self, files):
        """Projects exactly `files` (name to bytes); returns (when `..data` switched, when the last event was), monotonic."""
        self.turn += 1
        data, stamp = self.directory / "..data", f"..2026_01_01_00_00_00.{self.turn:010d}"
        old = os.readlink(data) if data.is_symlink() else None
        fresh = self.directory / stamp
        fresh.mkdir(mode=0o755)
        for name, content in files.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o640)
        temporary = self.directory / "..data_tmp"
        temporary.symlink_to(stamp)
        temporary.rename(data)
        switched = time.monotonic()
        for top in {name.split("/")[0] for name in files}:
            if not (self.directory / top).is_symlink():
                (self.directory / top).symlink_to(f"..data/{top}")
        if old:
            shutil.rmtree(self.directory / old)
        return switched, time.monotonic()


class Proxy:
    """One running countersign."""

    def __init__(self, process, folder, admin, ports, begin):
        self.process, self.folder, self.admin, self.ports, self.begin = process, folder, admin, ports, begin
        self.ready_after = None

    @property
    def port(self):
        return self.ports["proxy"]

    @property
    def log(self):
        return (self.folder / "countersign.log").read_text(errors="replace")

    def page(self, path):
        return ask(("127.0.0.1", self.admin), path)

    def wait_ready(self, seconds=10.0):
        def ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"countersign ended with {self.process.returncode}:\n{self.log[-4000:]}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self.page("/readyz")[0] == 200
        wait_for("countersign to be ready", ready, seconds, step=0.001)
        self.ready_after = time.monotonic() - self.begin

    def memory(self, field="VmHWM"):
        """Bytes of one Vm* line of /proc/PID/status."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise KeyError(field)

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        """SIGTERM; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode


class Bench:
    """Scratch folder, binary and running things of one topic."""

    def __init__(self, binary, node, report):
        self.binary, self.node, self.report = binary, node, report
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        self.folder = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="countersign-peers-")))
        return self

    def __exit__(self, *exc):
        self.stack.close()

    def subfolder(self, name):
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def secrets(self, folder, **files):
        """Writes secrets; `__` in a keyword stands for `/`, `_` for `-`."""
        for name, value in files.items():
            path = folder / name.replace("__", "/").replace("_", "-")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value if isinstance(value, bytes) else value.encode())
            path.chmod(0o600)

    def command(self, *arguments, **options):
        """Runs a countersign command to its end."""
        return subprocess.run([self.binary, *map(str, arguments)], capture_output=True, text=True, timeout=30, **options)

    def proxy(self, name, body, secrets, ready=True, log="", listen=(), listen_keys="", secret_keys="", **ports):
        """Starts countersign with `body` after a [listen] table; `{port}` names in `ports` are filled in by the caller."""
        folder = self.subfolder(name)
        ports.setdefault("proxy", free_port())
        admin = free_port()
        listeners = json.dumps([f"127.0.0.1:{ports['proxy']}", *listen])
        text = f'[listen]\nproxy = {listeners}\nadmin = "127.0.0.1:{admin}"\n{listen_keys}\n[secrets]\ndir = "{secrets}"\n{secret_keys}\n'
        if log:
            text += f'[log]\nlevel = "{log}"\n\n'
        (folder / "proxy.toml").write_text(text + body)
        begin = time.monotonic()
        with open(folder / "countersign.log", "ab") as out:
            process = subprocess.Popen([self.binary, "run", "-c", folder / "proxy.toml"], stdout=out, stderr=out,
                                       stdin=subprocess.DEVNULL, cwd=folder)
        proxy = Proxy(process, folder, admin, ports, begin)
        self.stack.callback(proxy.stop)
        if ready:
            proxy.wait_ready()
        return proxy

    def program(self, *command, log="program.log", **options):
        """Starts another program; it is ended with the topic."""
        with open(self.folder / log, "ab") as out:
            process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=out, stdin=subprocess.DEVNULL, **options)

        def end():
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.stack.callback(end)
        return process

    def serve(self, server):
        """Runs a socketserver in a thread until the topic ends."""
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.stack.callback(server.server_close)
        self.stack.callback(server.shutdown)
        return server

    def nginx(self, servers):
        """Debian's nginx in the foreground with the given server blocks; one process, everything in the scratch folder."""
        folder = self.subfolder("nginx")
        temps = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
        (folder / "nginx.conf").write_text(
            f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
            f"events {{ worker_connections 512; }}\nhttp {{\naccess_log off;\n{temps}{servers}\n}}\n")
        return self.program("nginx", "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf", log="nginx.log")


    def nghttpx(self, authority, host, backend):
        """Debian's nghttpx with TLS, offering h2 and http/1.1, before a plain HTTP/1.1 `backend`; returns its port."""
        folder, port = self.subfolder("nghttpx"), free_port()
        for name, content in zip(("crt", "key"), authority.issue("nghttpx", [host])):
            (folder / f"{backend}.{name}").write_bytes(content)
        self.program("nghttpx", "--conf=/dev/null", f"-f127.0.0.1,{port}", f"-b127.0.0.1,{backend}", "--single-process", "--workers=1",
                     "--no-ocsp", folder / f"{backend}.key", folder / f"{backend}.crt", log="nghttpx.log")
        wait_for("nghttpx", lambda: listening(port))
        return port


class Recorded:
    """One request as the upstream received it."""

    def __init__(self, method, target, headers, body, peer):
        self.method, self.target, self.headers, self.body, self.peer = method, target, headers, body, peer

    def all(self, name):
        return [v for k, v in self.headers if k.lower() == name.lower()]

    def one(self, name):
        values = self.all(name)
        return values[0] if len(values) == 1 else None


class Recorder(socketserver.ThreadingTCPServer):
    """An HTTP/1.1 upstream that keeps what it received and answers 200 with a short body, or what `answer` says."""

    allow_reuse_address = daemon_threads = True
    block_on_close = False
    request_queue_size = 256  # the 5 of socketserver have a hundred connections at a time wait for a second SYN

    def __init__(self, context=None, answer=None):
        self.context, self.answer, self.seen = context, answer, []
        super().__init__(("127.0.0.1", 0), RecorderHandler)

    @property
    def port(self):
        return self.server_address[1]

    def get_request(self):
        connection, address = super().get_request()
        connection.settimeout(30)
        return connection, address

    def handle_error(self, request, client_address):
        pass  # refused handshakes and cut connections are part of the checks

    def take(self):
        seen, self.seen = self.seen, []
        return seen


class RecorderHandler(socketserver.BaseRequestHandler):
    def setup(self):
        if self.server.context:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)

    def handle(self):
        reader = self.request.makefile("rb")
        peer = None
        if self.server.context and (certificate := self.request.getpeercert()):
            peer = dict(part[0] for part in certificate["subject"])["commonName"]
        while request := self.read(reader, peer):
            self.server.seen.append(request)
            answer = self.server.answer(request) if self.server.answer else None
            if answer is None:
                answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n" + (
                    b"" if request.method == "HEAD" else b"ok\n")
            self.request.sendall(answer)

    @staticmethod
    def read(reader, peer):
        line = reader.readline(1 << 20).decode("latin-1").rstrip("\r\n")
        if not line:
            return None
        method, target, _ = line.split(" ", 2)
        headers = []
        while line := reader.readline(1 << 20).decode("latin-1").rstrip("\r\n"):
            name, _, value = line.partition(":")
            headers.append((name, value.strip()))
        request = Recorded(method, target, headers, b"", peer)
        if request.one("transfer-encoding"):
            while size := int(reader.readline().split(b";")[0], 16):
                request.body += reader.read(size)
                reader.readline()
            while reader.readline() not in (b"\r\n", b""):
                pass
        elif length := request.one("content-length"):
            request.body = reader.read(int(length))
        return request

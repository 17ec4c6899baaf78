"""1 GiB up and 1 GiB down, with a length and chunked, through a proxy that stays under 32 MiB resident."""

import hashlib
import socket
import threading
import time

import lib

SIZE = 1 << 30
BLOCK = bytes(range(256)) * 1024  # 256 KiB
LIMIT = 32 << 20
HOST = "files.example"


def read_head(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        got = connection.recv(65536)
        if not got:
            raise ConnectionError(f"closed within the head: {data!r}")
        data += got
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


class Upstream:
    """Takes any upload and says its size and hash; sends SIZE bytes for a GET. TLS, a thread for each connection."""

    def __init__(self, context):
        self.context, self.listener = context, socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.handle, args=(connection,), daemon=True).start()

    def handle(self, connection):
        try:
            with self.context.wrap_socket(connection, server_side=True) as tls, tls.makefile("rb", 1 << 20) as reader:
                while line := reader.readline():
                    headers = {}
                    while field := reader.readline().strip():
                        name, _, value = field.partition(b":")
                        headers[name.lower()] = value.strip()
                    if line.startswith(b"GET"):
                        self.send(tls, chunked=b"chunked" in line)
                    else:
                        body = self.receive(reader, headers)
                        tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        except OSError:
            pass

    @staticmethod
    def receive(reader, headers):
        total, digest, chunked = 0, hashlib.sha256(), b"transfer-encoding" in headers
        left = 0 if chunked else int(headers[b"content-length"])
        while True:
            if chunked and not left:
                left = int(reader.readline().split(b";")[0], 16)
                if not left:
                    reader.readline()
            if not left:
                return b"%d %s" % (total, digest.hexdigest().encode())
            piece = reader.read1(min(left, 1 << 20))
            if not piece:
                raise ConnectionError("the body was cut")
            left, total = left - len(piece), total + len(piece)
            digest.update(piece)
            if chunked and not left:
                reader.readline()

    @staticmethod
    def send(tls, chunked):
        tls.sendall(b"HTTP/1.1 200 OK\r\n" + (b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % SIZE) + b"\r\n\r\n")
        for _ in range(SIZE // len(BLOCK)):
            tls.sendall(b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK) if chunked else BLOCK)
        if chunked:
            tls.sendall(b"0\r\n\r\n")


def upload(port, chunked):
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {SIZE}"
        connection.sendall(f"PUT /up HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n".encode())
        piece = b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK) if chunked else BLOCK
        for _ in range(SIZE // len(BLOCK)):
            connection.sendall(piece)
        if chunked:
            connection.sendall(b"0\r\n\r\n")
        head, rest = read_head(connection)
        while len(rest) < 70:
            got = connection.recv(4096)
            if not got:
                break
            rest += got
        return head, rest


def download(port, chunked, slow=False):
    """Reads the answer whole; (bytes of body, its hash). `slow` pauses first, so that all buffers on the way fill."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection, connection.makefile("rb", 1 << 20) as reader:
        connection.sendall(f"GET /down{'-chunked' if chunked else ''} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        head = b""
        while (line := reader.readline()).strip():
            head += line.lower()
        if slow:
            time.sleep(2)
        total, digest = 0, hashlib.sha256()
        while True:
            left = int(reader.readline().split(b";")[0], 16) if chunked else SIZE - total
            if not left:
                return total, digest.hexdigest()
            while left:
                piece = reader.read1(min(left, 1 << 20))
                if not piece:
                    return total, "cut"
                digest.update(piece)
                left, total = left - len(piece), total + len(piece)
            if chunked:
                reader.readline()


def checks(bench):
    report, authority, folder = bench.report, lib.Authority(), bench.subfolder("pki")
    upstream = Upstream(lib.server_context(folder, authority, [HOST]))
    bench.stack.callback(upstream.listener.close)
    secrets = bench.subfolder("secrets")
    bench.secrets(secrets, token="a-token", ca_crt=authority.pem)
    proxy = bench.proxy("proxy", f"""
[credential.token]
bearer = {{ secret = "token" }}

[[route]]
name       = "files"
host       = "{HOST}"
upstream   = "https://127.0.0.1:{upstream.port}"
credential = "token"
tls        = {{ ca = "ca-crt" }}
""", secrets)
    digest = hashlib.sha256()
    for _ in range(SIZE // len(BLOCK)):
        digest.update(BLOCK)
    wanted, idle = digest.hexdigest(), proxy.memory("VmRSS")
    report.note(f"idle: {idle / 2**20:.1f} MiB resident")

    def run(what, transfer, expected):
        begin = time.monotonic()
        found = transfer()
        seconds = time.monotonic() - begin
        report.equal(f"1 GiB {what} arrives whole", found, expected)
        report.note(f"{what}: {SIZE / 2**20 / seconds:.0f} MiB/s, at most {proxy.memory() / 2**20:.1f} MiB resident so far")

    for chunked in (False, True):
        kind = "chunked" if chunked else "with a length"
        run(f"up, {kind}", lambda: upload(proxy.port, chunked)[1], b"%d %s" % (SIZE, wanted.encode()))
        run(f"down, {kind}", lambda: download(proxy.port, chunked), (SIZE, wanted))
    run("down, to a worker that pauses", lambda: download(proxy.port, False, slow=True), (SIZE, wanted))
    peak = proxy.memory()
    report.check("countersign stays under 32 MiB resident", peak < LIMIT, f"{peak / 2**20:.1f} MiB")

"""Token endpoints that misbehave, one a port, over raw sockets. No check lives here; `faults` says what must come of them.

Each echoes what it was sent where it can, so that whatever quotes a bad answer would show a secret.
"""

import json
import socket
import socketserver
import struct
import threading
import time

GOOD = {"access_token": "CANARY-new-access", "token_type": "Bearer", "expires_in": 600, "refresh_token": "CANARY-new-refresh"}
HUGE = 100 << 20


def answer(status, body, content_type="application/json", *fields, length=None):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", f"Content-Length: {len(body) if length is None else length}", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Call:
    """One connection with its request read."""

    def __init__(self, server, connection, said):
        self.server, self.connection, self.said = server, connection, said

    def send(self, data):
        self.connection.sendall(data)

    def refused(self, status, error, *fields):
        """An OAuth error that quotes the whole request."""
        self.send(answer(status, {"error": error, "error_description": f"you sent {self.said}"}, "application/json", *fields))

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def silent(self):
        self.server.over.wait(30)

    def slowly(self):
        for byte in answer(200, GOOD):
            self.send(bytes([byte]))
            if self.server.over.wait(0.1):
                return

    def huge(self):
        self.send(answer(200, b'{"access_token": "CANARY-huge', length=HUGE))
        for _ in range(HUGE >> 16):
            self.send(b"a" * (1 << 16))
            self.server.sent += 1 << 16


class Scripted(socketserver.ThreadingTCPServer):
    """Does `script(call)` to every request; keeps when each came."""

    allow_reuse_address = daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, script):
        self.script, self.calls, self.sent, self.over = script, [], 0, threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def port(self):
        return self.server_address[1]

    def shutdown_request(self, request):
        self.close_request(request)  # without the FIN that socketserver sends first: `reset` is a reset

    def handle_error(self, request, client_address):
        pass  # cut connections are what this is for

    def shutdown(self):
        self.over.set()
        super().shutdown()


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        head, length = [], 0
        while line := self.rfile.readline(65536).decode("latin-1").strip():
            head.append(line)
            name, _, value = line.partition(":")
            length = int(value) if name.lower() == "content-length" else length
        if head:
            self.server.calls.append(time.monotonic())
            self.server.script(Call(self.server, self.connection, "\n".join([*head, self.rfile.read(length).decode()])))

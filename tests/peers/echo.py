"""A WebSocket server, by the `websockets` package, that the clients of `upgrades` and `http2` talk to.

It sends back what it gets. Three texts are orders: `close me` and `ping me`, and the path `/refused` is refused.
"""

import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

HOST = "ws.example"


class Echo:
    """Keeps the handshakes that it saw, and the code with which each connection closed."""

    def __init__(self, context):
        self.seen, self.closed, self.lock = [], [], threading.Lock()
        self.server = serve(self.handle, "127.0.0.1", 0, ssl=context, subprotocols=["chat"], process_request=self.look, max_size=None)
        self.port = self.server.socket.getsockname()[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def look(self, connection, request):
        with self.lock:
            self.seen.append(request)
        if request.path == "/refused":
            return connection.respond(403, "not you\n")
        return None

    def handle(self, connection):
        try:
            for message in connection:
                if message == "close me":
                    return connection.close(4001, "as you wish")
                if message == "ping me":
                    message = f"pong: {connection.ping().wait(10)}"
                connection.send(message)
        except ConnectionClosed:
            pass
        with self.lock:
            self.closed.append(connection.protocol.close_code)
        return None

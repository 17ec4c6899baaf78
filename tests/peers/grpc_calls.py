"""gRPC through countersign, with Google's own library at both ends and its JavaScript client. Called by `http2`.

The server speaks TLS and refuses every call without the real credential in its metadata. The clients have none: Python's
and Node's come by HTTP/2 without TLS and by interception.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import threading

import grpc
import lib

HOST = "grpc.example"
DETAILS = "geht nicht: 7 % zu wenig"


class Service(grpc.GenericRpcHandler):
    """Takes and gives bytes; keeps the metadata of its calls, deadlines, and which calls were cancelled."""

    def __init__(self):
        self.metadata, self.left, self.ended = [], {}, {}
        self.changed = threading.Condition()

    def service(self, call):
        name = call.method.removeprefix("/peers.Echo/")
        kinds = {"Unary": grpc.unary_unary_rpc_method_handler, "Fail": grpc.unary_unary_rpc_method_handler,
                 "Wait": grpc.unary_unary_rpc_method_handler, "ServerStream": grpc.unary_stream_rpc_method_handler,
                 "FailLater": grpc.unary_stream_rpc_method_handler, "Endless": grpc.unary_stream_rpc_method_handler,
                 "ClientStream": grpc.stream_unary_rpc_method_handler, "Bidi": grpc.stream_stream_rpc_method_handler}
        if name not in kinds:
            return None
        function, is_stream = getattr(self, name), name in ("ServerStream", "FailLater", "Endless", "Bidi")

        def stream(request, context):
            self.admit(context)
            yield from function(request, context)

        def single(request, context):
            self.admit(context)
            return function(request, context)
        return kinds[name](stream if is_stream else single)

    def admit(self, context):
        metadata = list(context.invocation_metadata())
        self.metadata.append(metadata)
        if [value for key, value in metadata if key == "authorization"] != ["Bearer a-token"]:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")

    def note(self, what, name):
        with self.changed:
            what[name] = True
            self.changed.notify_all()

    def saw(self, name):
        with self.changed:
            return self.changed.wait_for(lambda: name in self.ended, 10)

    def Unary(self, request, context):
        context.send_initial_metadata([("x-first", "early")])
        raw = dict(context.invocation_metadata()).get("x-raw-bin", b"")
        context.set_trailing_metadata([("x-last", "late"), ("x-raw-bin", raw)])
        return request

    def ServerStream(self, request, context):
        for number in range(int(request)):
            yield b"%d" % number * 100

    def ClientStream(self, requests, context):
        received = list(requests)
        return f"{len(received)} {hashlib.sha256(b''.join(received)).hexdigest()}".encode()

    def Bidi(self, requests, context):
        for request in requests:
            yield b"re: " + request

    def Fail(self, request, context):
        context.set_trailing_metadata([("x-why", "balance"), ("x-why-bin", b"\x00\xff")])
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, DETAILS)

    def FailLater(self, request, context):
        yield b"one"
        yield b"two"
        context.abort(grpc.StatusCode.DATA_LOSS, "no more")

    def Wait(self, request, context):
        name = request.decode()
        self.left[name] = context.time_remaining()
        ended = threading.Event()
        if not context.add_callback(ended.set):
            ended.set()
        ended.wait(30)
        self.note(self.ended, name)
        return b""

    def Endless(self, request, context):
        context.add_callback(lambda: self.note(self.ended, "endless"))
        number = 0
        while context.is_active():
            yield b"%d" % number
            number += 1
            threading.Event().wait(0.005)


def server(bench, authority):
    certificate, key = authority.issue("grpc", [HOST])
    service = Service()
    running = grpc.server(concurrent.futures.ThreadPoolExecutor(32), handlers=[service], options=[("grpc.so_reuseport", 0)])
    port = running.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
    running.start()
    bench.stack.callback(lambda: running.stop(0).wait(10))
    return service, port


WANTED = {
    "unary": ["grüße".encode().hex(), "OK"],
    "initial metadata": {"x-first": "early"},
    "trailing metadata": {"x-last": "late", "x-raw-bin": bytes(range(256)).hex()},
    "3 MiB": True,
    "nothing": "",
    "many at a time": True,
    "server streaming": True,
    "client streaming": True,
    "bidirectional": True,
    "status": ["FAILED_PRECONDITION", DETAILS, {"x-why": "balance", "x-why-bin": "00ff"}],
    "status after messages": [["one", "two"], "DATA_LOSS", "no more"],
    "unknown method": ["UNIMPLEMENTED", "Method not found!"],
    "deadline": ["DEADLINE_EXCEEDED"],
    "deadline in time": True,
    "cancel": [["0", "1", "2"], "CANCELLED"],
    "cancel of a call that waits": "CANCELLED",
}


def judge(report, way, service, run):
    """Runs one client and compares what it tells with what there has to be, also at the server."""
    service.metadata.clear()
    service.left.clear()
    service.ended.clear()
    done = run()
    if not report.check(f"{way}: the client runs to its end", done.returncode == 0 and done.stdout, done.stderr[-2000:]):
        return
    told = json.loads(done.stdout)
    for what, wanted in WANTED.items():
        report.equal(f"{way}: {what}", told.get(what), wanted)
    authorizations = {tuple(value for key, value in metadata if key == "authorization") for metadata in service.metadata}
    report.equal(f"{way}: every call comes with the credential alone", authorizations, {("Bearer a-token",)})
    first = dict(service.metadata[0])
    report.equal(f"{way}: metadata arrives, text and bytes", (first.get("x-text"), first.get("x-raw-bin")), ("a b", bytes(range(256))))
    left = service.left.get("deadline")
    report.check(f"{way}: the deadline arrives", left is not None and left < 1, left)
    for name in ("deadline", "endless", "cancelled"):
        report.check(f"{way}: the end of a call arrives ({name})", service.saw(name), service.ended)


NODE = """
import { createHash } from "node:crypto";
import grpc from "@grpc/grpc-js";
const [target, authority, kind] = process.argv.slice(2);
const client = kind === "tls" ? new grpc.Client(target, grpc.credentials.createSsl())
  : new grpc.Client(target, grpc.credentials.createInsecure(), { "grpc.default_authority": authority });
const same = (value) => value, out = {}, name = (code) => grpc.status[code];
const path = (method) => `/peers.Echo/${method}`;
const within = (seconds) => ({ deadline: Date.now() + seconds * 1000 });
const shown = (metadata) => Object.fromEntries(Object.entries(metadata.getMap()).filter(([key]) => key.startsWith("x-"))
  .map(([key, value]) => [key, Buffer.isBuffer(value) ? value.toString("hex") : value]));
const unary = (method, message, metadata = new grpc.Metadata(), options = within(20), before = () => {}) => new Promise((resolve) => {
  const told = {};
  const call = client.makeUnaryRequest(path(method), same, same, message, metadata, options, (error, answer) => { told.error = error; told.answer = answer; });
  call.on("metadata", (early) => { told.initial = shown(early); });
  call.on("status", (status) => { told.status = status; setImmediate(() => resolve(told)); });
  before(call);
});
const finished = (call) => new Promise((resolve) => {
  const got = []; let error;
  call.on("data", (piece) => got.push(piece)); call.on("error", (cause) => { error = cause; });
  call.on("status", (status) => setImmediate(() => resolve({ got, status, error })));
});
const texts = (pieces) => pieces.map(String);

const metadata = new grpc.Metadata();
metadata.set("authorization", "Bearer attacker"); metadata.set("x-text", "a b");
metadata.set("x-raw-bin", Buffer.from(Array.from({ length: 256 }, (_, number) => number)));
const first = await unary("Unary", Buffer.from("grüße"), metadata);
out.unary = [first.answer?.toString("hex") ?? String(first.error), name(first.status.code)];
out["initial metadata"] = first.initial;
out["trailing metadata"] = shown(first.status.metadata);
const large = Buffer.alloc(3 << 20, "abc");
out["3 MiB"] = (await unary("Unary", large)).answer?.equals(large);
out.nothing = (await unary("Unary", Buffer.alloc(0))).answer?.toString("hex");
const many = await Promise.all(Array.from({ length: 200 }, (_, number) => unary("Unary", Buffer.from(String(number)))));
out["many at a time"] = many.every(({ answer }, number) => String(answer) === String(number));

const down = await finished(client.makeServerStreamRequest(path("ServerStream"), same, same, Buffer.from("200"), new grpc.Metadata(), within(20)));
out["server streaming"] = down.got.length === 200 && down.got.every((piece, number) => String(piece) === String(number).repeat(100));
out["client streaming"] = await new Promise((resolve) => {
  const pieces = Array.from({ length: 50 }, (_, number) => Buffer.from(String(number).repeat(5000)));
  const wanted = `50 ${createHash("sha256").update(Buffer.concat(pieces)).digest("hex")}`;
  const call = client.makeClientStreamRequest(path("ClientStream"), same, same, new grpc.Metadata(), within(20),
    (error, answer) => resolve(error ? String(error) : String(answer) === wanted));
  for (const piece of pieces) call.write(piece);
  call.end();
});
const both = client.makeBidiStreamRequest(path("Bidi"), same, same, new grpc.Metadata(), within(20));
let turn = 0;
both.on("data", () => { turn += 1; if (turn < 20) both.write(Buffer.from(String(turn))); else both.end(); });
both.write(Buffer.from("0"));
out.bidirectional = JSON.stringify(texts((await finished(both)).got)) === JSON.stringify(Array.from({ length: 20 }, (_, number) => `re: ${number}`));

const failed = (await unary("Fail", Buffer.alloc(0))).status;
out.status = [name(failed.code), failed.details, shown(failed.metadata)];
const later = await finished(client.makeServerStreamRequest(path("FailLater"), same, same, Buffer.alloc(0), new grpc.Metadata(), within(20)));
out["status after messages"] = [texts(later.got), name(later.status.code), later.status.details];
const unknown = (await unary("Nothing", Buffer.alloc(0))).status;
out["unknown method"] = [name(unknown.code), unknown.details];
const begin = Date.now();
out.deadline = [name((await unary("Wait", Buffer.from("deadline"), undefined, within(0.5))).status.code)];
out["deadline in time"] = Date.now() - begin > 400 && Date.now() - begin < 5000;
const endless = client.makeServerStreamRequest(path("Endless"), same, same, Buffer.alloc(0), new grpc.Metadata(), within(60));
const head = [];
endless.on("data", (piece) => { head.push(String(piece)); if (head.length === 3) endless.cancel(); });
out.cancel = [head.slice(0, 3), name((await finished(endless)).status.code)];
out.cancel[0] = head.slice(0, 3);
const waiting = await unary("Wait", Buffer.from("cancelled"), undefined, within(60), (call) => setTimeout(() => call.cancel(), 200));
out["cancel of a call that waits"] = name(waiting.status.code);
console.log(JSON.stringify(out));
client.close();
process.exit(0);
"""


def refused_directly(report, folder, authority, port):
    """The server's own word, without countersign: no credential, no answer."""
    (folder / "grpc-ca.pem").write_bytes(authority.pem)
    options = [("grpc.ssl_target_name_override", HOST)]
    with grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(authority.pem), options) as channel:
        for metadata in ([], [("authorization", "Bearer attacker")]):
            try:
                channel.unary_unary("/peers.Echo/Unary")(b"", timeout=20, metadata=metadata)
                found = "OK"
            except grpc.RpcError as error:
                found = error.code().name
            report.equal(f"the gRPC server refuses {metadata or 'no credential'}", found, "UNAUTHENTICATED")


def checks(bench, authority, secrets):
    report = bench.report
    service, port = server(bench, authority)
    refused_directly(report, bench.subfolder("pki"), authority, port)
    proxy = bench.proxy("grpc", f"""
[intercept]
dir       = "public"
ephemeral = true

[credential.token]
bearer = {{ secret = "token" }}

[[route]]
name       = "grpc"
host       = "{HOST}"
upstream   = "https://127.0.0.1:{port}"
credential = "token"
tls        = {{ ca = "ca-crt" }}
""", secrets)
    script = bench.node / "grpc.mjs"
    script.write_text(NODE)
    programs = {"grpcio": [sys.executable, pathlib.Path(__file__).with_name("grpc_client.py")], "Node's grpc-js": ["node", script]}
    inside = {**os.environ, "https_proxy": f"http://127.0.0.1:{proxy.port}",
              "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(proxy.folder / "public/countersign-ca.crt")}
    ways = {"by HTTP/2 without TLS": ([f"127.0.0.1:{proxy.port}", HOST, "plain"], os.environ),
            "by interception": ([f"{HOST}:443", HOST, "tls"], inside)}
    for client, program in programs.items():
        for way, (arguments, environment) in ways.items():
            def run(command=(*program, *arguments), environment=environment):
                return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, cwd=bench.node, env=environment)
            judge(report, f"{client} {way}", service, run)
    report.equal("SIGTERM ends countersign with status 0 after gRPC", proxy.stop(), 0)

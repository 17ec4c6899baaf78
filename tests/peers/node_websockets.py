"""Node's WebSocket clients: `ws`, the one of undici, and the one that is built in. Called by `upgrades`.

Each talks by a base URL and by interception: `ws` with the agent of `https-proxy-agent`, undici with its ProxyAgent.
"""

import json
import os
import subprocess

import lib
from echo import HOST

NODE = """
import { HttpsProxyAgent } from "https-proxy-agent";
import { Agent, ProxyAgent, WebSocket as OfUndici } from "undici";
import WebSocket from "ws";
const { base, host, proxy } = JSON.parse(process.argv[2]);
const LARGE = 4 << 20;
const bytes = Uint8Array.from({ length: 256 }, (_, number) => number);
const soon = (what, promise) => Promise.race([promise, new Promise((_, no) => setTimeout(() => no(new Error(`no ${what}`)), 20000).unref())]);

// One at a time: whatever the server sends is the answer to the last message.
async function talk(open, ending, isWs) {
  const out = {}, socket = open();
  socket.binaryType = "arraybuffer";
  const next = (event) => soon(event, new Promise((resolve, reject) => {
    socket.addEventListener(event, resolve, { once: true });
    socket.addEventListener("error", (error) => reject(error.error ?? new Error(error.message)), { once: true });
  }));
  const ask = async (message) => { const got = next("message"); socket.send(message); return (await got).data; };
  await next("open");
  out.protocol = socket.protocol;
  out.extensions = socket.extensions;
  out.text = await ask("grüße");
  out.bytes = Buffer.from(await ask(bytes)).equals(Buffer.from(bytes));
  const large = new Uint8Array(LARGE).map((_, place) => place * 31);
  out.large = Buffer.from(await ask(large)).equals(Buffer.from(large));
  out.ping_from_server = await ask("ping me");
  if (isWs) {
    const pong = new Promise((resolve) => socket.once("pong", (data) => resolve(String(data))));
    socket.ping("are you there");
    out.ping = await soon("pong", pong);
  }
  const closed = next("close");
  socket.close(ending, "done");
  const own = await closed;
  out.own_close = [own.code, own.reason, own.wasClean];
  const second = open();
  await soon("open", new Promise((resolve, reject) => { second.addEventListener("open", resolve); second.addEventListener("error", reject); }));
  const theirs = soon("close", new Promise((resolve) => second.addEventListener("close", resolve)));
  second.send("close me");
  const end = await theirs;
  out.their_close = [end.code, end.reason, end.wasClean];
  return out;
}

const refused = () => new Promise((resolve) => {
  const socket = new WebSocket(`${base}/refused`, ["chat"], { headers: { host } });
  socket.on("unexpected-response", (_, answer) => { resolve(answer.statusCode); socket.terminate(); });
  socket.on("open", () => resolve("accepted"));
  socket.on("error", () => {});
});

const url = `${base}/chat`, prefixed = `${base}/ws/chat`, real = `wss://${host}/chat`;
const attacker = { Authorization: "Bearer attacker" };
const ways = {
  "ws by the Host header": [() => new WebSocket(url, ["chat"], { headers: { host, ...attacker } }), true],
  "ws by a path prefix": [() => new WebSocket(prefixed, ["chat"], { headers: attacker }), true],
  "ws by https-proxy-agent": [() => new WebSocket(real, ["chat"], { agent: new HttpsProxyAgent(proxy), headers: attacker }), true],
  "undici's WebSocket by a path prefix": [() => new OfUndici(prefixed, { protocols: ["chat"], dispatcher: new Agent(), headers: attacker }), false],
  "undici's WebSocket by ProxyAgent": [() => new OfUndici(real, { protocols: ["chat"], dispatcher: new ProxyAgent(proxy), headers: attacker }), false],
};
// Node 20 has it behind a switch, which is given; from 22 on it is there.
if (globalThis.WebSocket) ways["the built-in WebSocket by a path prefix"] = [() => new globalThis.WebSocket(prefixed, ["chat"]), false];
let ending = 4100;
for (const [way, [open, isWs]] of Object.entries(ways)) {
  const out = { way, ending, isWs };
  try { Object.assign(out, await talk(open, ending++, isWs)); } catch (error) { out.error = String(error?.cause ?? error?.stack ?? error); }
  console.log(JSON.stringify(out));
}
console.log(JSON.stringify({ refused: await soon("refusal", refused()) }));
process.exit(0);
"""


def judge(report, line):
    """One client on one way in."""
    way, deflate = line["way"], "permessage-deflate" in line.get("extensions", "")
    if "error" in line:
        report.check(f"{way}: talks", False, line["error"])
        return
    report.check(f"{way}: the subprotocol is agreed, and compression", line["protocol"] == "chat" and deflate, line)
    report.check(f"{way}: text, bytes and 4 MiB come back", line["text"] == "grüße" and line["bytes"] and line["large"], line)
    report.equal(f"{way}: a ping of the server is answered", line["ping_from_server"], "pong: True")
    if line["isWs"]:
        report.equal(f"{way}: a ping is answered with what it carried", line.get("ping"), "are you there")
    report.equal(f"{way}: its own close is answered", line["own_close"][0::2], [line["ending"], True])
    report.equal(f"{way}: the server's close arrives with code and reason", line["their_close"], [4001, "as you wish", True])


def checks(bench, echo, secrets):
    report = bench.report
    proxy = bench.proxy("node-websockets", f"""
[intercept]
dir       = "public"
ephemeral = true

[credential.token]
bearer = {{ secret = "token" }}

[[route]]
name       = "ws"
host       = "{HOST}"
prefix     = "/ws"
upstream   = "https://127.0.0.1:{echo.port}"
credential = "token"
tls        = {{ ca = "ca-crt" }}
""", secrets)
    script = bench.node / "websockets.mjs"
    script.write_text(NODE)
    first = len(echo.seen)
    given = {"base": f"ws://127.0.0.1:{proxy.port}", "host": HOST, "proxy": f"http://127.0.0.1:{proxy.port}"}
    environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(proxy.folder / "public/countersign-ca.crt"), "NODE_NO_WARNINGS": "1"}
    done = subprocess.run(["node", "--experimental-websocket", script, json.dumps(given)], capture_output=True, text=True, timeout=120,
                          cwd=bench.node, env=environment)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if not report.check("Node's script ran", done.returncode == 0 and len(lines) >= 6 and "refused" in lines[-1], done.stderr[-2000:]):
        return
    if len(lines) == 6:
        report.note("this Node has no WebSocket of its own")
    for line in lines[:-1]:
        judge(report, line)
    report.equal("ws: a refused handshake is the upstream's answer", lines[-1]["refused"], 403)
    handshakes = echo.seen[first:]
    report.equal("Node's handshakes have the credential alone and the upstream's Host",
                 {(*request.headers.get_all("Authorization"), request.headers["Host"]) for request in handshakes}, {("Bearer a-token", HOST)})
    report.equal("two connections a way and the refused one", len(handshakes), 2 * (len(lines) - 1) + 1)
    wanted = {line["ending"] for line in lines[:-1]}
    lib.wait_for("the server to see the codes", lambda: wanted <= set(echo.closed))
    report.check("the codes of Node's own closes arrive at the server", True)
    report.equal("SIGTERM ends countersign with status 0", proxy.stop(), 0)

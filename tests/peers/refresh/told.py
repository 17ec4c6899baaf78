"""Events as signed webhooks: what the reference library of Standard Webhooks (PyPI) verifies, told again until it is taken."""

import base64
import json

import lib
from standardwebhooks import Webhook, WebhookVerificationError

from . import stage as scene
from .scripted import Scripted

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
EVENTS = """
[events]
url    = "http://127.0.0.1:{port}/hook"
secret = "events/key"
types  = ["connection.*"]
"""
REFUSED = b"HTTP/1.1 500 Later\r\nContent-Length: 0\r\n\r\n"


def checks(stage):
    bench, report = stage.bench, stage.report
    refusals = []

    def once_refused(request):
        """The first attempt of all is refused; the same event must come again."""
        if refusals:
            return None
        refusals.append(request)
        return REFUSED
    hook = bench.serve(lib.Recorder(answer=once_refused))
    upstream = bench.serve(lib.Recorder(lib.server_context(bench.subfolder("pki"), stage.authority, ["*.told.example"])))
    dead = bench.serve(Scripted(lambda call: call.refused(400, "invalid_grant")))
    shop = scene.Shop("told", f"http://127.0.0.1:{dead.port}/token", upstream, domain="told.example")
    stage.seed(shop, "m1", "CANARY-told-seed")
    bench.secrets(stage.secrets, events__key=SECRET)
    proxy = stage.proxy("told", stage.sqlite("told"), [shop], EVENTS.format(port=hook.port))

    async def of(tenant):
        streams = await scene.asyncio.open_connection("127.0.0.1", proxy.port)
        return await scene.ask(streams, shop.host(tenant))
    answer = stage.loop.run(of("m1"))
    report.check("told: a dead grant is reauthorize", answer.status == 403, repr(answer))
    path = bench.folder / "told.jsonl"
    path.write_text(json.dumps({"credential": "told", "tenant": "m2", "access_token": "CANARY-told", "expires_in": 600}) + "\n")
    done = bench.command("connections", "import", path, "-c", proxy.folder / "proxy.toml")
    report.check("told: import", done.returncode == 0, done.stderr[-300:])
    done = bench.command("connections", "revoke", "told", "--tenant", "m2", "-c", proxy.folder / "proxy.toml")
    report.check("told: revoke", done.returncode == 0, done.stderr[-300:])

    def told():
        seen = [request for request in hook.seen if request is not refusals[0]] if refusals else []
        return {(json.loads(request.body)["type"], json.loads(request.body)["data"]["tenant"]): request for request in seen}
    wanted = {("connection.reauthorize", "m1"), ("connection.connected", "m2"), ("connection.revoked", "m2")}
    try:
        lib.wait_for("every event", lambda: wanted <= set(told()), 40)
    except Exception as error:
        report.check("told: every event arrives", False, f"{error}: {sorted(told())}")
        return
    report.check("told: every event arrives", True)
    events = told()
    for request in events.values():
        headers = {name.lower(): value for name, value in request.headers}
        try:
            body = Webhook(SECRET).verify(request.body.decode(), headers)
            report.check(f"told: {body['type']} is verified by the reference library", set(body) == {"type", "timestamp", "data"}, str(body))
        except WebhookVerificationError as error:
            report.check("told: verified by the reference library", False, f"{error}: {headers}")
    other = Webhook("whsec_" + base64.b64encode(b"x" * 32).decode())
    request = events[("connection.reauthorize", "m1")]
    try:
        other.verify(request.body.decode(), {name.lower(): value for name, value in request.headers})
        report.check("told: another key does not verify it", False)
    except WebhookVerificationError:
        report.check("told: another key does not verify it", True)
    data = json.loads(request.body)["data"]
    found = {name: data[name] for name in ("credential", "tenant", "state", "reason", "routes")}
    report.equal("told: what an event says", found, {"credential": "told", "tenant": "m1", "state": "reauthorize", "reason": "invalid_grant", "routes": ["told"]})
    first = refusals[0].one("webhook-id")
    again = [one for one in hook.seen if one.one("webhook-id") == first]
    report.check("told: what was refused comes again under its id", len(again) == 2 and again[0].body == again[1].body, f"{len(again)}")
    text = b"".join(one.body for one in hook.seen).decode() + proxy.log
    report.check("told: no token is told", "CANARY" not in text)

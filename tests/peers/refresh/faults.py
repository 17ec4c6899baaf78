"""Token endpoints that fail in every way: what the connection's state says, what a worker gets, what the log says.

Each fault has a credential, a port and two tenants of its own: one that has no token yet, and one whose imported token still
lives. The first must be refused in words that help, the second must be served all along.
"""

import dataclasses
import json

import lib

from . import stage as scene
from .scripted import GOOD, Scripted, answer

WAIT, TIMEOUT = 1.5, 0.7  # seconds: `refresh.wait`, `refresh.timeout`
PASSING = ("token_unavailable", 503)
ENDED = ("reauthorize", 403)
SERVED = (None, 200)
CLIENT_SECRET = "CANARY-client-secret-93f1"


@dataclasses.dataclass
class Fault:
    """What an endpoint does and what must come of it."""

    script: object
    reason: str
    first: tuple = PASSING  # what a worker gets whose tenant has no token
    state: str = "degraded"
    retry_after: tuple = (1, 60)  # seconds, between these


def sends(*arguments, **options):
    return lambda call: call.send(answer(*arguments, **options))


FAULTS = {
    "refused": Fault(None, "refused"),
    "reset": Fault(lambda call: call.reset(), "refused"),
    "black-hole": Fault(lambda call: call.silent(), "timeout"),
    "slow": Fault(lambda call: call.slowly(), "timeout"),
    "429": Fault(lambda call: call.refused(429, "slow_down", "Retry-After: 77"), "rate_limited", retry_after=(70, 79)),
    "429-bare": Fault(sends(429, b""), "rate_limited"),
    "500": Fault(lambda call: call.refused(500, "server_error"), "http_5xx"),
    "503": Fault(lambda call: call.send(answer(503, f"<h1>{call.said}</h1>".encode(), "text/html", "Retry-After: 33")), "http_5xx", retry_after=(28, 35)),
    "unavailable": Fault(lambda call: call.refused(400, "temporarily_unavailable"), "http_5xx"),
    "html": Fault(lambda call: call.send(answer(200, f"<html>{call.said}</html>".encode(), "text/html")), "bad_answer"),
    "empty": Fault(sends(200, b""), "bad_answer"),
    "error-in-200": Fault(lambda call: call.refused(200, "invalid_grant"), "invalid_grant", ENDED, "reauthorize"),
    "passing-in-200": Fault(lambda call: call.refused(200, "temporarily_unavailable"), "http_5xx"),
    "dead": Fault(lambda call: call.refused(400, "invalid_grant"), "invalid_grant", ENDED, "reauthorize"),
    "truncated": Fault(sends(200, json.dumps(GOOD)[:-20].encode()), "bad_answer"),
    "cut-off": Fault(sends(200, json.dumps(GOOD)[:-20].encode(), length=500), "refused"),
    "huge": Fault(lambda call: call.huge(), "bad_answer"),
    "no-http": Fault(lambda call: call.send(b"\x15\x03\x01\x00\x02\x02\x46" * 3), "bad_answer"),
    "redirect": Fault(sends(302, b"", "text/plain", "Location: http://127.0.0.1:{watch}/token"), "bad_answer"),
    "client": Fault(lambda call: call.refused(401, "invalid_client"), "invalid_client", retry_after=(1, 300), state="active"),
    "wrong-type": Fault(sends(200, GOOD, "text/html"), None, SERVED, "active"),
    "clock-off": Fault(sends(200, GOOD, "application/json", "Date: Sun, 06 Nov 1994 08:49:37 GMT"), None, SERVED, "active"),
}
LIVING, NEVER = "living", "never"


def names(fault):
    return f"f-{fault}"


def configure(stage, upstream, servers, watch):
    shops = []
    for name, fault in FAULTS.items():
        port = servers[name].port if name in servers else lib.free_port()
        shop = scene.Shop(names(name), f"http://127.0.0.1:{port}/token", upstream, refresh=f'first = "1s", max = "60s"', domain=f"{name}.faults.example")
        shop.wait, shop.timeout, shop.secret = f"{int(WAIT * 1000)}ms", f"{int(TIMEOUT * 1000)}ms", "faults/client-secret"
        shops.append(shop)
        for tenant in (LIVING, NEVER):
            stage.seed(shop, tenant, f"CANARY-seed-{name}-{tenant}")
    stage.bench.secrets(stage.secrets, faults__client_secret=CLIENT_SECRET)
    return shops


def imports(stage, proxy):
    """A token that lives for ten minutes for each `living`."""
    lines = [json.dumps({"credential": names(name), "tenant": LIVING, "access_token": f"CANARY-access-{name}",
                         "refresh_token": f"CANARY-refresh-{name}", "expires_in": 600}) for name in FAULTS]
    path = stage.bench.folder / "import.jsonl"
    path.write_text("\n".join(lines) + "\n")
    done = stage.bench.command("connections", "import", path, "-c", proxy.folder / "proxy.toml")
    path.unlink()
    stage.report.check("connections import takes a file of living tokens", done.returncode == 0, done.stderr[-500:])


def checks(stage):
    bench, report = stage.bench, stage.report
    upstream = bench.serve(lib.Recorder(lib.server_context(bench.subfolder("pki"), stage.authority, [f"*.{n}.faults.example" for n in FAULTS])))
    watch = bench.serve(lib.Recorder())
    FAULTS["redirect"].script = sends(302, b"", "text/plain", f"Location: http://127.0.0.1:{watch.port}/token")
    servers = {name: bench.serve(Scripted(fault.script)) for name, fault in FAULTS.items() if fault.script}
    shops = configure(stage, upstream, servers, watch)
    proxy = stage.proxy("faults", stage.sqlite("faults"), shops)
    imports(stage, proxy)
    base = proxy.memory("VmRSS")
    hosts = {name: (f"{LIVING}.{name}.faults.example", f"{NEVER}.{name}.faults.example") for name in FAULTS}

    async def all_of(which):
        async def one(name):
            streams = await scene.asyncio.open_connection("127.0.0.1", proxy.port)
            return name, await scene.ask(streams, hosts[name][which])
        return dict(await scene.asyncio.gather(*[one(name) for name in FAULTS]))
    never = stage.loop.run(all_of(1))
    refreshes = {name: bench.command("connections", "refresh", names(name), "--tenant", LIVING, "-c", proxy.folder / "proxy.toml") for name in FAULTS}
    living = stage.loop.run(all_of(0))
    grown = proxy.memory("VmHWM") - base
    rows, log = scene.at_rest(proxy), [json.loads(line) for line in proxy.log.splitlines() if line.startswith("{")]
    for name, fault in FAULTS.items():
        judge(report, name, fault, never[name], living[name], refreshes[name], rows, log)
    # What was sent and not read is in the kernel's buffers.
    each = servers["huge"].sent / len(servers["huge"].calls)
    report.check("huge: of 100 MiB little is read, and memory stays", each < 12 << 20 and grown < 20 << 20, (each, grown))
    report.equal("redirect: nobody followed it with the secrets", watch.take(), [])
    said = "\n".join([proxy.log, str([a.body for a in [*never.values(), *living.values()]]), json.dumps(list(rows.values())),
                      "".join(d.stdout + d.stderr for d in refreshes.values()), proxy.page("/metrics")[2].decode(), proxy.page("/")[2].decode()])
    report.check("faults: no token and no client secret in log, answers, pages and output", "CANARY" not in said,
                 [said[max(0, i - 150):i + 60] for i in [said.find("CANARY")]])
    report.equal("faults: SIGTERM ends countersign with status 0", proxy.stop(), 0)


def judge(report, name, fault, never, living, refreshed, rows, log):
    error, status = fault.first
    found = (never.fields.get("countersign-error"), never.status, never.problem.get("reason"))
    report.equal(f"{name}: what a worker without a token gets", found, (error, status, fault.reason))
    if status == 503:
        after = int(never.fields.get("retry-after", 0))
        report.check(f"{name}: Retry-After is in its bounds", fault.retry_after[0] <= after <= fault.retry_after[1], (after, fault.retry_after))
        report.check(f"{name}: it waited no longer than refresh.wait", never.took < WAIT + 1, never.took)
        report.check(f"{name}: the answer names credential and tenant", (never.problem.get("credential"), never.problem.get("tenant"))
                     == (names(name), NEVER), never)
    report.equal(f"{name}: a worker whose token lives is served", living.status, 200)
    row = rows[names(name), LIVING]
    report.equal(f"{name}: the state of the connection whose token lives", (row["state"], row["reason"], row["usable"]),
                 (fault.state, fault.reason if fault.state != "active" else None, True))
    wanted = {SERVED: 0, ENDED: 3}.get(fault.first, 4)
    report.equal(f"{name}: connections refresh exits with {wanted}", refreshed.returncode, wanted)
    said = [(line["msg"], line.get("reason")) for line in log if line.get("connection") == f"{names(name)}/{NEVER}"]
    event = "connected" if fault.first == SERVED else fault.state
    if name == "client":  # its merchants are not troubled, the credential is
        event, said = None, [(line["msg"], line.get("reason")) for line in log if line["msg"] == "credential.unhealthy"]
    report.check(f"{name}: the log says so, with connection and reason",
                 (f"connection.{event}" if event else "credential.unhealthy", fault.reason) in said, said)

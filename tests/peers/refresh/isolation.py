"""Merchants do not feel each other: one's dead token endpoint slows no other, and no token ever reaches another's host while a
thousand connections are refreshed, revoked and reloaded.
"""

import asyncio
import collections
import json
import os
import random
import socketserver
import threading
import time

import lib

from . import stage as scene
from .platform import Platform
from .stage import Shop, Upstream, Workers

SEED = int(os.environ.get("COUNTERSIGN_SEED", str(random.SystemRandom().getrandbits(32))))
TENANTS = 1000
LIFE = 26  # seconds: those that came first are refreshed again while the last ones come
SECONDS = 5  # after everybody was served once
REVOKED = 20
PAUSE = 0.5  # seconds between revocations
TAKEN = 0.5  # seconds after which a revoked connection's token is used by nobody in this process


class Hole(socketserver.ThreadingTCPServer):
    """Takes connections and says nothing, ever."""

    daemon_threads, block_on_close, request_queue_size = True, False, 256

    def __init__(self):
        self.over, self.taken = threading.Event(), 0
        super().__init__(("127.0.0.1", 0), None)

    def finish_request(self, request, client_address):
        self.taken += 1
        self.over.wait(60)

    def shutdown(self):
        self.over.set()
        super().shutdown()


def at(times, share):
    times = sorted(times)
    return times[min(len(times) - 1, int(share * len(times)))]


def black_hole(stage):
    """Two merchants of one credential, each with a token endpoint of its own."""
    bench, report = stage.bench, stage.report
    hosts = ["good.tokens.example", "bad.tokens.example"]
    platform = Platform(stage.loop, 4, context=lib.server_context(bench.subfolder("pki"), stage.authority, hosts))
    hole = bench.serve(Hole())
    upstream = Upstream(bench, stage.loop, stage.authority, platform.account_of, "hole.example")
    shop = Shop("hole", "https://{shop}.tokens.example/token", upstream, domain="hole.example")
    shop.wait, shop.timeout, shop.more = "800ms", "700ms", 'tls           = { ca = "ca-crt" }'
    for tenant in ("good", "bad"):
        stage.seed(shop, tenant, platform.seed(tenant))
    proxy = stage.proxy("hole", stage.sqlite("hole"), [shop], f"""
[connect_to]
"good.tokens.example:443" = "127.0.0.1:{platform.port}"
"bad.tokens.example:443" = "127.0.0.1:{hole.server_address[1]}"
""")
    good, bad = shop.host("good"), shop.host("bad")
    stage.loop.run(scene.burst(proxy.port, good, 8))

    def measure(seconds):
        workers = Workers(stage.loop, [proxy.port] * 4, [good], pace=0.04)
        time.sleep(seconds)
        workers.stop()
        return workers
    alone = measure(3)
    trouble = Workers(stage.loop, [proxy.port] * 60, [bad], pace=0.05)
    beside = measure(4)
    trouble.stop()
    report.check("the good merchant is served all along", not alone.failed and not beside.failed and beside.answers, (alone.failed + beside.failed)[:3])
    report.check("its tokens were refreshed meanwhile", platform.granted["good"] >= 2, platform.granted)
    statuses = collections.Counter((a.status, a.fields.get("countersign-error"), a.problem.get("reason")) for _, a in trouble.answers)
    report.check("the other one's workers are told that there is no token", set(statuses) == {(503, "token_unavailable", "timeout")}, statuses)
    one, two = ([answer.took for _, answer in workers.answers] for workers in (alone, beside))
    report.check("its p99 is not harmed by sixty workers of the other one", at(two, .99) < 3 * at(one, .99) + 0.1,
                 f"{at(one, .99) * 1e3:.0f} ms alone, {at(two, .99) * 1e3:.0f} ms beside")
    report.note(f"the good one's p50/p99: alone {at(one, .5) * 1e3:.1f}/{at(one, .99) * 1e3:.1f} ms, beside a dead token endpoint "
                f"{at(two, .5) * 1e3:.1f}/{at(two, .99) * 1e3:.1f} ms; {hole.taken} calls reached that one, {len(trouble.answers)} workers were told")
    report.equal("hole: no token reached another tenant or had ended", upstream.crossed + upstream.refused, [])
    report.equal("hole: SIGTERM ends countersign with status 0", proxy.stop(), 0)


class Turmoil:
    """Reloads and revocations of who was served, in threads of their own, until told to stop."""

    def __init__(self, proxy, shop, served, token):
        self.proxy, self.shop, self.served, self.chance, self.token = proxy, shop, served, random.Random(SEED), token
        self.over, self.reloads, self.revoked, self.failed = threading.Event(), 0, {}, []
        self.threads = [threading.Thread(target=self.reload), threading.Thread(target=self.revoke)]
        for thread in self.threads:
            thread.start()

    def reload(self):
        path = self.proxy.folder / "proxy.toml"
        text = path.read_text()
        while not self.over.wait(0.7):
            self.reloads += 1
            path.with_suffix(".new").write_text(text.replace("limits     = { in_flight = 4096 }", f"limits     = {{ in_flight = {4096 - self.reloads} }}"))
            path.with_suffix(".new").rename(path)

    def revoke(self):
        while len(self.revoked) < REVOKED and not self.over.wait(PAUSE):
            tenant = self.chance.choice(sorted(set(self.served) - set(self.revoked)) or ["nobody"])
            if tenant == "nobody":
                continue
            status, _, body = lib.ask(("127.0.0.1", self.proxy.admin), f"/api/connections/{self.shop.name}/{tenant}/revoke", "POST",
                                      {"Authorization": f"Bearer {self.token}"})
            self.revoked[tenant] = time.monotonic()
            if status != 200:
                self.failed.append((tenant, status, body[:300]))

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


async def crowd(port, hosts, seconds, lanes):
    """Requests over `lanes` connections: for each host one, then for random ones so many seconds."""
    answers, broken, ends = [], [], []

    async def lane(number):
        chance, todo = random.Random(SEED + number), hosts[number::lanes]
        streams = await asyncio.open_connection("127.0.0.1", port)
        while todo or len(ends) < lanes or time.monotonic() < max(ends) + seconds:
            if todo:
                host = todo.pop()
                if not todo:
                    ends.append(time.monotonic())
            else:
                host = chance.choice(hosts)
            try:
                answers.append((host, await scene.ask(streams, host)))
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
                broken.append((host, repr(error)))
                streams = await asyncio.open_connection("127.0.0.1", port)
        streams[1].close()
    await asyncio.gather(*[lane(number) for number in range(lanes)])
    return answers, broken


def canaries(stage):
    bench, report = stage.bench, stage.report
    report.note(f"COUNTERSIGN_SEED={SEED}")
    platform = Platform(stage.loop, LIFE)
    upstream = Upstream(bench, stage.loop, stage.authority, platform.account_of, "crowd.example")
    shop = Shop("crowd", platform.url, upstream, domain="crowd.example")
    tenants = [f"m{number}" for number in range(TENANTS)]
    for tenant in tenants:
        stage.seed(shop, tenant, platform.seed(tenant))
    bench.secrets(stage.secrets, admin__token="an-admin-token-of-the-checks")
    proxy = stage.proxy("crowd", stage.sqlite("crowd"), [shop], '\n[admin]\ntoken = "admin/token"\n')
    turmoil = Turmoil(proxy, shop, upstream.served, "an-admin-token-of-the-checks")
    answers, broken = stage.loop.run(crowd(proxy.port, [shop.host(tenant) for tenant in tenants], SECONDS, 64))
    turmoil.stop()
    mixed = [(host, answer) for host, answer in answers if answer.status == 200 and answer.body.decode() != host.split(".")[0]]
    report.check(f"of {len(answers)} requests for {TENANTS} tenants none got another's answer", not mixed and not broken, (mixed[:3], broken[:3]))
    report.equal("the upstream was sent no tenant's token for another", upstream.crossed, [])
    failed = [(host, answer) for host, answer in answers if answer.status != 200 and host.split(".")[0] not in turmoil.revoked]
    report.check("who was not revoked is served", not failed, f"{len(failed)}: {failed[:3]}")
    wrong = [(host, answer) for host, answer in answers if (end := turmoil.revoked.get(host.split(".")[0])) and answer.began > end + TAKEN
             and (answer.status, answer.problem.get("reason")) != (403, "revoked")]
    later = [(host, answer) for host, answer in answers if (end := turmoil.revoked.get(host.split(".")[0])) and answer.began > end + TAKEN]
    report.check("who was revoked gets 403 with that reason, and not a token more", later and not wrong, (len(later), wrong[:3]))
    ended = {tenant for _, tenant, _ in upstream.refused} - set(turmoil.revoked)
    report.check("no token that had ended was sent", not ended, upstream.refused[:3])
    report.check("every revocation was told to the platform", len(turmoil.revoked) >= REVOKED // 2 and not turmoil.failed
                 and all(platform.revocations[tenant] for tenant in turmoil.revoked), (len(turmoil.revoked), turmoil.failed[:3]))
    report.check("the platform refused no refresh", not [t for _, t in platform.refused if t not in turmoil.revoked], platform.refused[:3])
    rows = scene.listed(proxy)
    states = collections.Counter(row["state"] for row in rows.values())
    report.check("the list has them all, revoked and not", len(rows) == TENANTS and states["revoked"] == len(turmoil.revoked), (len(rows), states))
    report.check("reloads took place meanwhile", proxy.log.count('"msg":"configuration') >= 1 or turmoil.reloads > 3, turmoil.reloads)
    pages = proxy.log + json.dumps(list(rows.values())) + proxy.page("/metrics")[2].decode()
    report.check("crowd: no token is in log, list or metrics", "CANARY" not in pages)
    report.note(f"{len(answers)} requests, {sum(platform.granted.values())} refreshes, {turmoil.reloads} reloads, {len(turmoil.revoked)} revocations")
    report.equal("crowd: SIGTERM ends countersign with status 0", proxy.stop(), 0)


def checks(stage):
    black_hole(stage)
    canaries(stage)

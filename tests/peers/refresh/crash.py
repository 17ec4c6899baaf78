"""SIGKILL at random moments around a refresh, COUNTERSIGN_KILLS times (20; 300 for the long run), and what it costs; some of
them with PostgreSQL, where the lease of the dead must run out first. SIGTERM at such moments costs nothing.

Each round every connection has a token that is due, a worker's request begins its refresh, and the process is killed a
random moment later: before, during or after the token call. Then what is stored is read by `connections export`, the
platforms are asked what they would take, and the process starts again. One platform is oidc-provider, without grace: of a
refresh whose answer was not stored nothing can be saved. The other takes the previous refresh token until the new one
was used, as Shopify does.
"""

import asyncio
import collections
import itertools
import os
import random
import time

import lib
from databases import Database
from provider import Provider

from . import stage as scene
from .platform import Platform
from .stage import Introspection, Shop, Upstream

KILLS = int(os.environ.get("COUNTERSIGN_KILLS", "20"))
SEED = int(os.environ.get("COUNTERSIGN_SEED", str(random.SystemRandom().getrandbits(32))))
TENANTS = 6  # of each platform
LIFE = 4
DUE = LIFE * 0.1 + 0.05  # seconds after which every token is due, by `at = 0.1`
BEFORE, AFTER = 0.04, 0.08  # seconds that a platform takes before and after a call takes effect
SPAN = 0.4  # seconds after the requests within which the process is killed
MOMENTS = ("before it was sent", "sent, not stored", "after it was stored")
GOES_ON, INTERRUPTED = "goes on", "refresh_interrupted"


class Side:
    """One platform, its route and its connections."""

    numbers = itertools.count(1)  # every tenant is new

    def __init__(self, stage, name, token, account_of, new_seed, is_newest):
        self.stage, self.name, self.new_seed, self.is_newest = stage, name, new_seed, is_newest
        self.order = collections.defaultdict(list)  # tenant: its access tokens, as the upstream first saw them

        async def seen(access):
            tenant = await account_of(access)
            if tenant and access not in self.order[tenant]:
                self.order[tenant].append(access)
            return tenant
        self.upstream = Upstream(stage.bench, stage.loop, stage.authority, seen, f"{name}.example")
        self.shop = Shop(name, token, self.upstream, refresh="at = 0.1", domain=f"{name}.example")
        self.shop.timeout = "400ms"  # a lease lives for twice that and five seconds
        self.seeds, self.tenants, self.spare = {}, [], []
        self.outcomes, self.wrong = collections.Counter(), []
        self.stock()

    def stock(self):
        """Grants and their files for the connections to come: while no process runs, so that the next one finds them."""
        while len(self.spare) < TENANTS:
            tenant = f"t{next(Side.numbers)}"
            self.seeds[tenant] = self.new_seed(tenant)
            self.stage.seed(self.shop, tenant, self.seeds[tenant])
            self.spare.append(tenant)

    def fill(self):
        """New connections in place of those that were lost."""
        while len(self.tenants) < TENANTS:
            self.tenants.append(self.spare.pop(0))

    def known(self, rows, tenant):
        """The refresh token that a process would send next."""
        return rows.get((self.name, tenant), {}).get("refresh_token") or self.seeds[tenant]


async def requests(port, hosts):
    """One request for each host, all at one time: the answers by host, None where the process went away."""
    async def one(host):
        try:
            streams = await asyncio.open_connection("127.0.0.1", port)
            answer = await scene.ask(streams, host)
            streams[1].close()
            return answer
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
            return None
    return dict(zip(hosts, await asyncio.gather(*[one(host) for host in hosts])))


def one_end(stage, proxy, sides, moment, end):
    """Ends the process by `end`, `moment` seconds after every connection was used; judges each connection."""
    pairs = [(side, tenant) for side in sides for tenant in side.tenants]
    hosts = [side.shop.host(tenant) for side, tenant in pairs]
    before, began = scene.exported(stage.bench, proxy), time.time()
    pending = stage.loop.begin(requests(proxy.port, hosts))
    time.sleep(moment)
    end(proxy)
    pending.result(60)
    time.sleep(BEFORE + AFTER + 0.05)  # a platform goes on with what it was sent
    stored, moments = scene.exported(stage.bench, proxy), {}
    for side, tenant in pairs:
        known = side.known(stored, tenant)
        fresh = known != side.known(before, tenant)
        newest = side.is_newest(tenant, known)
        moments[side.name, tenant] = MOMENTS[2] if fresh else MOMENTS[0] if newest else MOMENTS[1]
        if fresh and not newest:
            side.wrong.append((tenant, "what was stored is not what the platform gave last"))
        access, seen = stored.get((side.name, tenant), {}).get("access_token"), side.order[tenant]
        if seen and access != seen[-1] and access in [None, *seen]:
            side.wrong.append((tenant, "a token was used that is not stored"))
    for side in sides:
        side.stock()
    scene.again(stage.bench, proxy)
    stage.loop.run(requests(proxy.port, hosts))

    def settled():
        rows = scene.listed(proxy)
        done = all((row := rows.get((side.name, tenant))) and (row["state"] == "reauthorize" or (
            row["state"] == "active" and scene.when(row["issued_at"]) >= began - 0.01)) for side, tenant in pairs)
        return rows if done else None
    try:
        rows = lib.wait_for("every connection to go on or to say that it cannot", settled, 15, step=0.05)
    except TimeoutError:
        rows = scene.listed(proxy)
    answers = stage.loop.run(requests(proxy.port, hosts))
    for side, tenant in pairs:
        judge(side, tenant, moments[side.name, tenant], rows.get((side.name, tenant), {}), answers[side.shop.host(tenant)])


def judge(side, tenant, moment, row, answer):
    state, reason = row.get("state"), row.get("reason")
    if state == "active" and answer and answer.status == 200:
        outcome = GOES_ON
    elif (state, reason) == ("reauthorize", INTERRUPTED) and answer and (
            # A token that lives is sent to its end; with the family oidc-provider may have ended it too, which is the upstream's to say.
            row["usable"] and answer.status in (200, 401) and "countersign-error" not in answer.fields
            or (answer.status, answer.problem.get("reason")) == (403, INTERRUPTED)):
        outcome = INTERRUPTED
    else:
        outcome = f"{state} {reason} {answer}"
    if outcome != GOES_ON:
        side.tenants.remove(tenant)
    side.outcomes[moment, outcome] += 1


def table(sides):
    lines = [f"{'ended':20} | " + " | ".join(f"{side.name:40}" for side in sides)]
    for moment in MOMENTS:
        cells = [", ".join(f"{count} {outcome}" for (when, outcome), count in sorted(side.outcomes.items()) if when == moment) for side in sides]
        lines.append(f"{moment:20} | " + " | ".join(f"{cell or '-':40}" for cell in cells))
    return lines


def platforms(stage, what):
    certified, own = Provider(stage.bench, f"provider-{what}", LIFE=str(LIFE)), Platform(stage.loop, LIFE)
    certified.pause(before=BEFORE * 1000, after=AFTER * 1000)
    own.before, own.after = BEFORE, AFTER
    return [
        Side(stage, "without-grace", f"{certified.url}/token", Introspection(certified.port), certified.seed,
             lambda _, token: certified.introspect(token)["active"]),
        Side(stage, "with-grace", own.url, own.account_of, own.seed, lambda tenant, token: own.accounts[tenant].current == token),
    ]


def rounds(stage, what, state, count, end=scene.kill):
    """Ends a process `count` times; the sides with what became of their connections."""
    report, chance = stage.report, random.Random(SEED)
    sides = platforms(stage, what)
    proxy = stage.proxy(what, state, [side.shop for side in sides])
    report.note(f"{what}: {count} times, COUNTERSIGN_SEED={SEED}")
    try:
        for _ in range(count):
            for side in sides:
                side.fill()
            one_end(stage, proxy, sides, chance.uniform(0, SPAN), end)
            time.sleep(DUE)
    finally:
        for line in table(sides):
            report.note(f"{what}: {line}")
    for side in sides:
        said = f"{what}, {side.name}"
        others = {key: number for key, number in side.outcomes.items() if key[1] not in (GOES_ON, INTERRUPTED)}
        report.check(f"{said}: every connection goes on or says refresh_interrupted", not others, others)
        report.check(f"{said}: no token is used before it is stored, none that was stored is lost", not side.wrong, side.wrong[:5])
        report.equal(f"{said}: no token reached another tenant", side.upstream.crossed, [])
    found = [token for side in sides for tokens in side.order.values() for token in tokens if token in proxy.log]
    report.check(f"{what}: no token is in the log", not found and all(side.order for side in sides), len(found))
    report.equal(f"{what}: SIGTERM ends countersign with status 0", proxy.stop(), 0)
    return sides


def killed(stage, what, state, count):
    report = stage.report
    for side, may_lose in zip(rounds(stage, what, state, count), ({MOMENTS[1]}, set())):
        lost = {moment for moment, outcome in side.outcomes if outcome == INTERRUPTED}
        report.check(f"{what}, {side.name}: nothing is lost but what could not be saved", lost <= may_lose, side.outcomes)
        hit = sum(number for (moment, _), number in side.outcomes.items() if moment == MOMENTS[1])
        report.check(f"{what}, {side.name}: kills fell between sending and storing", hit >= count // 4, side.outcomes)


def checks(stage):
    report = stage.report
    killed(stage, "killed", stage.sqlite("killed"), KILLS)
    stage.bench.secrets(stage.secrets, state__killed=Database(stage.bench).create("killed"))
    killed(stage, "killed-on-postgres", {"secret": "state/killed"}, max(2, KILLS // 10))
    for side in rounds(stage, "drained", stage.sqlite("drained"), 4, lambda proxy: proxy.stop()):
        lost = {moment for moment, outcome in side.outcomes if outcome == INTERRUPTED or moment == MOMENTS[1]}
        report.check(f"drained, {side.name}: SIGTERM in the midst of a refresh loses nothing", not lost, side.outcomes)

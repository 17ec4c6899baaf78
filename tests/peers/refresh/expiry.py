"""One refresh for each expiry: a thousand requests at one moment, then three processes on one store."""

import collections
import contextlib
import itertools
import time

import lib
from databases import Database
from provider import Provider

from .stage import Introspection, Shop, Upstream, Workers, burst, listed, show, when

AT_ONCE = 1000
LIFE = 12  # seconds: the provider counts whole seconds, so a token may end up to one earlier
SECONDS = 6  # of load on each store
TENANTS = [f"m{number}" for number in range(5)]
# Refreshed after 5 to 10 % of a token's life: many refreshes in little time, and none of a token that the provider has ended.
OFTEN = "at = 0.1"
SOONEST = 0.05 * LIFE


def thousand(stage):
    """The refresh begins at the latest moment there is, so that the requests find a token that has just ended."""
    bench, report = stage.bench, stage.report
    platform = Provider(bench, "provider-1000", LIFE=str(LIFE))
    upstream = Upstream(bench, stage.loop, stage.authority, Introspection(platform.port))
    shop = Shop("shop", f"{platform.url}/token", upstream, refresh='at = 0.99, before = "0s"')
    stage.seed(shop, "m1", platform.seed("m1"))
    proxy = stage.proxy("thousand", stage.sqlite("thousand"), [shop])
    platform.pause(before=300)
    for what, wanted in (("where there was no token yet", 1), ("at the moment of expiry", 2)):
        at = 0.0
        if wanted == 2:
            # A token is sent until a second before its end.
            at = when(show(bench, proxy, "shop", "m1")["expires_at"]) - 1 + 0.05
        began = len(upstream.served)
        answers = stage.loop.run(burst(proxy.port, shop.host("m1"), AT_ONCE, at))
        statuses = collections.Counter(answer.status for answer in answers)
        report.equal(f"{AT_ONCE} requests {what}: none fails", dict(statuses), {200: AT_ONCE})
        report.equal(f"{AT_ONCE} requests {what}: one refresh", (len(platform.grants()), platform.troubles()), (wanted, []))
        waited = sum(answer.took > 0.3 for answer in answers)
        report.check(f"{AT_ONCE} requests {what}: they waited for it", waited > AT_ONCE // 2, (waited, at, time.time(), began))
    report.equal("the upstream was sent no token that had ended", upstream.refused + upstream.crossed, [])
    report.equal("SIGTERM ends countersign with status 0", proxy.stop(), 0)


def three(stage, what, urls, around=()):
    """Three processes, each with a URL of the same store; each is started within one of `around`."""
    bench, report, name = stage.bench, stage.report, what.replace(" ", "-")
    platform = Provider(bench, f"provider-{name}", LIFE=str(LIFE))
    upstream = Upstream(bench, stage.loop, stage.authority, Introspection(platform.port))
    shop = Shop("shop", f"{platform.url}/token", upstream, refresh=OFTEN)
    for tenant in TENANTS:
        stage.seed(shop, tenant, platform.seed(tenant))
    platform.pause(before=20, after=20)
    proxies = []
    for number, (url, start) in enumerate(itertools.zip_longest(urls, around, fillvalue=contextlib.nullcontext())):
        with start:
            proxies.append(stage.proxy(f"{name}-{number}", url, [shop], ready=False))
    for proxy in proxies:
        proxy.wait_ready(30)
    workers = Workers(stage.loop, [proxy.port for proxy in proxies], [shop.host(tenant) for tenant in TENANTS], pace=0.1)
    time.sleep(SECONDS)
    workers.stop()
    enough = 16 * len(urls) * SECONDS
    report.check(f"{what}: no request of {len(workers.answers)} fails", not workers.failed and len(workers.answers) > enough,
                 f"{len(workers.failed)} of {len(workers.answers)}: {workers.failed[:3]}")
    report.check(f"{what}: the provider refuses nothing and ends no family", not platform.troubles(), platform.troubles()[:5])
    grants = {tenant: [event["at"] / 1000 for event in platform.grants(tenant)] for tenant in TENANTS}
    gaps = sorted(later - earlier for times in grants.values() for earlier, later in itertools.pairwise(sorted(times)))
    report.check(f"{what}: no two refreshes for one token", gaps and gaps[0] > SOONEST - 0.1, f"{gaps[:5]}, not under {SOONEST}")
    fewest = min(len(times) for times in grants.values())
    report.check(f"{what}: every connection was refreshed again and again", fewest >= SECONDS // 2 - 1, {t: len(g) for t, g in grants.items()})
    report.equal(f"{what}: the upstream was sent no token that had ended", upstream.refused + upstream.crossed, [])
    by = collections.Counter()

    def agree():
        """Refreshes go on while both sides are asked: they agree once no answer is under way."""
        before = len(platform.grants())
        for number, proxy in enumerate(proxies):
            metrics = proxy.page("/metrics")[2].decode()
            by[number] = sum(int(float(line.rsplit(" ", 1)[1])) for line in metrics.splitlines()
                             if line.startswith("countersign_refreshes_total{") and 'outcome="ok"' in line)
        return before == len(platform.grants()) == sum(by.values())
    try:
        lib.wait_for("both counts", agree, 10, 0.1)
        agreed = True
    except Exception:
        agreed = False
    report.check(f"{what}: what the processes count is what the provider granted", agreed, (by, len(platform.grants())))
    states = [row for (_, tenant), row in listed(proxies[0]).items() if tenant in TENANTS]
    report.check(f"{what}: every connection is active in the end", len(states) == len(TENANTS) and all(s["state"] in ("active", "refreshing") and s["usable"] for s in states), states)
    report.note(f"{what}: {len(workers.answers)} requests, {len(platform.grants())} refreshes by {len(proxies)} processes "
                f"({', '.join(str(by[n]) for n in range(len(proxies)))}), the two nearest {gaps[0] if gaps else 0:.2f} s apart")
    report.equal(f"{what}: SIGTERM ends all with status 0", [proxy.stop() for proxy in proxies], [0] * len(proxies))


def checks(stage):
    thousand(stage)
    three(stage, "three on one SQLite file", [stage.sqlite("three")] * 3)
    database = Database(stage.bench)
    for name, what, port in (("direct", "three on one PostgreSQL", None), ("pooled", "three through PgBouncer", database.pooled())):
        stage.bench.secrets(stage.secrets, **{f"state__{name}": database.create(name, port)})
        three(stage, what, [{"secret": f"state/{name}"}] * 3)

"""PostgreSQL restarts in the midst of refreshes: tokens that live are sent all the while, answers that came meanwhile are kept
until they can be stored, and no connection is lost.
"""

import signal
import time

import lib
from databases import Database
from provider import Provider

from . import expiry
from .stage import Introspection, Shop, Upstream, Workers, listed

GONE = 6.5  # seconds without a database: longer than a store waits for a connection (5 s), so that it must say so
TENANTS = [f"m{number}" for number in range(8)]


def checks(stage):
    bench, report = stage.bench, stage.report
    platform, database = Provider(bench, "provider-outage", LIFE=str(expiry.LIFE)), Database(bench)
    upstream = Upstream(bench, stage.loop, stage.authority, Introspection(platform.port))
    shop = Shop("shop", f"{platform.url}/token", upstream, refresh=expiry.OFTEN)
    for tenant in TENANTS:
        stage.seed(shop, tenant, platform.seed(tenant))
    bench.secrets(stage.secrets, state__outage=database.create("outage"))
    platform.pause(before=20, after=20)
    proxies = [stage.proxy(f"outage-{number}", {"secret": "state/outage"}, [shop]) for number in range(2)]
    workers = Workers(stage.loop, [proxy.port for proxy in proxies], [shop.host(tenant) for tenant in TENANTS], pace=0.1)
    time.sleep(2)
    # Cut while a call is under way, so that an answer comes when there is nowhere to store it.
    platform.pause(before=0, after=1000)
    before = len(platform.grants())
    calls = len([e for e in platform.events() if e.get("event") == "call"])
    lib.wait_for("a token call", lambda: len([e for e in platform.events() if e.get("event") == "call"]) > calls)
    database.process.send_signal(signal.SIGINT)  # fast: every session is ended
    database.process.wait(30)
    time.sleep(GONE)
    kept = len(platform.grants()) - before
    platform.pause(before=20, after=20)
    database.start()
    back = time.time()
    lib.wait_for("every connection to be refreshed again", lambda: all(
        any(grant["at"] / 1000 > back for grant in platform.grants(tenant)) for tenant in TENANTS), 20)
    workers.stop()
    report.check("outage: no request fails", not workers.failed and len(workers.answers) > 400, workers.failed[:3])
    report.check("outage: a refresh was under way when the database went", kept >= 1, kept)
    report.check("outage: the provider refuses nothing and ends no family", not platform.troubles(), platform.troubles()[:5])
    report.equal("outage: the upstream was sent no token that had ended", upstream.refused + upstream.crossed, [])
    rows = listed(proxies[0])
    report.check("outage: every connection is active in the end", len(rows) == len(TENANTS)
                 and all(row["state"] in ("active", "refreshing") and row["usable"] for row in rows.values()), rows)
    report.check("outage: the log says that the store did not answer", any("store" in line and '"warn"' in line for proxy in proxies
                                                                       for line in proxy.log.splitlines()), proxies[0].log[-500:])
    report.note(f"outage: {len(workers.answers)} requests, {len(platform.grants())} refreshes, {kept} of them answered without a database")
    report.equal("outage: SIGTERM ends all with status 0", [proxy.stop() for proxy in proxies], [0, 0])

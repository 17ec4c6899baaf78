"""SIGKILL at each named step of a refresh, brought about from outside: a store that somebody else holds locked keeps a process
where it wants to write, a platform that holds its answer keeps it in the midst of a call.

`wanted`: it wants the lease. `claimed`: lease and intent are stored, the call is out, the platform has not acted. `answered`:
the platform has acted and answered, nothing of it is stored. `committed`: it is stored. With SQLite and PostgreSQL, at a
platform that takes the previous refresh token until the new one was used, and at one that does not.
"""

import contextlib
import time

import lib
from databases import Database

from . import stage as scene
from .platform import GatedPlatform
from .stage import File, Held, Server, Shop, Upstream

LIFE = 600
SETTLE = 0.4  # seconds in which what is held up comes to where it is held
GOES_ON = (200, None)
INTERRUPTED = (403, "refresh_interrupted")


class Side:
    """One platform and its route."""

    def __init__(self, stage, store, grace):
        self.name = f"{'with' if grace else 'without'}-grace"
        self.platform = GatedPlatform(stage.loop, LIFE, grace=grace)
        domain = f"{self.name}.{store}.example"
        self.upstream = Upstream(stage.bench, stage.loop, stage.authority, self.platform.account_of, domain)
        self.shop = Shop(f"{self.name}-{store}", self.platform.url, self.upstream, domain=domain)
        self.shop.timeout = "400ms"  # a lease lives for twice that and five seconds
        for step in STEPS:
            stage.seed(self.shop, step, self.platform.seed(step))


def wanted(case):
    """Somebody else writes, so that the lease is not given."""
    with Held(case.store):
        case.begin()
        time.sleep(SETTLE)
        case.kill()


def claimed(case):
    platform = case.side.platform
    platform.shut = {"before"}
    before = platform.reached["before"]
    case.begin()
    lib.wait_for("the call", lambda: platform.reached["before"] > before)
    case.kill()
    platform.dropped = True  # it never acted
    case.pending.result(30)
    time.sleep(0.05)


def answered(case):
    platform = case.side.platform
    platform.shut = {"after"}
    before = platform.reached["after"]
    case.begin()
    lib.wait_for("the platform to act", lambda: platform.reached["after"] > before)
    with Held(case.store):
        platform.shut = set()
        time.sleep(SETTLE / 2)  # less than `timeout`: the answer came in time and waits for the store
        case.kill()


def committed(case):
    statement = f"SELECT count(*) FROM countersign_connections WHERE credential = '{case.side.shop.name}' AND tenant = 'committed' AND access_sealed IS NOT NULL"
    case.begin()
    lib.wait_for("the answer to be stored", lambda: case.store.read(statement) == 1, step=0)
    case.kill()


# Step, what comes of it with grace and without, token calls that the platform grants in all, what is stored at the kill.
STEPS = {
    "wanted": (wanted, GOES_ON, GOES_ON, 1, False),
    "claimed": (claimed, GOES_ON, GOES_ON, 1, False),
    "answered": (answered, GOES_ON, INTERRUPTED, None, False),
    "committed": (committed, GOES_ON, GOES_ON, 1, True),
}


class Case:
    """One kill."""

    def __init__(self, stage, proxy, store, side, step):
        self.stage, self.proxy, self.store, self.side, self.step = stage, proxy, store, side, step
        self.pending = None

    def begin(self):
        async def ask():
            with contextlib.suppress(OSError, EOFError):
                return await self.side.shop.ask(self.proxy.port, self.step)
        self.pending = self.stage.loop.begin(ask())

    def kill(self):
        scene.kill(self.proxy)

    def run(self):
        report, platform, tenant = self.stage.report, self.side.platform, self.step
        act, with_grace, without, grants, is_stored = STEPS[self.step]
        said = f"{self.store.state if isinstance(self.store.state, str) else 'PostgreSQL'}, {self.side.name}, killed when {self.step}"
        said = said if not said.startswith("sqlite:") else "SQLite" + said[said.index(","):]
        act(self)
        platform.shut, platform.dropped = set(), False
        rows = scene.exported(self.stage.bench, self.proxy)
        stored = rows.get((self.side.shop.name, tenant), {}).get("access_token")
        report.equal(f"{said}: whether its answer was stored", stored is not None, is_stored)
        if act is not answered:
            newest = platform.accounts[tenant].current
            known = rows.get((self.side.shop.name, tenant), {}).get("refresh_token")
            report.check(f"{said}: the newest refresh token is known", known in (None, newest), (known, newest))
        scene.again(self.stage.bench, self.proxy)
        answer = self.stage.loop.run(self.side.shop.ask(self.proxy.port, tenant))
        wanted = with_grace if platform.grace else without
        report.equal(f"{said}: what a worker gets then", (answer.status, answer.problem.get("reason")), wanted)
        row = scene.at_rest(self.proxy)[self.side.shop.name, tenant]
        state = ("active", None) if wanted == GOES_ON else ("reauthorize", "refresh_interrupted")
        report.equal(f"{said}: the state", (row["state"], row["reason"]), state)
        if grants is not None:
            report.equal(f"{said}: what the platform granted", platform.granted[tenant], grants)
        refused = [tenant for _, tenant in platform.refused if tenant == self.step]
        report.equal(f"{said}: calls that the platform refused", len(refused), int(wanted != GOES_ON))


def checks(stage):
    database = Database(stage.bench)
    stage.bench.secrets(stage.secrets, state__steps=database.create("steps"))
    stores = {"file": File(stage.sqlite("steps")), "server": Server(database, "steps", {"secret": "state/steps"})}
    for name, store in stores.items():
        sides = [Side(stage, name, grace) for grace in (True, False)]
        proxy = stage.proxy(f"steps-{name}", store.state, [side.shop for side in sides])
        for side in sides:
            for step in STEPS:
                Case(stage, proxy, store, side, step).run()
            crossed = side.upstream.crossed + side.upstream.refused
            stage.report.equal(f"{name}, {side.name}: no token reached another tenant or had ended", crossed, [])
        stage.report.equal(f"{name}: SIGTERM ends countersign with status 0", proxy.stop(), 0)

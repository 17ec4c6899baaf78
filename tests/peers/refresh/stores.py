"""Stores in trouble: a full disk, a store that somebody else keeps busy, a read-only one and one that is not there when
countersign starts. What was stored stays, a living token is sent all along, and what could not be stored is kept until it can.
"""

import contextlib
import json
import os
import signal
import subprocess
import time

import lib
from databases import Database

from . import stage as scene
from .platform import GatedPlatform
from .stage import File, Held, Shop, Upstream, Workers

LIFE = 600
SLOW = 3.0  # seconds
OPEN = """
[[route]]
name       = "open"
host       = "open.example"
upstream   = "http://127.0.0.1:{port}"
credential = "none"
"""


class Scene:
    """A platform, its shop, an upstream, and a route that needs no store."""

    def __init__(self, stage, name, tenants):
        self.stage, self.bench, self.report, self.name = stage, stage.bench, stage.report, name
        self.platform = GatedPlatform(stage.loop, LIFE)
        self.upstream = Upstream(stage.bench, stage.loop, stage.authority, self.platform.account_of, f"{name}.example")
        self.shop = Shop(name, self.platform.url, self.upstream, domain=f"{name}.example")
        self.shop.wait = "4s"
        self.plain = stage.bench.serve(lib.Recorder())
        for tenant in tenants:
            stage.seed(self.shop, tenant, self.platform.seed(tenant))

    def start(self, state, **options):
        self.proxy = self.stage.proxy(self.name, state, [self.shop], OPEN.format(port=self.plain.port), **options)

    def ask(self, tenant):
        return self.stage.loop.run(self.shop.ask(self.proxy.port, tenant))

    def begin(self, tenant):
        return self.stage.loop.begin(self.shop.ask(self.proxy.port, tenant))

    def served(self, what, *tenants):
        found = {tenant: self.ask(tenant).status for tenant in tenants}
        self.report.equal(f"{self.name}: {what}", found, {tenant: 200 for tenant in tenants})

    def told(self, what, answer):
        found = (answer.status, answer.fields.get("countersign-error"), "retry-after" in answer.fields)
        self.report.equal(f"{self.name}: {what}", found, (503, "token_unavailable", True))

    def open_route(self):
        status, _, _ = lib.ask(("127.0.0.1", self.proxy.port), "/", headers={"Host": "open.example"})
        self.report.equal(f"{self.name}: a route that needs no store works", status, 200)

    def not_ready(self, tenant):
        """What a process says that never reached its store."""
        self.report.equal(f"{self.name}: /livez", self.proxy.page("/livez")[0], 200)
        status, _, body = self.proxy.page("/readyz?verbose")
        self.report.check(f"{self.name}: /readyz says why not", status == 503 and b"the store of connections was not reached" in body, (status, body))
        self.told("a worker is told that there is no token", self.ask(tenant))
        self.open_route()

    def newest(self, *tenants):
        rows = scene.exported(self.bench, self.proxy)
        wanted = {tenant: self.platform.accounts[tenant].current for tenant in tenants}
        found = {tenant: rows.get((self.name, tenant), {}).get("refresh_token") for tenant in tenants}
        self.report.check(f"{self.name}: what is stored is what the platform gave last", found == wanted, "differs")

    def end(self):
        self.report.equal(f"{self.name}: no token reached another tenant or had ended", self.upstream.crossed + self.upstream.refused, [])
        self.report.check(f"{self.name}: no token is in the log", "CANARY" not in self.proxy.log)
        self.report.equal(f"{self.name}: SIGTERM ends countersign with status 0", self.proxy.stop(), 0)


@contextlib.contextmanager
def disk(stage, name):
    """A file system of 2 MiB; None where nobody lets us mount one."""
    folder = stage.bench.subfolder(name)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(path):
    with open(path, "wb", buffering=0) as out:
        with contextlib.suppress(OSError):
            while True:
                out.write(b"x" * 4096)


def full(stage, folder):
    place = Scene(stage, "full", ["living", "late", "other"])
    file = File(f"sqlite:{folder}/state/state.db")
    place.start(file.state)
    place.served("before, all is well", "living")
    place.platform.shut = {"after"}
    late = place.begin("late")
    lib.wait_for("the platform to act", lambda: place.platform.reached["after"] == 2)
    # Who reads keeps the log from being written over from its beginning.
    reader = file.connect()
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM countersign_connections").fetchone()
    fill(folder / "filler")
    place.platform.shut = set()
    lib.wait_for("the log to say so", lambda: "is not stored yet" in place.proxy.log)
    place.served("a token that lives is sent", "living")
    place.told("a worker without a token is told", place.ask("other"))
    place.open_route()
    reader.close()
    os.unlink(folder / "filler")
    answer = late.result(30)
    if answer.status == 503:  # it waited for `wait`
        answer = place.ask("late")
    place.report.equal("full: the answer that came meanwhile is used once there is room", answer.status, 200)
    place.report.equal("full: with the one call", place.platform.granted["late"], 1)
    lib.wait_for("the other one", lambda: place.ask("other").status == 200, 10)
    place.newest("living", "late", "other")
    scene.kill(place.proxy)
    scene.again(place.bench, place.proxy)
    place.served("nothing is lost with the process", "living", "late", "other")
    place.report.equal("full: nor asked for again", place.platform.granted["late"], 1)
    place.end()


def read_only(stage, folder):
    place = Scene(stage, "read-only", ["living"])
    place.start(f"sqlite:{folder}/state/state.db")
    place.served("before, all is well", "living")
    place.proxy.stop()
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    try:
        place.start(f"sqlite:{folder}/state/state.db", ready=False)
        lib.wait_for("it to listen", lambda: lib.listening(place.proxy.port) and lib.listening(place.proxy.admin))
        place.not_ready("living")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
    place.proxy.wait_ready(30)
    place.served("it becomes ready when the disk can be written", "living")
    place.report.equal("read-only: the token that was stored is the one that is sent", place.platform.granted["living"], 1)
    place.end()


def slow(stage):
    place = Scene(stage, "slow", ["living", "late"])
    file = File(stage.sqlite("slow"))
    place.start(file.state)
    place.served("before, all is well", "living")
    with Held(file):
        late = place.begin("late")
        workers = Workers(stage.loop, [place.proxy.port], [place.shop.host("living")], pace=0.05)
        time.sleep(SLOW)
        workers.stop()
    slowest = max(answer.took for _, answer in workers.answers)
    place.report.check("slow: requests with a token that lives do not feel it", not workers.failed and slowest < 0.5, (workers.failed[:3], slowest))
    answer = late.result(30)
    place.report.check("slow: one without a token waits and is served", answer.status == 200 and answer.took > SLOW - 0.5, (answer, answer.took))
    place.report.equal("slow: by one call", place.platform.granted["late"], 1)
    place.end()


def absent(stage):
    """PostgreSQL comes after countersign."""
    database = Database(stage.bench)
    url = database.create("absent")
    database.process.send_signal(signal.SIGINT)  # fast: every session is ended
    database.process.wait(30)
    stage.bench.secrets(stage.secrets, state__absent=url)
    place = Scene(stage, "absent", ["m1"])
    began = time.monotonic()
    place.start({"secret": "state/absent"}, ready=False)
    lib.wait_for("it to listen", lambda: lib.listening(place.proxy.port) and lib.listening(place.proxy.admin))
    place.report.note(f"absent: it listened after {time.monotonic() - began:.2f} s")
    place.not_ready("m1")
    database.start()
    place.proxy.wait_ready(30)
    place.served("it becomes ready when the database comes", "m1")
    place.report.equal("absent: by one call", place.platform.granted["m1"], 1)
    # Away later on, it stays ready: living tokens are sent.
    database.process.send_signal(signal.SIGINT)  # fast: every session is ended
    database.process.wait(30)
    place.served("a database that goes away later takes no living token", "m1")
    place.report.equal("absent: and leaves it ready", place.proxy.page("/readyz")[0], 200)
    database.start()
    place.end()


def checks(stage):
    for name, part in (("disk-full", full), ("disk-read-only", read_only)):
        with disk(stage, name) as folder:
            if folder is None:
                stage.report.note(f"{name}: not checked, nobody lets us mount a file system")
                stage.report.skipped += 1
            else:
                part(stage, folder)
    slow(stage)
    absent(stage)

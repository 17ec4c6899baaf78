"""What is measured: each workload runs its peers side by side and gives rows, one a slice, round, start or count.

Peers are configured in peers.py, loads are in load.py; what rows mean together is report.py's matter.
"""

import contextlib
import dataclasses
import re
import shutil
import subprocess
import time

import load as loads
import machine
import peers
from load import Load
from origin import HERE

PROXIES = ("nginx", "haproxy", "envoy", "bare", "countersign")


@dataclasses.dataclass
class Slices:
    """Slices of throughput in rotating order, all peers up at once."""

    name: str
    what: str
    kind: str = "bearer"
    peers: tuple = PROXIES
    base: str = "nginx"
    log: bool = False
    many: int = 0
    path: str = "/"
    post: int = 0
    connections: int = 64
    own: bool = False  # loaded by bench-load rather than wrk
    rounds: int = 8


WITHOUT_BARE = tuple(p for p in PROXIES if p != "bare")
SLICES = {w.name: w for w in [
    Slices("bearer", "bearer, HTTPS with HTTP/1.1, access log off", rounds=12),
    Slices("bearer-log", "bearer, HTTPS with HTTP/1.1, access log on", peers=WITHOUT_BARE, log=True, rounds=12),
    Slices("h2", "bearer, HTTP/2 to the upstream", kind="h2", peers=("haproxy", "envoy", "bare", "countersign"), base="haproxy"),
    Slices("hmac", "HMAC over a body of 1 KiB", kind="hmac", peers=("nginx", "haproxy", "countersign"), post=1024, rounds=12),
    Slices("mtls", "bearer and a client certificate", kind="mtls"),
    Slices("intercept", "interception: CONNECT, TLS of the worker ended (nginx: its plain bearer case)", kind="intercept",
           peers=("nginx", "mitmproxy", "countersign"), connections=32, own=True),
    Slices("down", "10 MiB to the worker", path="/blob", connections=4),
    Slices("up", "10 MiB to the upstream", path="/upload", post=loads.BLOB, connections=4),
    Slices("routes-10", "10 routes, a secret each", kind="routes", many=10, peers=WITHOUT_BARE),
    Slices("routes-10000", "10 000 routes, a secret each", kind="routes", many=10_000, peers=WITHOUT_BARE),
    Slices("secrets-10", "10 secrets, one route", kind="secrets", many=10, peers=("countersign",), base="countersign", rounds=4),
    Slices("secrets-100000", "100 000 secrets, one route", kind="secrets", many=100_000, peers=("countersign",), base="countersign", rounds=4),
]}
OTHERS = ("latency", "syscalls", "idle", "start", "size", "instructions")
NAMES = (*SLICES, *OTHERS)
FOREIGN = 0.1  # cores that others may use while a slice runs
REPEATS = 2  # of a slice that was disturbed


class Session:
    """One run: the origin, the loader, the programs, and where rows go."""

    def __init__(self, folder, memory, programs, origin, loader, emit, brief):
        self.folder, self.memory, self.programs, self.origin, self.loader = folder, memory, programs, origin, loader
        self.emit, self.brief = emit, brief
        self.running, self.turn, self.repeats_left = {}, 0, 0

    def note(self, text):
        print(f"    {text}", flush=True)

    def setup(self, peer, kind, **more):
        self.turn += 1
        # Secrets lie in memory, as they do in production: 100 000 files on a disk would measure the disk.
        place = self.memory if more.get("many") else self.folder
        return peers.Setup(place / f"{peer}-{self.turn}", self.origin, self.programs, kind, **more)

    def start(self, peer, setup, command=None):
        """Starts it and emits how long that took until its first 200; the process is in `running`."""
        command = command or peers.ALL[peer](setup)
        process = machine.Process(command, setup.folder, machine.CORES[0])
        self.running[peer] = (process, setup)
        seconds = loads.first_answer(process, setup.port, peers.host(setup.many), self.ca(peer, setup))
        spent, (resident, _) = machine.cpu(process.pids())[0], machine.memory(process.pids())
        self.emit(peer=peer, many=setup.many, start=seconds, start_cpu=spent, resident=resident)

    def end(self, peer):
        process, setup = self.running.pop(peer)
        process.end()
        shutil.rmtree(setup.folder, ignore_errors=True)

    @contextlib.contextmanager
    def up(self, wanted, kind, **more):
        """Those of the peers that are installed and come up. One that does not is a row of its own, never silence."""
        up = []
        try:
            for peer in wanted:
                if peer not in self.programs:
                    continue
                try:
                    self.start(peer, self.setup(peer, kind, **more))
                except RuntimeError as error:
                    self.emit(peer=peer, failed=str(error))
                    self.note(f"{peer} FAILED to start: {error}")
                    self.end(peer)
                    continue
                up.append(peer)
            yield up
        finally:
            for peer in list(self.running):
                self.end(peer)

    def ca(self, peer, setup):
        """Where the CA of an intercepting peer is once it has started; None when it does not intercept here."""
        name = peers.CA_OF_INTERCEPTION.get(peer) if setup.kind == "intercept" else None
        return name and setup.folder / name

    def target(self, peer, **more):
        _, setup = self.running[peer]
        return Load(setup.port, peers.host(setup.many), connect=self.ca(peer, setup), **more)

    def cores(self, turn):
        """The proxies on one core, load and origin on the other; they change places."""
        proxy, other = machine.CORES[turn % len(machine.CORES)], machine.CORES[(turn + 1) % len(machine.CORES)]
        machine.place(self.origin.process.pids(), other)
        for process, _ in self.running.values():
            machine.place(process.pids(), proxy)
        self.loader.core = other

    def measured(self, peer, send):
        """One load with the CPU that it cost the peer, repeated within bounds when others were busy."""
        everyone = self.origin.process.pids() + [pid for process, _ in self.running.values() for pid in process.pids()]
        pids = self.running[peer][0].pids() if peer in self.running else []
        best, errors = None, 0
        for attempt in range(REPEATS + 1):
            before = machine.cpu(pids)
            with machine.Foreign(everyone) as foreign:
                result = send()
            spent = [after - begin for after, begin in zip(machine.cpu(pids), before)]
            errors += result["errors"]
            result["foreign"] = foreign.cores
            share = spent[1] / ((spent[1] + spent[2]) or 1)
            done = result["requests"] or 1
            result |= {"cpu_us": spent[0] / done * 1e6, "user_us": spent[0] * share / done * 1e6, "system_us": spent[0] * (1 - share) / done * 1e6,
                       "busy": spent[0] / result["seconds"]}
            if best is None or result["foreign"] < best["foreign"]:
                best = result
            if foreign.cores <= FOREIGN or self.repeats_left <= 0:
                break
            self.repeats_left -= 1
        return best | {"errors": errors, "repeated": attempt}


def slices(session, workload):
    w = workload
    rounds = 1 if session.brief else w.rounds
    session.repeats_left = 0 if session.brief else rounds * len(w.peers) // 2
    more = {"log": w.log, "many": w.many}
    seconds = 1 if w.many or not (w.own or w.post > 2**20 or w.path == "/blob") else 2
    seconds = 1 if session.brief else seconds
    with session.up(w.peers, w.kind, **more) as up:
        sent = dict.fromkeys(up, 0)

        def send(peer, duration):
            target = session.target(peer, path=w.path, post=w.post, connections=w.connections)
            result = session.loader.own(target, duration) if w.own else session.loader.wrk(target, duration)
            sent[peer] += result["requests"]
            return result
        session.cores(0)
        for peer in up if not session.brief else []:
            send(peer, 1)  # connections, caches and pools are warm afterwards
        for turn in range(rounds):
            session.cores(turn)
            for peer in up[turn % len(up):] + up[:turn % len(up)]:
                row = session.measured(peer, lambda: send(peer, seconds))
                session.emit(peer=peer, round=turn, rate=row["requests"] / row["seconds"], **row)
        for peer in up:
            pids = session.running[peer][0].pids()
            session.emit(peer=peer, resident_after=machine.memory(pids)[0], resident_most=machine.peak(pids))
        for peer in up if w.log else []:
            session.running[peer][0].end()  # writes what it still holds
            lines = sum(path.read_bytes().count(b"\n") for path in session.running[peer][1].folder.glob("*.log") if path.name != "error.log")
            session.emit(peer=peer, lines=lines / (sent[peer] or 1))


def latency(session):
    """1000 requests a second on 32 connections, whatever becomes of them."""
    rounds, seconds = (1, 1) if session.brief else (6, 4)
    session.repeats_left = 0 if session.brief else rounds * 3
    with session.up(PROXIES, "bearer") as up:
        order = ["direct", *up]
        for turn in range(rounds):
            session.cores(turn)
            for peer in order[turn % len(order):] + order[:turn % len(order)]:
                if peer == "direct":
                    target = Load(session.origin.ports["h1"], peers.NAME, direct=session.origin.folder / "ca.crt")
                else:
                    target = session.target(peer)
                target.connections = 32
                row = session.measured(peer, lambda: session.loader.own(target, seconds, rate=1000, warm=200))
                session.emit(peer=peer, round=turn, **row)


def syscalls(session):
    """Exact: strace beside exactly so many requests on connections that are open already."""
    count = 3000 if session.brief else 20_000
    for kind, wanted in [("bearer", PROXIES), ("h2", ("haproxy", "envoy", "bare", "countersign")), ("hmac", ("nginx", "haproxy", "countersign"))]:
        if session.brief and kind != "bearer":
            wanted = ("countersign",)
        with session.up(wanted, kind) as up:
            session.cores(0)
            for peer in up:
                target = session.target(peer, post=1024 if kind == "hmac" else 0)
                result, calls = session.loader.traced(target, count, session.running[peer][0].pids())
                each = {name: round(n / count, 3) for name, n in sorted(calls.items(), key=lambda c: -c[1]) if n / count >= 0.005}
                session.emit(peer=peer, kind=kind, calls=sum(calls.values()) / count, each=each, requests=count, errors=result["errors"])


def idle(session):
    """Memory at rest, and with connections that did one request each. They must still answer afterwards."""
    counts = (1000, 5000)
    for peer in ("nginx", "countersign") if session.brief else PROXIES:
        with session.up([peer], "bearer") as up:
            if not up:
                continue
            session.cores(0)
            process, setup = session.running[peer]
            resident, proportional = machine.memory(process.pids())
            session.emit(peer=peer, connections=0, resident_bytes=resident, proportional_bytes=proportional, errors=0)
            connections = loads.Idle(setup.port, peers.host(0))
            try:
                for count in counts:
                    connections.grow(count)
                    time.sleep(0.3)  # what is given back at leisure is given back
                    resident, proportional = machine.memory(process.pids())
                    connections.alive()
                    session.emit(peer=peer, connections=count, resident_bytes=resident, proportional_bytes=proportional, errors=connections.errors)
            finally:
                connections.close()


def start(session):
    """From the spawn of the process to the first answer of the upstream, in turns. Files are written once."""
    for kind, many, wanted, turns in [("bearer", 0, PROXIES, 15), ("routes", 10_000, WITHOUT_BARE, 5), ("secrets", 100_000, ("countersign",), 5)]:
        if session.brief and many:
            continue  # slices have started each once
        ready = {peer: session.setup(peer, kind, many=many) for peer in wanted if peer in session.programs}
        commands = {peer: peers.ALL[peer](setup) for peer, setup in ready.items()}
        try:
            for _ in range(1 if session.brief else turns):
                for peer, setup in ready.items():
                    session.start(peer, setup, commands[peer])
                    session.running.pop(peer)[0].end()
        finally:
            for peer in list(session.running):
                session.end(peer)
            for setup in ready.values():
                shutil.rmtree(setup.folder, ignore_errors=True)


def size(session):
    """The binary without its symbols; what Debian's peers load from shared libraries is not in theirs."""
    for peer in PROXIES:
        if peer in session.programs:
            stripped = session.folder / "stripped"
            subprocess.run(["strip", "-o", stripped, session.programs[peer]], check=True, capture_output=True)
            session.emit(peer=peer, bytes=stripped.stat().st_size)
            stripped.unlink()


def instructions(session):
    """Of pieces of the request path, without any peer or load; see the program itself."""
    if "countersign" not in session.programs:
        return
    if not shutil.which("valgrind"):
        session.note("left out: valgrind could not be installed")
        return
    done = subprocess.run([HERE / "instructions"], stdout=subprocess.PIPE, text=True, check=True)
    for case, count in re.findall(r"^\| (\S.*?) \| (\d+) \|$", done.stdout, re.M):
        session.emit(peer="countersign", case=case, instructions=int(count))


def run(session, name):
    if name in SLICES:
        return slices(session, SLICES[name])
    others = {"latency": latency, "syscalls": syscalls, "idle": idle, "start": start, "size": size, "instructions": instructions}
    return others[name](session)

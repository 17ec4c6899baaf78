"""From rows to figures: medians, ratios to the base in the same round, tables in Markdown, and what bounds.toml says.

A ratio is taken within a round, where both peers had the same machine; its median and quartiles are over rounds.
"""

import pathlib
import statistics
import tomllib

from workloads import SLICES

MIB = 2**20
ORDER = ("direct", "nginx", "haproxy", "envoy", "bare", "mitmproxy", "countersign")
TITLES = {"direct": "direct", "nginx": "nginx", "haproxy": "HAProxy", "envoy": "Envoy", "bare": "bare hyper", "mitmproxy": "mitmproxy",
          "countersign": "**countersign**"}


class Rows:
    """All rows of a run."""

    def __init__(self, rows):
        self.rows = rows

    def of(self, workload, field, peer, **also):
        return [r for r in self.rows if r.get("workload") == workload and r["peer"] == peer and field in r and all(r.get(k) == v for k, v in also.items())]

    def values(self, workload, field, peer, **also):
        return [r[field] for r in self.of(workload, field, peer, **also)]

    def median(self, workload, field, peer, **also):
        values = self.values(workload, field, peer, **also)
        return statistics.median(values) if values else None

    def peers(self, workload, field, **also):
        return [p for p in ORDER if self.of(workload, field, p, **also)]

    def ratio(self, workload, field, peer, base):
        """(median, lower quartile, upper quartile) of the ratios within a round."""
        bases = {r["round"]: r[field] for r in self.of(workload, field, base) if r[field]}
        found = [r[field] / bases[r["round"]] for r in self.of(workload, field, peer) if r["round"] in bases]
        if not found:
            return None
        low, _, high = statistics.quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3
        return statistics.median(found), low, high


def number(value, digits=1):
    return "-" if value is None else f"{value:,.{digits}f}".replace(",", " ")


def ratio(found, alone=False):
    if found is None:
        return "-"
    return f"{found[0]:.2f}" + ("" if alone or found[1] == found[2] else f" ({found[1]:.2f} to {found[2]:.2f})")


def table(heads, lines):
    return "\n".join(["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *("| " + " | ".join(line) + " |" for line in lines)]) + "\n"


def slices(rows, workload):
    """One workload of throughput slices."""
    w = SLICES[workload.name]
    peers = rows.peers(w.name, "cpu_us")
    if not peers:
        return ""
    body = max(w.post, 10 * MIB if w.path == "/blob" else 0)
    per, unit = (body / MIB, "MiB") if body > MIB else (1, "request")

    def each(field, peer):
        found = rows.median(w.name, field, peer)
        return number(found and found / per)
    base = w.base if w.base in peers else None
    beside = "x " + TITLES[w.base].strip("*")
    heads = ["", f"CPU µs a {unit}", beside, "user µs", beside, "system µs", "MiB/s" if body > MIB else "requests/s", "busy", "resident MiB", "errors"]
    lines = []
    for peer in peers:
        rate = rows.median(w.name, "rate", peer)
        name = "nginx, plain bearer" if w.kind == "intercept" and peer == "nginx" else "nginx with Lua" if w.kind == "hmac" and peer == "nginx" else TITLES[peer]
        lines.append([name, each("cpu_us", peer), ratio(base and rows.ratio(w.name, "cpu_us", peer, base)), each("user_us", peer),
                      ratio(base and rows.ratio(w.name, "user_us", peer, base)), each("system_us", peer), number(rate and rate * per, 0),
                      number(rows.median(w.name, "busy", peer), 2), number((rows.median(w.name, "resident_most", peer) or 0) / MIB),
                      number(sum(rows.values(w.name, "errors", peer)), 0)])
    rounds = max(len(rows.values(w.name, "cpu_us", p)) for p in peers)
    return f"**{w.what}** ({rounds} slices, {w.connections} connections)\n\n{table(heads, lines)}\n"


def latency(rows):
    peers = rows.peers("latency", "p50")
    if not peers:
        return ""
    lines = [[TITLES[p], number(rows.median("latency", "p50", p), 0), ratio(rows.ratio("latency", "p50", p, "nginx")),
              number(rows.median("latency", "p99", p), 0), ratio(rows.ratio("latency", "p99", p, "nginx")),
              number(rows.median("latency", "cpu_us", p) if p != "direct" else None), number(sum(rows.values("latency", "errors", p)), 0)] for p in peers]
    return "**1000 requests a second**, 32 connections, bearer; direct is TLS straight to the origin\n\n" + table(
        ["", "p50 µs", "x nginx", "p99 µs", "x nginx", "CPU µs a request", "errors"], lines) + "\n"


def syscalls(rows):
    lines = []
    for kind in ("bearer", "h2", "hmac"):
        for peer in rows.peers("syscalls", "calls", kind=kind):
            row = rows.of("syscalls", "calls", peer, kind=kind)[-1]
            lines.append([TITLES[peer], kind, f"{row['calls']:.2f}", ", ".join(f"{n} {c:.2f}" for n, c in row["each"].items()), str(row["errors"])])
    return "**System calls a request** (strace, exact number of requests)\n\n" + table(["", "", "calls", "which", "errors"], lines) + "\n" if lines else ""


def memory(rows):
    lines = []
    for peer in rows.peers("idle", "resident_bytes"):
        cells = [rows.of("idle", "resident_bytes", peer, connections=n) for n in (0, 1000, 5000)]
        shown = [number(c[-1]["resident_bytes"] / MIB) if c else "-" for c in cells]
        each = (cells[2][-1]["resident_bytes"] - cells[0][-1]["resident_bytes"]) / 5000 / 1024 if cells[0] and cells[2] else None
        own = number(cells[0][-1]["proportional_bytes"] / MIB) if cells[0] else "-"
        lines.append([TITLES[peer], shown[0], own, shown[1], shown[2], number(each, 2), number(sum(rows.values("idle", "errors", peer)), 0)])
    heads = ["", "resident MiB, no connection", "proportional", "1000 idle", "5000 idle", "KiB a connection", "errors"]
    return "**Memory**\n\n" + table(heads, lines) + "\n" if lines else ""


def starts(rows):
    lines = []
    for many, workloads in [(0, ("start", "bearer")), (10, ("routes-10",)), (10_000, ("start", "routes-10000")), (100_000, ("start", "secrets-100000"))]:
        for peer in ORDER:
            found = [r for w in workloads for r in rows.of(w, "start", peer, many=many)]
            if not found:
                continue
            what = {0: "one route", 10: "10 routes", 10_000: "10 000 routes", 100_000: "100 000 secrets"}[many]
            times = [r["start"] * 1e3 for r in found]
            lines.append([TITLES[peer], what, f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f})",
                          number(statistics.median(r["start_cpu"] for r in found) * 1e3), number(statistics.median(r["resident"] for r in found) / MIB)])
    heads = ["", "", "ms, median (least to most)", "CPU ms", "resident MiB after it"]
    return "**Start to first answer** of the upstream\n\n" + table(heads, lines) + "\n" if lines else ""


def sizes(rows):
    lines = [[TITLES[p], number(rows.median("size", "bytes", p) / MIB)] for p in rows.peers("size", "bytes")]
    return "**Binary, stripped** (nginx and HAProxy load OpenSSL and more from shared libraries)\n\n" + table(["", "MiB"], lines) + "\n" if lines else ""


def instructions(rows):
    lines = [[r["case"], number(r["instructions"], 0)] for r in rows.of("instructions", "instructions", "countersign")]
    return "**Instructions** of pieces of the request path (callgrind, whose processor has no SHA instructions)\n\n" + table(
        ["piece", "instructions"], lines) + "\n" if lines else ""


def figures(rows):
    """The figures that bounds.toml names, of countersign."""
    us, found = "countersign", {}

    def put(name, value):
        if value is not None:
            found[name] = value
    for name, workload, field, base in [("cpu", "bearer", "cpu_us", "nginx"), ("cpu-log", "bearer-log", "cpu_us", "nginx"), ("user", "bearer", "user_us", "nginx"),
                                        ("h2", "h2", "cpu_us", "haproxy"), ("hmac", "hmac", "cpu_us", "nginx"), ("mtls", "mtls", "cpu_us", "nginx"),
                                        ("intercept", "intercept", "cpu_us", "nginx"), ("down", "down", "cpu_us", "nginx"), ("up", "up", "cpu_us", "nginx"),
                                        ("p50", "latency", "p50", "nginx")]:
        put(name, (rows.ratio(workload, field, us, base) or [None])[0])
    put("syscalls", rows.median("syscalls", "calls", us, kind="bearer"))
    for name, count in [("resident", 0), ("resident-5000", 5000)]:
        value = rows.median("idle", "resident_bytes", us, connections=count)
        put(name, value and value / MIB)

    def start(many, *workloads):
        times = [r["start"] for w in workloads for r in rows.of(w, "start", us, many=many)]
        return statistics.median(times) * 1e3 if times else None
    put("start", start(0, "start", "bearer"))
    put("routes-start", start(10_000, "start", "routes-10000"))
    put("secrets-start", start(100_000, "start", "secrets-100000"))
    # The two run minutes apart: only what each is beside nginx in the same rounds can be compared.
    few, many = ((rows.ratio(w, "cpu_us", us, "nginx") or [None])[0] for w in ("routes-10", "routes-10000"))
    put("routes-cpu", few and many and many / few)
    few, many = (rows.median(w, "resident_after", us) for w in ("routes-10", "routes-10000"))
    put("routes-memory", few and many and (many - few) / MIB)
    many = rows.median("secrets-100000", "resident_after", us)
    put("secrets-memory", many and many / MIB)
    size = rows.median("size", "bytes", us)
    put("size", size and size / MIB)
    return found


def against_bounds(found, brief):
    """(the table, the names of exact figures that are over their bound)."""
    bounds = tomllib.loads((pathlib.Path(__file__).resolve().parent / "bounds.toml").read_text())
    lines, over = [], []
    for name, bound in bounds.items():
        value, judged = found.get(name), "judge" in bound
        if value is None or (brief and not judged):
            continue
        if judged and value > bound["judge"]:
            over.append(f"{bound['what']}: {value:.2f} {bound['unit']}, at most {bound['judge']}")
        verdict = "aim reached" if value <= bound["aim"] else "kept" if value <= bound["must"] else "**missed**"
        lines.append([bound["what"], f"{number(value, 2)} {bound['unit']}".strip(), f"{bound['must']:g}", f"{bound['aim']:g}", verdict])
    return table(["figure", "countersign", "must", "aim", ""], lines) if lines else "", over


def everything(rows, brief):
    rows = Rows(rows)
    bounds, over = against_bounds(figures(rows), brief)
    parts = [bounds + "\n" if bounds else "", *(slices(rows, w) for w in SLICES.values()), latency(rows), syscalls(rows), memory(rows), starts(rows), sizes(rows),
             instructions(rows)]
    return "".join(parts), over

"""Plots as SVG written by hand, and the place in docs/PERFORMANCE.md where tables go.

Each plot is bars of one figure, a bar a peer, with the quartiles of the ratio as a line where there are any.
"""

import html
import pathlib
import re

from report import MIB, ORDER, TITLES

WIDTH, LEFT, BAR, GAP, TOP = 640, 110, 22, 10, 46
COLOURS = {"countersign": "#0b6e4f", "bare": "#8fb8a8"}
BEGIN, END = "<!-- bench/run --docs: begin -->", "<!-- bench/run --docs: end -->"


def bars(title, unit, values, mark=None):
    """`values`: (label, peer, value, (low, high) or None). `mark` draws a line at a value, such as 1 for a ratio."""
    most = max([v[3][1] if v[3] else v[2] for v in values] + ([mark] if mark else []))
    scale = (WIDTH - LEFT - 80) / (most or 1)
    height = TOP + len(values) * (BAR + GAP) + 14
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
             f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
             f'<text x="10" y="22" font-size="15" font-weight="bold" fill="#222222">{html.escape(title)}</text>',
             f'<text x="10" y="38" fill="#666666" font-size="11">{html.escape(unit)}</text>']
    for turn, (label, peer, value, spread) in enumerate(values):
        y = TOP + turn * (BAR + GAP)
        middle = y + BAR / 2
        parts.append(f'<text x="{LEFT - 8}" y="{middle + 4:.0f}" text-anchor="end" fill="#222222">{html.escape(label)}</text>')
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{max(1, value * scale):.1f}" height="{BAR}" fill="{COLOURS.get(peer, "#9aa5b1")}"/>')
        end = value
        if spread:
            low, high = spread
            end = max(value, high)
            parts.append(f'<line x1="{LEFT + low * scale:.1f}" x2="{LEFT + high * scale:.1f}" y1="{middle}" y2="{middle}" stroke="#222222"/>')
        parts.append(f'<text x="{LEFT + end * scale + 6:.1f}" y="{middle + 4:.0f}" fill="#222222">{value:.2f}</text>')
    if mark:
        x = LEFT + mark * scale
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{height - 8}" stroke="#b03a2e" stroke-dasharray="4 3"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def ratios(rows, workload, field, base):
    found = []
    for peer in ORDER:
        one = rows.ratio(workload, field, peer, base)
        if one:
            found.append((TITLES[peer].strip("*"), peer, one[0], one[1:] if one[1] != one[2] else None))
    return found


def everything(rows, out):
    """Writes a plot for each figure of which there are rows; returns their paths."""
    plots, paths = {}, []
    for name, title, workload, field, base in [
            ("cpu", "CPU a request, bearer over HTTPS", "bearer", "cpu_us", "nginx"), ("user", "User-space CPU a request, bearer over HTTPS", "bearer", "user_us", "nginx"),
            ("log", "CPU a request, access log on", "bearer-log", "cpu_us", "nginx"), ("h2", "CPU a request, HTTP/2 to the upstream", "h2", "cpu_us", "haproxy"),
            ("hmac", "CPU a request, HMAC over 1 KiB", "hmac", "cpu_us", "nginx"), ("down", "CPU a MiB, 10 MiB down", "down", "cpu_us", "nginx"),
            ("up", "CPU a MiB, 10 MiB up", "up", "cpu_us", "nginx"), ("p50", "p50 at 1000 requests a second", "latency", "p50", "nginx")]:
        values = ratios(rows, workload, field, base)
        if len(values) > 1:
            plots[name] = bars(title, f"times {TITLES[base]} in the same round; median, line: quartiles", values, 1)
    for name, title, count in [("memory", "Resident memory, 5000 idle connections", 5000), ("idle", "Resident memory at rest", 0)]:
        values = [(TITLES[p].strip("*"), p, rows.median("idle", "resident_bytes", p, connections=count) / MIB, None)
                  for p in rows.peers("idle", "resident_bytes", connections=count)]
        if values:
            plots[name] = bars(title, "MiB", values)
    values = [(TITLES[p].strip("*"), p, rows.median("start", "start", p, many=0) * 1e3, None) for p in rows.peers("start", "start", many=0)]
    if values:
        plots["start"] = bars("Start to the first answer of the upstream", "ms", values)
    for name, text in plots.items():
        paths.append(out / f"{name}.svg")
        paths[-1].write_text(text)
    return paths


def into_docs(docs, text, plots):
    """Replaces what lies between the two marks of PERFORMANCE.md."""
    page = docs / "PERFORMANCE.md"
    folder = docs / "plots"
    folder.mkdir(exist_ok=True)
    images = []
    for path in plots:
        (folder / path.name).write_text(path.read_text())
        title = re.search(r'font-weight="bold"[^>]*>([^<]*)', path.read_text())[1]
        images.append(f"![{title}](plots/{path.name})\n")
    before, _, rest = page.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{page} has no {BEGIN} ... {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text.rstrip()}\n\n{''.join(images)}\n{END}{after}")

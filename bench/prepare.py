"""Installs what is missing: Debian's packages, two Python environments with pinned lists, and the two programs in bare/.

What cannot be installed is left out with a printed reason; without the origin (nginx with lua), wrk, strace or the
programs in bare/ there is nothing to measure, and that is an error.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import machine

HERE = pathlib.Path(__file__).resolve().parent
MODULES = pathlib.Path("/usr/lib/nginx/modules")
# The versions are those of the Debian release that runs this; the table of a run names them.
DEBIAN = {"nginx": "nginx-light", "haproxy": "haproxy", "wrk": "wrk", "strace": "strace", "openssl": "openssl", "strip": "binutils",
          "taskset": "util-linux", "valgrind": "valgrind"}


def debian():
    def missing():
        found = {package for program, package in DEBIAN.items() if not shutil.which(program)}
        return found | ({"libnginx-mod-http-lua"} if not (MODULES / "ngx_http_lua_module.so").exists() else set())
    wanted = missing()
    if wanted and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {', '.join(sorted(wanted))}", flush=True)
        # RUNLEVEL=1 keeps what was installed from starting as a service.
        quiet = {"env": {**os.environ, "RUNLEVEL": "1", "DEBIAN_FRONTEND": "noninteractive"}, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(["apt-get", "update", "-qq"], **quiet)
        for package in sorted(wanted):  # one by one: one that is not to be had keeps no other away
            subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], **quiet)
    return missing()


def environment(place, name, program):
    """The program of a pinned list in a virtual environment of its own; None when that does not work, with the reason."""
    pins, folder = HERE / f"requirements/{name}.txt", place / name
    mark, made = folder / "made", pins.read_text()
    if not mark.exists() or mark.read_text() != made:
        shutil.rmtree(folder, ignore_errors=True)
        done = subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True, text=True)
        if done.returncode == 0:
            done = subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "-r", pins],
                                  capture_output=True, text=True)
        if done.returncode:
            return None, "\n".join((done.stderr or done.stdout).strip().splitlines()[-1:]) or "it could not be installed"
        mark.write_text(made)
    found = next(iter(sorted(folder.glob(program))), None)
    if not found:
        return None, f"no {program} in the environment"
    found.chmod(0o755)
    done = subprocess.run([found, "--version"], capture_output=True, text=True)
    return (found, "") if done.returncode == 0 else (None, (done.stderr or done.stdout).strip()[-200:])


def own_programs(target):
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", HERE / "bare/Cargo.toml", "--target-dir", target]
    subprocess.run(command, check=True)
    return target / "release/bare-proxy", target / "release/bench-load"


def countersign(top, target):
    given = os.environ.get("COUNTERSIGN_BIN")
    if given:
        return pathlib.Path(given).resolve()
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=top, check=True)
    return target / "release/countersign"


def everything(top, target, wanted):
    """(programs by peer, the load generator, reasons by peer that is left out)."""
    place = target / "bench"
    place.mkdir(parents=True, exist_ok=True)
    absent, without = debian(), {}
    needed = absent & {"nginx-light", "libnginx-mod-http-lua", "wrk", "strace", "openssl", "binutils", "util-linux"}
    if needed:
        sys.exit(f"cannot go on without {', '.join(sorted(needed))}, which could not be installed")
    programs = {"nginx": shutil.which("nginx")}
    if "haproxy" in wanted and "haproxy" in absent:
        without["haproxy"] = "Debian's package could not be installed"
    programs["haproxy"] = shutil.which("haproxy")
    for name, program in [("envoy", "lib/python*/site-packages/envoy/_bin/envoy"), ("mitmproxy", "bin/mitmdump")]:
        if name in wanted:
            programs[name], reason = environment(place, name, program)
            if reason:
                without[name] = reason
    programs["bare"], generator = own_programs(place / "bare")
    programs["countersign"] = countersign(top, target)
    return {name: pathlib.Path(path) for name, path in programs.items() if path and name in wanted}, generator, without


def versions(programs):
    """One line a peer: what it says of itself."""
    asked = {"nginx": "-v", "haproxy": "-v", "envoy": "--version", "mitmproxy": "--version", "countersign": "--version"}
    lines = {}
    for name, path in programs.items():
        if name in asked:
            done = subprocess.run([path, asked[name]], capture_output=True, text=True)
            said = next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), "")
            lines[name] = said.replace(str(path), name)
    return lines


def description():
    """The machine, in one line."""
    model = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    return f"{model}, {os.cpu_count()} processors, Linux {os.uname().release}; used: {', '.join(map(str, machine.CORES))}"

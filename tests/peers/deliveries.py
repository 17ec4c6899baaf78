"""Secrets delivered by file operations that need root or the kernel's help, and looked at by a proxy without any.

Bind mounts of single files (what a subPath is), a mount put over the directory (systemd's refresh), tmpfs unmounted and
mounted again, permissions taken away from another uid, device nodes, inotify that cannot be had, a storm of rotations.
As anyone but root, and where the kernel refuses, a check is skipped with the reason.
"""

import ctypes
import json
import os
import pathlib
import stat
import subprocess
import sys
import time

import lib

UID = 65532
LIBC = ctypes.CDLL(None, use_errno=True)
MS_BIND, MNT_DETACH = 4096, 2
TOKEN = '[credential.k]\nbearer = { secret = "token" }\n'


class Stage:
    """One proxy with one token, and the upstream that sees what the token is."""

    def __init__(self, bench, name, secrets, keys="", token="token", **options):
        self.bench, self.secrets, self.recorder = bench, pathlib.Path(secrets), bench.serve(lib.Recorder())
        body = f'{TOKEN.replace("token", token)}[[route]]\nname = "api"\nhost = "api.example"\nupstream = "http://127.0.0.1:{self.recorder.port}"\ncredential = "k"\n'
        self.proxy = proxy(bench, name, body, secrets, keys, **options)

    def token(self):
        status, *_ = lib.ask(("127.0.0.1", self.proxy.port), "/", headers={"Host": "api.example"})
        if status != 200:
            return f"status {status}"
        return self.recorder.seen[-1].one("authorization").removeprefix("Bearer ")

    def row(self):
        rows = json.loads(self.proxy.page("/api/credentials")[2])["credentials"]
        return next(row for row in rows if row["name"] == "k")

    def metric(self, series):
        for line in self.proxy.page("/metrics")[2].decode().splitlines():
            if line.startswith(series + " "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    def until(self, what, condition, seconds=10):
        try:
            return bool(lib.wait_for(what, condition, seconds))
        except Exception:  # the check that follows says it
            return False

    def reaches(self, value, seconds=10):
        return self.until(value, lambda: self.token() == value, seconds)

    def refuses(self, words, seconds=10):
        return self.until(words, lambda: words in (self.row()["reason"] or ""), seconds)


def proxy(bench, name, body, secrets, keys="", uid=None, before=None, ready=True):
    """Starts countersign as another uid, or after `before` ran in the child."""
    folder = bench.subfolder(name)
    folder.chmod(0o755)
    ports, admin = {"proxy": lib.free_port()}, lib.free_port()
    (folder / "proxy.toml").write_text(
        f'[listen]\nproxy = ["127.0.0.1:{ports["proxy"]}"]\nadmin = "127.0.0.1:{admin}"\n[secrets]\ndir = "{secrets}"\n{keys}\n{body}')
    begin = time.monotonic()
    with open(folder / "countersign.log", "ab") as out:
        process = subprocess.Popen([bench.binary, "run", "-c", folder / "proxy.toml"], stdout=out, stderr=out, cwd="/",
                                   stdin=subprocess.DEVNULL, user=uid, group=uid, preexec_fn=before)
    made = lib.Proxy(process, folder, admin, ports, begin)
    bench.stack.callback(made.stop)
    if ready:
        made.wait_ready()
    return made


def mount(source, target, kind=None, flags=0):
    result = LIBC.mount(str(source).encode(), str(target).encode(), kind and kind.encode(), flags, None)
    if result:
        raise PermissionError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def unmount(target):
    LIBC.umount2(str(target).encode(), MNT_DETACH)


def put(folder, value, name="token", mode=0o644):
    """A temporary file and a rename."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".new").write_text(value)
    (folder / ".new").chmod(mode)
    (folder / ".new").rename(folder / name)


def single_file_mount(bench, report):
    """R19, W13: a subPath, or a single file of Docker: the mount keeps the inode that it was made of."""
    volume, secrets = bench.subfolder("volume"), bench.subfolder("bound")
    kubelet = lib.Kubelet(volume)
    kubelet.write({"token": b"one"})
    (secrets / "token").touch()
    mount((volume / "token").resolve(), secrets / "token", flags=MS_BIND)
    bench.stack.callback(unmount, secrets / "token")
    stage = Stage(bench, "bound-proxy", secrets)
    report.check("r19 w13: a file that is a mount of its own is warned about at start",
                 "mounted one by one" in stage.proxy.log and "token" in stage.proxy.log, stage.proxy.log)
    kubelet.write({"token": b"two"})
    report.equal("r19: it never changes, and goes on to serve", (stage.token(), stage.row()["health"]), ("one", "ok"))
    checked = bench.command("check", "-c", stage.proxy.folder / "proxy.toml")
    report.check("w13: `check` says it too", "mounted one by one" in checked.stdout + checked.stderr, checked)


def directory_mount(bench, report):
    """W13 for a directory: subPath of one in a volume shows one version for ever; a mount of the whole volume does not."""
    volume = bench.subfolder("volume-of-directories")
    kubelet = lib.Kubelet(volume)
    kubelet.write({"sub/token": b"one"})
    warning = "partner is a mount of a directory inside one version of a volume (subPath)"
    for name, source, warned, then in [("subpath", volume / "sub", True, "one"), ("whole", volume, False, "two")]:
        kubelet.write({"sub/token": b"one"})
        secrets = bench.subfolder(f"directory-{name}")
        (secrets / "partner").mkdir()
        mount(source.resolve(), secrets / "partner", flags=MS_BIND)
        bench.stack.callback(unmount, secrets / "partner")
        token = "partner/token" if warned else "partner/sub/token"
        stage = Stage(bench, f"directory-{name}-proxy", secrets, 'poll = "200ms"', token=token)
        checked = bench.command("check", "-c", stage.proxy.folder / "proxy.toml")
        said = [warning in text for text in (stage.proxy.log, checked.stdout + checked.stderr)]
        report.equal(f"w13: a mounted directory ({name}) is warned about at start and by `check`, or not", said, [warned] * 2)
        report.equal(f"w13: one warning or none ({name})", stage.proxy.log.count("never be seen"), int(warned))
        kubelet.write({"sub/token": b"two"})
        report.check(f"w13: a rotation is seen, or the old value goes on ({name})", stage.reaches(then), stage.row())
        if warned:
            report.check("w13: what the kubelet has deleted is told as missing",
                         stage.until("stale", lambda: stage.row()["health"] == "stale"), stage.row())
            report.equal("w13: and its last value goes on", stage.token(), "one")


def mount_over(bench, report):
    """R57, R18: systemd refreshes credentials by a mount over the directory; a volume is unmounted and mounted again."""
    secrets = bench.subfolder("mounted")
    mount("tmpfs", secrets, "tmpfs")
    bench.stack.callback(unmount, secrets)
    put(secrets, "one")
    stage = Stage(bench, "mounted-proxy", secrets, 'poll = "200ms"')
    put(secrets, "two")
    report.check("r11: tmpfs sends events", stage.reaches("two"))
    fresh = bench.subfolder("fresh")
    put(fresh, "three")
    mount(fresh, secrets, flags=MS_BIND)
    report.check("r57: a mount over the directory is noticed", stage.reaches("three"), stage.row())
    put(fresh, "four")
    report.check("r57: and so is the next rotation in it", stage.reaches("four"), stage.row())
    unmount(secrets)
    report.check("what was below the mount counts again", stage.reaches("two"), stage.row())


def permissions(bench, report):
    """R37, R38, R39: mode 000 and back; a file of another uid at start; readable for all."""
    secrets = bench.subfolder("modes")
    secrets.chmod(0o755)
    put(secrets, "one")
    os.chown(secrets / "token", UID, UID)
    stage = Stage(bench, "modes-proxy", secrets, 'poll = "200ms"', uid=UID)
    report.check("r39: a file that all may read is warned about once",
                 stage.proxy.log.count("readable for every user") == 1, stage.proxy.log)
    put(secrets, "two", mode=0o000)
    report.check("r37: what cannot be read keeps the last good value", stage.refuses("permission denied"), stage.row())
    report.equal("r37: and serves", stage.token(), "one")
    report.check("r37: the reason names mode, owner and own uid",
                 all(words in stage.row()["reason"] for words in ["mode 0000", "owner 0:0", f"running as {UID}"]), stage.row())
    report.equal("r37: one line in the log", stage.proxy.log.count("secret cannot be used"), 1)
    (secrets / "token").chmod(0o644)
    report.check("r37: readable again is used", stage.reaches("two"), stage.row())
    secrets.chmod(0o700)
    report.check("a directory that may not be read keeps everything", stage.refuses("its directory"), stage.row())
    report.equal("and serves", stage.token(), "two")
    secrets.chmod(0o755)
    report.check("and comes back", stage.until("health", lambda: stage.row()["health"] == "ok"), stage.row())

    hidden = bench.subfolder("hidden")
    hidden.chmod(0o755)
    put(hidden, "one", mode=0o600)
    begin = time.monotonic()
    refused = proxy(bench, "hidden-proxy", f'{TOKEN}[[route]]\nname = "api"\nhost = "api.example"\ncredential = "k"\n', hidden,
                    uid=UID, ready=False)
    status = refused.process.wait(timeout=10)
    report.check("r38 w10: a secret of another uid ends the start with 1 within a second",
                 status == 1 and time.monotonic() - begin < 1.0, (status, time.monotonic() - begin))
    report.check("r38 w10: one line names path, mode, owner, own uid and fsGroup",
                 all(words in refused.log for words in ["token", "mode 0600", "owner 0:0", f"running as {UID}", "fsGroup"]), refused.log)


def special_files(bench, report):
    """R40 and siblings as root can make them: device nodes; the health port answers all the time."""
    secrets = bench.subfolder("special")
    put(secrets, "one")
    stage = Stage(bench, "special-proxy", secrets, 'poll = "200ms"')
    for what, kind, device in [("FIFO", stat.S_IFIFO, 0), ("device", stat.S_IFCHR, os.makedev(1, 5)), ("device", stat.S_IFBLK, os.makedev(7, 200))]:
        (secrets / "token").unlink()
        try:
            os.mknod(secrets / "token", kind | 0o644, device)
        except PermissionError as error:
            skip(report, f"r40: {what}", error)
            put(secrets, "one")
            continue
        report.check(f"r40: a {what} is refused", stage.refuses(what), stage.row())
        begin = time.monotonic()
        report.check(f"r40: with a {what} there, health answers within 100 ms",
                     stage.proxy.page("/livez")[0] == 200 and time.monotonic() - begin < 0.1)
        (secrets / "token").unlink()
        put(secrets, "one")
        stage.until("health", lambda: stage.row()["health"] == "ok")


HOLDER = """
import ctypes, os, sys
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
libc = ctypes.CDLL(None, use_errno=True)
held = 0
while libc.inotify_init1(0o2000000) >= 0:
    held += 1
print(held, flush=True)
sys.stdin.read()
"""


def no_inotify(bench, report):
    """R47, W3: every inotify instance of the uid is used up, as by 128 other pods of it on a node; polling goes on, said once."""
    secrets = bench.subfolder("unwatched")
    secrets.chmod(0o755)
    kubelet = lib.Kubelet(secrets)
    kubelet.write({"token": b"one"})
    for path in secrets.rglob("token"):
        path.chmod(0o644)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(UID)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    bench.stack.callback(holder.wait)
    bench.stack.callback(holder.stdin.close)
    if int(holder.stdout.readline()) == 0:
        return skip(report, "r47", "no inotify instance at all")
    stage = Stage(bench, "unwatched-proxy", secrets, 'poll = "300ms"', uid=UID)
    report.equal("r47 w3: one warning", stage.proxy.log.count("file events cannot be had"), 1)
    report.equal("r47 w16: the metric says poll", stage.metric('countersign_watch_mode{mode="poll"}'), 1.0)
    for value in ["two", "three"]:
        kubelet.write({"token": value.encode()})
        for path in secrets.rglob("token"):
            path.chmod(0o644)
        report.check(f"r47: {value} within the interval and a second", stage.reaches(value, 1.3), stage.row())


def storm(bench, report):
    """R08: 50 swaps 20 ms apart: the last one wins within 2 s, at little cost."""
    secrets = bench.subfolder("storm")
    kubelet = lib.Kubelet(secrets)
    kubelet.write({"token": b"one"})
    stage = Stage(bench, "storm-proxy", secrets)
    cpu = stage.proxy.cpu_seconds()
    for number in range(50):
        kubelet.write({"token": f"v{number}".encode()})
        time.sleep(0.02)
    report.check("r08: the last of 50 swaps is in use within 2 s", stage.reaches("v49", 2), stage.row())
    report.check("r08: for less than a second of CPU", stage.proxy.cpu_seconds() - cpu < 1.0, stage.proxy.cpu_seconds() - cpu)


def huge(bench, report):
    """R35: 8 MiB are refused and never read: memory stays as it is."""
    secrets = bench.subfolder("huge")
    put(secrets, "one")
    stage = Stage(bench, "huge-proxy", secrets)
    before = stage.proxy.memory("VmRSS")
    put(secrets, "x" * (8 << 20))
    report.check("r35: too large", stage.refuses("too large"), stage.row())
    grown = stage.proxy.memory("VmRSS") - before
    report.check("r35: memory grows by less than 1 MiB", grown < 1 << 20, grown)
    report.equal("r35: and serves", stage.token(), "one")


def skip(report, what, error):
    report.skipped += 1
    print(f"skip {report.name}: {what}: {error}", flush=True)


def checks(bench):
    report = bench.report
    bench.folder.chmod(0o755)
    for check in [single_file_mount, directory_mount, mount_over, permissions, special_files, no_inotify, storm, huge]:
        if check in (single_file_mount, directory_mount, mount_over, permissions, no_inotify) and os.geteuid() != 0:
            skip(report, check.__doc__.split(":")[0], "needs root")
            continue
        try:
            check(bench, report)
        except PermissionError as error:
            skip(report, check.__doc__.split(":")[0], error)

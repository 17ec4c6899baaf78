"""The behaviours of the store on PostgreSQL, directly and through PgBouncer in transaction mode.

Both are Debian's packages (postgresql, pgbouncer); the cluster is made in a folder of its own, listens on loopback, and runs
as a user without rights where the checks run as root. The behaviours themselves are those of `cargo test`.
"""

import os
import pathlib
import pwd
import re
import shutil
import subprocess
import tempfile

import lib

TOP = pathlib.Path(__file__).resolve().parent.parent.parent


def programs():
    """The newest initdb, and pgbouncer; None where one is not installed."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parent.parent.name))
    bouncer = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
    return (found[-1].parent, bouncer) if found and bouncer else None


def unprivileged():
    """What stands before a command: PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return [], None
    user = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"], user


def checks(bench):
    found = programs()
    if not bench.report.check("postgresql and pgbouncer are installed", found, "apt-get install postgresql pgbouncer"):
        return
    binaries, bouncer = found
    before, user = unprivileged()
    with tempfile.TemporaryDirectory(prefix="countersign-stores-", ignore_cleanup_errors=True) as folder:
        folder = pathlib.Path(folder)
        data, conf = folder / "data", folder / "pgbouncer.ini"
        port, bounced = lib.free_port(), lib.free_port()
        (folder / "users").write_text('"countersign" "pass-of-test"\n')
        (folder / "password").write_text("pass-of-test\n")
        conf.write_text(
            f"[databases]\nstate = host=127.0.0.1 port={port} dbname=postgres pool_size=3\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {bounced}\npool_mode = transaction\n"
            f"auth_type = scram-sha-256\nauth_file = {folder}/users\nunix_socket_dir =\n")
        if user:
            os.chown(folder, user.pw_uid, user.pw_gid)
            for file in folder.iterdir():
                os.chown(file, user.pw_uid, user.pw_gid)
        made = subprocess.run(
            [*before, binaries / "initdb", "-D", data, "-U", "countersign", "--auth=scram-sha-256",
             f"--pwfile={folder}/password", "--locale=C.UTF-8", "--no-sync"], capture_output=True, text=True, timeout=120)
        if not bench.report.check("a cluster is made", made.returncode == 0, made.stderr):
            return
        log = open(folder / "log", "w")
        running = [
            subprocess.Popen([*before, binaries / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1",
                              "-c", "unix_socket_directories="], stdout=log, stderr=log),
            subprocess.Popen([*before, bouncer, conf], stdout=log, stderr=log),
        ]
        try:
            lib.wait_for("PostgreSQL and PgBouncer to listen", lambda: lib.listening(port) and lib.listening(bounced), 30)
            for name, at, database in [("PostgreSQL", port, "postgres"), ("PgBouncer in transaction mode", bounced, "state")]:
                url = f"postgres://countersign:pass-of-test@127.0.0.1:{at}/{database}?sslmode=disable"
                behaviours(bench, name, url)
        finally:
            for process in reversed(running):
                process.terminate()
                process.wait(timeout=30)
            log.close()


def behaviours(bench, name, url):
    done = subprocess.run(["cargo", "test", "--test", "main", "stores::", "--", "--nocapture"], cwd=TOP, text=True,
                          capture_output=True, timeout=1800, env={**os.environ, "COUNTERSIGN_TEST_POSTGRES": url})
    count = re.search(r"test result: ok\. (\d+) passed", done.stdout)
    bench.report.check(f"the behaviours of the store on {name}", done.returncode == 0 and count, done.stdout[-3000:])
    nowhere = "postgres://countersign@127.0.0.1:1/none?sslmode=disable"
    other = subprocess.run(["cargo", "test", "--test", "main", "stores::", "--", "--nocapture"], cwd=TOP, text=True,
                           capture_output=True, timeout=1800, env={**os.environ, "COUNTERSIGN_TEST_POSTGRES": nowhere})
    bench.report.check(f"{name} was among the places tried: with a database that is not there they fail", other.returncode != 0)
    if count:
        bench.report.note(f"{count[1]} behaviours on {name}")

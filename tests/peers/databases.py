"""PostgreSQL and PgBouncer, as Debian packages them, in a folder of their own. No check lives here; topics that need a
database start it with this.

Both refuse to run as root: then they run as the package's user, in a folder that is theirs.
"""

import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile

import lib

USER, PASSWORD = "countersign", "pass-word"


def programs():
    """The folder of PostgreSQL's programs, the newest version's."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql pgbouncer")
    return found[-1].parent


def other_user():
    """What to add to start a program as somebody else than root, and whose a folder must be."""
    if os.geteuid():
        return {}, None
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}, user


class Database:
    """One cluster; `create` makes a database in it, `pooled` starts PgBouncer in transaction mode before all of them."""

    def __init__(self, bench):
        self.bench, self.port = bench, lib.free_port()
        self.options, self.user = other_user()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="countersign-database-"))
        bench.stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.mine(self.folder)
        secret = self.write("password", PASSWORD)
        self.bin = programs()
        self.once(self.bin / "initdb", "-D", self.folder / "data", "-U", USER, "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync", "-E", "UTF8")
        self.start()

    def create(self, name, port=None):
        """A new database; its URL, directly or by PgBouncer's port."""
        self.psql("postgres", f"CREATE DATABASE {name}")
        return f"postgres://{USER}:{PASSWORD}@127.0.0.1:{port or self.port}/{name}?sslmode=disable"

    def mine(self, path):
        if self.user:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)
        return path

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return self.mine(path)

    def once(self, *command, **more):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, cwd=self.folder, **self.options, **more)
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr[-1000:]}")
        return done.stdout

    def start(self):
        self.process = self.bench.program(
            self.bin / "postgres", "-D", self.folder / "data", "-k", self.folder, "-c", "listen_addresses=127.0.0.1", "-p", self.port,
            "-c", "shared_buffers=16MB", "-c", "max_connections=60", log="postgres.log", cwd=self.folder, **self.options)
        lib.wait_for("PostgreSQL", lambda: lib.listening(self.port), 30)
        lib.wait_for("PostgreSQL to take connections", self.takes, 30, step=0.1)

    def takes(self):
        try:
            return self.psql("postgres", "SELECT 1")
        except RuntimeError:
            return None

    def psql(self, database, statement):
        return self.once("psql", "-X", "-At", "-h", "127.0.0.1", "-p", self.port, "-U", USER, "-d", database, "-c", statement,
                         env={"PGPASSWORD": PASSWORD, "PATH": os.environ["PATH"]})

    def session(self, database):
        """A psql that takes statements from a pipe."""
        command = ["psql", "-X", "-qAt", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", database]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=self.folder,
                                env={"PGPASSWORD": PASSWORD, "PATH": os.environ["PATH"]}, **self.options)

    def pooled(self, pool=2):
        """Starts PgBouncer with so many connections to a database for everybody; its port."""
        port = lib.free_port()
        users = self.write("users.txt", f'"{USER}" "{PASSWORD}"\n')
        settings = self.write("pgbouncer.ini", f"""[databases]
* = host=127.0.0.1 port={self.port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {pool}
max_client_conn = 200
logfile = {self.folder}/pgbouncer.log
pidfile = {self.folder}/pgbouncer.pid
""")
        self.bench.program("pgbouncer", settings, log="pgbouncer.log", cwd=self.folder, **self.options)
        lib.wait_for("PgBouncer", lambda: lib.listening(port), 30)
        return port

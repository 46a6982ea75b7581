"""Three replicas of one volume on this machine, each a process of its own."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = "abc"


def built():
    """A release build of this tree, made when it is missing or old."""
    subprocess.run(["cargo", "build", "--release", "-q", "-p", "seawall-ops"], cwd=ROOT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return pathlib.Path(target) / "release/seawall"


def free_ports(count):
    taken = [socket.socket() for _ in range(count)]
    for one in taken:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


def written_bytes(pid):
    """What a process had written to devices, in bytes, as the kernel counts it."""
    lines = pathlib.Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("write_bytes")))


def cpu_seconds(pid):
    """Processor time of all threads of a process."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid, what="VmHWM"):
    """Resident memory of a process: at its peak, or VmRSS, now."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(what))) / 1024


class Cluster:
    """Three replicas of one volume. End it with `kill`."""

    def __init__(self, binary, home, size, log, security="tls", extra=""):
        self.binary, self.home, self.running = binary, home, {}
        home.mkdir(parents=True, exist_ok=True)
        ports = free_ports(6)
        self.metrics_at = dict(zip(NAMES, ports[3:]))
        replicas = "".join(
            f'[[replica]]\nname = "{n}"\nid = "r-{i + 1:016x}"\naddress = "127.0.0.1:{ports[i]}"\n\n'
            for i, n in enumerate(NAMES)
        )
        for name in NAMES:
            keys = f'ca = "keys/ca.pem"\ncertificate = "keys/{name}.pem"\nkey = "keys/{name}.key"\n' if security == "tls" else ""
            (home / f"{name}.toml").write_text(
                f'[node]\nreplica = "{name}"\nhome = "{name}.img"\nlog_size = "{log}"\nadmin = "{name}.admin"\n'
                f'metrics = "127.0.0.1:{self.metrics_at[name]}"\n\n[[nbd]]\nlisten = "unix:{name}.nbd"\n\n'
                f'[transport]\nsecurity = "{security}"\n{keys}\n'
                f'[volume]\nname = "bench"\nid = "5eaba110-0000-4000-8000-000000000001"\nsize = "{size}"\n'
                f'first_primary = "a"\n\n{extra}\n{replicas}'
            )
        self.tool("pki", "init", home / "keys")
        self.tool("pki", "issue", home / "keys", "--config", home / "a.toml")
        for name in NAMES:
            self.tool("format", "--config", home / f"{name}.toml")

    def tool(self, *arguments):
        done = subprocess.run([self.binary, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"seawall {arguments[0]}: {done.stderr or done.stdout}")
        return done.stdout

    def start(self, names=NAMES):
        for name in names:
            with open(self.home / f"{name}.log", "ab") as log:
                command = [self.binary, "serve", "--config", self.home / f"{name}.toml"]
                self.running[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self, names=NAMES):
        for name in names:
            process = self.running.pop(name, None)
            if process:
                process.send_signal(signal.SIGKILL)
                process.wait()

    def status(self, name="a"):
        command = [self.binary, "status", "--json", "--socket", self.home / f"{name}.admin"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        try:
            return json.loads(done.stdout)
        except ValueError:
            return {}

    def wait(self, condition, what, seconds=600):
        begin = time.monotonic()
        while time.monotonic() - begin < seconds:
            status = self.status()
            if condition(status):
                return time.monotonic() - begin
            time.sleep(0.02)
        sys.exit(f"waited {seconds} s for: {what}; status: {self.status()}")

    def in_sync(self, peers=2):
        return lambda s: s.get("role") == "primary" and sum(p["counts"] for p in s.get("peers", [])) >= peers

    def uri(self, name="a"):
        return f"nbd+unix:///bench?socket={self.home / (name + '.nbd')}"

    def cpu_seconds(self):
        return {name: cpu_seconds(process.pid) for name, process in self.running.items()}

    def written_bytes(self):
        return {name: written_bytes(process.pid) for name, process in self.running.items()}

    def resident_mib(self, what="VmHWM"):
        return {name: round(resident_mib(process.pid, what)) for name, process in self.running.items()}

    def counters(self, name):
        """The numbers of `/metrics`, by name; those with labels by name and labels."""
        page = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_at[name]}/metrics").read().decode()
        lines = (line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#") and " " in line)
        return {key: float(value) for key, value in lines}

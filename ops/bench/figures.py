#!/usr/bin/env python3
"""First figures: three replicas and the client on this machine, beside plain files in the same rounds.

    python3 ops/bench/figures.py [--rounds 5] [--seconds 4] [--log 256MiB] [--json FILE]

Needs fio with its nbd engine and a release build of seawall (built when it is missing). Prints medians and ratios;
machines are shared and noisy, so only the ratios of one run mean something. raw is one file, raw x3 the slowest of
three at once: what a three-copy engine without network could reach. Leaves nothing behind.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = ROOT / "target/release/seawall"
MIB = 1 << 20
NAMES = "abc"


def free_ports(count):
    taken = [socket.socket() for _ in range(count)]
    for one in taken:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


class Cluster:
    """Three replicas of one volume, each a process of its own."""

    def __init__(self, home, size, log, security="tls"):
        self.home, self.running = home, {}
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
                f'first_primary = "a"\n\n{replicas}'
            )
        self.tool("pki", "init", home / "keys")
        self.tool("pki", "issue", home / "keys", "--config", home / "a.toml")
        for name in NAMES:
            self.tool("format", "--config", home / f"{name}.toml")

    def tool(self, *arguments):
        done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"seawall {arguments[0]}: {done.stderr or done.stdout}")
        return done.stdout

    def start(self, names=NAMES):
        for name in names:
            log = open(self.home / f"{name}.log", "ab")
            command = [BINARY, "serve", "--config", self.home / f"{name}.toml"]
            self.running[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self, names=NAMES):
        for name in names:
            process = self.running.pop(name, None)
            if process:
                process.send_signal(signal.SIGKILL)
                process.wait()

    def status(self, name="a"):
        command = [BINARY, "status", "--json", "--socket", self.home / f"{name}.admin"]
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
        total = 0
        for process in self.running.values():
            fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def written_bytes(self):
        def of(pid):
            lines = pathlib.Path(f"/proc/{pid}/io").read_text().splitlines()
            return int(next(line.split()[1] for line in lines if line.startswith("write_bytes")))
        return sum(of(process.pid) for process in self.running.values())

    def resident_mib(self):
        def of(pid):
            lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
            return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024
        return {name: round(of(process.pid)) for name, process in self.running.items()}

    def counters(self, name):
        import urllib.request
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_at[name]}/metrics").read().decode()
        found = {}
        for line in text.splitlines():
            if not line.startswith("#") and " " in line:
                key, value = line.rsplit(" ", 1)
                found[key.split("{")[0]] = float(value)
        return found


def fio(target, *extra, engine=None):
    """One fio run: IOPS, MB/s, p50, p99 and longest in microseconds, bytes moved."""
    where = ["--ioengine=nbd", f"--uri={target}"] if engine is None else [f"--filename={target}", *engine]
    command = ["fio", "--name=x", "--output-format=json", "--randrepeat=0", *where, *extra]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    text = done.stdout[done.stdout.find("{"):]
    if done.returncode or not text:
        sys.exit(f"fio failed: {' '.join(map(str, command))}\n{done.stderr}{done.stdout[:400]}")
    job = json.loads(text)["jobs"][0]
    side = job["write"] if job["write"]["total_ios"] else job["read"]
    percent = side["clat_ns"].get("percentile", {})
    return {
        "iops": side["iops"],
        "mbs": side["bw_bytes"] / 1e6,
        "p50": percent.get("50.000000", 0) / 1e3,
        "p99": percent.get("99.000000", 0) / 1e3,
        "longest": side["clat_ns"]["max"] / 1e3,
        "bytes": side["io_bytes"],
        "ios": side["total_ios"],
    }


RAW = ["--ioengine=io_uring", "--direct=1"]
DSYNC = [*RAW, "--sync=dsync"]


def raw3(files, engine, *extra):
    """The slowest of three at once."""
    command = [["fio", "--name=x", "--output-format=json", "--randrepeat=0", f"--filename={f}", *engine, *extra] for f in files]
    running = [subprocess.Popen(list(map(str, c)), stdout=subprocess.PIPE, text=True) for c in command]
    results = []
    for process in running:
        text = process.communicate()[0]
        side = json.loads(text[text.find("{"):])["jobs"][0]["write"]
        results.append({"iops": side["iops"], "mbs": side["bw_bytes"] / 1e6})
    return min(results, key=lambda r: r["iops"])


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--seconds", type=int, default=4)
    asked.add_argument("--size", default="4GiB")
    asked.add_argument("--log", default="256MiB")
    asked.add_argument("--kills", type=int, default=20)
    asked.add_argument("--json")
    asked = asked.parse_args()
    if not shutil.which("fio"):
        sys.exit("fio is missing: apt-get install fio (or bash .ci/install)")
    subprocess.run(["cargo", "build", "--release", "-q", "-p", "seawall-ops"], cwd=ROOT, check=True)
    (ROOT / "target/bench").mkdir(parents=True, exist_ok=True)
    home = pathlib.Path(tempfile.mkdtemp(dir=ROOT / "target/bench"))
    cluster = None
    try:
        cluster = Cluster(home, asked.size, asked.log)
        report = measure(cluster, home, asked)
        if asked.json:
            pathlib.Path(asked.json).write_text(json.dumps(report, indent=1))
    finally:
        if cluster:
            cluster.kill()
        shutil.rmtree(home, ignore_errors=True)


def measure(cluster, home, asked):
    files = [home / f"raw{i}" for i in range(3)]
    span = "1G"
    for f in files:
        fio(f, "--rw=write", "--bs=1M", f"--size={span}", "--iodepth=8", engine=RAW)
    cluster.start()
    cluster.wait(cluster.in_sync(), "three copies in sync")
    idle = cluster.resident_mib()
    fio(cluster.uri(), "--rw=write", "--bs=1M", f"--size={span}", "--iodepth=8")
    log_bytes = cluster.status()["log"]["bytes"]
    timed = [f"--size={span}", f"--runtime={asked.seconds}", "--time_based"]
    long = [f"--size={span}", f"--io_size={4 * log_bytes}"]
    rows = {
        "4k write, depth 1, durable": (["--rw=randwrite", "--bs=4k", "--iodepth=1", *timed], DSYNC, "raw x3", "iops", 0.6),
        "4k write, depth 32, durable": (["--rw=randwrite", "--bs=4k", "--iodepth=32", *long], RAW, "raw x3", "iops", 0.6),
        "4k read, depth 1": (["--rw=randread", "--bs=4k", "--iodepth=1", *timed], RAW, "raw", "iops", 0.6),
        "4k read, depth 32": (["--rw=randread", "--bs=4k", "--iodepth=32", *timed], RAW, "raw", "iops", 0.6),
        "1M write": (["--rw=write", "--bs=1M", "--iodepth=8", *timed], RAW, "raw x3", "mbs", 0.45),
        "1M read": (["--rw=read", "--bs=1M", "--iodepth=8", *timed], RAW, "raw", "mbs", 0.8),
    }
    found = {name: {"ours": [], "peer": [], "p50": [], "p99": [], "cpu": []} for name in rows}
    device, payload, appends, records = 0, 0, 0, 0
    for number in range(asked.rounds):
        for name, (options, engine, peer, unit, _) in rows.items():
            print(f"round {number + 1} of {asked.rounds}: {name}", file=sys.stderr, flush=True)
            peers = raw3(files, engine, *options) if peer == "raw x3" else fio(files[0], *options, engine=engine)
            cpu, wrote, before = cluster.cpu_seconds(), cluster.written_bytes(), cluster.counters("b")
            ours = fio(cluster.uri(), *options)
            cell = found[name]
            cell["ours"].append(ours[unit])
            cell["peer"].append(peers[unit])
            cell["p50"].append(ours["p50"])
            cell["p99"].append(ours["p99"])
            cell["cpu"].append((cluster.cpu_seconds() - cpu) / ours["ios"] * 1e6)
            if name == "4k write, depth 32, durable":
                after = cluster.counters("b")
                device += cluster.written_bytes() - wrote
                payload += ours["bytes"]
                appends += after["seawall_log_appends_total"] - before["seawall_log_appends_total"]
                records += after["seawall_log_records_total"] - before["seawall_log_records_total"]
            cluster.wait(cluster.in_sync(), "three copies in sync")
    report = {"rounds": asked.rounds, "rows": {}}
    print(f"\n{'row':32}{'ours':>10}{'peer':>10}{'ratio':>8}{'goal':>7}{'p50 us':>9}{'p99 us':>9}{'CPU us/op':>11}")
    for name, (_, _, peer, unit, goal) in rows.items():
        cell = found[name]
        ours, peers = statistics.median(cell["ours"]), statistics.median(cell["peer"])
        ratio = statistics.median(o / p for o, p in zip(cell["ours"], cell["peer"]))
        p50, p99, cpu = (statistics.median(cell[k]) for k in ("p50", "p99", "cpu"))
        print(f"{name:32}{ours:10.0f}{peers:10.0f}{ratio:8.2f}{goal:7}{p50:9.0f}{p99:9.0f}{cpu:11.1f}   ({unit}, {peer})")
        report["rows"][name] = {"ours": ours, "peer": peers, "ratio": ratio, "p50": p50, "p99": p99, "cpu": cpu}

    def line(name, value, goal):
        print(f"{name:64}{value:>12}   goal {goal}", flush=True)
        report[name] = value

    line("device bytes per payload byte, durable 4k random", f"{device / payload:.2f}", "7")
    line("appends per record at depth 32, on a peer", f"1/{records / max(appends, 1):.0f}", "1/10")
    line("resident MiB, idle (a b c)", " ".join(str(idle[n]) for n in NAMES), "40")
    line("resident MiB, peak (a b c)", " ".join(str(cluster.resident_mib()[n]) for n in NAMES), "128")
    recovery(cluster, asked, line)
    return report


def recovery(cluster, asked, line):
    write = ["--rw=randwrite", "--bs=4k", "--size=1G"]
    quiet = fio(cluster.uri(), *write, "--iodepth=8", f"--runtime={asked.seconds}", "--time_based")
    load = subprocess.Popen(
        ["fio", "--name=x", "--output-format=json", "--ioengine=nbd", f"--uri={cluster.uri()}", *write, "--iodepth=8",
         "--runtime=3600", "--time_based"], stdout=subprocess.PIPE, text=True)
    for _ in range(asked.kills):
        cluster.wait(cluster.in_sync(), "three copies in sync")
        cluster.kill("b")
        time.sleep(0.3)
        cluster.start("b")
    cluster.wait(cluster.in_sync(), "three copies in sync")
    load.send_signal(signal.SIGINT)
    text = load.communicate()[0]
    longest = json.loads(text[text.find("{"):])["jobs"][0]["write"]["clat_ns"]["max"] / 1e6
    line(f"longest client stall, a replica killed {asked.kills} times, depth 8", f"{longest:.0f} ms", "100 ms")
    line("the same without kills", f"{quiet['longest'] / 1e3:.0f} ms", "-")

    healthy = fio(cluster.uri(), *write, "--iodepth=32", f"--runtime={asked.seconds}", "--time_based")["iops"]
    cluster.kill("c")
    degraded = fio(cluster.uri(), *write, "--iodepth=32", f"--runtime={asked.seconds}", "--time_based")["iops"]
    line("one of three dead: rate / healthy rate", f"{degraded / healthy:.2f}", "0.9")
    cluster.start("c")
    cluster.wait(cluster.in_sync(), "three copies in sync")

    cluster.kill("b")
    fio(cluster.uri(), "--rw=randwrite", "--bs=64k", "--size=1G", "--io_size=192M", "--iodepth=8")
    fio(cluster.uri(), "--rw=write", "--bs=1M", "--size=1G", "--io_size=16M", "--iodepth=8")
    cluster.start("b")
    taken = cluster.wait(cluster.in_sync(), "the replica that was away")
    rule = next(p["rule"] for p in cluster.status()["peers"] if p["replica"] == "b")
    line(f"208 MiB written while away: in sync after ({rule})", f"{taken:.1f} s", "3 s (256 MiB, under load)")

    cluster.kill("b")
    cluster.tool("replica", "wipe", "--config", cluster.home / "b.toml", "--yes-wipe", "b")
    cluster.start("b")
    load = subprocess.Popen(
        ["fio", "--name=x", "--output-format=json", "--ioengine=nbd", f"--uri={cluster.uri()}", *write, "--iodepth=1",
         "--runtime=3600", "--time_based"], stdout=subprocess.PIPE, text=True)
    taken = cluster.wait(cluster.in_sync(), "the rebuilt replica")
    load.send_signal(signal.SIGINT)
    text = load.communicate()[0]
    side = json.loads(text[text.find("{"):])["jobs"][0]["write"]
    idle = fio(cluster.uri(), *write, "--iodepth=1", f"--runtime={asked.seconds}", "--time_based")
    p99 = side["clat_ns"]["percentile"]["99.000000"] / 1e3
    line("rebuild of 1 GiB under load, MB/s", f"{1074 / taken:.0f}", "0.4 of raw 1M write")
    line("foreground p99 during the rebuild / without", f"{p99 / idle['p99']:.1f}", "2.0")

    cluster.kill()
    begin = time.monotonic()
    cluster.start()
    cluster.wait(lambda s: s.get("role") == "primary", "serving again")
    line(f"kill -9 of all three, {asked.log} of log: serving again after", f"{time.monotonic() - begin:.1f} s", "2 s (1 GiB)")


if __name__ == "__main__":
    main()

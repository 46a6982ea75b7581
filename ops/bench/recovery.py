#!/usr/bin/env python3
"""What a lost replica costs: three replicas and the client on this machine, some of them killed, wiped and started again.

    python3 ops/bench/recovery.py [--kills 20] [--seconds 4] [--log 256MiB] [--json FILE]

The longest stall of a client while a replica is killed, the rate with one of three dead, the time until one that was
away is in sync, the rate of a rebuild and what the client feels of it, and the time from a dead cluster to a serving one.
Needs fio with its nbd engine. Leaves nothing behind.
"""
import argparse
import json
import pathlib
import shutil
import sys
import tempfile
import time

import load
from cluster import ROOT, Cluster, built

WRITE = ["--rw=randwrite", "--bs=4k", "--size=1G"]


class Report:
    """Lines of a value and its goal."""

    def __init__(self):
        self.values = {}

    def line(self, name, value, goal):
        print(f"{name:64}{value:>12}   goal {goal}", flush=True)
        self.values[name] = value


def kills(cluster, asked, report):
    client = load.nbd(cluster.uri())
    timed = [f"--runtime={asked.seconds}", "--time_based"]
    quiet = load.run(client, *WRITE, "--iodepth=8", *timed)
    running = load.endless(client, *WRITE, "--iodepth=8")
    for _ in range(asked.kills):
        cluster.wait(cluster.in_sync(), "three copies in sync")
        cluster.kill("b")
        # The client goes on for a while without it.
        time.sleep(0.3)
        cluster.start("b")
    cluster.wait(cluster.in_sync(), "three copies in sync")
    longest = load.stop(running)["longest"] / 1e3
    report.line(f"longest client stall, a replica killed {asked.kills} times, depth 8", f"{longest:.0f} ms", "100 ms")
    report.line("the same without kills", f"{quiet['longest'] / 1e3:.0f} ms", "-")

    healthy = load.run(client, *WRITE, "--iodepth=32", *timed)["iops"]
    cluster.kill("c")
    degraded = load.run(client, *WRITE, "--iodepth=32", *timed)["iops"]
    report.line("one of three dead: rate / healthy rate", f"{degraded / healthy:.2f}", "0.9")
    cluster.start("c")
    cluster.wait(cluster.in_sync(), "three copies in sync")


def absence(cluster, report):
    client = load.nbd(cluster.uri())
    cluster.kill("b")
    load.run(client, "--rw=randwrite", "--bs=64k", "--size=1G", "--io_size=192M", "--iodepth=8")
    load.run(client, "--rw=write", "--bs=1M", "--size=1G", "--io_size=16M", "--iodepth=8")
    cluster.start("b")
    taken = cluster.wait(cluster.in_sync(), "the replica that was away")
    rule = next(p["rule"] for p in cluster.status()["peers"] if p["replica"] == "b")
    report.line(f"208 MiB written while away: in sync after ({rule})", f"{taken:.1f} s", "3 s (256 MiB, under load)")


def rebuild(cluster, asked, report):
    client = load.nbd(cluster.uri())
    cluster.kill("b")
    cluster.tool("replica", "wipe", "--config", cluster.home / "b.toml", "--yes-wipe", "b")
    cluster.start("b")
    running = load.endless(client, *WRITE, "--iodepth=1")
    taken = cluster.wait(cluster.in_sync(), "the rebuilt replica")
    busy = load.stop(running)
    idle = load.run(client, *WRITE, "--iodepth=1", f"--runtime={asked.seconds}", "--time_based")
    report.line("rebuild of 1 GiB under load, MB/s", f"{1074 / taken:.0f}", "0.4 of raw 1M write")
    report.line("foreground p99 during the rebuild / without", f"{busy['p99'] / idle['p99']:.1f}", "2.0")


def restart(cluster, asked, report):
    cluster.kill()
    begin = time.monotonic()
    cluster.start()
    cluster.wait(lambda s: s.get("role") == "primary", "serving again")
    taken = time.monotonic() - begin
    report.line(f"kill -9 of all three, {asked.log} of log: serving again after", f"{taken:.1f} s", "2 s (1 GiB)")


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seconds", type=int, default=4)
    asked.add_argument("--size", default="4GiB")
    asked.add_argument("--log", default="256MiB")
    asked.add_argument("--kills", type=int, default=20)
    asked.add_argument("--binary", help="the build to measure; by default one is made of this tree")
    asked.add_argument("--json")
    asked = asked.parse_args()
    if not shutil.which("fio"):
        sys.exit("fio is missing: apt-get install fio (or bash .ci/install)")
    binary = pathlib.Path(asked.binary).resolve() if asked.binary else built()
    (ROOT / "target/bench").mkdir(parents=True, exist_ok=True)
    home = pathlib.Path(tempfile.mkdtemp(dir=ROOT / "target/bench"))
    cluster, report = None, Report()
    try:
        cluster = Cluster(binary, home, asked.size, asked.log)
        cluster.start()
        cluster.wait(cluster.in_sync(), "three copies in sync")
        load.run(load.nbd(cluster.uri()), "--rw=write", "--bs=1M", "--size=1G", "--iodepth=8")
        kills(cluster, asked, report)
        absence(cluster, report)
        rebuild(cluster, asked, report)
        restart(cluster, asked, report)
    finally:
        if cluster:
            cluster.kill()
        shutil.rmtree(home, ignore_errors=True)
    if asked.json:
        pathlib.Path(asked.json).write_text(json.dumps(report.values, indent=1) + "\n")


if __name__ == "__main__":
    main()

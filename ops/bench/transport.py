#!/usr/bin/env python3
"""What TLS between replicas costs: two clusters, one under TLS and one in plaintext, by turns in the same rounds.

    python3 ops/bench/transport.py [--rounds 7] [--seconds 3] [--binary target/release/seawall]

Needs fio with its nbd engine. Prints, for each load, medians of both, the median of the rounds' ratios, and processor
time of all three replicas for each write. Machines are shared and noisy: only the ratios mean something.
"""
import argparse
import pathlib
import shutil
import statistics
import tempfile

import figures

LOADS = {
    "4k write, depth 1, durable": ["--rw=randwrite", "--bs=4k", "--iodepth=1"],
    "4k write, depth 32, durable": ["--rw=randwrite", "--bs=4k", "--iodepth=32"],
    "128k write, depth 8, durable": ["--rw=randwrite", "--bs=128k", "--iodepth=8"],
}


def one(cluster, load, seconds):
    before = cluster.cpu_seconds()
    result = figures.fio(cluster.uri(), *load, "--size=200M", "--time_based", f"--runtime={seconds}")
    return {**result, "cpu": (cluster.cpu_seconds() - before) / result["ios"] * 1e6}


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rounds", type=int, default=7)
    asked.add_argument("--seconds", type=int, default=3)
    asked.add_argument("--binary", type=pathlib.Path, default=figures.BINARY)
    asked = asked.parse_args()
    figures.BINARY = asked.binary
    home = pathlib.Path(tempfile.mkdtemp())
    clusters = {}
    try:
        for security in ("tls", "plaintext"):
            (home / security).mkdir()
            clusters[security] = figures.Cluster(home / security, "256MiB", "128MiB", security)
            clusters[security].start()
            clusters[security].wait(clusters[security].in_sync(), "three copies in sync")
        for name, load in LOADS.items():
            rounds = []
            for turn in range(asked.rounds):
                order = list(clusters) if turn % 2 else list(reversed(clusters))
                rounds.append({security: one(clusters[security], load, asked.seconds) for security in order})
            middle = lambda of: statistics.median(of(both) for both in rounds)
            for key, unit in (("iops", "IOPS"), ("p50", "µs at the median"), ("cpu", "µs of processor")):
                tls, plain = (middle(lambda both: both[s][key]) for s in ("tls", "plaintext"))
                ratio = middle(lambda both: both["tls"][key] / both["plaintext"][key])
                print(f"{name:30} {unit:17} plaintext {plain:8.0f}   tls {tls:8.0f}   ratio {ratio:.2f}", flush=True)
    finally:
        for cluster in clusters.values():
            cluster.kill()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()

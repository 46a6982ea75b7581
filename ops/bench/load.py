"""What fio does: to files, to three files at once, to NBD servers."""
import json
import shlex
import subprocess
import sys

RAW = ["--ioengine=io_uring", "--direct=1"]


class LoadError(Exception):
    """fio did not do what it was asked to, or found other bytes than it wrote."""


def command(where, extra):
    return [*map(str, ["fio", "--name=x", "--output-format=json", "--randrepeat=0", *where, *extra])]


def nbd(uri):
    return ["--ioengine=nbd", f"--uri={uri}"]


def file(path, durable=False):
    return [f"--filename={path}", *RAW, *(["--sync=dsync"] if durable else [])]


def run(where, *extra):
    """One run: IOPS, MB/s, percentiles of the latency in microseconds, bytes and requests moved."""
    return run_all([where], *extra)[0]


def run_all(places, *extra):
    """Runs at once, one at each place."""
    commands = [command(where, extra) for where in places]
    running = [subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for c in commands]
    try:
        return [judged(process, *process.communicate(), c) for process, c in zip(running, commands)]
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()


def judged(process, out, err, command):
    text = out[out.find("{"):] if "{" in out else ""
    if process.returncode or not text:
        raise LoadError(f"{shlex.join(command)}\n{err}{out[:400]}")
    return result(text)


def result(text):
    job = json.loads(text)["jobs"][0]
    side = job["write"] if job["write"]["total_ios"] else job["read"]
    percent = {f"{float(k):g}": v / 1e3 for k, v in side["clat_ns"].get("percentile", {}).items()}
    return {
        "iops": side["iops"],
        "mbs": side["bw_bytes"] / 1e6,
        "p50": percent.get("50", 0.0),
        "p99": percent.get("99", 0.0),
        "p99.9": percent.get("99.9", 0.0),
        "longest": side["clat_ns"]["max"] / 1e3,
        "bytes": side["io_bytes"],
        "ios": side["total_ios"],
    }


def stop(process):
    """Ends a run that has no end of its own, and says what it did."""
    process.send_signal(2)
    text = process.communicate()[0]
    return result(text[text.find("{"):])


def endless(where, *extra):
    """A run until `stop`."""
    long = ["--runtime=36000", "--time_based"]
    return subprocess.Popen(command(where, [*extra, *long]), stdout=subprocess.PIPE, text=True)


def is_verified(where, span):
    """Writes some checked blocks, small ones anywhere and large ones in a row, and reads them back."""
    check = ["--verify=crc32c", "--verify_fatal=1", "--do_verify=1", f"--size={span}"]
    try:
        run(where, "--rw=randwrite", "--bs=4k", "--iodepth=32", "--io_size=8M", *check)
        run(where, "--rw=write", "--bs=1M", "--iodepth=8", "--io_size=32M", *check)
    except LoadError as error:
        print(error, file=sys.stderr)
        return False
    return True

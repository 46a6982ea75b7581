"""QEMU's quorum: a storage daemon over three NBD servers, each over a file. Every write is durable on all three."""
import pathlib
import shutil
import signal
import socket
import subprocess
import time

from cluster import cpu_seconds, resident_mib

TOOLS = ("qemu-nbd", "qemu-storage-daemon")


def missing():
    """The tools that are not installed."""
    return [tool for tool in TOOLS if not shutil.which(tool)]


class Quorum:
    """The daemon and its servers. End it with `kill`."""

    def __init__(self, home, span_bytes):
        home.mkdir(parents=True, exist_ok=True)
        self.home, self.running = home, []
        for number in range(3):
            image, door = home / f"{number}.img", home / f"{number}.sock"
            with open(image, "wb") as file:
                file.truncate(span_bytes)
            # Every write is on stable storage when it is answered, as ours are.
            self.spawn("qemu-nbd", "--format=raw", "--cache=directsync", "--aio=io_uring", "--persistent", "--shared=4",
                       f"--socket={door}", image)
        for number in range(3):
            self.await_door(home / f"{number}.sock")
        children = "".join(
            f',children.{n}.driver=raw,children.{n}.file.driver=nbd,children.{n}.file.server.type=unix,'
            f'children.{n}.file.server.path={home / f"{n}.sock"}' for n in range(3)
        )
        self.spawn(
            "qemu-storage-daemon",
            # Reads ask the first copy only, which is their fastest.
            f"--blockdev=driver=quorum,node-name=q,vote-threshold=2,read-pattern=fifo{children}",
            f"--nbd-server=addr.type=unix,addr.path={home / 'q.sock'},max-connections=8",
            "--export=type=nbd,id=e,node-name=q,name=bench,writable=on",
        )
        self.await_door(home / "q.sock")

    def spawn(self, *command):
        with open(self.home / "log", "ab") as log:
            self.running.append(subprocess.Popen(list(map(str, command)), stdout=log, stderr=log))

    def await_door(self, path, seconds=10):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with socket.socket(socket.AF_UNIX) as door:
                try:
                    return door.connect(str(path))
                except OSError:
                    time.sleep(0.02)
        log = pathlib.Path(self.home / "log").read_text()
        self.kill()
        raise RuntimeError(f"nobody listens at {path}: {log}")

    def kill(self):
        for process in self.running:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.running = []

    def uri(self):
        return f"nbd+unix:///bench?socket={self.home / 'q.sock'}"

    def cpu_seconds(self):
        return sum(cpu_seconds(process.pid) for process in self.running)

    def resident_mib(self):
        return round(max(resident_mib(process.pid) for process in self.running))

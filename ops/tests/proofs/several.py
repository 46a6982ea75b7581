#!/usr/bin/env python3
"""A client with libnbd that outlives the node it is attached to: it is told of several, and goes to the next one.

    several.py URI...    writes numbered blocks until standard input closes, then reads all of them back

What was not answered is asked again, in the order in which it was asked first, before anything else is.
"""
import os
import sys
import threading
import time

import nbd

BLOCK = 4096
PLACES = 2048
PATIENCE = 60


class Disk:
    def __init__(self, uris):
        self.uris, self.turn, self.handle = uris, 0, None

    def connect(self):
        uri = self.uris[self.turn % len(self.uris)]
        self.turn += 1
        handle = nbd.NBD()
        handle.connect_uri(uri)
        self.handle = handle
        print(f"at {uri}", flush=True)

    def ask(self, request):
        """Until it is answered well; an error of the disk is as good a reason to go elsewhere as none."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if self.handle is None:
                    self.connect()
                return request(self.handle)
            except nbd.Error as error:
                self.handle = None
                if time.monotonic() > deadline:
                    raise
                print(f"lost: {error.string}", flush=True)
                time.sleep(0.1)


def content(number):
    return (b"%d " % number * BLOCK)[:BLOCK]


def main():
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    disk = Disk(sys.argv[1:])
    last = {}
    number = 0
    while not ended.is_set():
        number += 1
        place = number * 7 % PLACES
        disk.ask(lambda h: h.pwrite(content(number), place * BLOCK))
        last[place] = number
        if number % 10 == 0:
            print(f"wrote {number}", flush=True)
    disk.ask(lambda h: h.flush())
    for place, number in last.items():
        found = disk.ask(lambda h: h.pread(BLOCK, place * BLOCK))
        if found != content(number):
            sys.exit(f"block {place} is not what write {number} left")
    print(f"all {len(last)} blocks are as written", flush=True)
    os._exit(0)


main()

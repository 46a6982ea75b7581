#!/usr/bin/python3
"""What an independent NBD client (libnbd) gets from an export: flags, errors, holes, order, visibility.

    client.py URI     an export of more than 4 GiB that nobody else uses; its contents are destroyed

Each function below is one claim about the export. Prints a line for each; ends with 1 if one does not hold."""

import errno
import os
import random
import sys
import traceback

import nbd

URI = sys.argv[1]
SECTOR, BLOCK, MIB = 512, 4096, 1 << 20
GIB = 1 << 30
HOLE, ZERO = 1, 2


def attach(prepare=None, careless=False):
    """A connection; a careless one sends what libnbd would refuse to send."""
    h = nbd.NBD()
    if prepare:
        prepare(h)
    h.connect_uri(URI)
    if careless:
        h.set_strict_mode(0)
    return h


def refused(number, request):
    """The request fails with just this error."""
    try:
        request()
    except nbd.Error as error:
        name = errno.errorcode.get(error.errnum, error.errnum)
        assert error.errnum == number, f"{errno.errorcode[number]} expected, found {name}"
        return
    raise AssertionError(f"{errno.errorcode[number]} expected, but it succeeded")


def lives(h):
    """The connection still answers, and answers right."""
    h.pwrite(b"\x6c" * SECTOR, 0)
    assert h.pread(SECTOR, 0) == b"\x6c" * SECTOR
    h.shutdown()


def extents(h, count, offset, flags=0):
    """Block status as (begin, end, flags), joined where neighbours are alike."""
    found, at = [], offset
    while at < offset + count:
        numbers = []
        h.block_status(min(count - (at - offset), 4 * GIB - BLOCK), at,
                       lambda name, o, entries, e: numbers.extend(entries) or 0, flags)
        assert numbers and numbers[0] > 0, "a status that does not get on"
        for length, state in zip(numbers[::2], numbers[1::2]):
            end = min(at + length, offset + count)
            if found and found[-1][2] == state:
                found[-1] = (found[-1][0], end, state)
            else:
                found.append((at, end, state))
            at = end
    return found


def with_allocation(h):
    h.add_meta_context("base:allocation")


def chunks(h, count, offset, flags=0):
    """A structured read's chunks as (offset, length, is it a hole)."""
    found = []
    h.pread_structured(count, offset,
                       lambda buf, o, status, e: found.append((o, len(buf), status == nbd.READ_HOLE)) or 0, flags)
    return sorted(found)


def the_greeting_says_what_the_export_can_do():
    h = attach()
    assert h.get_protocol() == "newstyle-fixed" and h.get_structured_replies_negotiated()
    able = dict(flush=h.can_flush(), fua=h.can_fua(), trim=h.can_trim(), zero=h.can_zero(), df=h.can_df(),
                multi_conn=h.can_multi_conn(), cache=h.can_cache(), fast_zero=h.can_fast_zero())
    assert all(able.values()), able
    assert not h.is_read_only() and not h.is_rotational()
    sizes = [h.get_block_size(kind) for kind in (nbd.SIZE_MINIMUM, nbd.SIZE_PREFERRED, nbd.SIZE_MAXIMUM)]
    assert sizes == [SECTOR, BLOCK, 32 * MIB], sizes
    lives(h)


def clients_that_know_less_are_served_too():
    plain = attach(lambda h: h.set_request_structured_replies(False))
    assert not plain.get_structured_replies_negotiated()
    assert not plain.can_df(), "there is nothing to not fragment in simple replies"
    lives(plain)
    for flags in (0, nbd.HANDSHAKE_FLAG_FIXED_NEWSTYLE, nbd.HANDSHAKE_FLAG_NO_ZEROES):
        lives(attach(lambda h: h.set_handshake_flags(flags)))


def options_are_answered_in_any_number_and_order():
    h = attach(lambda h: h.set_opt_mode(True))
    names, contexts = [], []
    h.opt_list(lambda name, text: names.append(name) or 0)
    own = h.get_export_name()
    assert own in names, names
    h.opt_list_meta_context(lambda name: contexts.append(name) or 0)
    assert "base:allocation" in contexts, contexts
    h.set_export_name("no-such-export")
    for ask in (h.opt_info, h.opt_go):
        try:
            ask()
            raise AssertionError("an export that is not there was found")
        except nbd.Error:
            pass
    h.set_export_name(own)
    h.opt_info()
    size = h.get_size()
    h.add_meta_context("base:allocation")
    h.add_meta_context("nobody:knows-this")
    h.opt_go()
    assert h.get_size() == size
    assert h.can_meta_context("base:allocation") and not h.can_meta_context("nobody:knows-this")
    lives(h)
    attach(lambda h: h.set_opt_mode(True)).opt_abort()


def the_edges_are_refused_and_the_connection_survives():
    h = attach(careless=True)
    size = h.get_size()
    last = os.urandom(SECTOR)
    h.pwrite(last, size - SECTOR)
    refused(errno.ENOSPC, lambda: h.pwrite(bytes(SECTOR), size))
    refused(errno.ENOSPC, lambda: h.pwrite(bytes(2 * SECTOR), size - SECTOR))
    refused(errno.ENOSPC, lambda: h.zero(2 * SECTOR, size - SECTOR))
    refused(errno.EINVAL, lambda: h.trim(2 * SECTOR, size - SECTOR))
    for offset in (size, size - SECTOR, (1 << 63) - SECTOR):
        refused(errno.EINVAL, lambda: h.pread(2 * SECTOR, offset))
    assert h.pread(SECTOR, size - SECTOR) == last, "a refused request changed something"
    lives(h)


def what_is_not_on_a_sector_is_refused():
    h = attach(careless=True)
    for request in (lambda: h.pread(100, 0), lambda: h.pread(SECTOR, 7), lambda: h.pwrite(b"x", 0),
                    lambda: h.pwrite(bytes(SECTOR), 100), lambda: h.zero(SECTOR + 1, 0), lambda: h.trim(SECTOR, 1)):
        refused(errno.EINVAL, request)
    lives(h)


def nothing_and_unknown_flags_hurt_nobody():
    h = attach(careless=True)
    for request in (lambda: h.pwrite(b"", 0), lambda: h.zero(0, 0), lambda: h.trim(0, 0)):
        try:
            request()
        except nbd.Error as error:
            assert error.errnum == errno.EINVAL, error
    refused(errno.EINVAL, lambda: h.pwrite(bytes(SECTOR), 0, 1 << 15))
    refused(errno.EINVAL, lambda: h.pread(SECTOR, 0, nbd.CMD_FLAG_NO_HOLE))
    refused(errno.EINVAL, lambda: h.trim(SECTOR, 0, nbd.CMD_FLAG_FAST_ZERO))
    lives(h)


def sectors_within_a_block_do_not_touch_their_neighbours():
    h, at = attach(), 16 * MIB
    shadow = bytearray(os.urandom(8 * BLOCK))
    h.pwrite(bytes(shadow), at)
    choice = random.Random(11)
    for turn in range(150):
        begin = choice.randrange(0, len(shadow) // SECTOR)
        count = choice.randrange(1, min(20, len(shadow) // SECTOR - begin) + 1)
        part = slice(begin * SECTOR, (begin + count) * SECTOR)
        kind = turn % 3
        data = choice.randbytes(count * SECTOR) if kind == 0 else bytes(count * SECTOR)
        if kind == 0:
            h.pwrite(data, at + part.start, nbd.CMD_FLAG_FUA if turn % 2 else 0)
        elif kind == 1:
            h.zero(len(data), at + part.start, nbd.CMD_FLAG_NO_HOLE if turn % 2 else nbd.CMD_FLAG_FUA)
        else:
            h.trim(len(data), at + part.start, nbd.CMD_FLAG_FUA)
            # A trim may leave what it does not free; either is right, but each sector only as one of them.
            now = h.pread(len(data), at + part.start)
            for n in range(0, len(data), SECTOR):
                old = bytes(shadow[part.start + n:part.start + n + SECTOR])
                assert now[n:n + SECTOR] in (bytes(SECTOR), old), "a trim made something up"
            data = now
        shadow[part] = data
        assert h.pread(len(shadow), at) == bytes(shadow), f"turn {turn}"
    h.shutdown()


def holes_are_sent_as_holes_unless_one_piece_is_wanted():
    h, at = attach(), 32 * MIB
    h.zero(4 * MIB, at)
    h.pwrite(b"\x31" * BLOCK, at + 2 * MIB)
    assert (at, 2 * MIB, True) in chunks(h, 4 * MIB, at), chunks(h, 4 * MIB, at)
    assert (at + 2 * MIB, BLOCK, False) in chunks(h, 4 * MIB, at)
    whole = chunks(h, 256 << 10, at + 2 * MIB - (128 << 10), nbd.CMD_FLAG_DF)
    assert whole == [(at + 2 * MIB - (128 << 10), 256 << 10, False)], whole
    h.shutdown()


def status_tells_data_from_holes():
    h, at = attach(with_allocation), 64 * MIB
    h.zero(8 * MIB, at)
    assert extents(h, 8 * MIB, at) == [(at, at + 8 * MIB, HOLE | ZERO)]
    h.pwrite(b"\x32" * (2 * MIB), at + 2 * MIB)
    data = (at + 2 * MIB, at + 4 * MIB, 0)
    expected = [(at, at + 2 * MIB, HOLE | ZERO), data, (at + 4 * MIB, at + 8 * MIB, HOLE | ZERO)]
    assert extents(h, 8 * MIB, at) == expected, extents(h, 8 * MIB, at)
    h.trim(MIB, at + 2 * MIB)
    h.zero(MIB, at + 3 * MIB, nbd.CMD_FLAG_NO_HOLE)
    assert all(state & ZERO for _, _, state in extents(h, 8 * MIB, at)), extents(h, 8 * MIB, at)
    assert h.pread(8 * MIB, at) == bytes(8 * MIB)
    ones = []
    h.block_status(64 << 10, at + BLOCK, lambda n, o, entries, e: ones.append(list(entries)) or 0, nbd.CMD_FLAG_REQ_ONE)
    assert len(ones) == 1 and len(ones[0]) == 2 and 0 < ones[0][0] <= 64 << 10, ones
    h.shutdown()


def the_largest_payload_goes_through_and_a_larger_one_is_refused():
    h = attach(careless=True)
    data = os.urandom(MIB) * 32
    h.pwrite(data, 128 * MIB)
    assert h.pread(len(data), 128 * MIB) == data
    refused(errno.EINVAL, lambda: h.pwrite(bytes(33 * MIB), 128 * MIB))
    assert h.pread(MIB, 128 * MIB) == data[:MIB]
    lives(h)


def zeroing_and_trimming_reach_over_four_gibibytes():
    h = attach(with_allocation)
    size = h.get_size()
    assert size > 5 * GIB, "the volume is too small for this"
    marks = [0, GIB + BLOCK, 4 * GIB - 2 * BLOCK, 4 * GIB, 5 * GIB - SECTOR]
    for clear in (h.zero, h.trim, lambda count, offset: h.zero(count, offset, nbd.CMD_FLAG_FAST_ZERO)):
        for mark in marks + [5 * GIB]:
            h.pwrite(b"\x33" * SECTOR, mark)
        clear(4 * GIB - BLOCK, 0)
        clear(GIB + BLOCK, 4 * GIB - BLOCK)
        assert all(h.pread(SECTOR, mark) == bytes(SECTOR) for mark in marks)
        assert h.pread(SECTOR, 5 * GIB) == b"\x33" * SECTOR, "the first sector behind it"
        assert all(state & ZERO for _, _, state in extents(h, 5 * GIB, 0)), extents(h, 5 * GIB, 0)[:4]
    h.cache(MIB, 0)
    h.shutdown()


def many_requests_at_once_are_each_answered_right():
    h, at, count = attach(), 256 * MIB, 256
    sizes = [SECTOR, BLOCK, 3 * SECTOR, 2 * BLOCK]
    sent = [os.urandom(sizes[n % 4]) for n in range(count)]

    def all_done(cookies):
        waiting = set(cookies)
        while waiting:
            h.poll(-1)
            waiting = {cookie for cookie in waiting if not h.aio_command_completed(cookie)}

    buffers = [nbd.Buffer.from_bytearray(bytearray(data)) for data in sent]
    all_done([h.aio_pwrite(buffer, at + n * 2 * BLOCK) for n, buffer in enumerate(buffers)])
    back = [nbd.Buffer(len(data)) for data in sent]
    all_done([h.aio_pread(buffer, at + n * 2 * BLOCK) for n, buffer in enumerate(back)])
    assert all(bytes(buffer.to_bytearray()) == data for buffer, data in zip(back, sent))
    h.shutdown()


def eight_connections_see_one_disk():
    hands = [attach() for _ in range(8)]
    choice = random.Random(12)
    for turn in range(60):
        writer, flusher, reader = choice.sample(hands, 3)
        data, at = os.urandom(choice.choice([SECTOR, BLOCK, 24 * SECTOR])), 300 * MIB + turn % 7 * 3 * SECTOR
        if turn % 2:
            writer.pwrite(data, at, nbd.CMD_FLAG_FUA)
        else:
            writer.pwrite(data, at)
            flusher.flush()
        assert reader.pread(len(data), at) == data, f"turn {turn}: written here, not read there"
    for h in hands:
        h.shutdown()


def what_was_sent_before_the_goodbye_is_written():
    h, at = attach(), 320 * MIB
    data = os.urandom(MIB)
    buffers = [nbd.Buffer.from_bytearray(bytearray(data)) for _ in range(8)]
    for n, buffer in enumerate(buffers):
        h.aio_pwrite(buffer, at + n * MIB)
    h.aio_disconnect()
    while not (h.aio_is_closed() or h.aio_is_dead()):
        try:
            h.poll(1000)
        except nbd.Error:
            break
    other = attach()
    assert all(other.pread(MIB, at + n * MIB) == data for n in range(8))
    other.shutdown()


CLAIMS = [
    the_greeting_says_what_the_export_can_do,
    clients_that_know_less_are_served_too,
    options_are_answered_in_any_number_and_order,
    the_edges_are_refused_and_the_connection_survives,
    what_is_not_on_a_sector_is_refused,
    nothing_and_unknown_flags_hurt_nobody,
    sectors_within_a_block_do_not_touch_their_neighbours,
    holes_are_sent_as_holes_unless_one_piece_is_wanted,
    status_tells_data_from_holes,
    the_largest_payload_goes_through_and_a_larger_one_is_refused,
    zeroing_and_trimming_reach_over_four_gibibytes,
    many_requests_at_once_are_each_answered_right,
    eight_connections_see_one_disk,
    what_was_sent_before_the_goodbye_is_written,
]

broken = 0
for claim in CLAIMS:
    try:
        claim()
        print(f"holds: {claim.__name__}", flush=True)
    except (AssertionError, nbd.Error) as error:
        broken += 1
        line = traceback.extract_tb(error.__traceback__)[1].lineno
        print(f"BROKEN: {claim.__name__}, line {line}: {error}", flush=True)
print(f"{len(CLAIMS) - broken} of {len(CLAIMS)} claims hold")
sys.exit(broken > 0)

#!/usr/bin/env python3
"""Transactions on a mounted volume, with a ledger of those that were told to be committed.

    database.py work DIR LEDGER MODE    until standard input closes; MODE is wal or rollback
    database.py check DIR LEDGER MODE   the database is sound and holds every transaction of the ledger

DIR is on the volume, LEDGER is not. A transaction moves money between accounts and leaves a row with its number; its
number goes into the ledger when the database has said that it is committed. At most the one that was under way when
the work ended may be in the database and not in the ledger. Any error ends the work with exit code 1.
"""
import os
import random
import sqlite3
import sys
import threading

ACCOUNTS = 200
EACH = 1000
# Rows are kept and looked up again, with bytes that follow from their number.
BYTES = 700


def payload(number):
    return (b"%d " % number) * (BYTES // (len(str(number)) + 1))


def connect(directory, mode):
    base = sqlite3.connect(os.path.join(directory, f"{mode}.db"), isolation_level=None, timeout=600)
    base.execute(f"PRAGMA journal_mode = {'WAL' if mode == 'wal' else 'DELETE'}")
    # FULL leaves it to chance whether the end of a rollback journal, which is the commit, outlives a power loss.
    base.execute("PRAGMA synchronous = EXTRA")
    # So that pages are read from the volume, not from memory alone.
    base.execute("PRAGMA cache_size = 50")
    return base


def prepare(base):
    base.execute("BEGIN")
    base.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, money INTEGER NOT NULL)")
    base.execute("CREATE TABLE deed (number INTEGER PRIMARY KEY, payer INTEGER, payee INTEGER, bytes BLOB)")
    base.execute("CREATE INDEX by_payer ON deed (payer, number)")
    base.executemany("INSERT INTO account VALUES (?, ?)", [(n, EACH) for n in range(ACCOUNTS)])
    base.execute("COMMIT")


def work(directory, ledger, mode):
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    dice = random.Random(7)
    base = connect(directory, mode)
    prepare(base)
    number = 0
    with open(ledger, "w", buffering=1) as book:
        while not ended.is_set():
            number += 1
            payer, payee = dice.sample(range(ACCOUNTS), 2)
            base.execute("BEGIN IMMEDIATE")
            base.execute("UPDATE account SET money = money - 1 WHERE id = ?", (payer,))
            base.execute("UPDATE account SET money = money + 1 WHERE id = ?", (payee,))
            base.execute("INSERT INTO deed VALUES (?, ?, ?, ?)", (number, payer, payee, payload(number)))
            base.execute("COMMIT")
            book.write(f"{number}\n")
            old = dice.randint(1, number)
            row = base.execute("SELECT bytes FROM deed WHERE number = ?", (old,)).fetchone()
            if row is None or row[0] != payload(old):
                sys.exit(f"transaction {old} reads back as something else")
    # No clean end: the write-ahead log or the journal is as the last commit left it.
    print(f"{mode}: {number} transactions")
    sys.stdout.flush()
    os._exit(0)


def check(directory, ledger, mode):
    base = connect(directory, mode)
    said = base.execute("PRAGMA integrity_check").fetchall()
    if said != [("ok",)]:
        sys.exit(f"{mode}: integrity_check: {said[:5]}")
    with open(ledger) as book:
        lines = book.read().split("\n")
    # A last line without its end was being written.
    told = [int(line) for line in lines[:-1]]
    if told != list(range(1, len(told) + 1)):
        sys.exit(f"{mode}: the ledger itself is broken")
    rows = dict(base.execute("SELECT number, bytes FROM deed"))
    lost = [number for number in told if rows.get(number) != payload(number)]
    if lost:
        sys.exit(f"{mode}: {len(lost)} of {len(told)} committed transactions are not there: {lost[:5]}")
    more = sorted(set(rows) - set(told))
    if more not in ([], [len(told) + 1]):
        sys.exit(f"{mode}: transactions that nobody committed: {more[:5]}")
    money = base.execute("SELECT sum(money), count(*) FROM account").fetchone()
    if money != (ACCOUNTS * EACH, ACCOUNTS):
        sys.exit(f"{mode}: money came or went: {money}")
    spent = base.execute(
        "SELECT count(*) FROM account WHERE money - ? != (SELECT count(*) FROM deed WHERE payee = account.id)"
        " - (SELECT count(*) FROM deed WHERE payer = account.id)", (EACH,)).fetchone()[0]
    if spent:
        sys.exit(f"{mode}: {spent} accounts do not hold what their transactions left")
    print(f"{mode}: sound, all {len(told)} committed transactions are there")


{"work": work, "check": check}[sys.argv[1]](*sys.argv[2:])

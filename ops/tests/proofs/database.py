#!/usr/bin/env python3
"""Transactions on a mounted volume, with a ledger of those that were told to be committed.

    database.py work PLACE LEDGER KIND    until standard input closes
    database.py check PLACE LEDGER KIND   the database is sound and holds every transaction of the ledger

KIND is wal or rollback, for SQLite with that kind of journal in the directory PLACE; or postgres, for the server whose
socket is in the directory PLACE. The database is on the volume, LEDGER is not. A transaction moves money between
accounts and leaves a row with its number; its number goes into the ledger when the database has said that it is
committed. At most the one that was under way when the work ended may be in the database and not in the ledger. Any
error ends the work with exit code 1.
"""
import os
import random
import sqlite3
import subprocess
import sys
import threading

ACCOUNTS = 200
EACH = 1000
# Rows are kept and looked up again, with text that follows from their number.
LENGTH = 700


def text(number):
    return f"{number} " * (LENGTH // (len(str(number)) + 1))


class Sqlite:
    def __init__(self, place, kind):
        self.base = sqlite3.connect(os.path.join(place, f"{kind}.db"), isolation_level=None, timeout=600)
        self.ask(f"PRAGMA journal_mode = {'WAL' if kind == 'wal' else 'DELETE'}")
        # FULL leaves it to chance whether the end of a rollback journal, which is the commit, outlives a power loss.
        self.ask("PRAGMA synchronous = EXTRA")
        # So that pages are read from the volume, not from memory alone.
        self.ask("PRAGMA cache_size = 50")

    def ask(self, statement):
        return [[str(field) for field in row] for row in self.base.execute(statement)]

    def commit(self, statements):
        for statement in ["BEGIN IMMEDIATE", *statements, "COMMIT"]:
            self.ask(statement)

    def unsound(self):
        said = self.ask("PRAGMA integrity_check")
        return None if said == [["ok"]] else said[:5]


class Postgres:
    def __init__(self, place, _kind):
        # The distribution's, whatever else is on the path. Notices are no errors.
        command = ["/usr/bin/psql", "-qAtX", "-v", "ON_ERROR_STOP=1"]
        command += ["-h", place, "-U", "postgres", "postgres"]
        pipe = subprocess.PIPE
        quiet = os.environ | {"PGOPTIONS": "-c client_min_messages=warning"}
        self.psql = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1, env=quiet)

    def ask(self, statement):
        self.psql.stdin.write(f"{statement};\n\\echo .\n")
        self.psql.stdin.flush()
        rows = []
        while (line := self.psql.stdout.readline()) != ".\n":
            if not line:
                sys.exit(f"psql ended at: {statement[:80]}")
            rows.append(line.rstrip("\n").split("|"))
        return rows

    def commit(self, statements):
        self.ask("; ".join(["BEGIN", *statements, "COMMIT"]))

    def unsound(self):
        self.ask("CREATE EXTENSION IF NOT EXISTS amcheck")
        self.ask("SELECT bt_index_check(c.oid, true) FROM pg_class c JOIN pg_am a ON a.oid = c.relam"
                 " WHERE a.amname = 'btree' AND c.relkind = 'i'")
        found = self.ask("SELECT * FROM verify_heapam('deed') LIMIT 5")
        return found or None


def connect(place, kind):
    return Postgres(place, kind) if kind == "postgres" else Sqlite(place, kind)


def prepare(base):
    base.ask("DROP TABLE IF EXISTS account")
    base.ask("DROP TABLE IF EXISTS deed")
    base.ask("CREATE TABLE account (id INTEGER PRIMARY KEY, money INTEGER NOT NULL)")
    base.ask("CREATE TABLE deed (number INTEGER PRIMARY KEY, payer INTEGER, payee INTEGER, words TEXT)")
    base.ask("CREATE INDEX by_payer ON deed (payer, number)")
    base.commit([f"INSERT INTO account VALUES ({n}, {EACH})" for n in range(ACCOUNTS)])


def work(place, ledger, kind):
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    dice = random.Random(7)
    base = connect(place, kind)
    prepare(base)
    number = 0
    with open(ledger, "w", buffering=1) as book:
        while not ended.is_set():
            number += 1
            payer, payee = dice.sample(range(ACCOUNTS), 2)
            base.commit([
                f"UPDATE account SET money = money - 1 WHERE id = {payer}",
                f"UPDATE account SET money = money + 1 WHERE id = {payee}",
                f"INSERT INTO deed VALUES ({number}, {payer}, {payee}, '{text(number)}')",
            ])
            book.write(f"{number}\n")
            old = dice.randint(1, number)
            if base.ask(f"SELECT words FROM deed WHERE number = {old}") != [[text(old)]]:
                sys.exit(f"transaction {old} reads back as something else")
    # No clean end: the journal is as the last commit left it.
    os._exit(0)


def check(place, ledger, kind):
    base = connect(place, kind)
    if said := base.unsound():
        sys.exit(f"{kind}: not sound: {said}")
    with open(ledger) as book:
        lines = book.read().split("\n")
    # A last line without its end was being written.
    told = [int(line) for line in lines[:-1]]
    if told != list(range(1, len(told) + 1)):
        sys.exit(f"{kind}: the ledger itself is broken")
    rows = {int(number): words for number, words in base.ask("SELECT number, words FROM deed")}
    lost = [number for number in told if rows.get(number) != text(number)]
    if lost:
        sys.exit(f"{kind}: {len(lost)} of {len(told)} committed transactions are not there: {lost[:5]}")
    more = sorted(set(rows) - set(told))
    if more not in ([], [len(told) + 1]):
        sys.exit(f"{kind}: transactions that nobody committed: {more[:5]}")
    if (money := base.ask("SELECT sum(money), count(*) FROM account")) != [[str(ACCOUNTS * EACH), str(ACCOUNTS)]]:
        sys.exit(f"{kind}: money came or went: {money}")
    spent = base.ask(
        f"SELECT count(*) FROM account WHERE money - {EACH} != (SELECT count(*) FROM deed WHERE payee = account.id)"
        " - (SELECT count(*) FROM deed WHERE payer = account.id)")
    if spent != [["0"]]:
        sys.exit(f"{kind}: {spent[0][0]} accounts do not hold what their transactions left")
    print(f"{kind}: sound, all {len(told)} committed transactions are there")


{"work": work, "check": check}[sys.argv[1]](*sys.argv[2:])

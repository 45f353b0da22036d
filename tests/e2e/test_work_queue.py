# SPDX-License-Identifier: Apache-2.0
"""A work queue under load: consumers that die at random lose nothing, transactions move work whole or not at all, and a
broker that stops with work in flight stops."""
import collections
import random
import select
import socket
import struct
import time

from harness import E2E, TimeOut, main
from raw import RawStomp, frame

QUEUE, DONE = "/queue/work", "/queue/done"


class Worker:
    """A consumer with a socket that never blocks. It acknowledges in batches, each with one receipt: what was
    acknowledged before that is settled for certain."""

    def __init__(self, test, prefetch, moves=False):
        self.test, self.moves = test, moves
        self.client = RawStomp(test.port)
        self.client.connect()
        self.client.frame("SUBSCRIBE", ("destination", QUEUE), ("id", "w"), ("ack", "client-individual"),
                          ("prefetch-count", str(prefetch)))
        self.socket, self.buffer = self.client.socket, self.client.buffer
        self.socket.setblocking(False)
        self.out = b""
        self.held, self.batches, self.number = [], collections.deque(), 0

    def fileno(self):
        return self.socket.fileno()

    def pump(self):
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        self.test.assertTrue(data, "the broker closed a connection: %r" % self.buffer[-400:])
        *frames, self.buffer = (self.buffer + data).split(b"\0")
        for text in frames:
            self.take(text.lstrip(b"\n"))

    def take(self, text):
        head, _, body = text.partition(b"\n\n")
        if head.startswith(b"MESSAGE"):
            number = int(body)
            self.test.on_delivery(number, b"\nredelivered:true" in head)
            self.held.append((number, head.split(b"\nack:", 1)[1].split(b"\n", 1)[0].decode()))
        elif head.startswith(b"RECEIPT"):
            for number in self.batches.popleft():
                self.test.on_settled(number)
        else:
            self.test.fail("the broker says %r" % text)

    def settle(self, n=None):
        """Acknowledges the first n it holds, or all."""
        batch, self.held = (self.held, []) if n is None else (self.held[:n], self.held[n:])
        if not batch:
            return
        self.number += 1
        tx = (("transaction", str(self.number)),) if self.moves else ()
        if self.moves:
            self.out += frame("BEGIN", tx)
        for number, ack in batch:
            if self.moves:
                self.out += frame("SEND", (("destination", DONE),) + tx, b"%d" % number)
            self.out += frame("ACK", (("id", ack),) + tx)
        if self.moves:
            self.out += frame("COMMIT", tx + (("receipt", "r"),))
        else:
            self.out = self.out[:-3] + b"\nreceipt:r\n\n\0"  # the last ACK of the batch
        self.batches.append([number for number, _ in batch])
        self.test.unsure.update(self.batches[-1])

    def flush(self):
        if self.out:
            try:
                self.out = self.out[self.socket.send(self.out):]
            except BlockingIOError:
                pass

    def die(self, at_once):
        if at_once:  # RST: what is still in the buffers of both sides is lost
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class WorkQueue(E2E):
    ALL_S = 60

    def setUp(self):
        super().setUp()
        self.dice = random.Random(5)
        self.settled = collections.Counter()  # acknowledged, and the RECEIPT is there
        self.unsure = set()                   # acknowledged; perhaps the broker has not read it
        self.deaths = self.again = 0

    def on_delivery(self, number, redelivered):
        self.assertNotIn(number, self.settled, "delivered after it was settled")
        self.again += redelivered

    def on_settled(self, number):
        self.settled[number] += 1

    def publisher(self, n):
        """Yields True when all n are sent and confirmed; never waits. One receipt per 1,000, four of them open."""
        client = RawStomp(self.port)
        client.connect()
        client.socket.setblocking(False)
        out, sent, open_n = b"", 0, 0
        while sent < n or out or open_n:
            if not out and sent < n and open_n < 4:
                chunk = [frame("SEND", (("destination", QUEUE),), b"%d" % i) for i in range(sent, min(sent + 1000, n))]
                chunk[-1] = frame("SEND", (("destination", QUEUE), ("receipt", "r")), b"%d" % (sent + len(chunk) - 1))
                out, sent, open_n = b"".join(chunk), sent + len(chunk), open_n + 1
            try:
                if out:
                    out = out[client.socket.send(out):]
                open_n -= client.socket.recv(65536).count(b"RECEIPT\n")
            except BlockingIOError:
                pass
            yield False
        client.close()
        while True:
            yield True

    def work(self, n, deaths, prefetch, moves=False):
        """Until all n are acknowledged. Each time a worker dies another one comes."""
        workers = [Worker(self, prefetch, moves) for _ in range(4)]
        publisher, start = self.publisher(n), time.monotonic()
        while not next(publisher) or len(self.settled.keys() | self.unsure) < n or any(w.batches for w in workers):
            if time.monotonic() - start > self.ALL_S:
                raise TimeOut("%d of %d settled, %d deaths" % (len(self.settled), n, self.deaths))
            readable, _, _ = select.select(workers, [], [], 0.01)
            for worker in readable:
                worker.pump()
            for i, worker in enumerate(workers):
                worker.settle(None if self.dice.random() < 0.8 else 7)
                worker.flush()
                if self.deaths < deaths and self.dice.random() < 0.4:
                    self.deaths += 1
                    worker.die(self.dice.random() < 0.5)
                    workers[i] = Worker(self, prefetch, moves)
        for worker in workers:
            worker.die(False)
        print("%d messages, %d deaths, %d delivered again, %.1f s" % (n, self.deaths, self.again, time.monotonic() - start))

    def read_all(self, destination):
        """What is in a queue, up to an end mark."""
        client = self.keep(RawStomp(self.port))
        client.connect()
        client.request("SEND", ("destination", destination), body=b"end")
        client.frame("SUBSCRIBE", ("destination", destination), ("id", "all"))
        got = []
        while True:
            body = client.read("MESSAGE").body
            if body == b"end":
                return got
            got.append(int(body))

    def test_100000_messages_with_consumers_that_die(self):
        """None is lost, each is acknowledged once, and what was acknowledged does not come again."""
        n = 100000
        self.work(n, 300, 200)
        self.assertEqual(self.read_all(QUEUE), [])
        self.assertEqual(set(self.settled.values()), {1})
        self.assertEqual(self.settled.keys() | self.unsure, set(range(n)))
        self.assertGreater(self.deaths, 50)
        self.assertGreater(self.again, 0)

    def test_moving_in_transactions(self):
        """ACK and SEND in one transaction: every message is in one of the two queues, never in both or none, whenever
        its worker died."""
        n = 10000
        self.work(n, 150, 50, moves=True)
        left, done = self.read_all(QUEUE), self.read_all(DONE)
        self.assertEqual(sorted(left + done), list(range(n)))
        self.assertLessEqual(self.settled.keys(), set(done))
        self.assertGreater(self.deaths, 50)


class Slow(E2E):
    def test_no_more_than_asked_for(self):
        """A consumer that is slow gets its prefetch and no more, however much waits; the other does the work."""
        slow, busy, web = (self.keep(RawStomp(self.port)) for _ in range(3))
        for client in (slow, busy, web):
            client.connect()
        slow.request("SUBSCRIBE", ("destination", QUEUE), ("id", "1"), ("ack", "client"), ("prefetch-count", "5"))
        busy.request("SUBSCRIBE", ("destination", QUEUE), ("id", "1"), ("ack", "auto"))
        for i in range(2000):
            web.frame("SEND", ("destination", QUEUE), body=b"%d" % i)
        web.request("SEND", ("destination", "/topic/x"))
        done = {int(busy.read("MESSAGE").body) for _ in range(1995)}
        held = [slow.read("MESSAGE") for _ in range(5)]
        slow.request("SEND", ("destination", "/topic/x"))  # its RECEIPT comes next, and not a sixth message
        self.assertEqual(done | {int(f.body) for f in held}, set(range(2000)))
        slow.request("ACK", ("id", held[4]["ack"]))  # cumulative: room for five more
        for i in range(10):
            web.request("SEND", ("destination", QUEUE), body=b"more %d" % i)
        self.assertEqual(len([slow.read("MESSAGE") for _ in range(5)]), 5)
        slow.request("SEND", ("destination", "/topic/x"))

    def test_who_does_not_read_is_not_fed(self):
        """auto, and a socket nobody reads: max_output_bytes hold it back, and what it has not got goes to the other when
        it leaves."""
        n, body = 300, b"x" * 50000
        deaf, busy, web = (self.keep(RawStomp(self.port)) for _ in range(3))
        for client in (deaf, busy, web):
            client.connect()
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        deaf.request("SUBSCRIBE", ("destination", QUEUE), ("id", "1"), ("ack", "client-individual"))
        for i in range(n):
            web.frame("SEND", ("destination", QUEUE), ("number", str(i)), body=body)
        web.request("SEND", ("destination", "/topic/x"))
        busy.frame("SUBSCRIBE", ("destination", QUEUE), ("id", "1"))
        got = [busy.read("MESSAGE") for _ in range(20)]  # there is work left for it
        deaf.close()
        got += [busy.read("MESSAGE") for _ in range(n - 20)]
        self.assertEqual(sorted(int(f["number"]) for f in got), list(range(n)))


class Stopping(E2E):
    OWN_BROKER = True

    def test_shutdown_with_work_in_flight(self):
        """SIGTERM between deliveries and their answers, in the middle of transactions, frames and delays: exit code 0 in
        time, and who is connected is told why."""
        n = 2000
        web = self.keep(RawStomp(self.port))
        web.connect()
        for i in range(n):
            web.frame("SEND", ("destination", QUEUE), ("persistent", "true"), body=b"%d" % i)
        web.request("SEND", ("destination", "/topic/x"))
        workers = []
        for ack in ("client", "client-individual", "client-individual"):
            worker = self.keep(RawStomp(self.port))
            worker.connect()
            worker.frame("SUBSCRIBE", ("destination", QUEUE), ("id", "1"), ("ack", ack), ("prefetch-count", "300"))
            for _ in range(300):
                got = worker.read("MESSAGE")
            worker.frame("ACK", ("id", got["ack"]))
            workers.append(worker)
        self.half_done(workers[2])
        self.broker.stop()
        for worker in workers:
            data = worker.read_eof()
            if data:  # it may still be in the middle of deliveries
                self.assertIn(b"\nx-code:shutdown\n", data)

    def half_done(self, worker):
        worker.frame("BEGIN", ("transaction", "t"))
        worker.frame("SEND", ("destination", QUEUE), ("transaction", "t"), body=b"never")
        worker.frame("SEND", ("destination", QUEUE), ("x-delay", "60000"), body=b"later")
        worker.send(b"SEND\ndestination:/queue/work\ncontent-length:100000\n\nhalf of it")


if __name__ == "__main__":
    main()

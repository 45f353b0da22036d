# SPDX-License-Identifier: Apache-2.0
"""Peak shaving: the token bucket of docs/queues.md with several workers, and the rate limits that slow publishers down
without dropping anything."""
import threading
import time

from harness import E2E, V5, main
from raw import RawMqtt, RawStomp, PUBACK


class Worker(threading.Thread):
    """Takes a token, spends it (in one transaction: it comes back after PERIOD_MS), takes a job, does it."""

    def __init__(self, test, period_ms):
        super().__init__(daemon=True)
        self.period_ms, self.jobs, self.began, self.problem = period_ms, [], [], None
        self.client = test.keep(RawStomp(test.port))
        self.client.connect()
        for id, queue, *more in (("jobs", "/queue/jobs", ("x-credit", "0")), ("tokens", "/queue/tokens", ("prefetch-count", "1"))):
            self.client.frame("SUBSCRIBE", ("destination", queue), ("id", id), ("ack", "client-individual"), *more)

    def run(self):
        try:
            while True:
                frame = self.client.read("MESSAGE")
                if frame["subscription"] == "tokens":
                    self.spend(frame)
                elif frame.body == b"end":
                    self.client.close()  # not answered: it comes back, for the others, and so do tokens
                    return
                else:
                    self.jobs.append(int(frame.body))
                    self.client.frame("ACK", ("id", frame["ack"]))
        except Exception as problem:  # shown by the test
            self.problem = problem

    def spend(self, token):
        """The job that is asked for in the same breath begins now."""
        self.began.append(time.monotonic())
        tx = ("transaction", "t")
        self.client.frame("BEGIN", tx)
        self.client.frame("ACK", ("id", token["ack"]), tx)
        self.client.frame("SEND", ("destination", "/queue/tokens"), ("x-delay", str(self.period_ms)), tx, body=b"token")
        self.client.frame("COMMIT", tx)
        self.client.frame("SEND", ("destination", "/manage/credit"), ("subscription", "jobs"), ("credit", "1"))


class TokenBucket(E2E):
    def test_no_more_than_so_many_in_any_period(self):
        """40 jobs, 8 tokens that come back after 300 ms, 3 workers: any nine jobs take 300 ms, and all are done once."""
        tokens_n, jobs_n, period_ms = 8, 40, 300
        admin = self.keep(RawStomp(self.port))
        admin.connect()
        for i in range(tokens_n + 5):  # filled too often: nothing happens
            admin.frame("SEND", ("destination", "/queue/tokens"), ("x-max-length", str(tokens_n)),
                        ("x-overflow", "reject-publish"), ("reject", "receipt"), ("receipt", str(i)), body=b"token")
        self.assertEqual(sum(admin.read("RECEIPT")["x-result"] == "rejected" for _ in range(tokens_n + 5)), 5)
        for i in range(jobs_n):
            admin.frame("SEND", ("destination", "/queue/jobs"), body=b"%d" % i)
        admin.frame("SEND", ("destination", "/queue/jobs"), body=b"end")
        admin.request("SEND", ("destination", "/topic/nobody"))
        start = time.monotonic()
        workers = [Worker(self, period_ms) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(30)
            self.assertIsNone(worker.problem)
        took_ms = (time.monotonic() - start) * 1000
        self.assertEqual(sorted(job for worker in workers for job in worker.jobs), list(range(jobs_n)))
        began = sorted(moment for worker in workers for moment in worker.began)
        self.assertGreaterEqual(len(began), jobs_n)
        for i in range(len(began) - tokens_n):
            self.assertGreaterEqual((began[i + tokens_n] - began[i]) * 1000, period_ms - 2)
        self.assertGreaterEqual(took_ms, (jobs_n - tokens_n) // tokens_n * period_ms)
        self.assertLess(took_ms, 20000)


class Rates(E2E):
    ARGS = None

    def tearDown(self):
        self.close_clients()  # a broker that stops waits for them to read its last words

    def start_with(self, *lines):
        path = self.write("weir.conf", "\n".join(["listener 0 127.0.0.1", "allow_anonymous true", *lines, ""]))
        self.port = self.start("-c", path).port

    def consumer(self, destination):
        client = self.keep(RawStomp(self.port))
        client.connect()
        client.request("SUBSCRIBE", ("destination", destination), ("id", "1"))
        return client

    def in_order(self, client, n):
        """All of them came, each once, in order; when each was read."""
        times = []
        for i in range(n):
            self.assertEqual(client.read("MESSAGE").body.split(b" ")[0], b"%d" % i)
            times.append(time.monotonic())
        return times

    def test_connection_of_stomp(self):
        """max_publish_rate: a second's worth at once, the rest no faster than that; nothing is lost, and receipts come."""
        self.start_with("max_publish_rate 200")
        consumer, web = self.consumer("/queue/q"), self.keep(RawStomp(self.port))
        web.connect(("heart-beat", "500,0"))  # that it is not read for longer than this is not its fault
        start, n = time.monotonic(), 500
        web.send(b"".join(b"SEND\ndestination:/queue/q\n\n%d\0" % i for i in range(n)))
        self.in_order(consumer, n)
        web.request("SEND", ("destination", "/queue/q"))  # what was read at once has to be made up for first
        took = time.monotonic() - start
        self.assertGreater(took, 1.4)  # (500 - 200) / 200
        self.assertLess(took, 6)

    def test_smooth_in_the_long_run(self):
        """The first burst may be what one read brings; after that it is steady."""
        self.start_with("max_publish_rate 500")
        consumer, web = self.consumer("/queue/q"), self.keep(RawStomp(self.port))
        web.connect()
        for i in range(520):
            web.frame("SEND", ("destination", "/queue/q"), body=b"%d" % i)
        self.in_order(consumer, 520)
        sender = threading.Thread(target=lambda: [web.frame("SEND", ("destination", "/queue/q"), body=b"%d" % i)
                                                  for i in range(1000)], daemon=True)
        start = time.monotonic()
        sender.start()
        times = self.in_order(consumer, 1000)
        self.assertGreater(times[499] - start, 0.5)
        self.assertGreater(times[999] - start, 1.5)
        self.assertLess(times[999] - start, 6)

    def test_each_connection_has_its_own(self):
        self.start_with("max_publish_rate 100")
        consumer, start = self.consumer("/topic/q"), time.monotonic()
        for _ in range(5):
            web = self.keep(RawStomp(self.port))
            web.connect()
            for i in range(90):
                web.frame("SEND", ("destination", "/topic/q"))
            web.request("SEND", ("destination", "/topic/q"))
        for _ in range(5 * 91):
            consumer.read("MESSAGE")
        self.assertLess(time.monotonic() - start, 3)  # one alone would have needed 3.5 s more

    def test_bytes(self):
        self.start_with("max_publish_bytes_rate 200000")
        consumer, web = self.consumer("/queue/q"), self.keep(RawStomp(self.port))
        web.connect()
        start, n = time.monotonic(), 50
        for i in range(n):
            web.frame("SEND", ("destination", "/queue/q"), body=(b"%d " % i).ljust(10000, b"x"))
        times = self.in_order(consumer, n)
        self.assertGreater(times[-1] - start, 1.4)  # (500 - 200) / 200
        self.assertLess(times[-1] - start, 6)

    def test_connection_of_mqtt(self):
        """QoS 1: every PUBACK comes, and keep-alive holds."""
        self.start_with("max_publish_rate 200")
        consumer, device = self.consumer("/queue/q"), self.keep(RawMqtt(self.port))
        device.connect("device", keepalive=1)
        start, n = time.monotonic(), 500
        for i in range(n):
            device.publish("$queue/q", b"%d" % i, 1, i + 1)
        self.in_order(consumer, n)
        self.assertEqual([device.read_ack(PUBACK) for _ in range(n)], list(range(1, n + 1)))
        device.ping()
        self.assertGreater(time.monotonic() - start, 1.4)

    def test_exchange(self):
        """x-rate-limit: all publishers of the exchange together; other exchanges are not concerned."""
        self.start_with()
        admin = self.consumer("/queue/q")
        admin.request("SEND", ("destination", "/manage/declare-exchange"), ("exchange", "narrow"), ("type", "fanout"),
                      ("x-rate-limit", "200"))
        admin.request("SEND", ("destination", "/manage/bind"), ("exchange", "narrow"), ("queue", "q"))
        web, device = self.keep(RawStomp(self.port)), self.mqtt("device", version=V5, in_flight=1000)
        web.connect()
        start, n, each = time.monotonic(), 300, 50
        for first in range(0, n, each):
            for i in range(first, first + each):
                device.publish("$exchange/narrow/k", b"device %d" % i, 1, wait=False)
                web.frame("SEND", ("destination", "/exchange/narrow"), body=b"web %d" % i)
            device.wait_settled(first + each)
            web.request("SEND", ("destination", "/topic/x"))
        took = time.monotonic() - start
        got = [admin.read("MESSAGE").body for _ in range(2 * n)]
        for who in (b"web ", b"device "):
            self.assertEqual([body for body in got if body.startswith(who)], [who + b"%d" % i for i in range(n)])
        self.assertGreater(took, 1.4)  # (600 - 200) / 200, but for the last round, which is not made up for yet
        self.assertLess(took, 6)
        other, start = self.keep(RawStomp(self.port)), time.monotonic()
        other.connect()
        for i in range(1000):
            other.frame("SEND", ("destination", "/exchange/amq.fanout"))
        other.request("SEND", ("destination", "/topic/x"))
        self.assertLess(time.monotonic() - start, 3)  # 4 s if they were

    def test_a_consumer_that_publishes_can_answer(self):
        """What it publishes too fast is not read for a while; its ACKs behind that are, later: nothing comes again."""
        self.start_with("max_publish_rate 100", "queue_ack_timeout 60000")
        worker, admin = self.keep(RawStomp(self.port)), self.consumer("/queue/out")
        worker.connect()
        worker.request("SUBSCRIBE", ("destination", "/queue/in"), ("id", "1"), ("ack", "client-individual"),
                       ("prefetch-count", "1"))
        start = time.monotonic()
        for i in range(3):
            admin.request("SEND", ("destination", "/queue/in"), body=b"%d" % i)
        for i in range(3):
            job = worker.read("MESSAGE")
            self.assertEqual((job.body, job["redelivered"]), (b"%d" % i, None))
            for n in range(80):
                worker.frame("SEND", ("destination", "/queue/out"), body=b"%d" % (i * 80 + n))
            worker.frame("ACK", ("id", job["ack"]))
        self.in_order(admin, 240)
        worker.request("SEND", ("destination", "/topic/x"))
        self.assertGreater(time.monotonic() - start, 1.3)


if __name__ == "__main__":
    main()

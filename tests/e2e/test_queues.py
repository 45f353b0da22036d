# SPDX-License-Identifier: Apache-2.0
"""Queues and what they can be asked to do, with stomp.py as people use it. docs/queues.md has the same as conversations."""
import time

from harness import E2E, V5, main


class Queues(E2E):
    def bodies(self, client, n):
        return [frame.body for frame in client.take(n)]

    def fill(self, destination, n, **headers):
        web = self.stomp()
        for i in range(n):
            web.send(destination, b"%d" % i, **headers)
        web.disconnect()

    def rest(self, destination):
        """What a new consumer finds in the queue."""
        client = self.stomp()
        client.send(destination, b"end")
        client.subscribe(destination)
        got = []
        while True:
            frame = client.next()
            if frame.body == b"end":
                client.disconnect()
                return got
            got.append(frame.body)

    def error(self, client):
        frame = client.errors.get(timeout=20)
        self.assertTrue(client.ended.wait(20))
        return frame


class Answers(Queues):
    def test_work_queue(self):
        """Two workers, client-individual: all of it is done once; what a lost one had comes again, in its order."""
        one, two = self.stomp(), self.stomp()
        for worker in (one, two):
            worker.subscribe("/queue/work", ack="client-individual", **{"prefetch-count": "4"})
        self.fill("/queue/work", 8)
        held = one.take(4)
        done = two.take(4)
        for frame in done:
            two.ack(frame)
        one.ack(held[0])
        one.send("/topic/x")  # the ACK was read
        one.close()
        again = two.take(3)
        self.assertEqual([frame.body for frame in again], [frame.body for frame in held[1:]])
        self.assertEqual({frame.headers["redelivered"] for frame in again}, {"true"})
        for frame in again:
            two.ack(frame)
        two.disconnect()
        self.assertEqual(self.rest("/queue/work"), [])

    def test_client_is_cumulative(self):
        self.fill("/queue/work", 5)
        worker = self.stomp()
        worker.subscribe("/queue/work", ack="client")
        worker.ack(worker.take(5)[2])
        worker.disconnect()
        self.assertEqual(self.rest("/queue/work"), [b"3", b"4"])

    def test_every_version(self):
        """stomp.py for 1.0 and 1.1 acknowledges by message-id."""
        for version in ("1.0", "1.1"):
            with self.subTest(version=version):
                self.fill("/queue/old", 2)
                worker = self.stomp(version=version)
                worker.subscribe("/queue/old", id="s", ack="client-individual")
                first, second = worker.take(2)
                more = {} if version == "1.0" else {"subscription": "s"}
                worker.connection.ack(first.headers["message-id"], **more)
                worker.connection.ack(second.headers["message-id"], **more)
                worker.disconnect()
                self.assertEqual(self.rest("/queue/old"), [])

    def test_auto(self):
        """Delivered is done."""
        self.fill("/queue/work", 3)
        worker = self.stomp()
        worker.subscribe("/queue/work", ack="auto")
        frame = worker.take(3)[0]
        self.assertNotIn("ack", frame.headers)
        worker.close()
        self.assertEqual(self.rest("/queue/work"), [])

    def test_nack_and_dead_letter(self):
        worker, admin = self.stomp(), self.stomp()
        worker.subscribe("/queue/work", ack="client-individual", **{
            "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
        admin.subscribe("/queue/dead")
        worker.send("/queue/work", b"bad", color="blue")
        worker.nack(worker.next())
        again = worker.next()
        self.assertEqual((again.headers["redelivered"], again.headers["x-delivery-count"]), ("true", "1"))
        worker.nack(again, requeue="false")
        dead = admin.next()
        self.assertEqual((dead.body, dead.headers["color"], dead.headers["destination"]), (b"bad", "blue", "/queue/dead"))
        self.assertEqual((dead.headers["x-first-death-reason"], dead.headers["x-first-death-queue"],
                          dead.headers["x-first-death-exchange"]), ("rejected", "work", ""))
        self.assertIn("queue=work;reason=rejected;count=1;", dead.headers["x-death"])
        worker.disconnect()
        self.assertEqual(self.rest("/queue/work"), [])

    def test_delivery_limit(self):
        worker, admin = self.stomp(), self.stomp()
        worker.subscribe("/queue/work", ack="client-individual", **{
            "x-delivery-limit": "3", "x-dead-letter-exchange": "amq.fanout"})
        admin.subscribe("/exchange/amq.fanout")
        worker.send("/queue/work", b"poison")
        counts = []
        for _ in range(4):
            frame = worker.next()
            counts.append(frame.headers.get("x-delivery-count", "0"))
            worker.nack(frame)
        self.assertEqual(counts, ["0", "1", "2", "3"])
        self.assertEqual(admin.next().headers["x-first-death-reason"], "delivery_limit")

    def test_delivery_limit_and_lost_consumers(self):
        """Who takes the worker down with it is found out, too."""
        admin = self.stomp()
        admin.subscribe("/queue/dead")
        admin.send("/queue/work", b"poison", **{
            "x-delivery-limit": "2", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
        for _ in range(3):
            worker = self.stomp()
            worker.subscribe("/queue/work", ack="client-individual")
            worker.next()
            worker.close()
        self.assertEqual(admin.next().body, b"poison")
        self.assertEqual(self.rest("/queue/work"), [])

    def test_retry_delay(self):
        worker = self.stomp()
        worker.subscribe("/queue/work", ack="client-individual", **{"x-retry-delay-min": "100", "x-retry-delay-max": "150"})
        worker.send("/queue/work", b"1")
        frame, waits = worker.next(), []
        worker.send("/queue/work", b"2")
        for _ in range(3):
            start = time.monotonic()
            worker.nack(frame)
            if not waits:
                self.assertEqual(worker.next().body, b"2")  # passes it
            frame = worker.next()
            self.assertEqual(frame.body, b"1")
            waits.append((time.monotonic() - start) * 1000)
        self.assertGreaterEqual(waits[0], 98)  # its clock has milliseconds, and ours another beginning
        self.assertGreaterEqual(min(waits[1:]), 148)

    def test_ack_timeout(self):
        """The message goes to another worker, the connection stays, and the late ACK is accepted."""
        stuck, worker = self.stomp(), self.stomp()
        stuck.subscribe("/queue/work", ack="client-individual", **{"x-consumer-timeout": "500", "prefetch-count": "1"})
        stuck.send("/queue/work", b"1")
        frame = stuck.next()
        worker.subscribe("/queue/work", ack="client-individual")
        again = worker.next()
        self.assertEqual((again.body, again.headers["redelivered"]), (b"1", "true"))
        worker.ack(again)
        worker.send("/topic/x")  # the ACK was read
        worker.disconnect()
        stuck.send("/queue/work", b"2")
        stuck.send("/topic/x")
        self.assertTrue(stuck.messages.empty())  # its only place is taken until it answers
        stuck.ack(frame)
        self.assertEqual(stuck.next().body, b"2")


class Time(Queues):
    def test_ttl_of_queue_and_message(self):
        admin = self.stomp()
        admin.subscribe("/queue/dead")
        start = time.monotonic()
        args = {"x-message-ttl": "300", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
        admin.send("/queue/work", b"queue's", **args)
        admin.send("/queue/work", b"own", expiration="100")
        admin.send("/queue/work", b"longer", expiration="60000")
        got = []
        for _ in range(3):
            frame = admin.next()
            got.append((frame.body, (time.monotonic() - start) * 1000))
            self.assertEqual(frame.headers["x-first-death-reason"], "expired")
            self.assertNotIn("expiration", frame.headers)
        self.assertEqual([body for body, _ in got], [b"own", b"queue's", b"longer"])
        self.assertTrue(all(ms >= least for (_, ms), least in zip(got, (98, 298, 298))), got)
        self.assertEqual(self.rest("/queue/work"), [])

    def test_mqtt_expiry_in_a_queue(self):
        device, admin = self.mqtt("device", version=V5), self.stomp()
        admin.subscribe("/queue/dead")
        admin.send("/queue/work", b"stays", **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
        device.publish("$queue/work", b"goes", 1, MessageExpiryInterval=1)
        self.assertEqual(admin.next().body, b"goes")
        self.assertEqual(self.rest("/queue/work"), [b"stays"])

    def test_delay(self):
        """Later ones first, and each no earlier than it said."""
        worker, web, start = self.stomp(), self.stomp(), time.monotonic()
        worker.subscribe("/queue/work")
        for header, ms in (("x-delay", 600), ("AMQ_SCHEDULED_DELAY", 400), ("x-delay", 200), ("x-delay", 0)):
            web.send("/queue/work", b"%d" % ms, **{header: str(ms)})
        got = []
        for _ in range(4):
            frame = worker.next()
            got.append(frame.body)
            self.assertGreaterEqual((time.monotonic() - start) * 1000 + 2, int(frame.body))
        self.assertEqual(got, [b"0", b"200", b"400", b"600"])

    def test_delay_longer_than_anybody_waits(self):
        web = self.stomp()
        web.send("/queue/work", b"in ten years", **{"x-delay": str(10 * 365 * 86400 * 1000)})
        self.assertEqual(self.rest("/queue/work"), [])
        web.send("/queue/work", b"never", wait=False, **{"x-delay": str(1 << 62)})
        self.assertTrue(self.error(web).headers["x-code"])


class Order(Queues):
    def test_priorities(self):
        web = self.stomp()
        for i, priority in enumerate((1, 5, 9, 5, 0, 200, 9)):
            web.send("/queue/work", b"%d" % i, priority=str(priority), **{"x-max-priority": "10"} if i == 0 else {})
        self.assertEqual(self.rest("/queue/work"), [b"5", b"2", b"6", b"1", b"3", b"0", b"4"])

    def test_single_active_consumer(self):
        first, second = self.stomp(), self.stomp()
        for worker in (first, second):
            worker.subscribe("/queue/work", ack="client-individual", **{
                "x-single-active-consumer": "true", "prefetch-count": "1"})
        self.fill("/queue/work", 3)
        frame = first.next()
        self.assertEqual(frame.body, b"0")
        first.ack(frame)
        self.assertEqual(first.next().body, b"1")
        first.close()
        frame = second.next()
        self.assertEqual((frame.body, frame.headers["redelivered"]), (b"1", "true"))
        second.ack(frame)
        self.assertEqual(second.next().body, b"2")

    def test_consumer_priority(self):
        spare, best = self.stomp(), self.stomp()
        spare.subscribe("/queue/work", ack="client-individual", **{"x-priority": "-5"})
        best.subscribe("/queue/work", ack="client-individual", **{"x-priority": "5", "prefetch-count": "2"})
        self.fill("/queue/work", 4)
        self.assertEqual(self.bodies(best, 2), [b"0", b"1"])
        self.assertEqual(self.bodies(spare, 2), [b"2", b"3"])


class Transactions(Queues):
    def test_commit_and_abort(self):
        worker, web = self.stomp(), self.stomp()
        worker.subscribe("/queue/work")
        web.connection.begin("one")
        web.connection.begin("two")
        web.send("/queue/work", b"one", wait=False, transaction="one")
        web.send("/queue/work", b"two", wait=False, transaction="two")
        web.send("/queue/work", b"outside")
        self.assertEqual(worker.next().body, b"outside")
        web.connection.abort("two")
        web.connection.commit("one")
        self.assertEqual(worker.next().body, b"one")
        web.send("/queue/work", b"end")
        self.assertEqual(worker.next().body, b"end")

    def test_lost_connection_is_abort(self):
        """A worker that takes a job and publishes its result dies before the COMMIT: the job is there, the result not."""
        self.fill("/queue/work", 1)
        worker = self.stomp()
        worker.subscribe("/queue/work", ack="client-individual")
        frame = worker.next()
        worker.connection.begin("t")
        worker.connection.ack(frame.headers["ack"], transaction="t")
        worker.send("/queue/results", b"result", transaction="t", wait=False)
        worker.send("/topic/x")
        worker.close()
        self.assertEqual(self.rest("/queue/results"), [])
        self.assertEqual(self.rest("/queue/work"), [b"0"])

    def test_refused_commit_changes_nothing(self):
        web, worker = self.stomp(), self.stomp()
        web.send("/queue/few", b"1", **{"x-max-length": "2", "x-overflow": "reject-publish"})
        worker.subscribe("/queue/work", ack="client-individual")
        web.send("/queue/work", b"job")
        frame = worker.next()
        worker.connection.begin("t")
        worker.connection.ack(frame.headers["ack"], transaction="t")
        for i in range(3):
            worker.send("/queue/few", b"more", transaction="t", wait=False)
        worker.connection.commit("t", receipt="committed")
        error = self.error(worker)
        self.assertEqual((error.headers["x-code"], error.headers["x-queue"]), ("rejected", "few"))
        self.assertEqual(self.rest("/queue/few"), [b"1"])
        self.assertEqual(self.rest("/queue/work"), [b"job"])

    def test_receipts(self):
        """One RECEIPT for each frame that asks, in order."""
        web = self.stomp()
        web.connection.send_frame("BEGIN", {"transaction": "t", "receipt": "begin"})
        web.wait_receipt("begin")
        web.connection.send_frame("SEND", {"destination": "/queue/work", "transaction": "t", "receipt": "send"}, "x")
        web.connection.send_frame("COMMIT", {"transaction": "t", "receipt": "commit"})
        web.wait_receipt("send")
        web.wait_receipt("commit")
        self.assertEqual(self.rest("/queue/work"), [b"x"])

    def test_wrong_use(self):
        for frames in ([("COMMIT", {"transaction": "none"})], [("ABORT", {"transaction": "none"})],
                       [("BEGIN", {})], [("BEGIN", {"transaction": "t"}), ("BEGIN", {"transaction": "t"})],
                       [("SEND", {"destination": "/queue/work", "transaction": "none"})]):
            with self.subTest(frames=frames):
                web = self.stomp()
                for command, headers in frames:
                    web.connection.send_frame(command, headers)
                self.assertIn(self.error(web).headers["x-code"],
                              ("unknown-transaction", "duplicate-transaction", "missing-header"))


class Looking(Queues):
    def test_browse(self):
        self.fill("/queue/work", 3)
        admin = self.stomp()
        admin.subscribe("/queue/work", browser="true")
        frames = admin.take(4)
        self.assertEqual([frame.body for frame in frames], [b"0", b"1", b"2", b""])
        self.assertEqual([frame.headers.get("browser") for frame in frames], [None, None, None, "end"])
        admin.disconnect()
        self.assertEqual(self.rest("/queue/work"), [b"0", b"1", b"2"])

    def test_browse_an_empty_queue(self):
        admin = self.stomp()
        admin.subscribe("/queue/work", browser="true")
        self.assertEqual(admin.next().headers["browser"], "end")

    def test_pull(self):
        """A consumer that grants credit for N messages gets N and no more."""
        self.fill("/queue/work", 10)
        worker = self.stomp()
        worker.subscribe("/queue/work", ack="client-individual", **{"x-credit": "3"})
        frames = worker.take(3)
        for frame in frames:
            worker.ack(frame)  # an answer is no credit
        worker.send("/topic/x")
        self.assertTrue(worker.messages.empty())
        worker.send("/manage/credit", b"", subscription="0", credit="2")
        self.assertEqual(self.bodies(worker, 2), [b"3", b"4"])
        worker.send("/manage/credit", b"", subscription="0", credit="100", drain="true")
        self.assertEqual(self.bodies(worker, 5), [b"%d" % i for i in range(5, 10)])
        worker.send("/queue/work", b"not asked for")
        worker.send("/topic/x")
        self.assertTrue(worker.messages.empty())

    def test_credit_waits(self):
        """Without drain the credit stays until messages come."""
        worker = self.stomp()
        worker.subscribe("/queue/work", **{"x-credit": "2"})
        self.fill("/queue/work", 3)
        self.assertEqual(self.bodies(worker, 2), [b"0", b"1"])
        worker.send("/topic/x")
        self.assertTrue(worker.messages.empty())

    def test_purge_pause_delete(self):
        web = self.stomp()
        self.fill("/queue/work", 5)
        web.send("/manage/pause", b"", queue="work")
        web.subscribe("/queue/work")
        web.send("/topic/x")
        self.assertTrue(web.messages.empty())
        web.send("/manage/purge", b"", queue="work")
        web.send("/queue/work", b"kept")
        web.send("/manage/resume", b"", queue="work")
        self.assertEqual(web.next().body, b"kept")
        web.unsubscribe()
        web.send("/manage/delete-queue", b"", queue="work")
        web.send("/amq/queue/work", b"x", wait=False)
        self.assertEqual(self.error(web).headers["x-code"], "not-found")

    def test_a_deleted_queue_ends_its_subscriptions(self):
        worker, web = self.stomp(), self.stomp()
        worker.subscribe("/queue/work")
        web.send("/manage/delete-queue", b"", queue="work")
        self.assertEqual(self.error(worker).headers["x-code"], "cancelled")


class Exchanges(Queues):
    def test_the_three_types(self):
        web = self.stomp()
        got = {}
        for kind, key, other in (("direct", "/a.b", "/a"), ("topic", "/a.*", "/a"), ("fanout", "", "/any")):
            name = "x-" + kind
            web.send("/manage/declare-exchange", b"", exchange=name, type=kind)
            web.subscribe("/exchange/%s%s" % (name, key), id=kind)
            web.send("/exchange/%s/a.b" % name, b"fits")
            web.send("/exchange/%s%s" % (name, other), b"other")
            got[kind] = [web.next().body]
            if kind == "fanout":
                got[kind].append(web.next().body)
        self.assertEqual(got, {"direct": [b"fits"], "topic": [b"fits"], "fanout": [b"fits", b"other"]})
        web.send("/topic/x")
        self.assertTrue(web.messages.empty())

    def test_no_such_exchange(self):
        for send in (True, False):
            web = self.stomp()
            if send:
                web.send("/exchange/nowhere/x", wait=False)
            else:
                web.connection.subscribe("/exchange/nowhere/x", id="0")
            self.assertEqual(self.error(web).headers["x-code"], "not-found")

    def test_bind_and_unbind(self):
        web = self.stomp()
        web.send("/manage/declare-queue", b"", queue="all")
        web.send("/manage/bind", b"", exchange="amq.topic", key="site.#", queue="all")
        self.mqtt("device").publish("site/1/temp", b"20", 1)
        web.send("/manage/unbind", b"", exchange="amq.topic", key="site.#", queue="all")
        self.mqtt("device").publish("site/1/temp", b"21", 1)
        self.assertEqual(self.rest("/queue/all"), [b"20"])

    def test_deleting_an_exchange(self):
        web = self.stomp()
        web.send("/manage/declare-exchange", b"", exchange="brief", type="fanout")
        web.send("/manage/delete-exchange", b"", exchange="brief")
        web.send("/exchange/brief", wait=False)
        self.assertEqual(self.error(web).headers["x-code"], "not-found")
        web = self.stomp()
        web.send("/manage/delete-exchange", b"", wait=False, exchange="amq.topic")
        self.assertEqual(self.error(web).headers["x-code"], "denied")


if __name__ == "__main__":
    main()

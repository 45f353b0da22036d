# SPDX-License-Identifier: Apache-2.0
"""What programs that were written for RabbitMQ's STOMP rely on, one test per habit, with stomp.py and by hand. Where Weir
answers otherwise the test says what it does, and docs/stomp.md why.

WEIR_STOMP_PEER=PORT runs these tests against the STOMP port of another broker, to see its answers.
"""
import os

from harness import E2E, main
from raw import RawStomp

PEER_PORT = os.environ.get("WEIR_STOMP_PEER")


class Habits(E2E):
    def setUp(self):
        if PEER_PORT:
            self.ARGS = None
            self.port = int(PEER_PORT)
        super().setUp()

    def tearDown(self):
        self.close_clients()  # a broker that stops waits for them to read its last words

    def stomp(self, **options):
        return super().stomp(vhost="/", **options)

    def raw(self, version="1.2", *headers):
        client = self.keep(RawStomp(self.port, version))
        if version == "1.0":
            client.connect()
        else:
            client.frame("CONNECT", ("accept-version", version), ("host", "/"), *headers)
            client.read("CONNECTED")
        return client

    def error(self, client):
        frame = client.errors.get(timeout=20)
        self.assertTrue(client.ended.wait(20), "ERROR, but the connection stays")
        return frame

    def quiet(self, client):
        client.send("/topic/nobody.listens")
        self.assertTrue(client.messages.empty())


class Destinations(Habits):
    def test_message_names_the_destination(self):
        """MESSAGE destination is the one of the SEND, for every kind."""
        web = self.stomp(version="1.0")
        for destination in ("/exchange/amq.direct/route", "/exchange/amq.fanout/route", "/exchange/amq.fanout",
                            "/topic/route", "/queue/names", "/topic/a.b.c"):
            with self.subTest(destination=destination):
                web.subscribe(destination, id="1")
                web.send(destination, b"foo")
                frame = web.next()
                self.assertEqual((frame.headers["destination"], frame.body), (destination, b"foo"))
                web.unsubscribe("1")

    def test_topic_exchange_is_topic(self):
        """What reaches a subscription to /exchange/amq.topic/KEY by a SEND there is named /topic/KEY."""
        web = self.raw("1.1")
        web.request("SUBSCRIBE", ("destination", "/exchange/amq.topic/da9d"), ("id", "1"))
        web.frame("SEND", ("destination", "/topic/da9d"))
        self.assertEqual(web.read("MESSAGE")["destination"], "/topic/da9d")

    def test_no_such_exchange(self):
        """ERROR not-found, and the end. (RabbitMQ's message header: not_found.)"""
        web = self.stomp()
        web.connection.subscribe("/exchange/does.not.exist", id="1")
        self.error(web)

    def test_queue_is_made_by_either_side(self):
        one, two = self.stomp(), self.stomp()
        one.send("/queue/first", b"hello")
        one.disconnect()
        two.subscribe("/queue/first")
        self.assertEqual(two.next().body, b"hello")

    def test_work_is_shared_in_turn(self):
        one, two, web = self.stomp(), self.stomp(), self.stomp()
        for worker in (one, two):
            worker.subscribe("/queue/shared")
        web.send("/queue/shared", b"1")
        web.send("/queue/shared", b"2")
        self.assertEqual({one.next().body, two.next().body}, {b"1", b"2"})

    def test_every_subscriber_of_a_topic(self):
        one, two, web = self.stomp(), self.stomp(), self.stomp()
        for client in (one, two):
            client.subscribe("/topic/multiple")
        web.send("/topic/multiple", b"1")
        web.send("/topic/multiple", b"2")
        for client in (one, two):
            self.assertEqual([frame.body for frame in client.take(2)], [b"1", b"2"])

    def test_reply_to_is_left_alone(self):
        """A reply-to that is no /temp-queue/ arrives as it was sent."""
        server, web = self.stomp(), self.stomp()
        server.subscribe("/queue/known")
        web.subscribe("/queue/reply")
        web.send("/queue/known", b"test", **{"reply-to": "/queue/reply"})
        asked = server.next()
        self.assertEqual(asked.headers["reply-to"], "/queue/reply")
        server.send(asked.headers["reply-to"], b"reply")
        self.assertEqual(web.next().body, b"reply")

    def test_temp_queue_is_used_again(self):
        """One reply queue per name and connection, for requests to different servers."""
        servers, web = [self.stomp(), self.stomp()], self.stomp()
        replies = set()
        for i, server in enumerate(servers):
            server.subscribe("/queue/known%d" % i)
            web.send("/queue/known%d" % i, b"test", **{"reply-to": "/temp-queue/foo"})
            replies.add(server.next().headers["reply-to"])
        self.assertEqual(len(replies), 1)
        self.assertTrue(replies.copy().pop().startswith("/reply-queue/"))
        for server in servers:
            server.send(replies.copy().pop(), b"reply")
        for _ in servers:
            frame = web.next()
            self.assertEqual((frame.body, frame.headers["subscription"]), (b"reply", "/temp-queue/foo"))

    def test_x_queue_name(self):
        """The subscription's queue has a name, and can be reached by it."""
        for destination in ("/exchange/amq.direct/test", "/topic/test"):
            with self.subTest(destination=destination):
                web = self.stomp(version="1.1")
                name = "my-own" + destination.replace("/", "-")
                web.subscribe(destination, id="1", **{"x-queue-name": name})
                other = self.stomp()
                other.send("/amq/queue/" + name, b"Hello World!", **{"x-custom-hdr-1": "value1", "custom-hdr-3": "value3"})
                frame = web.next()
                self.assertEqual((frame.body, frame.headers["x-custom-hdr-1"], frame.headers["custom-hdr-3"]),
                                 (b"Hello World!", "value1", "value3"))
                web.disconnect()

    def test_queue_arguments(self):
        """All of RabbitMQ's at once, in SUBSCRIBE or SEND; the same again is fine, others are an ERROR."""
        arguments = {"x-message-ttl": "60000", "x-expires": "70000", "x-max-length": "10", "x-max-length-bytes": "20000",
                     "x-dead-letter-exchange": "dead-letter-exchange",
                     "x-dead-letter-routing-key": "dead-letter-routing-key", "x-max-priority": "6"}
        for n in (1, 2):
            web = self.stomp()
            if n == 1:
                web.subscribe("/queue/args1", **arguments)
            else:
                web.send("/queue/args2", b"test1", **arguments)
            other = self.stomp()
            other.send("/queue/args%d" % n, b"the same", **arguments)
            third = self.stomp()
            third.connection.send("/queue/args%d" % n, b"", headers=dict(arguments, **{"x-max-length": "11"}))
            self.error(third)

    def test_queue_types(self):
        """x-queue-type:quorum means nothing here, and does no harm."""
        web = self.stomp()
        web.subscribe("/topic/typed", id="1", ack="client", **{
            "x-queue-name": "typed", "x-queue-type": "quorum", "durable": "true", "auto-delete": "false"})
        web.send("/amq/queue/typed", b"x")
        frame = web.next()
        self.assertEqual(frame.body, b"x")
        web.ack(frame)

    def test_many_and_goodbye(self):
        """10,000 messages without receipts, then DISCONNECT: none is lost."""
        web, worker = self.raw(), self.raw()
        worker.request("SUBSCRIBE", ("destination", "/queue/reliability"), ("id", "1"))
        for i in range(10000):
            web.frame("SEND", ("destination", "/queue/reliability"), body=b"0" * 128 + b"%d" % i)
        web.frame("DISCONNECT", ("receipt", "bye"))
        for i in range(10000):
            self.assertEqual(worker.read("MESSAGE").body, b"0" * 128 + b"%d" % i)
        web.read("RECEIPT")


class DurableSubscriptions(Habits):
    OWN_BROKER = True  # what a durable subscription leaves behind nobody tidies up

    def subscribe(self, client, destination, id):
        client.connection.subscribe(destination, id=id, ack="auto", headers={
            "durable": "true", "receipt": "1", "auto-delete": False})  # as str() writes it: False
        client.wait_receipt("1")

    def test_waits_and_is_ended(self):
        for header in ("durable", "persistent"):  # persistent: what older versions of RabbitMQ called it
            with self.subTest(header=header):
                web, topic, id = self.stomp(version="1.0"), "/topic/lasts." + header, "test.subscription"
                self.subscribe(web, topic, id)
                web.send(topic, b"first")
                self.assertEqual(web.next().body, b"first")
                web.unsubscribe(id)
                web.send(topic, b"second")
                self.subscribe(web, topic, id)
                self.assertEqual(web.next().body, b"second")
                web.connection.send_frame("UNSUBSCRIBE", {"id": id, header: "true"})
                web.send(topic, b"third")
                self.subscribe(web, topic, id)
                self.quiet(web)
                web.connection.send_frame("UNSUBSCRIBE", {"id": id, "durable": "true"})
                web.disconnect()

    def test_separate_ids(self):
        one, two = self.stomp(), self.stomp()
        for client, id in ((one, "one.id"), (two, "other.id")):
            self.subscribe(client, "/topic/separate", id)
            client.unsubscribe(id)
        for i in range(100):
            one.send("/topic/separate", b"%d" % i)
        for client, id in ((one, "one.id"), (two, "other.id")):
            self.subscribe(client, "/topic/separate", id)
            self.assertEqual([frame.body for frame in client.take(100)], [b"%d" % i for i in range(100)])
            client.connection.send_frame("UNSUBSCRIBE", {"id": id, "durable": "true"})

    def test_needs_an_id(self):
        for header in ("durable", "persistent"):
            web = self.stomp(version="1.0")
            web.connection.send_frame("SUBSCRIBE", {"destination": "/topic/invalid", "ack": "auto", header: "true"})
            self.assertEqual(self.error(web).headers["message"].lower(), "missing header")


class Errors(Habits):
    def message(self, command, **headers):
        web = self.stomp()
        web.connection.send_frame(command, headers)
        return self.error(web).headers["message"]

    def test_the_same_id_twice(self):
        for destination in ("/exchange/amq.direct/duplicate1", "/queue/duplicate2"):
            web = self.stomp()
            web.subscribe(destination, id="1")
            web.connection.subscribe(destination, id="1")
            self.assertEqual(self.error(web).headers["message"], "Duplicated subscription identifier")

    def test_destinations(self):
        self.assertEqual(self.message("SEND", destination="/something/interesting"), "Unknown destination")
        self.assertEqual(self.message("SEND"), "Missing destination")
        self.assertEqual(self.message("SUBSCRIBE", id="1"), "Missing destination")
        for destination in ("/queue/", "/topic/", "/exchange/", "/exchange//foo"):
            with self.subTest(destination=destination):
                self.assertEqual(self.message("SEND", destination=destination), "Invalid destination")

    def test_commands(self):
        self.assertEqual(self.message("WRONGCOMMAND", destination="a"), "Bad command")

    def test_ack_needs_its_header(self):
        for version, header in (("1.2", "message-id"), ("1.1", "id")):
            web = self.raw(version)
            web.request("SUBSCRIBE", ("destination", "/queue/acks"), ("id", "1"), ("ack", "client"))
            web.frame("ACK", (header, "x"))
            self.assertEqual(web.read_error()["message"], "Missing header")

    def test_no_common_version(self):
        web = self.keep(RawStomp(self.port))
        web.frame("CONNECT", ("accept-version", "100.1"), ("host", "/"))
        error = web.read_error()
        self.assertEqual(error["version"], "1.0,1.1,1.2")
        self.assertIn(b"Supported versions are 1.0,1.1,1.2", error.body)


class Frames(Habits):
    """In 1.0, as it is the easiest to write by hand."""

    def fanout(self, data):
        web = self.raw("1.0")
        web.send(b"\nSUBSCRIBE\ndestination:/exchange/amq.fanout\n\n\0\n" + data)
        got = web.read("MESSAGE")
        self.assertEqual(got["destination"], "/exchange/amq.fanout")
        return got

    def test_line_ends_between_frames(self):
        got = self.fanout(b"\n\nSEND\ncontent-type:text/plain\ndestination:/exchange/amq.fanout\n\nhello\n\0\n\n")
        self.assertEqual((got["content-type"], got["content-length"], got.body), ("text/plain", "6", b"hello\n"))

    def test_no_content_type_is_none(self):
        got = self.fanout(b"SEND\ndestination:/exchange/amq.fanout\n\nhello\n\0")
        self.assertIsNone(got["content-type"])

    def test_content_length(self):
        got = self.fanout(b"SEND\ndestination:/exchange/amq.fanout\ncontent-length:5\n\nhello\0")
        self.assertEqual((got["content-length"], got.body), ("5", b"hello"))

    def test_unicode_headers(self):
        got = self.fanout("SEND\ndestination:/exchange/amq.fanout\nhead\ua655r1:val\ua655e1\n\nhello\0".encode())
        self.assertEqual(got["head\ua655r1"], "val\ua655e1")

    def test_nul_inside_and_small_packets(self):
        web = self.raw("1.1")
        web.request("SUBSCRIBE", ("destination", "/topic/embedded"), ("id", "1"))
        body = (b"0123456789" * 40 + b"\0") * 5
        web.send_slowly(b"SEND\ndestination:/topic/embedded\ncontent-length:%d\n\n%s\0" % (len(body), body), 191)
        self.assertEqual(web.read("MESSAGE").body, body)

    def test_own_headers_come_back(self):
        web = self.stomp()
        web.subscribe("/queue/custom-header")
        own = {"x-custom-header-1": "value1", "x-custom-header-2": "value2", "custom-header-3": "value3"}
        web.send("/queue/custom-header", b"x", **own)
        headers = web.next().headers
        self.assertEqual({name: headers[name] for name in own}, own)


class Answers(Habits):
    IDS = {"1.0": "message-id", "1.1": "message-id", "1.2": "ack"}

    def worker(self, version, name, ack, **headers):
        worker = self.stomp(version=version)
        worker.subscribe("/queue/" + name, id="ctag", ack=ack, **headers)
        return worker

    def answer(self, worker, version, frame, what="ACK", **headers):
        names = {"id": frame.headers["ack"]} if version == "1.2" else {
            "message-id": frame.headers["message-id"], "subscription": "ctag"}
        worker.connection.send_frame(what, dict(names, **headers))

    def in_all_versions(self, test):
        for version in ("1.0", "1.1", "1.2"):
            with self.subTest(version=version):
                test(version, "acks-" + version)

    def left(self, name):
        worker = self.stomp()
        worker.send("/queue/" + name, b"end")
        worker.subscribe("/queue/" + name)
        got = []
        while not got or got[-1] != b"end":
            got.append(worker.next().body)
        worker.disconnect()
        return got[:-1]

    def test_client(self):
        """Unanswered ones come again; an ACK settles all before it, too."""
        def run(version, name):
            worker = self.worker(version, name, "client", **{"prefetch-count": "10"})
            worker.send("/queue/" + name, b"1")
            worker.send("/queue/" + name, b"2")
            worker.take(2)
            worker.disconnect()
            worker = self.worker(version, name, "client", **{"prefetch-count": "10"})
            self.answer(worker, version, worker.take(2)[1])
            worker.disconnect()
            self.assertEqual(self.left(name), [])
        self.in_all_versions(run)

    def test_client_individual(self):
        def run(version, name):
            worker = self.worker(version, name, "client-individual")
            worker.send("/queue/" + name, b"1")
            worker.send("/queue/" + name, b"2")
            self.answer(worker, version, worker.take(2)[1])
            worker.disconnect()
            self.assertEqual(self.left(name), [b"1"])
        self.in_all_versions(run)

    def test_ack_in_a_transaction(self):
        """BEGIN before SUBSCRIBE, ACK in it, COMMIT."""
        def run(version, name):
            worker = self.stomp(version=version)
            worker.connection.begin(transaction="abc")
            worker.subscribe("/queue/" + name, id="ctag", ack="client")
            worker.send("/queue/" + name, b"1")
            self.answer(worker, version, worker.next(), transaction="abc")
            worker.connection.commit(transaction="abc")
            worker.disconnect()
            self.assertEqual(self.left(name), [])
        self.in_all_versions(run)

    def test_nack(self):
        """It comes again. RabbitMQ takes NACK in 1.0, too, which has no such frame."""
        def run(version, name):
            worker = self.worker(version, name, "client-individual")
            worker.send("/queue/" + name, b"nack-test")
            self.answer(worker, version, worker.next(), "NACK")
            self.answer(worker, version, worker.next())
            worker.disconnect()
            self.assertEqual(self.left(name), [])
        self.in_all_versions(run)

    def test_nack_is_cumulative_in_client_mode(self):
        def run(version, name):
            worker = self.worker(version, name, "client", **{"prefetch-count": "10"})
            worker.send("/queue/" + name, b"1")
            worker.send("/queue/" + name, b"2")
            self.answer(worker, version, worker.take(2)[1], "NACK")
            again = worker.take(2)
            self.assertEqual([frame.body for frame in again], [b"1", b"2"])
            self.answer(worker, version, again[1])
            worker.disconnect()
            self.assertEqual(self.left(name), [])
        self.in_all_versions(run)

    def test_nack_without_requeue(self):
        """requeue:False, as Python writes it, without a dead-letter exchange: it is gone."""
        def run(version, name):
            worker = self.worker(version, name, "client-individual")
            worker.send("/queue/" + name, b"x")
            self.answer(worker, version, worker.next(), "NACK", requeue=False)
            self.quiet(worker)
            worker.disconnect()
            self.assertEqual(self.left(name), [])
        self.in_all_versions(run)

    def test_prefetch_of_a_topic(self):
        web = self.stomp()
        web.subscribe("/topic/prefetch-test", ack="client", **{"prefetch-count": "5"})
        for i in range(10):
            web.send("/topic/prefetch-test", b"%d" % i)
        self.assertEqual(len(web.take(5)), 5)
        self.quiet(web)

    def test_redelivered(self):
        """true the second time. (RabbitMQ says redelivered:false the first time, Weir nothing.)"""
        worker = self.worker("1.2", "redelivered-test", "client")
        worker.send("/queue/redelivered-test", b"x")
        self.assertIn(worker.next().headers.get("redelivered"), (None, "false"))
        worker.disconnect()
        worker = self.worker("1.2", "redelivered-test", "client")
        frame = worker.next()
        self.assertEqual(frame.headers["redelivered"], "true")
        worker.ack(frame)


class ReceiptsAndTransactions(Habits):
    def test_fifty_receipts(self):
        web = self.stomp()
        for i in range(50):
            web.connection.send("/queue/receipts", b"x", receipt="test%d" % i)
        self.assertEqual([web.receipts.get(timeout=20) for _ in range(50)], ["test%d" % i for i in range(50)])

    def test_receipts_in_a_transaction(self):
        """After the COMMIT, at the latest, all are there."""
        web = self.stomp()
        web.connection.begin(transaction="receipt.tx")
        for i in range(50):
            web.connection.send("/queue/receipts-tx", b"x", receipt="test%d" % i, headers={"transaction": "receipt.tx"})
        web.connection.commit(transaction="receipt.tx")
        self.assertEqual({web.receipts.get(timeout=20) for _ in range(50)}, {"test%d" % i for i in range(50)})

    def test_some_with_some_without(self):
        for tx in (False, True):
            web, more = self.stomp(), {"transaction": "t"} if tx else {}
            web.subscribe("/queue/ir")
            if tx:
                web.connection.begin(transaction="t")
            for body, receipt in ((b"first", "a"), (b"second", None), (b"third", "b")):
                web.connection.send("/queue/ir", body, headers=dict(more, **({"receipt": receipt} if receipt else {})))
            if tx:
                web.connection.commit(transaction="t")
            self.assertEqual([frame.body for frame in web.take(3)], [b"first", b"second", b"third"])
            self.assertEqual({web.receipts.get(timeout=20) for _ in range(2)}, {"a", "b"})
            web.disconnect()

    def test_commit_and_abort(self):
        for end in ("commit", "abort"):
            web = self.stomp()
            web.subscribe("/exchange/amq.fanout")
            web.connection.begin(transaction="test.tx")
            web.connection.send("/exchange/amq.fanout", b"hello!", headers={"transaction": "test.tx"})
            web.send("/exchange/amq.fanout", b"again!")
            self.assertEqual(web.next().body, b"again!")
            getattr(web.connection, end)(transaction="test.tx")
            if end == "commit":
                self.assertEqual(web.next().body, b"hello!")
            self.quiet(web)
            web.disconnect()


class Life(Habits):
    def test_unsubscribe(self):
        """By id, or in 1.0 by destination; nothing comes behind it."""
        for version, id in (("1.0", None), ("1.0", "subid"), ("1.1", "ctag"), ("1.2", "ctag")):
            for destination in ("/exchange/amq.fanout", "/queue/unsub"):
                with self.subTest(version=version, id=id, destination=destination):
                    web = self.raw(version)
                    name = (("id", id),) if id else ()
                    web.request("SUBSCRIBE", ("destination", destination), *name)
                    web.frame("SEND", ("destination", destination), body=b"test")
                    self.assertEqual(web.read("MESSAGE").body, b"test")
                    web.request("UNSUBSCRIBE", *(name or (("destination", destination),)))
                    web.request("SEND", ("destination", destination), body=b"after-test")
                    web.request("SEND", ("destination", "/topic/nobody"))
                    if destination.startswith("/queue"):  # leave it empty
                        web.request("SUBSCRIBE", ("destination", destination), *name)
                        web.read("MESSAGE")
                    web.close()

    def test_silence(self):
        """heart-beat:1500,0 and no byte: the connection is closed."""
        web = self.raw("1.1", ("heart-beat", "500,0"))
        web.read_eof(10)

    def test_disconnect(self):
        for version in ("1.0", "1.1", "1.2"):
            web = self.raw(version)
            web.frame("DISCONNECT", ("receipt", "test"))
            self.assertEqual(web.read("RECEIPT")["receipt-id"], "test")
            web.read_eof()


if __name__ == "__main__":
    main()

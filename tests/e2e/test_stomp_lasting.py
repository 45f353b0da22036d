# SPDX-License-Identifier: Apache-2.0
"""What outlives a STOMP connection, and what must not: durable subscriptions, shared ones (x-queue-name), temporary reply
queues, retained messages; with stomp.py, and with paho at the other end."""
import re

from harness import E2E, V311, V5, main

DURABLE = {"durable": "true", "auto-delete": "false"}


class Lasting(E2E):
    def quiet(self, client):
        """Nothing was sent to it but what was taken."""
        client.send("/topic/nobody")
        self.assertTrue(client.messages.empty())

    def error(self, client):
        frame = client.errors.get(timeout=20)
        self.assertTrue(client.ended.wait(20))
        return frame


class Durable(Lasting):
    OWN_BROKER = True  # what a durable subscription leaves behind nobody tidies up

    def end(self, client, id, *more):
        """The subscription goes, with what waits in it."""
        receipt = client.receipt()
        client.connection.unsubscribe(id=id, durable="true", receipt=receipt, **dict(more))
        client.wait_receipt(receipt)

    def test_waits_for_its_owner(self):
        web = self.stomp()
        web.subscribe("/topic/site.*", id="mine", ack="client-individual", **DURABLE)
        web.close()
        device = self.mqtt("device")
        device.publish("site/1", b"1", 1)
        for body in (b"1", b"2"):  # over several reconnects; what is not acknowledged comes again
            web = self.stomp()
            web.subscribe("/topic/site.*", id="mine", ack="client-individual", **DURABLE)
            frame = web.next()
            self.assertEqual((frame.body, frame.headers["subscription"]), (body, "mine"))
            web.ack(frame)
            device.publish("site/1", b"%d" % (int(body) + 1), 1)
            self.assertEqual(web.next().body, b"%d" % (int(body) + 1))
            web.disconnect()
        web = self.stomp()
        web.subscribe("/topic/site.*", id="mine", ack="auto", **DURABLE)
        self.assertEqual(web.next().body, b"3")
        self.end(web, "mine")
        device.publish("site/1", b"nobody is there", 1)
        web.subscribe("/topic/site.*", id="mine", **DURABLE)
        self.quiet(web)
        self.end(web, "mine")

    def test_unsubscribe_alone_keeps_it(self):
        web = self.stomp()
        web.subscribe("/topic/a", id="mine", **DURABLE)
        web.unsubscribe("mine")
        web.send("/topic/a", b"meanwhile")
        web.subscribe("/topic/a", id="mine", **DURABLE)
        self.assertEqual(web.next().body, b"meanwhile")
        self.end(web, "mine")

    def test_ended_while_it_is_not_subscribed(self):
        web = self.stomp()
        web.subscribe("/topic/a", id="mine", **DURABLE)
        web.disconnect()
        web = self.stomp()
        self.end(web, "mine")
        web.send("/topic/a", b"nobody")
        web.subscribe("/topic/a", id="mine", **DURABLE)
        self.quiet(web)

    def test_shared_by_id(self):
        """As in RabbitMQ: two connections with the same id and destination share one subscription."""
        one, two = self.stomp(), self.stomp()
        for client in (one, two):
            client.subscribe("/topic/shared", id="ours", ack="client-individual", **dict(DURABLE, **{"prefetch-count": "50"}))
        for i in range(100):
            one.send("/topic/shared", b"%d" % i)
        got = [frame.body for client in (one, two) for frame in client.take(50)]
        self.assertEqual(sorted(map(int, got)), list(range(100)))

    def test_client_id_and_id_tell_them_apart(self):
        a, b, c = self.stomp(**{"client-id": "a"}), self.stomp(**{"client-id": "b"}), self.stomp(**{"client-id": "a"})
        a.subscribe("/topic/x", id="1", **DURABLE)
        b.subscribe("/topic/x", id="1", **DURABLE)
        c.subscribe("/topic/x", id="2", **DURABLE)
        a.send("/topic/x", b"for all")
        for client in (a, b, c):
            self.assertEqual(client.next().body, b"for all")
            self.quiet(client)

    def test_activemq_names(self):
        """client-id at CONNECT and a name: ActiveMQ's and Artemis' headers."""
        for header in ("activemq.subscriptionName", "durable-subscription-name", "durable-subscriber-name"):
            with self.subTest(header=header):
                web = self.stomp(**{"client-id": "board"})
                web.subscribe("/topic/news", id="1", **{header: header})
                web.disconnect()
                self.stomp().send("/topic/news", b"meanwhile")
                web = self.stomp(**{"client-id": "board"})
                web.subscribe("/topic/news", id="other", **{header: header})
                self.assertEqual(web.next().body, b"meanwhile")
                receipt = web.receipt()
                web.connection.unsubscribe(id="other", receipt=receipt, **{header: header})
                web.wait_receipt(receipt)
                web.disconnect()

    def test_dsub(self):
        web = self.stomp()
        web.connection.subscribe("/dsub/mine", id="0")
        self.assertEqual(self.error(web).headers["x-code"], "not-found")
        web = self.stomp()
        web.subscribe("/topic/a", id="mine", **DURABLE)
        web.unsubscribe("mine")
        web.send("/topic/a", b"1")
        web.subscribe("/dsub/mine", id="0")
        self.assertEqual(web.next().body, b"1")

    def test_retained_once(self):
        """A durable subscription gets retained messages when it is new, and not at each return."""
        self.mqtt("device").publish("r/1", b"kept", 1, retain=True)
        web = self.stomp()
        web.subscribe("/topic/r.*", id="mine", **dict(DURABLE, **{"retain-handling": "1"}))
        self.assertEqual(web.next().headers["retained"], "true")
        web.disconnect()
        web = self.stomp()
        web.subscribe("/topic/r.*", id="mine", **dict(DURABLE, **{"retain-handling": "1"}))
        self.quiet(web)


class Shared(Lasting):
    def test_x_queue_name(self):
        """Two subscriptions to one topic with the same x-queue-name share the work; it is /amq/queue/NAME."""
        one, two = self.stomp(), self.stomp()
        for client in (one, two):
            client.subscribe("/topic/work.#", ack="client-individual", **{"x-queue-name": "pool", "prefetch-count": "5"})
        device = self.mqtt("device")
        for i in range(10):
            device.publish("work/%d" % i, b"%d" % i, 1)
        got = [frame.body for client in (one, two) for frame in client.take(5)]
        self.assertEqual(sorted(map(int, got)), list(range(10)))
        three = self.stomp()
        three.send("/amq/queue/pool", b"directly")
        one.disconnect()
        two.disconnect()
        three.connection.subscribe("/amq/queue/pool", id="0")  # auto-delete: it went with its last consumer
        self.assertEqual(self.error(three).headers["x-code"], "not-found")

    def test_x_queue_name_that_lasts(self):
        web = self.stomp()
        web.subscribe("/topic/a", **{"x-queue-name": "kept", "durable": "true", "auto-delete": "false"})
        web.disconnect()
        web = self.stomp()
        web.send("/topic/a", b"1")
        web.subscribe("/amq/queue/kept")
        self.assertEqual(web.next().body, b"1")

    def test_group_of_both_protocols(self):
        """$share joined from STOMP: every message goes to one member."""
        device, web = self.mqtt("member", version=V5, receive_max=10), self.stomp()
        device.subscribe("$share/g/job/+", 1)
        web.subscribe("/mqtt/$share/g/job/+", ack="client-individual", **{"prefetch-count": "10"})
        pub = self.mqtt("publisher")
        for i in range(20):
            pub.publish("job/%d" % i, b"%d" % i, 1, wait=False)
        pub.wait_settled(20)
        got, mine = [], web.take(10)
        for frame in mine:
            web.ack(frame)
            got.append(int(frame.body))
        while len(got) < 20:
            source = device if not device.messages.empty() or web.messages.empty() else web
            message = source.next()
            got.append(int(getattr(message, "payload", None) or message.body))
            if source is web:
                web.ack(message)
        self.assertEqual(sorted(got), list(range(20)))


class Replies(Lasting):
    def test_stomp_asks_stomp(self):
        """RabbitMQ's way: reply-to:/temp-queue/NAME, no SUBSCRIBE; the answer comes with subscription:/temp-queue/NAME."""
        server, web = self.stomp(), self.stomp()
        server.subscribe("/queue/rpc")
        for name in ("first", "first", "second"):
            web.send("/queue/rpc", b"ask", **{"reply-to": "/temp-queue/" + name, "correlation-id": "7"})
            asked = server.next()
            self.assertRegex(asked.headers["reply-to"], "^/reply-queue/")
            server.send(asked.headers["reply-to"], b"answer", **{"correlation-id": asked.headers["correlation-id"]})
            answer = web.next()
            self.assertEqual((answer.body, answer.headers["subscription"], answer.headers["correlation-id"]),
                             (b"answer", "/temp-queue/" + name, "7"))

    def test_reply_queues_are_secret_and_end(self):
        server, web, other = self.stomp(), self.stomp(), self.stomp()
        server.subscribe("/queue/rpc")
        replies = set()
        for client in (web, other):
            client.send("/queue/rpc", b"ask", **{"reply-to": "/temp-queue/x"})
            replies.add(server.next().headers["reply-to"])
        self.assertEqual(len(replies), 2)  # the same name is another queue on another connection
        for reply in replies:
            self.assertGreaterEqual(len(re.sub(".*/", "", reply)), 32)
        web.send("/queue/rpc", b"ask", **{"reply-to": "/temp-queue/x"})
        gone = server.next().headers["reply-to"]
        web.disconnect()
        server.send(gone, b"too late")  # as if nobody listened: who answers is not to blame
        other.send("/queue/rpc", b"ask", **{"reply-to": "/temp-queue/x"})
        server.send(server.next().headers["reply-to"], b"in time")
        self.assertEqual(other.next().body, b"in time")

    def test_answers_cannot_be_overheard(self):
        """Who does not know the whole name of an answer's topic cannot subscribe to it, whichever way."""
        for version, refusals in ((V5, (0x87, 0x8f)), (V311, (0x80,))):
            spy = self.mqtt("spy", version=version)
            for filter in ("$reply/#", "$reply/+", "$share/g/$reply/#"):
                self.assertIn(spy.subscribe(filter, 1), refusals, filter)
        for destination in ("/topic/$reply.*", "/mqtt/$reply/#", "/mqtt/$share/g/$reply/+", "/exchange/amq.topic/$reply.#"):
            web = self.stomp()
            web.connection.subscribe(destination, id="0")
            self.assertEqual(self.error(web).headers["x-code"], "denied", destination)
        web = self.stomp()
        web.send("/manage/declare-queue", b"", queue="spy")
        web.send("/manage/bind", b"", wait=False, exchange="amq.topic", key="$reply.#", queue="spy")
        self.assertEqual(self.error(web).headers["x-code"], "denied")

    def test_no_subscription_to_temp_queues(self):
        web = self.stomp()
        web.connection.subscribe("/temp-queue/x", id="0")
        self.assertTrue(self.error(web).headers["x-code"])

    def test_stomp_asks_mqtt(self):
        """The MQTT 5 responder sees a Response Topic and publishes to it."""
        device, web = self.mqtt("device", version=V5), self.stomp()
        device.subscribe("ask/#", 1)
        web.send("/topic/ask.time", b"?", **{"reply-to": "/temp-queue/t", "correlation-id": "c-1"})
        asked = device.next()
        self.assertRegex(asked.properties.ResponseTopic, r"^\$reply/")
        device.publish(asked.properties.ResponseTopic, b"12:00", 1, CorrelationData=asked.properties.CorrelationData)
        answer = web.next()
        self.assertEqual((answer.body, answer.headers["subscription"], answer.headers["correlation-id"]),
                         (b"12:00", "/temp-queue/t", "c-1"))

    def test_mqtt_asks_stomp(self):
        """The STOMP responder sees reply-to and sends there."""
        device, web = self.mqtt("device", version=V5), self.stomp()
        web.subscribe("/topic/ask.*")
        device.subscribe("answers/device", 1)
        device.publish("ask/time", b"?", 1, ResponseTopic="answers/device", CorrelationData=b"\x00\xff\x01")
        asked = web.next()
        self.assertEqual(asked.headers["correlation-id-encoding"], "base64")
        web.send(asked.headers["reply-to"], b"12:00", **{
            name: asked.headers[name] for name in ("correlation-id", "correlation-id-encoding")})
        answer = device.next()
        self.assertEqual((answer.topic, answer.payload, answer.properties.CorrelationData),
                         ("answers/device", b"12:00", b"\x00\xff\x01"))


class Retained(Lasting):
    def test_after_the_receipt_and_marked(self):
        web = self.stomp()
        web.send("/topic/r.1", b"one", retain="true")
        web.send("/topic/r.2", b"two", retain="set")
        web.send("/topic/r.3", b"three", **{"ActiveMQ.Retain": "true"})
        web.send("/topic/r.2", b"ignored", retain="remove")
        web.subscribe("/topic/r.*", ack="client-individual", **{"prefetch-count": "1"})
        first = web.next()
        self.quiet(web)  # prefetch holds for them, too
        web.ack(first)
        second = web.next()
        self.assertEqual({first.body, second.body}, {b"one", b"three"})
        self.assertEqual((first.headers["retained"], second.headers["retained"]), ("true", "true"))
        web.ack(second)
        web.send("/topic/r.1", b"new")
        self.assertNotIn("retained", web.next().headers)

    def test_retain_handling(self):
        web = self.stomp()
        web.send("/topic/r", b"x", retain="true")
        web.subscribe("/topic/r", **{"retain-handling": "2"})
        self.quiet(web)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""What survives a restart, seen by real clients: every test once after SIGTERM and once after kill -9. What was acknowledged
is there again, as it was; what was settled, unsubscribed, deleted or rolled back does not come back."""
import os
import shutil
import signal
import struct
import time

from paho.mqtt.packettypes import PacketTypes

from harness import E2E, HOST, REPORTS, V5, V311, main, properties
from raw import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, RawMqtt

DURABLE = {"durable": "true", "auto-delete": "false"}
INDIVIDUAL = "client-individual"


class Restart(E2E):
    """A broker with a directory. restart() ends it by self.HOW and starts another one there."""

    ARGS = None
    HOW = signal.SIGTERM
    OPTIONS = ()
    SEGMENT = "256K"  # small files are made and filled quickly

    def setUp(self):
        super().setUp()
        self.log = os.path.join(self.directory, "log")
        self.begin()

    def begin(self, *options):
        lines = ("listener 0 " + HOST, "persistence_location " + self.log, "persistence_segment_size " + self.SEGMENT)
        path = self.write("weir.conf", "\n".join((*lines, *self.OPTIONS, *options)) + "\n")
        self.broker = self.start("-c", path)
        self.port = self.broker.port
        self.broker.wait_line(r"in %s: \d+ records found" % self.log)
        return self.broker

    def end(self):
        broker = self.broker
        if self.HOW == signal.SIGTERM:
            broker.stop()
        else:
            broker.stopped = True
            broker.child.kill()
            broker.child.wait()
            broker.kill()
            assert not REPORTS.search(broker.output()), broker.output()
        self.close_clients()

    def restart(self, *options):
        self.end()
        return self.begin(*options)

    # ---- clients

    def away(self, client_id, *filters, version=V311, **options):
        """A session with subscriptions, whose owner leaves."""
        more = {"expiry_s": 3600} if version == V5 else {}
        client = self.mqtt(client_id, version=version, clean=False, **{**more, **options})
        for filter, qos in filters:
            self.assertEqual(client.subscribe(filter, qos), qos)
        client.disconnect()

    def back(self, client_id, version=V311, present=True, **options):
        """Its owner is back, and was told whether the session was kept."""
        more = {"expiry_s": 3600} if version == V5 else {}
        client = self.mqtt(client_id, version=version, clean=False, **{**more, **options})
        self.assertEqual(bool(client.session_present), present)
        return client

    def raw(self, client_id, level=4, present=False, **options):
        client = self.keep(RawMqtt(self.port, level))
        if level == 5:
            options.setdefault("expiry_s", 3600)
        self.assertEqual(client.connect(client_id, clean=False, **options), present)
        return client

    def say(self, *messages, qos=1):
        """(topic, payload) pairs, each acknowledged."""
        pub = self.mqtt("pub")
        for topic, payload in messages:
            pub.publish(topic, payload, qos)
        pub.disconnect()

    def barrier(self, client):
        """What this client has answered so far is on disk: its PUBACKs go before its second PUBLISH, which is stored."""
        for _ in range(2):  # paho may send the first one before it answers the last message
            client.publish("$queue/barrier", b"", 1)

    def bodies(self, client, n):
        return [getattr(m, "payload", None) or getattr(m, "body", None) for m in client.take(n)]

    def rest(self, destination):
        """What a new consumer finds in a queue, taken out of it."""
        web, got = self.stomp(), []
        web.send(destination, b"the end")
        web.subscribe(destination, ack=INDIVIDUAL)
        while True:
            frame = web.next()
            web.ack(frame)
            if frame.body == b"the end":
                web.disconnect()
                return got
            got.append(frame)

    def waits(self, destination):
        return [frame.body for frame in self.rest(destination)]

    def manage(self, web, verb, **headers):
        web.send("/manage/" + verb, b"", **{name.replace("_", "-"): value for name, value in headers.items()})


class Mqtt:
    """MQTT: sessions, subscriptions, QoS 1 and 2 both ways, retained messages, wills, groups."""

    def test_sessions_and_subscriptions(self):
        for version in (V311, V5):
            self.away("sub-%d" % version, ("a/+", 1), ("b/#", 2), ("gone", 1), version=version)
        for version in (V311, V5):
            client = self.back("sub-%d" % version, version)
            client.unsubscribe("gone")
            client.disconnect()
        self.say(("a/1", b"before"), ("gone", b"nobody"), ("b/x/y", b"before too"))
        self.restart()
        self.say(("a/2", b"after"), ("gone", b"nobody"), ("b", b"after too"))
        for version in (V311, V5):
            client = self.back("sub-%d" % version, version)
            got = [(m.topic, m.payload, m.qos) for m in client.take(4)]
            self.assertEqual(got, [("a/1", b"before", 1), ("b/x/y", b"before too", 1), ("a/2", b"after", 1),
                                   ("b", b"after too", 1)])
            client.disconnect()

    def test_properties(self):
        """[MQTT-3.3.2-18] and the others: unchanged, in order; the subscription identifier is there again."""
        client = self.mqtt("sub", version=V5, clean=False, expiry_s=3600)
        self.assertEqual(client.client.subscribe("p", options=None, qos=1, properties=properties(
            PacketTypes.SUBSCRIBE, SubscriptionIdentifier=77))[0], 0)
        client.subacks.get(timeout=20)
        client.disconnect()
        pairs = [("k", "1"), ("k", "2"), ("", "empty"), ("ü", "ß")]
        pub = self.mqtt("pub", version=V5)
        pub.publish("p", b"{}", 2, ContentType="application/json", ResponseTopic="re/ply", CorrelationData=b"\0\1\xff",
                    PayloadFormatIndicator=1, MessageExpiryInterval=1000, UserProperty=pairs)
        self.restart()
        got = self.back("sub", V5).next()
        p = got.properties
        self.assertEqual((got.payload, p.ContentType, p.ResponseTopic, p.CorrelationData, p.PayloadFormatIndicator),
                         (b"{}", "application/json", "re/ply", b"\0\1\xff", 1))
        self.assertEqual([tuple(pair) for pair in p.UserProperty], pairs)
        self.assertEqual(list(p.SubscriptionIdentifier), [77])
        self.assertIn(int(p.MessageExpiryInterval), range(900, 1001))

    def test_big_and_empty_payloads(self):
        self.away("sub", ("a", 1))
        big = os.urandom(700000)  # larger than a segment
        self.say(("a", b"0"), ("a", big), ("a", b""), ("a", b"3"))
        self.restart()
        client = self.back("sub")
        self.assertEqual([m.payload for m in client.take(4)], [b"0", big, b"", b"3"])

    def test_in_flight_at_qos_1(self):
        """[MQTT-4.4.0-1] sent again with its packet id, in the order of sending; what was acknowledged is not."""
        sub = self.raw("sub")
        sub.subscribe("a", 1)
        self.say(*[("a", b"%d" % i) for i in range(5)])
        ids = {}
        for i in range(5):
            _, payload, _, dup, packet_id = sub.read_publish()
            self.assertEqual((payload, dup), (b"%d" % i, 0))
            ids[payload] = packet_id
        sub.ack(PUBACK, ids[b"1"])
        sub.ping()
        self.say(("$queue/barrier", b""), ("a", b"5"))  # its acknowledgement comes behind that PUBACK on the disk
        self.restart()
        sub = self.raw("sub", present=True)
        got = [sub.read_publish() for _ in range(5)]
        self.assertEqual([payload for _, payload, *_ in got], [b"0", b"2", b"3", b"4", b"5"])
        for _, payload, qos, dup, packet_id in got[:4]:
            self.assertEqual((qos, dup, packet_id), (1, 1, ids[payload]))

    def test_out_at_qos_2(self):
        """[MQTT-4.4.0-1] [MQTT-4.3.3-6] One that had PUBREC gets PUBREL again, one that had not PUBLISH, each with its packet id."""
        for level in (4, 5):
            with self.subTest(level=level):
                name = "sub-%d" % level
                sub = self.raw(name, level)
                sub.subscribe("two/%d" % level, 2)
                self.say(("two/%d" % level, b"received"), ("two/%d" % level, b"not yet"), qos=2)
                first, second = sub.read_publish(), sub.read_publish()
                self.assertEqual((first[1], second[1]), (b"received", b"not yet"))
                sub.ack(PUBREC, first[4])
                self.assertEqual(sub.read_ack(PUBREL), first[4])
                self.restart()
                sub = self.raw(name, level, present=True)
                got = {}
                for _ in range(2):
                    packet = sub.read()
                    self.assertIn(packet.kind, (PUBREL, PUBLISH))
                    got[packet.kind] = packet
                self.assertEqual(struct.unpack(">H", got[PUBREL].body[:2])[0], first[4])
                self.assertTrue(got[PUBLISH].flags & 8, "no DUP")
                at = 2 + len("two/%d" % level)
                self.assertEqual(struct.unpack(">H", got[PUBLISH].body[at:at + 2])[0], second[4])
                sub.ack(PUBCOMP, first[4])
                sub.ack(PUBREC, second[4])
                self.assertEqual(sub.read_ack(PUBREL), second[4])
                sub.ack(PUBCOMP, second[4])
                sub.ping()
                self.say(("two/%d" % level, b"last"), qos=2)
                self.assertEqual(sub.read_publish()[1], b"last")  # and nothing before it

    def test_in_at_qos_2(self):
        """[MQTT-4.3.3-10] [MQTT-4.3.3-12] A PUBLISH that had PUBREC and comes again is not a second message, also after the restart."""
        self.away("sub", ("in", 2))
        for level in (4, 5):
            pub = self.raw("pub-%d" % level, level)
            pub.publish("in", b"%d open" % level, 2, 11)
            self.assertEqual(pub.read_ack(PUBREC), 11)
            pub.publish("in", b"%d whole" % level, 2, 12)
            self.assertEqual(pub.read_ack(PUBREC), 12)
            pub.ack(PUBREL, 12)
            self.assertEqual(pub.read_ack(PUBCOMP), 12)
        self.restart()
        for level in (4, 5):
            pub = self.raw("pub-%d" % level, level, present=True)
            pub.publish("in", b"%d open" % level, 2, 11, dup=1)
            self.assertEqual(pub.read_ack(PUBREC), 11)
            pub.ack(PUBREL, 11)
            self.assertEqual(pub.read_ack(PUBCOMP), 11)
            pub.publish("in", b"%d new" % level, 2, 12)  # its id is free
            self.assertEqual(pub.read_ack(PUBREC), 12)
        sub = self.back("sub")
        got = [m.payload for m in sub.take(6)]
        self.assertEqual(got, [b"4 open", b"4 whole", b"5 open", b"5 whole", b"4 new", b"5 new"])

    def test_settled_does_not_return(self):
        sub = self.mqtt("sub", clean=False)
        sub.subscribe("a", 2)
        for qos in (1, 2):
            self.say(*[("a", b"%d" % i) for i in range(100)], qos=qos)
            sub.take(100)
        self.barrier(sub)
        sub.disconnect()
        self.restart()
        self.say(("a", b"news"))
        self.assertEqual(self.back("sub").next().payload, b"news")

    def test_ended_sessions(self):
        """[MQTT-3.1.2-4] Clean Start ends a session for good; a session of another kind never begins one."""
        self.away("sub", ("a", 1))
        self.away("clean", ("a", 1))
        self.mqtt("clean", clean=True).disconnect()
        other = self.mqtt("other")  # clean: nothing of it stays
        other.subscribe("a", 1)
        self.restart()
        for name, present in (("sub", True), ("clean", False), ("other", False)):
            self.back(name, present=present)

    def test_session_expiry_goes_on(self):
        """MQTT 5 §3.1.2.11.2: the time the broker is not there counts, too."""
        self.away("short", ("a", 1), version=V5, expiry_s=2)
        self.away("long", ("a", 1), version=V5, expiry_s=3600)
        left = time.monotonic()
        self.restart()
        time.sleep(max(0, left + 2.5 - time.monotonic()))  # there is no event: the point is that time passes
        self.back("long", V5)
        self.back("short", V5, present=False)

    def test_retained(self):
        web = self.stomp()
        pub = self.mqtt("pub", version=V5)
        pub.publish("r/set", b"old", 1, retain=True)
        pub.publish("r/set", b"new", 2, retain=True, UserProperty=[("a", "b")])
        pub.publish("r/cleared", b"x", 1, retain=True)
        pub.publish("r/cleared", b"", 1, retain=True)
        pub.publish("r/brief", b"x", 1, retain=True, MessageExpiryInterval=1)
        web.send("/topic/r.stomp", b"from STOMP", retain="true", persistent="true", color="red")
        pub.publish("r/zero", b"0", 0, retain=True)
        pub.publish("r/last", b"x", 1, retain=True)  # its acknowledgement comes behind that QoS 0 message on the disk
        left = time.monotonic()
        for _ in range(2):  # what came back from the disk survives once more
            self.restart()
        time.sleep(max(0, left + 1.5 - time.monotonic()))
        sub = self.mqtt("sub", version=V5)
        sub.subscribe("r/#", 1)
        got = {m.topic: m for m in sub.take(4)}
        self.assertEqual({topic: (m.payload, m.qos, m.retain) for topic, m in got.items()}, {
            "r/set": (b"new", 1, True), "r/stomp": (b"from STOMP", 1, True), "r/zero": (b"0", 0, True),
            "r/last": (b"x", 1, True)})
        self.assertEqual(list(map(tuple, got["r/set"].properties.UserProperty)), [("a", "b")])
        sub.publish("r/end", b"", 1)
        self.assertEqual(sub.next().topic, "r/end")  # nothing else was retained

    def test_will_with_delay(self):
        """MQTT 5 §3.1.3.2.2: the session is there again without its owner, so the will comes when its delay is over; and
        not if the owner is back in time."""
        self.away("sub", ("will/#", 1))
        for name, delay_s in (("lost", 1), ("back", 60)):
            self.mqtt(name, version=V5, clean=False, expiry_s=3600, will={
                "topic": "will/" + name, "payload": b"gone", "qos": 1,
                "properties": properties(PacketTypes.WILLMESSAGE, WillDelayInterval=delay_s, UserProperty=[("a", "b")])})
        self.restart()
        self.back("back", V5).disconnect()
        sub = self.back("sub")
        got = sub.next()
        self.assertEqual((got.topic, got.payload, got.qos), ("will/lost", b"gone", 1))
        self.say(("will/end", b""))
        self.assertEqual(sub.next().topic, "will/end")

    def test_groups(self):
        """Members, and what waits for the group."""
        for i in range(2):
            self.away("m%d" % i, ("$share/g/work/#", 1))
        self.say(*[("work/%d" % i, b"%d" % i) for i in range(20)])
        self.restart()
        members = [self.back("m%d" % i) for i in range(2)]
        self.say(*[("work/%d" % i, b"%d" % i) for i in range(20, 60)])
        for member in members:
            member.subscribe("end", 1)
        self.say(("end", b"end"))
        shares = []
        for member in members:
            share = []
            while not share or share[-1] != b"end":
                share.append(member.next().payload)
            shares.append([int(body) for body in share[:-1]])
        self.assertEqual(sorted(sum(shares, [])), list(range(60)))
        self.assertTrue(all(shares), shares)

    def test_named_queue_from_mqtt(self):
        self.away("worker", ("$queue/jobs", 1))
        self.say(("$queue/jobs", b"1"), ("$queue/jobs", b"2"))
        self.restart()
        self.say(("$queue/jobs", b"3"))
        worker = self.back("worker")
        self.assertEqual([m.payload for m in worker.take(3)], [b"1", b"2", b"3"])

    def test_mosquitto(self):
        """The same with mosquitto's own clients."""
        for tool in ("mosquitto_pub", "mosquitto_sub"):
            if not shutil.which(tool):
                self.skipTest("no " + tool)
        def call(*argv):
            process = self.spawn(*argv, "-h", HOST, "-p", str(self.port), "-q", "1")
            self.assertEqual(process.wait(), 0, process.output())
            return process.lines
        call("mosquitto_sub", "-i", "m-sub", "-c", "-t", "m/#", "-E")
        call("mosquitto_pub", "-i", "m-pub", "-t", "m/1", "-m", "hello")
        call("mosquitto_pub", "-i", "m-pub", "-t", "m/2", "-m", "kept", "-r")
        self.restart()
        lines = call("mosquitto_sub", "-i", "m-sub", "-c", "-t", "x", "-C", "2", "-v", "-W", "20")
        self.assertEqual(lines, ["m/1 hello", "m/2 kept"])
        self.assertEqual(call("mosquitto_sub", "-t", "m/2", "-C", "1", "-W", "20"), ["kept"])


class Stomp:
    """STOMP: queues and what is asked of them, exchanges, bindings, transactions, durable subscriptions."""

    def test_persistent_messages(self):
        """With headers, in order; those that are not persistent are not promised, and not there."""
        web = self.stomp()
        for i in range(10):
            web.send("/queue/jobs", b"%d" % i, persistent="true", color="c%d" % i, **{
                "content-type": "text/x", "correlation-id": "77", "reply-to": "/queue/back"})
        web.send("/queue/jobs", b"brief")
        web.send("/queue/jobs", bytes(range(256)), persistent="true")
        self.restart()
        got = self.rest("/queue/jobs")
        self.assertEqual([frame.body for frame in got], [b"%d" % i for i in range(10)] + [bytes(range(256))])
        for i, frame in enumerate(got[:10]):
            self.assertEqual([frame.headers.get(name) for name in ("color", "content-type", "correlation-id", "reply-to")],
                             ["c%d" % i, "text/x", "77", "/queue/back"])
        self.restart()
        self.assertEqual(self.waits("/queue/jobs"), [])  # what was acknowledged does not come back

    def test_counts_and_order(self):
        """What came back keeps its place and its count; what was unanswered is there again, as redelivered as it was."""
        web = self.stomp()
        for i in range(4):
            web.send("/queue/jobs", b"%d" % i, persistent="true")
        worker = self.stomp()
        worker.subscribe("/queue/jobs", ack=INDIVIDUAL, **{"prefetch-count": "2"})
        for count in (None, "1"):
            frame = worker.next()
            self.assertEqual((frame.body, frame.headers.get("x-delivery-count")), (b"0", count))
            if count is None:
                worker.next()  # 1: stays unanswered
            worker.nack(frame)
        self.assertEqual(worker.next().headers["x-delivery-count"], "2")
        worker.send("/queue/elsewhere", b"", persistent="true")  # its RECEIPT comes behind the NACKs on the disk
        self.restart()
        got = self.rest("/queue/jobs")
        self.assertEqual([frame.body for frame in got], [b"0", b"1", b"2", b"3"])
        self.assertGreaterEqual(int(got[0].headers["x-delivery-count"]), 2)
        self.assertEqual(got[3].headers.get("x-delivery-count"), None)

    def test_policies(self):
        """The arguments of a queue: who names the same ones is welcome, others are refused; and they work."""
        arguments = {"x-message-ttl": "3600000", "x-max-length": "3", "x-overflow": "reject-publish", "x-max-priority": "9",
                     "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead", "x-delivery-limit": "1",
                     "x-consumer-timeout": "60000", "x-single-active-consumer": "true", "x-max-length-bytes": "100000",
                     "x-expires": "3600000"}
        retry = {"x-retry-delay-min": "50", "x-retry-delay-max": "1000", "x-overflow": "drop-head"}
        web = self.stomp()
        self.manage(web, "declare-queue", queue="retry", **retry)
        self.manage(web, "declare-queue", queue="full", **arguments)
        for body, priority in ((b"low", "1"), (b"high", "9"), (b"middle", "5")):
            web.send("/queue/full", body, persistent="true", priority=priority)
        self.restart()
        web = self.stomp()
        self.manage(web, "declare-queue", queue="full", **arguments)
        self.manage(web, "declare-queue", queue="retry", **retry)
        web.connection.send("/queue/full", b"too many", headers={"persistent": "true"})
        self.assertEqual(web.errors.get(timeout=20).headers["x-code"], "rejected")
        worker = self.stomp()
        worker.subscribe("/queue/dead", id="dead")
        worker.subscribe("/queue/full", id="full", ack=INDIVIDUAL, **{"prefetch-count": "1"})
        for body in (b"high", b"high"):  # once more, and then it is dead
            frame = worker.next()
            self.assertEqual(frame.body, body)
            worker.nack(frame)
        got = {}
        while len(got) < 3:
            frame = worker.next()
            got[frame.body] = frame.headers
            if frame.headers["subscription"] == "full":
                worker.ack(frame)
        self.assertEqual(got[b"high"]["x-first-death-reason"], "delivery_limit")
        for name in ("x-max-length", "x-message-ttl", "x-expires"):
            other = self.stomp()
            other.connection.send("/manage/declare-queue", b"", headers={"queue": "full", **arguments, name: "77"})
            self.assertEqual(other.errors.get(timeout=20).headers["x-code"], "precondition-failed")

    def test_exchanges_and_bindings(self):
        web = self.stomp()
        for name, kind in (("fan", "fanout"), ("direct", "direct"), ("topics", "topic"), ("lost", "fanout")):
            self.manage(web, "declare-exchange", exchange=name, type=kind)
        self.manage(web, "declare-exchange", exchange="orders", type="direct", alternate_exchange="lost")
        self.manage(web, "declare-exchange", exchange="brief", type="fanout", durable="false")
        self.manage(web, "declare-exchange", exchange="deleted", type="fanout")
        for name in ("q1", "q2", "deleted", "unbound"):
            self.manage(web, "declare-queue", queue=name)
        self.manage(web, "declare-queue", queue="brief", durable="false")
        self.manage(web, "bind", exchange="fan", queue="q1")
        self.manage(web, "bind", exchange="fan", to_exchange="direct")
        self.manage(web, "bind", exchange="direct", key="k", queue="q2")
        self.manage(web, "bind", exchange="topics", key="*.alarm.#", queue="q2")
        self.manage(web, "bind", exchange="lost", queue="q1")
        self.manage(web, "bind", exchange="fan", queue="unbound")
        self.manage(web, "unbind", exchange="fan", queue="unbound")
        self.manage(web, "delete-queue", queue="deleted")
        self.manage(web, "delete-exchange", exchange="deleted")
        self.restart()
        web = self.stomp()
        self.manage(web, "declare-exchange", exchange="orders", type="direct", alternate_exchange="lost")  # the same
        web.send("/exchange/fan/k", b"both", persistent="true")
        web.send("/exchange/topics/hall.alarm.fire", b"topic", persistent="true")
        web.send("/exchange/orders/none", b"lost", persistent="true")
        self.assertEqual(self.waits("/amq/queue/q1"), [b"both", b"lost"])
        self.assertEqual(self.waits("/amq/queue/q2"), [b"both", b"topic"])
        self.assertEqual(self.waits("/amq/queue/unbound"), [])
        for destination in ("/amq/queue/deleted", "/amq/queue/brief", "/exchange/deleted", "/exchange/brief"):
            other = self.stomp()
            other.connection.send(destination, b"x", headers={"receipt": "r"})
            self.assertEqual(other.errors.get(timeout=20).headers["x-code"], "not-found", destination)

    def test_times_go_on(self):
        """TTL of messages and queues, and delays, as wall time: what is over while nobody is there is over."""
        web = self.stomp()
        self.manage(web, "declare-queue", queue="ttl", x_message_ttl="2000", x_dead_letter_exchange="",
                    x_dead_letter_routing_key="late")
        start = time.monotonic()
        web.send("/queue/ttl", b"by the queue", persistent="true")
        web.send("/queue/own", b"by itself", persistent="true", expiration="2000")
        web.send("/queue/own", b"stays", persistent="true", expiration="3600000")
        web.send("/queue/later", b"delayed", persistent="true", **{"x-delay": "2500"})
        web.send("/queue/later", b"much later", persistent="true", **{"x-delay": "3600000"})
        device = self.mqtt("device")
        device.publish("$delayed/2/$queue/later", b"by MQTT", 1)
        self.restart()
        watch = self.stomp()
        watch.subscribe("/queue/late", id="late")
        watch.subscribe("/queue/later", id="later")
        got = {}
        while len(got) < 3:
            frame = watch.next()
            got[frame.body] = (time.monotonic() - start, frame.headers.get("x-first-death-reason"))
        self.assertEqual(set(got), {b"by the queue", b"delayed", b"by MQTT"})
        self.assertEqual(got[b"by the queue"][1], "expired")
        self.assertGreater(got[b"by the queue"][0], 1.9)
        self.assertGreater(got[b"delayed"][0], 2.4)
        own = self.rest("/queue/own")
        self.assertEqual([frame.body for frame in own], [b"stays"])
        self.assertIn(int(own[0].headers["expiration"]), range(3500000, 3600000))

    def test_transactions(self):
        """All of one that was committed; nothing of one that was not."""
        web = self.stomp()
        for i in range(3):
            web.send("/queue/in", b"job %d" % i, persistent="true")
        worker = self.stomp()
        worker.subscribe("/queue/in", ack=INDIVIDUAL)
        jobs = worker.take(3)
        connection = worker.connection
        for n, frame in enumerate(jobs[:2]):
            connection.begin(transaction="t%d" % n)
            connection.ack(frame.headers["ack"], transaction="t%d" % n)
            for part in (b"a", b"b"):
                connection.send("/queue/out", b"result %d%s" % (n, part), persistent="true", transaction="t%d" % n)
        receipt = worker.receipt()
        connection.commit(transaction="t0", receipt=receipt)
        worker.wait_receipt(receipt)
        self.restart()
        self.assertEqual(self.waits("/queue/out"), [b"result 0a", b"result 0b"])
        self.assertEqual(self.waits("/queue/in"), [b"job 1", b"job 2"])

    def test_durable_subscriptions(self):
        web = self.stomp(**{"client-id": "phone"})
        web.subscribe("/topic/news.*", id="mine", ack=INDIVIDUAL, **DURABLE)
        web.subscribe("/topic/other.*", id="ended", **DURABLE)
        web.subscribe("/topic/named.*", id="n", **{"x-queue-name": "board", **DURABLE})
        receipt = web.receipt()
        web.connection.unsubscribe(id="ended", durable="true", receipt=receipt)
        web.wait_receipt(receipt)
        web.disconnect()
        self.say(("news/1", b"1"), ("news/2", b"2"), ("other/1", b"nobody"), ("named/1", b"n1"))
        self.restart()
        self.say(("news/3", b"3"), ("other/2", b"nobody"), ("named/2", b"n2"))
        web = self.stomp(**{"client-id": "phone"})
        web.subscribe("/topic/news.*", id="mine", ack=INDIVIDUAL, **DURABLE)
        self.assertEqual(self.bodies(web, 3), [b"1", b"2", b"3"])
        web.subscribe("/amq/queue/board", id="board")
        self.assertEqual(self.bodies(web, 2), [b"n1", b"n2"])
        web.subscribe("/topic/other.*", id="ended", **DURABLE)  # made anew: nothing waits
        web.send("/topic/other.3", b"now")
        self.assertEqual(web.next().body, b"now")

    def test_purged_and_deleted(self):
        web = self.stomp()
        for name in ("purged", "deleted"):
            for i in range(5):
                web.send("/queue/" + name, b"%d" % i, persistent="true")
        self.manage(web, "purge", queue="purged")
        self.manage(web, "delete-queue", queue="deleted")
        web.send("/queue/purged", b"after", persistent="true")
        self.restart()
        self.assertEqual(self.waits("/queue/purged"), [b"after"])
        self.assertEqual(self.waits("/queue/deleted"), [])


class Both:
    """Both protocols, and much of it."""

    def log_bytes(self):
        """What the files of the log take up now."""
        total = 0
        for name in os.listdir(self.log):
            try:
                total += os.stat(os.path.join(self.log, name)).st_size
            except FileNotFoundError:
                pass  # it was given back between the two calls
        return total

    def test_one_message_many_queues(self):
        """It is in the log once; each queue settles it by itself."""
        self.away("one", ("fan", 1))
        self.away("two", ("fan", 2), version=V5)
        web = self.stomp(**{"client-id": "web"})
        web.subscribe("/topic/fan", id="d", **DURABLE)
        web.disconnect()
        self.say(*[("fan", b"%d" % i) for i in range(10)])
        one = self.back("one")
        one.take(10)
        self.barrier(one)
        one.disconnect()
        self.restart()
        self.say(("fan", b"end"))
        self.assertEqual(self.back("one").next().payload, b"end")
        self.assertEqual([m.payload for m in self.back("two", V5).take(11)], [b"%d" % i for i in range(10)] + [b"end"])
        web = self.stomp(**{"client-id": "web"})
        web.subscribe("/topic/fan", id="d", **DURABLE)
        self.assertEqual(self.bodies(web, 11), [b"%d" % i for i in range(10)] + [b"end"])

    def test_much(self):
        """Many files: most of what is in them is settled, some stays from the beginning, space is given back, and the order
        is kept; over three restarts."""
        self.away("slow", ("much/keep", 1))
        size, n, kept = 2000, 600, []
        for life in range(3):
            sub = self.mqtt("fast", clean=False)
            sub.subscribe("much/#", 1)
            pub = self.mqtt("pub", in_flight=100)
            before = pub.done
            for i in range(n):
                body = b"%d.%d " % (life, i)
                topic = "much/keep" if i % 20 == 0 else "much/take"
                if i % 20 == 0:
                    kept.append(body)
                pub.publish(topic, body + bytes(size), 1, wait=False)
            pub.wait_settled(before + n, 60)
            self.assertEqual([m.payload.split()[0] for m in sub.take(n, 60)], [b"%d.%d" % (life, i) for i in range(n)])
            self.barrier(sub)
            self.restart()
        slow = self.back("slow")
        self.assertEqual([m.payload.split()[0] for m in slow.take(len(kept))], [body.strip() for body in kept])
        deadline = time.monotonic() + 20  # what was taken last is given back when its settles are on disk
        while (used := self.log_bytes()) >= 12 * 256 * 1024 and time.monotonic() < deadline:
            time.sleep(0.2)
        self.assertLess(used, 12 * 256 * 1024)  # 3.6 MB were published


class AfterStop(Mqtt, Stomp, Both, Restart):
    HOW = signal.SIGTERM


class AfterKill(Mqtt, Stomp, Both, Restart):
    HOW = signal.SIGKILL


if __name__ == "__main__":
    main()

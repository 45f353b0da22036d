# SPDX-License-Identifier: Apache-2.0
"""Across the two protocols with clients people use: mosquitto_pub and mosquitto_sub, paho, stomp.py."""
import subprocess

from harness import E2E, HOST, V5, main
from raw import RawStomp


class Across(E2E):
    def mosquitto_pub(self, *args):
        done = subprocess.run(["mosquitto_pub", "-h", HOST, "-p", str(self.port), *args], timeout=20,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual((done.returncode, done.stdout), (0, b""))

    def mosquitto_sub(self, *args):
        """A running mosquitto_sub that has its SUBACK (stdbuf, because it keeps its lines to itself otherwise)."""
        sub = self.spawn("stdbuf", "-oL", "mosquitto_sub", "-h", HOST, "-p", str(self.port), "-d", *args)
        sub.wait_line("^Subscribed ")
        return sub

    def test_mosquitto_pub_reaches_stomp(self):
        """The first sentence of the product: a device publishes, a web application sees it."""
        web = self.stomp()
        web.subscribe("/topic/site.*.temp")
        self.mosquitto_pub("-t", "site/1/temp", "-m", "21.5", "-q", "1")
        frame = web.next()
        self.assertEqual((frame.headers["destination"], frame.body), ("/topic/site.1.temp", b"21.5"))

    def test_stomp_reaches_mosquitto_sub(self):
        for version in ("mqttv31", "mqttv311", "mqttv5"):
            with self.subTest(version=version):
                sub = self.mosquitto_sub("-t", "site/+/set", "-q", "1", "-v", "-C", "1", "-V", version)
                self.stomp().send("/topic/site.1.set", b"20")
                self.assertEqual(sub.wait(), 0)
                self.assertIn("site/1/set 20", sub.lines)

    def test_every_mosquitto_version_and_qos(self):
        web = self.stomp()
        web.subscribe("/topic/v.#")
        for version in ("mqttv31", "mqttv311", "mqttv5"):
            for qos in "012":
                self.mosquitto_pub("-t", "v/%s/%s" % (version, qos), "-m", version + qos, "-q", qos, "-V", version)
                frame = web.next()
                self.assertEqual((frame.headers["destination"], frame.body.decode()),
                                 ("/topic/v.%s.%s" % (version, qos), version + qos))

    def test_every_spelling_of_a_filter(self):
        """docs/mapping.md: '.' and '/' separate levels, '*' and '+' are one, '#' is many; /mqtt/ is MQTT's own spelling."""
        destinations = ["/topic/s.*.t", "/topic/s/+/t", "/topic/s.#", "/topic/s/#", "/topic/s.1.t", "/topic/s.**",
                        "/mqtt/s/+/t", "/mqtt/s/#", "/topic/#", "/topic/s.>"]
        expected = ["/topic/s.1.t", "/topic/s/1/t", "/topic/s.1.t", "/topic/s/1/t", "/topic/s.1.t", "/topic/s.1.t",
                    "/mqtt/s/1/t", "/mqtt/s/1/t", "/topic/s.1.t", "/topic/s.1.t"]
        web = self.stomp()
        for i, destination in enumerate(destinations):
            web.subscribe(destination, id=str(i))
        self.mqtt("device").publish("s/1/t", b"x", 1)
        got = {frame.headers["subscription"]: frame.headers["destination"] for frame in web.take(len(destinations))}
        self.assertEqual(got, {str(i): text for i, text in enumerate(expected)})
        self.assertTrue(web.messages.empty())

    def test_every_spelling_of_a_send(self):
        device = self.mqtt("device")
        device.subscribe("#", 1)
        web = self.stomp()
        for destination, topic in (("/topic/a.b.c", "a/b/c"), ("/topic/a/b/c", "a/b/c"), ("/mqtt/a/b/c", "a/b/c"),
                                   ("/mqtt/a.b", "a.b"), ("/topic/a%2eb.c", "a.b/c"), ("/mqtt//a//b", "/a//b"),
                                   ("/topic/.a..b", "/a//b"), ("/topic/a.*", "a/*")):
            web.send(destination, b"x")
            self.assertEqual(device.next().topic, topic, destination)

    def test_round_trip(self):
        """A SEND to the destination a message came with reaches the same topic, whatever its levels are."""
        for topic in ("a/b", "/a//b", "a/b.c/d", "50%/x", "a%2eb", "*/x", "a/>", "ä ö/:x", "a/ b "):
            with self.subTest(topic=topic):
                device = self.mqtt("device")
                device.subscribe(topic, 1)
                web = self.keep(RawStomp(self.port))
                web.connect()
                for destination in ("/topic/#", "/mqtt/#"):
                    web.request("SUBSCRIBE", ("destination", destination), ("id", "1"))
                    device.publish(topic, b"there", 1)
                    self.assertEqual(device.next().payload, b"there")
                    frame = web.read("MESSAGE")
                    web.request("UNSUBSCRIBE", ("id", "1"))
                    web.request("SEND", ("destination", frame["destination"]), body=b"back")
                    got = device.next()
                    self.assertEqual((got.topic, got.payload), (topic, b"back"))
                device.disconnect()
                web.close()

    def test_dollar_topics_are_hidden_from_stomp_wildcards(self):
        web = self.stomp()
        web.subscribe("/topic/#", id="1")
        web.subscribe("/mqtt/+/a", id="2")
        web.subscribe("/mqtt/$mine/a", id="3")
        device = self.mqtt("device")
        device.publish("$mine/a", b"hidden", 1)
        device.publish("end/a", b"", 1)
        got = sorted((frame.headers["subscription"], frame.body) for frame in web.take(3))
        self.assertEqual(got, [("1", b""), ("2", b""), ("3", b"hidden")])

    def test_delivery_qos_of_a_stomp_message(self):
        """docs/mapping.md: 1, capped by the subscription; the header qos overrides."""
        device = self.mqtt("device")
        device.subscribe("q", 2)
        web = self.stomp()
        web.send("/topic/q", b"default")
        web.send("/topic/q", b"zero", qos="0")
        web.send("/topic/q", b"two", qos="2")
        got = {message.payload: message.qos for message in device.take(3)}
        self.assertEqual(got, {b"default": 1, b"zero": 0, b"two": 2})

    def test_offline_session_keeps_a_stomp_message(self):
        device = self.mqtt("device", clean=False)
        device.subscribe("set/#", 1)
        device.disconnect()
        self.stomp().send("/topic/set.x", b"later")
        self.assertEqual(self.mqtt("device", clean=False).next().payload, b"later")

    def test_retained_both_ways(self):
        device, web = self.mqtt("device"), self.stomp()
        device.publish("r/mqtt", b"from mqtt", 1, retain=True)
        web.send("/topic/r.stomp", b"from stomp", retain="true")
        late = self.stomp()
        late.subscribe("/topic/r.*")
        got = sorted((frame.headers["destination"], frame.body, frame.headers.get("retained")) for frame in late.take(2))
        self.assertEqual(got, [("/topic/r.mqtt", b"from mqtt", "true"), ("/topic/r.stomp", b"from stomp", "true")])
        device.subscribe("r/stomp", 1)
        message = device.next()
        self.assertEqual((message.payload, message.retain), (b"from stomp", True))
        web.send("/topic/r.mqtt", b"", retain="true")  # an empty body clears
        last = self.mqtt("last")
        last.subscribe("r/#", 1)
        self.assertEqual(last.next().topic, "r/stomp")
        device.publish("r/end", b"", 1)
        self.assertEqual(last.next().topic, "r/end")

    def test_will_reaches_stomp(self):
        web = self.stomp()
        web.subscribe("/topic/will.*")
        self.mqtt("lost", will={"topic": "will/x", "payload": b"gone", "qos": 1}).drop()
        self.assertEqual(web.next().body, b"gone")

    def test_properties_and_headers(self):
        """docs/mapping.md, both directions, with order and repeated names."""
        device = self.mqtt("device", version=V5)
        device.subscribe("down", 1)
        web = self.keep(RawStomp(self.port))
        web.connect()
        web.request("SUBSCRIBE", ("destination", "/topic/up"), ("id", "1"))
        device.publish("up", b"{}", 1, ContentType="application/json", CorrelationData=b"42", ResponseTopic="re/ply",
                       UserProperty=[("room", "a:b"), ("line", "x"), ("room", "c\\d")])
        frame = web.read("MESSAGE")
        self.assertEqual(frame["content-type"], "application/json")
        self.assertEqual(frame["correlation-id"], "42")
        self.assertEqual(frame["reply-to"], "/mqtt/re/ply")
        self.assertEqual([pair for pair in frame.headers if pair[0] in ("room", "line")],
                         [("room", "a:b"), ("line", "x"), ("room", "c\\d")])
        web.request("SEND", ("destination", "/topic/down"), ("content-type", "text/csv"), ("correlation-id", "7"),
                    ("reply-to", "/topic/re.ply"), ("room", "b:\n"), body=b"1,2")
        got = device.next().properties
        self.assertEqual((got.ContentType, got.CorrelationData, got.ResponseTopic), ("text/csv", b"7", "re/ply"))
        self.assertIn(("room", "b:\n"), got.UserProperty)

    def test_no_header_can_be_forged(self):
        """A device's property or topic never becomes a header of its own."""
        web = self.keep(RawStomp(self.port))
        web.connect()
        web.request("SUBSCRIBE", ("destination", "/topic/#"), ("id", "1"))
        device = self.mqtt("device", version=V5)
        device.publish("t", b"x", 1, UserProperty=[("destination", "/queue/other"), ("message-id", "1"), ("ack", "1"),
                                                    ("subscription", "9"), ("content-length", "1")])
        frame = web.read("MESSAGE")
        self.assertEqual((frame["destination"], frame["subscription"]), ("/topic/t", "1"))
        for name in ("destination", "message-id", "subscription", "content-length"):
            self.assertEqual(len([pair for pair in frame.headers if pair[0] == name]), 1, name)
        self.assertEqual(frame["user.destination"], "/queue/other")


if __name__ == "__main__":
    main()

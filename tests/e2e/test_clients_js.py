# SPDX-License-Identifier: Apache-2.0
"""MQTT.js, over TCP and WebSocket (js/driver.js has it inside), and what only it can do: topic aliases that it assigns
by itself, and enhanced authentication with SCRAM-SHA-256."""
import subprocess

from clients import E2E, Refused, Suite, each
from drivers import Drivers
from harness import V31, V5, WEIR_BIN, main


class MqttJs(Suite, E2E):
    KINDS = ("js", "js ws")

    @each(V31)
    def test_the_old_version(self, kind, other, version):
        """MQTT 3.1 (MQIsdp); over WebSocket its subprotocol is mqttv3.1."""
        one, two = self.client(kind, "one", version), self.client(other, "two", version)
        one.subscribe("old/#", 2)
        for qos in (0, 1, 2):
            two.publish("old/%d" % qos, b"x", qos)
            self.assertEqual(one.next().qos, qos)
        one.disconnect()
        two.disconnect()

    @each(V5)
    def test_topic_aliases_assigned_by_the_library(self, kind, other, version):
        """More topics than the broker allows aliases, so that each alias is moved often; both ways."""
        one = self.client(kind, "one", version, connect={"TopicAliasMaximum": 5})
        two = self.client(other, "two", version, connect={"aliases": 1})
        self.assertGreater(int(two.granted.get("TopicAliasMaximum", 0)), 0)
        one.subscribe("alias/#", 1)
        expected = [("alias/%d" % (i * 7 % 50), b"%d" % i) for i in range(300)]
        for topic, body in expected:
            two.publish(topic, body, 1, wait=False)
        self.assertEqual([(m.topic, m.payload) for m in one.take(300)], expected)
        two.wait_settled()
        one.disconnect()
        two.disconnect()


class Scram(Drivers, E2E):
    ARGS = None
    KINDS = ("js", "js ws")

    def setUp(self):
        super().setUp()
        path = self.directory + "/scram"
        done = subprocess.run([WEIR_BIN, "--scram-user", "ännchen"], input="s3cret, with = and % \n".encode(),
                              check=True, timeout=20, stdout=subprocess.PIPE)
        with open(path, "wb") as file:
            file.write(done.stdout)
        self.broker = self.start("-c", self.write("weir.conf", "listener 0 127.0.0.1\nscram_file %s\n" % path))
        self.port = self.broker.port

    @each(V5)
    def test_login(self, kind, _, version):
        """MQTT 5 §4.12: AUTH exchange; the broker proves itself in the CONNACK, which the driver checks."""
        one = self.client(kind, "one", version, connect={
            "scram_user": "ännchen", "scram_password": "s3cret, with = and % "})
        self.assertEqual(one.granted["AuthenticationMethod"], "SCRAM-SHA-256")
        one.subscribe("a", 1)
        one.publish("a", b"x", 1)
        self.assertEqual(one.next().payload, b"x")
        one.disconnect()

    @each(V5)
    def test_wrong_password_and_unknown_user(self, kind, _, version):
        """[MQTT-4.12.0-4] refused with 0x87 in both cases: nobody learns which names there are."""
        for user, password in (("ännchen", "wrong"), ("nobody", "s3cret")):
            with self.assertRaises(Refused) as caught:
                self.client(kind, "one", version, connect={"scram_user": user, "scram_password": password})
            self.assertEqual(int(caught.exception.code), 0x87, caught.exception)


if __name__ == "__main__":
    main()

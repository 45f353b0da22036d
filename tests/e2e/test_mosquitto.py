# SPDX-License-Identifier: Apache-2.0
"""mosquitto_pub, mosquitto_sub and mosquitto_rr as clients: every version and QoS, retained, the end after -W and -C,
request and response, $share, $SYS, and a unix socket."""
import os
import subprocess

from harness import DEADLINE_S, E2E, HOST, main

VERSIONS = ("mqttv31", "mqttv311", "mqttv5")
TIMED_OUT = 27  # what mosquitto_sub and mosquitto_rr return when -W runs out


class Mosquitto(E2E):
    def where(self):
        return ("-h", HOST, "-p", str(self.port))

    def pub(self, *args, data=None):
        done = subprocess.run(["mosquitto_pub", *self.where(), *args], timeout=DEADLINE_S, input=data,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual((done.returncode, done.stdout), (0, b""))

    def sub(self, *args):
        """A running mosquitto_sub that has its SUBACK (stdbuf, because it keeps its lines to itself otherwise)."""
        sub = self.spawn("stdbuf", "-oL", "mosquitto_sub", *self.where(), "-d", *args)
        sub.wait_line("^Subscribed ")
        return sub

    @staticmethod
    def messages(sub):
        """Its lines without what -d adds."""
        return [line for line in sub.lines if not line.startswith(("Client ", "Subscribed "))]


class Versions(Mosquitto):
    def test_every_version_and_qos(self):
        for theirs in VERSIONS:
            sub = self.sub("-V", theirs, "-t", "v/#", "-q", "2", "-C", str(3 * len(VERSIONS)), "-F", "%t %q %p")
            expected = []
            for ours in VERSIONS:
                for qos in "012":
                    self.pub("-V", ours, "-t", "v/%s" % ours, "-m", "x" + qos, "-q", qos)
                    expected.append("v/%s %s x%s" % (ours, qos, qos))
            self.assertEqual(sub.wait(), 0)
            self.assertEqual(self.messages(sub), expected)

    def test_lines_and_files(self):
        """Many messages of one mosquitto_pub (-l), and one large one (-s)."""
        body = b"\0".join(b"%d" % i for i in range(100000))
        for version in VERSIONS:
            sub = self.sub("-V", version, "-t", "l/#", "-q", "1", "-C", "201", "-F", "%l %p")
            self.pub("-V", version, "-t", "l/lines", "-q", "1", "-l", data=b"".join(b"line %d\n" % i for i in range(200)))
            self.pub("-V", version, "-t", "l/file", "-q", "2", "-s", data=body)
            self.assertEqual(sub.wait(), 0)
            got = self.messages(sub)
            self.assertEqual(got[:200], ["%d line %d" % (len("line %d" % i), i) for i in range(200)])
            self.assertEqual(got[200].split()[0], str(len(body)))

    def test_sessions(self):
        """-c: what comes while mosquitto_sub is away waits for it. In version 5 it must ask for that with -x."""
        for version in VERSIONS:
            args = ["-V", version, "-i", "keeps-" + version, "-c", "-q", "1", "-t", "s/#"]
            args += ["-x", "300"] if version == "mqttv5" else []
            subprocess.run(["mosquitto_sub", *self.where(), *args, "-E"], check=True, timeout=DEADLINE_S)
            for i in range(5):
                self.pub("-t", "s/%d" % i, "-m", "kept", "-q", "1", "-V", version)
            sub = self.spawn("mosquitto_sub", *self.where(), *args, "-C", "5", "-v")
            self.assertEqual(sub.wait(), 0)
            self.assertEqual(sub.lines, ["s/%d kept" % i for i in range(5)])
            subprocess.run(["mosquitto_sub", *self.where(), "-V", version, "-i", "keeps-" + version, "-t", "x", "-E"],
                           check=True, timeout=DEADLINE_S)  # a clean one ends it

    def test_will(self):
        """The will of a mosquitto_sub that is killed."""
        for version in VERSIONS:
            watcher = self.sub("-V", version, "-t", "will/#", "-C", "1", "-F", "%t %p %q")
            lost = self.sub("-V", version, "-t", "nothing", "--will-topic", "will/t", "--will-payload", "gone",
                            "--will-qos", "1")
            lost.kill()
            self.assertEqual(watcher.wait(), 0)
            self.assertIn(self.messages(watcher), (["will/t gone 0"], ["will/t gone 1"]))  # it subscribed with QoS 0


class Retained(Mosquitto):
    def test_retained_only(self):
        for version in VERSIONS:
            with self.subTest(version=version):
                for i in range(3):
                    self.pub("-V", version, "-t", "r/%d" % i, "-m", "kept %d" % i, "-r", "-q", "1")
                sub = self.sub("-V", version, "-t", "r/#", "--retained-only", "-C", "3", "-v")
                self.assertEqual(sub.wait(), 0)  # it ends by itself
                self.assertEqual(sorted(self.messages(sub)), ["r/%d kept %d" % (i, i) for i in range(3)])
                for i in range(3):
                    self.pub("-V", version, "-t", "r/%d" % i, "-n", "-r", "-q", "1")
                empty = self.spawn("mosquitto_sub", *self.where(), "-V", version, "-t", "r/#", "--retained-only", "-W", "1")
                self.assertEqual(empty.wait(), TIMED_OUT)
                self.assertEqual(empty.lines, ["Timed out"])

    def test_options_of_version_5(self):
        """--retain-as-published, and properties on both sides."""
        sub = self.sub("-V", "mqttv5", "-t", "o/#", "--retain-as-published", "-C", "2", "-F", "%t %r %p %P %C %R")
        self.pub("-V", "mqttv5", "-t", "o/1", "-m", "x", "-r", "-D", "publish", "user-property", "k", "v",
                 "-D", "publish", "content-type", "text/plain", "-D", "publish", "response-topic", "re/ply")
        self.pub("-V", "mqttv5", "-t", "o/2", "-m", "y")
        self.assertEqual(sub.wait(), 0)
        self.assertEqual([line.rstrip() for line in self.messages(sub)], ["o/1 1 x k:v text/plain re/ply", "o/2 0 y"])
        self.pub("-t", "o/1", "-n", "-r")

    def test_nothing_comes(self):
        """-W: the connection is kept for that long, and ended well."""
        sub = self.spawn("mosquitto_sub", *self.where(), "-t", "never", "-W", "1", "-k", "5")
        self.assertEqual(sub.wait(), TIMED_OUT)


class RequestResponse(Mosquitto):
    def test_rr(self):
        """mosquitto_rr asks; the answer goes to its response topic, in MQTT 5 with the correlation data."""
        responder = self.mqtt("responder", version=5)
        responder.subscribe("ask/#", 1)
        for version in VERSIONS:
            with self.subTest(version=version):
                more = ["-D", "publish", "correlation-data", "id 7"] if version == "mqttv5" else []
                rr = self.spawn("mosquitto_rr", *self.where(), "-V", version, "-t", "ask/" + version,
                                "-e", "answer/" + version, "-m", "6*7", "-q", "1", "-W", "15", *more)
                request = responder.next()
                self.assertEqual((request.topic, request.payload), ("ask/" + version, b"6*7"))
                props = {}
                if version == "mqttv5":
                    self.assertEqual(request.properties.ResponseTopic, "answer/mqttv5")
                    self.assertEqual(request.properties.CorrelationData, b"id 7")
                    props = {"CorrelationData": request.properties.CorrelationData}
                responder.publish("answer/" + version, b"42", 1, **props)
                self.assertEqual(rr.wait(), 0)
                self.assertEqual(rr.lines, ["42"])

    def test_nobody_answers(self):
        rr = self.spawn("mosquitto_rr", *self.where(), "-V", "5", "-t", "ask/x", "-e", "answer/x", "-m", "?", "-W", "1")
        self.assertEqual(rr.wait(), TIMED_OUT)


class Shared(Mosquitto):
    def test_two_members(self):
        """Each message to one of the two; the members are of different versions, one of them cannot know about $share."""
        for theirs in VERSIONS:
            with self.subTest(version=theirs):
                members = [self.sub("-V", ours, "-q", "1", "-t", "$share/g/job/#", "-t", "end")
                           for ours in ("mqttv5", theirs)]
                self.pub("-t", "job/x", "-q", "1", "-l", data=b"".join(b"%d\n" % i for i in range(100)))
                self.pub("-t", "end", "-m", "end")
                shares = []
                for member in members:
                    member.wait_line("^end$")
                    shares.append([int(line) for line in self.messages(member) if line != "end"])
                    member.kill()
                self.assertTrue(all(shares), shares)
                self.assertEqual(sorted(sum(shares, [])), list(range(100)))


class Sys(Mosquitto):
    NAMES = ("version", "uptime", "clients/connected", "clients/total", "messages/received", "messages/sent",
             "bytes/received", "bytes/sent", "load/messages/received/1min", "retained messages/count", "subscriptions/count",
             "store/messages/count")

    def test_sys(self):
        """$SYS has mosquitto's names; its values are retained, so that a new subscriber sees all of them at once."""
        for version in VERSIONS:
            with self.subTest(version=version):
                sub = self.sub("-V", version, "-t", "$SYS/#", "-v")
                for name in self.NAMES:
                    sub.wait_line(r"^\$SYS/broker/%s \S+" % name)
                sub.kill()

    def test_sys_is_not_for_writing(self):
        done = subprocess.run(["mosquitto_pub", *self.where(), "-V", "5", "-t", "$SYS/broker/version", "-m", "forged", "-r",
                               "-q", "1"], timeout=DEADLINE_S, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertIn(b"Not authorized", done.stdout)
        sub = self.sub("-t", "$SYS/broker/version", "-C", "1")
        sub.wait()
        self.assertNotIn("forged", self.messages(sub))


class Unix(Mosquitto):
    ARGS = None

    def where(self):
        return ("--unix", self.path)

    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.directory, "weir.sock")
        self.broker = self.start("-c", self.write("weir.conf", "listener 0 127.0.0.1\nlistener 0 %s\n" % self.path))
        self.port = self.broker.port

    def test_unix_socket(self):
        for version in VERSIONS:
            sub = self.sub("-V", version, "-t", "u/#", "-q", "2", "-C", "3", "-v")
            tcp = self.mqtt("tcp-" + version)
            tcp.subscribe("u/#", 1)
            for qos in "012":
                self.pub("-V", version, "-t", "u/" + qos, "-m", "x", "-q", qos)
                self.assertEqual(tcp.next().topic, "u/" + qos)
            self.assertEqual(sub.wait(), 0)
            self.assertEqual(self.messages(sub), ["u/%s x" % qos for qos in "012"])


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Queues and exchanges from both sides: mosquitto_pub and mosquitto_sub against $queue/, $share/, $exchange/ and $delayed/,
with stomp.py at the other end."""
import subprocess
import time

from harness import E2E, HOST, V5, main


class Across(E2E):
    def pub(self, *args):
        done = subprocess.run(["mosquitto_pub", "-h", HOST, "-p", str(self.port), "-q", "1", *args], timeout=20,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual((done.returncode, done.stdout), (0, b""))

    def sub(self, *args):
        sub = self.spawn("stdbuf", "-oL", "mosquitto_sub", "-h", HOST, "-p", str(self.port), "-q", "1", "-d", *args)
        sub.wait_line("^Subscribed ")
        return sub

    def bodies(self, sub):
        return [line for line in sub.lines if line.startswith("job ")]

    def test_device_feeds_a_work_queue(self):
        for i in range(3):
            self.pub("-t", "$queue/jobs", "-m", "job %d" % i)
        worker = self.stomp()
        worker.subscribe("/queue/jobs", ack="client-individual")
        frames = worker.take(3)
        self.assertEqual([frame.body for frame in frames], [b"job 0", b"job 1", b"job 2"])
        self.assertEqual(frames[0].headers["destination"], "/queue/jobs")
        for frame in frames:
            worker.ack(frame)

    def test_mosquitto_sub_as_a_worker(self):
        """It takes three and leaves; the rest is for the next one."""
        web = self.stomp()
        for i in range(5):
            web.send("/queue/jobs", b"job %d" % i)
        one = self.sub("-t", "$queue/jobs", "-C", "3", "-V", "mqttv5", "-D", "connect", "receive-maximum", "1")
        self.assertEqual(one.wait(), 0)
        taken = self.bodies(one)
        self.assertEqual(taken, ["job 0", "job 1", "job 2"])
        web.subscribe("/queue/jobs")
        rest = [frame.body for frame in web.take(2)]  # what it had acknowledged did not come back
        self.assertEqual(rest, [b"job 3", b"job 4"])

    def test_workers_of_both_protocols(self):
        device, web = self.sub("-t", "$queue/jobs", "-V", "mqttv5"), self.stomp()
        web.subscribe("/queue/jobs", ack="auto")
        sender = self.stomp()
        for i in range(40):
            sender.send("/queue/jobs", b"job %d" % i)
        device.wait_line("job (38|39)$")
        mine = 40 - len(self.bodies(device))
        got = [frame.body.decode() for frame in web.take(mine)] + self.bodies(device)
        self.assertEqual(sorted(got), sorted("job %d" % i for i in range(40)))
        self.assertGreater(mine, 0)

    def test_group_joined_from_stomp(self):
        device, web = self.sub("-t", "$share/crew/work/#"), self.stomp()
        web.subscribe("/mqtt/$share/crew/work/#")
        for i in range(20):
            self.pub("-t", "work/%d" % i, "-m", "job %d" % i)
        self.pub("-t", "work/end", "-m", "end")
        self.pub("-t", "work/end", "-m", "end")
        device.wait_line("^end$")
        got = self.bodies(device)
        while True:
            frame = web.next()
            if frame.body == b"end":
                break
            got.append(frame.body.decode())
        self.assertEqual(sorted(got), sorted("job %d" % i for i in range(20)))

    def test_exchanges(self):
        web = self.stomp()
        web.send("/manage/declare-exchange", b"", exchange="site", type="direct")
        web.subscribe("/exchange/site/hall", id="1")
        web.subscribe("/exchange/amq.fanout", id="2")
        self.pub("-t", "$exchange/site/hall", "-m", "to the hall")
        self.pub("-t", "$exchange/site/roof", "-m", "to nobody")
        self.pub("-t", "$exchange/amq.fanout/", "-m", "to all")
        got = {frame.headers["subscription"]: frame.body for frame in web.take(2)}
        self.assertEqual(got, {"1": b"to the hall", "2": b"to all"})

    def test_delayed(self):
        web = self.stomp()
        web.subscribe("/topic/later")
        start = time.monotonic()
        self.pub("-t", "$delayed/1/later", "-m", "now")
        self.assertEqual(web.next().body, b"now")
        self.assertGreaterEqual(time.monotonic() - start, 0.998)

    def test_full_queue_tells_both(self):
        """reject-publish: reason code 0x97 for MQTT 5, x-code:rejected for STOMP."""
        web = self.stomp()
        web.send("/queue/few", b"1", **{"x-max-length": "1", "x-overflow": "reject-publish"})
        done = subprocess.run(["mosquitto_pub", "-h", HOST, "-p", str(self.port), "-q", "1", "-V", "mqttv5", "-d",
                               "-t", "$queue/few", "-m", "2"], timeout=20, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertIn(b"RC:151", done.stdout)
        web.connection.send("/queue/few", b"3", headers={"receipt": "r", "reject": "receipt"})
        web.wait_receipt("r")
        web.subscribe("/queue/few")
        self.assertEqual(web.next().body, b"1")
        web.send("/topic/x")
        self.assertTrue(web.messages.empty())

    def test_dead_letters_reach_devices(self):
        """A dead letter is an ordinary message: a device reads where it came from in its User Properties."""
        device, web = self.mqtt("device", version=V5), self.stomp()
        device.subscribe("dead/#", 1)
        web.subscribe("/queue/jobs", ack="client-individual", **{
            "x-dead-letter-exchange": "amq.topic", "x-dead-letter-routing-key": "dead/jobs"})
        web.send("/queue/jobs", b"bad")
        web.nack(web.next(), requeue="false")
        got = device.next()
        self.assertEqual((got.topic, got.payload), ("dead/jobs", b"bad"))
        self.assertIn(("x-first-death-reason", "rejected"), got.properties.UserProperty)


if __name__ == "__main__":
    main()

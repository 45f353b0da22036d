# SPDX-License-Identifier: Apache-2.0
"""The directory of the log: what a start says about it, who may use it, what happens when it is full or damaged, and
`weir check-log`."""
import hashlib
import json
import os
import pwd
import shutil
import signal
import stat
import struct
import threading
import time
import unittest

from harness import DEADLINE_S, E2E, HOST, V5, WEIR_BIN, Broker, Process, main, wait_for
from raw import PUBACK, PUBLISH, RawMqtt
from test_restart import Restart

FOUND = r"weir [\d.]+: what is acknowledged is on disk, in (.*): (\d+) records found, (\d+) still in use, in \d+ ms(.*)$"
HEAD = 64  # bytes a segment begins with: eight of a name, the version, ..., their CRC-32C (persist/wal_file.c)


TAIL = 200 * b"0123456789"


def segments(directory):
    """The paths of the log's files, in their order."""
    return sorted(os.path.join(directory, name) for name in os.listdir(directory) if name.startswith("wal-"))


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def fingerprint(directory):
    """What is in there, byte for byte; the lock file says who was there last, which may change."""
    found = {}
    for name in sorted(os.listdir(directory)):
        if name != "lock":
            with open(os.path.join(directory, name), "rb") as file:
                found[name] = hashlib.sha256(file.read()).hexdigest()
    return found


def is_running(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


class Disk(Restart):
    """With some helpers for what is not a client."""

    def weir(self, *args):
        process = Process([WEIR_BIN, *args], env={"ASAN_OPTIONS": "detect_leaks=1:exitcode=99"})
        self.processes.append(process)
        return process.wait(), [line for line in process.lines if line.strip()]

    def refused(self, *args, words=()):
        code, lines = self.weir(*args)
        self.assertEqual((code, len(lines)), (2, 1), lines)
        for word in words:
            self.assertIn(word, lines[0])

    def check(self, *args):
        return self.weir("check-log", *args)

    def check_json(self, directory):
        code, lines = self.check("--json", directory)
        return code, json.loads("\n".join(lines))

    def found(self):
        """(records found, still in use, the rest of the line) of the last start."""
        match = self.broker.wait_line(FOUND)
        self.assertEqual(match.group(1), self.log)
        return int(match.group(2)), int(match.group(3)), match.group(4)

    def count(self, topic):
        """A number of $SYS; needs sys_interval 1."""
        client = self.keep(RawMqtt(self.port))
        client.connect("counts")
        client.subscribe("$SYS/broker/weir/" + topic, 0)
        number = client.read_publish()[1].decode()
        client.close()
        return float(number)


class Starts(Disk):
    def test_what_is_said(self):
        self.assertEqual(self.found(), (0, 0, ""))
        self.away("sub", ("a", 1))
        self.say(*[("a", b"%d" % i) for i in range(10)])
        self.restart()
        records, living, rest = self.found()
        self.assertGreaterEqual(records, 12)  # a session, a subscription, ten messages
        self.assertGreaterEqual(living, 12)
        self.assertEqual(rest, "")

    def test_by_command_line(self):
        """--data alone: the default sizes, and a directory that is made."""
        directory = os.path.join(self.directory, "made")
        for _ in range(2):
            broker = Broker(("-p", "0", "--data", directory + "/"))
            self.brokers.append(broker)
            broker.wait_line(r"what is acknowledged is on disk, in %s/: \d+ records found" % directory)
            broker.stop()
        self.assertEqual(stat.S_IMODE(os.stat(directory).st_mode), 0o700)
        self.assertEqual(self.check(directory)[0], 0)

    def test_interval(self):
        """What was acknowledged survives kill -9."""
        self.end()
        self.begin("persistence interval 1min")
        self.broker.wait_line(r"synced every 60000 ms, which a power cut may take, in %s: " % self.log)
        self.HOW = signal.SIGKILL
        self.away("sub", ("a", 1))
        self.say(("a", b"1"), ("a", b"2"))
        self.restart("persistence interval 1min")
        self.assertEqual(self.bodies(self.back("sub"), 2), [b"1", b"2"])

    def test_second_broker(self):
        words = ["another broker", self.log, str(self.broker.child.pid)]
        self.refused("-p", "0", "--data", self.log, words=words)
        self.say(("a", b"the first goes on"))
        self.HOW = signal.SIGKILL
        self.restart()  # and nothing of the dead one is in the way

    def test_newer_version(self):
        self.away("sub", ("a", 1))
        self.say(("a", b"1"))
        self.end()
        path = segments(self.log)[-1]
        with open(path, "r+b") as file:
            head = bytearray(file.read(HEAD))
            version, = struct.unpack_from("<I", head, 8)
            self.assertEqual(struct.unpack_from("<I", head, HEAD - 4)[0], crc32c(head[:HEAD - 4]))
            struct.pack_into("<I", head, 8, version + 1)
            struct.pack_into("<I", head, HEAD - 4, crc32c(head[:HEAD - 4]))
            file.seek(0)
            file.write(head)
        before = fingerprint(self.log)
        self.refused("-p", "0", "--data", self.log, words=[self.log, "newer", str(version + 1)])
        self.assertEqual(fingerprint(self.log), before)
        self.assertEqual(self.check(self.log)[0], 2)
        self.assertEqual(fingerprint(self.log), before)

    def test_no_directory(self):
        file = self.write("file", "x")
        self.refused("-p", "0", "--data", file, words=["--data", file])
        missing = os.path.join(self.directory, "no", "where")
        self.refused("-p", "0", "--data", missing, words=["--data", missing, "No such file or directory"])
        self.refused("-c", self.write("x.conf", "port 0\npersistence_location %s\n" % missing),
                     words=["x.conf:2: persistence_location", missing])

    def test_not_writable(self):
        directory = os.path.join(self.directory, "mine")
        os.mkdir(directory)
        os.chmod(self.directory, 0o755)
        os.chmod(directory, 0o555)
        config = "port 0\npersistence_location %s\n" % directory
        if os.geteuid() == 0:  # root may write everywhere; nobody may not
            config += "user nobody\n"
        self.refused("-c", self.write("x.conf", config), words=["persistence_location", directory, "denied"])
        self.assertEqual(os.listdir(directory), [])

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_user(self):
        """Root becomes `user` after the start; the log is that user's, and goes on in new files."""
        self.end()
        shutil.rmtree(self.log)
        os.chmod(self.directory, 0o755)
        self.SEGMENT = "64K"
        for life in range(2):
            self.begin("user nobody")
            with open("/proc/%d/status" % self.broker.child.pid) as file:
                status = file.read()
            nobody = pwd.getpwnam("nobody")
            self.assertIn("Uid:\t" + "\t".join([str(nobody.pw_uid)] * 4), status)
            self.assertIn("Gid:\t" + "\t".join([str(nobody.pw_gid)] * 4), status)
            self.assertGreater(len(os.listdir("/proc/%d/task" % self.broker.child.pid)), 1)  # the store's threads
            for task in os.listdir("/proc/%d/task" % self.broker.child.pid):
                with open("/proc/%d/task/%s/status" % (self.broker.child.pid, task)) as file:
                    self.assertIn("Uid:\t" + "\t".join([str(nobody.pw_uid)] * 4), file.read())
            if life == 0:
                self.away("sub", ("a", 1))
                self.say(*[("a", bytes(10000)) for _ in range(60)])  # ten files
                self.end()
        self.assertEqual({os.stat(path).st_uid for path in segments(self.log)}, {nobody.pw_uid})
        self.assertEqual(len(self.bodies(self.back("sub"), 60)), 60)

    def test_in_the_background(self):
        """-d: the threads that write are the child's."""
        self.end()
        self.HOW = signal.SIGKILL
        for life in range(2):
            pid_file, log_file = os.path.join(self.directory, "pid"), os.path.join(self.directory, "lines")
            path = self.write("d.conf", "listener 0 %s\npersistence_location %s\npersistence_segment_size 256K\n"
                              "pid_file %s\nlog_dest file %s\n" % (HOST, self.log, pid_file, log_file))
            code, lines = self.weir("-d", "-c", path)
            self.assertEqual(code, 0, lines)
            with open(pid_file) as file:
                pid = int(file.read())
            try:
                self.port = int(lines[0].rsplit(":", 1)[1].split()[0])
                if life == 0:
                    self.away("sub", ("a", 1))
                    self.say(("a", b"1"))
                else:
                    self.assertEqual(self.back("sub").next().payload, b"1")
            finally:
                os.kill(pid, signal.SIGKILL)
                wait_for("its end", lambda: not is_running(pid))
            self.close_clients()

    def test_moved(self):
        """A copy of the directory of a broker that has stopped is a backup."""
        self.away("sub", ("a", 1))
        self.say(("a", b"1"))
        self.end()
        shutil.copytree(self.log, self.log + "-copy")
        self.begin()
        self.say(("a", b"not in the copy"))
        self.end()
        shutil.rmtree(self.log)
        os.rename(self.log + "-copy", self.log)
        self.begin()
        self.say(("a", b"2"))
        self.assertEqual(self.bodies(self.back("sub"), 2), [b"1", b"2"])


class Stops(Disk):
    def flood(self, how):
        """A publisher that is stopped under way: what it was told is there, in order, and at most some more."""
        self.away("sub", ("a", 1))
        pub = self.mqtt("pub", in_flight=200)
        stop = threading.Event()

        def publish():
            for i in range(100000):
                if stop.is_set() or pub.client.publish("a", b"%d" % i, 1).rc != 0:
                    return
                while i - pub.done > 400 and not stop.is_set():
                    time.sleep(0.001)
        thread = threading.Thread(target=publish)
        thread.start()
        pub.wait_settled(2000)
        self.HOW = how
        if how == signal.SIGKILL:
            self.broker.child.kill()
        else:
            self.broker.child.send_signal(how)
            self.broker.stop = lambda: None
            self.assertEqual(self.broker.wait(), 0)
        pub.wait_end()
        acknowledged = pub.done
        stop.set()
        thread.join()
        self.broker.stopped = True
        self.broker.kill()
        self.close_clients()
        self.begin()
        sub = self.back("sub")
        got = [int(body) for body in self.bodies(sub, acknowledged)]
        self.assertEqual(got, list(range(acknowledged)))

    def test_stop_under_load(self):
        self.flood(signal.SIGTERM)

    def test_kill_under_load(self):
        self.flood(signal.SIGKILL)


class Damage(Disk):
    def fill(self, n=50):
        self.away("sub", ("a", 1))
        self.say(*[("a", b"%d " % i + TAIL) for i in range(n)])
        self.end()

    def numbers(self, client, n):
        return [int(body.split()[0]) for body in self.bodies(client, n)]

    def find(self, needle):
        """(path, offset) of bytes that are in the log once."""
        for path in segments(self.log):
            with open(path, "rb") as file:
                data = file.read()
            if needle in data:
                self.assertEqual(data.count(needle), 1)
                return path, data.index(needle)
        self.fail("%r is not in the log" % needle)

    def test_damaged_in_the_middle(self):
        """One message is set aside and said; everything else is there."""
        self.fill()
        path, offset = self.find(b"25 " + TAIL)
        with open(path, "r+b") as file:
            file.seek(offset + 1000)
            file.write(b"\xff")
        before = fingerprint(self.log)
        code, lines = self.check(self.log)
        self.assertEqual(code, 1, lines)
        self.assertTrue(any("damaged" in line for line in lines), lines)
        self.assertEqual(self.check_json(self.log)[0], 1)
        self.assertEqual(fingerprint(self.log), before)  # it changes nothing
        self.begin()
        self.assertRegex(self.found()[2], r"^; \d+ bytes are damaged and were set aside$")
        self.assertTrue(any(name.startswith("damaged-") for name in os.listdir(self.log)))
        self.say(("a", b"50 "))
        self.assertEqual(self.numbers(self.back("sub"), 50), [*range(25), *range(26, 51)])

    def test_cut_at_the_end(self):
        """What a power cut leaves: the tail goes, and everything before it stays. No damage: nobody was promised it."""
        self.fill()
        path, offset = self.find(b"49 " + TAIL)
        with open(path, "r+b") as file:
            file.seek(offset + 1000)
            file.write(bytes(os.path.getsize(path) - offset - 1000))
        for _ in range(2):
            self.begin()
            self.assertEqual(self.found()[2], "")
            self.end()
        self.begin()
        self.say(("a", b"50 "))
        self.assertEqual(self.numbers(self.back("sub"), 50), [*range(49), 50])

    def test_check_log(self):
        self.fill()
        before = fingerprint(self.log)
        code, lines = self.check(self.log)
        self.assertEqual(code, 0, lines)
        self.assertTrue(lines)
        code, found = self.check_json(self.log)
        self.assertEqual(code, 0)
        self.assertIsInstance(found, dict)
        self.assertEqual(fingerprint(self.log), before)
        self.begin()
        self.assertEqual(self.check(self.log)[0], 0)  # while a broker has it
        self.end()
        empty = os.path.join(self.directory, "none")
        self.assertEqual(self.check(empty)[0], 2)
        self.assertEqual(self.check(self.write("file", "x"))[0], 2)
        self.assertFalse(os.path.exists(empty))


class Full(Disk):
    OPTIONS = ("persistence_max_size 2M", "sys_interval 1", "max_queued_bytes 0", "max_queued_messages 0")

    def publish_until(self, pub, code, most):
        """How many were acknowledged before that reason code came."""
        for i in range(most):
            pub.publish("a", b"%d " % i + bytes(10000), 1, 1 + i)
            got = pub.read(PUBACK).body
            if len(got) > 2 and got[2] == code:
                return i
            self.assertTrue(len(got) == 2 or got[2] < 0x80, got)
        self.fail("0x%x did not come" % code)

    def test_refused_and_accepted_again(self):
        """Publishers are told (0x97), consumers go on, and when there is room again nobody needs to do
        anything."""
        self.away("sub", ("a", 1))
        pub = self.keep(RawMqtt(self.port, 5))
        pub.connect("pub")
        n = self.publish_until(pub, 0x97, 400)
        self.assertGreater(n, 50)  # of 10 KB each, in 2 MB with two files held back
        web = self.stomp()
        web.connection.send("/queue/jobs", bytes(10000), headers={"persistent": "true", "receipt": "r"})
        self.assertEqual(web.errors.get(timeout=DEADLINE_S).headers["x-code"], "rejected")
        wait_for("is_full", lambda: self.count("log/is_full") == 1)
        old = self.keep(RawMqtt(self.port, 4))
        old.connect("old")
        old.publish("a", bytes(10000), 1, 1)
        self.assertEqual(old.read_eof(), b"")  # 3.1.1 has no word for it
        live = self.keep(RawMqtt(self.port))  # what need not be stored goes on
        live.connect("live")
        live.subscribe("live", 1)
        live.publish("live", b"0")
        self.assertEqual(live.read_publish()[1], b"0")
        live.publish("live", b"1", 1, 1)
        self.assertEqual({live.read().kind for _ in range(2)}, {PUBACK, PUBLISH})
        self.restart()
        sub = self.back("sub")
        self.assertEqual([int(m.payload.split()[0]) for m in sub.take(n)], list(range(n)))
        pub = self.keep(RawMqtt(self.port, 5))
        pub.connect("pub")

        def accepted():
            pub.publish("a", b"again", 1, 7)
            got = pub.read(PUBACK).body
            return len(got) == 2 or got[2] < 0x80
        wait_for("room", accepted)
        self.assertEqual(sub.next().payload, b"again")
        wait_for("is_full to end", lambda: self.count("log/is_full") == 0)


class Written(Disk):
    OPTIONS = ("sys_interval 1",)

    def test_consumed_is_never_written(self):
        """Live traffic, acknowledged at once by its consumer, costs the disk next to nothing."""
        self.assertEqual(self.count("log/published_bytes"), 0)
        sub = self.mqtt("sub", clean=False)
        sub.subscribe("live", 1)
        pub = self.mqtt("pub")
        for i in range(500):
            pub.publish("live", bytes(1000), 1)
            sub.next()
        wait_for("the counters", lambda: self.count("log/published_bytes") >= 500 * 1000)
        self.assertLess(self.count("log/written_bytes"), 0.2 * self.count("log/published_bytes"))
        self.assertGreater(self.count("log/consumed"), 400)
        pub.publish("live", b"last", 1)
        self.assertEqual(sub.next().payload, b"last")
        sub.disconnect()
        self.say(*[("live", bytes(1000)) for _ in range(100)])  # nobody is there: all of it is written
        wait_for("the counters", lambda: self.count("log/written_bytes") >= 100 * 1000)

    def test_commit_interval(self):
        """Batches begin so long apart, and who waits for an answer waits for that; what comes meanwhile shares one."""
        self.restart("persistence_commit_interval 200", "persistence_commit_linger 0")
        self.away("sub", ("a", 1))
        pub = self.mqtt("pub", in_flight=100)
        pub.publish("a", b"first", 1)
        start = time.monotonic()
        for i in range(5):
            pub.publish("a", b"%d" % i, 1)
        self.assertGreater(time.monotonic() - start, 0.9)
        start, before = time.monotonic(), pub.done
        for i in range(100):
            pub.publish("a", b"%d" % i, 1, wait=False)
        pub.wait_settled(before + 100)
        self.assertLess(time.monotonic() - start, 10)


if __name__ == "__main__":
    main()

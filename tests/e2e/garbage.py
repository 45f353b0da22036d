#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""garbage.py: one broker is fed garbage for a while, and then has to pass the whole end-to-end suite without a restart.

    WEIR_BIN=build/dev/weir tests/e2e/garbage.py --seconds 60 [--seed N] [--data] [--no-suite] [test_file.py ...]

What is fed, from several connections at once (Feeder): random bytes; conversations in MQTT 3.1, 3.1.1, 5 and STOMP that
would be right but for a few bytes that were changed, left out, doubled or put in; the same behind a good login; handshakes
that stop half-way and stay; HTTP requests and WebSocket frames of the same kinds. A client that does nothing wrong looks on:
its round trips must go on. Then the test files run one after the other with WEIR_BROKER in the environment, the broker is
stopped, and its exit code and its output are checked as after every test.
"""
import argparse
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import raw
import ws
from harness import HOST, ROOT, WEIR_BIN, Broker, rss_kb
from raw import DISCONNECT, PINGREQ, PUBACK, PUBLISH, PUBREC, PUBREL, SUBSCRIBE, UNSUBSCRIBE, packet, text

FEEDERS, HALF_OPEN_MAX = 6, 100
ROUND_TRIP_S = 10       # longest that the onlooker may wait, on a busy machine with sanitizers
OWN_BROKERS = ("test_cli.py", "test_harness.py", "test_retained_many.py")  # nothing in them uses the broker that is given


# ------------------------------------------------------------------------------------------------ what is right

def mqtt_properties(dice):
    """Properties of a PUBLISH, with their length."""
    some = [b"\x01\x01", b"\x02\0\0\0\x09", b"\x03" + text("t/x"), b"\x08" + text("re/ply"), b"\x09" + text(b"\0\1"),
            b"\x23\0\x01", b"\x26" + text("name") + text("value"), b"\x26" + text("name") + text("again")]
    made = b"".join(dice.sample(some, dice.randrange(4)))
    return raw.varint(len(made)) + made


def mqtt_conversation(dice, with_login=True):
    """The packets of one side, each by itself."""
    level = dice.choice((3, 4, 5))
    none = b"\0" if level == 5 else b""
    filters = ("garbage/#", "+/+", "$share/g/garbage/#", "garbage/a", "$SYS/#", "$queue/garbage", "#")
    # no delay that holds, which could go off in the middle of a test
    topics = ("garbage/a", "garbage/a/b/c", "$queue/garbage", "$delayed/1s/garbage/a", "$exchange/amq.topic/garbage.a")
    out = []
    if with_login:
        will = ("garbage/will", "gone", dice.randrange(3), dice.randrange(2)) if dice.random() < 0.5 else None
        out.append(raw.mqtt_connect(level, "garbage-%d" % dice.randrange(50), clean=dice.random() < 0.5, will=will,
                                    expiry_s=dice.choice((None, 0, 1, 300))))
    for packet_id in range(1, dice.randrange(2, 12)):
        pid, qos, topic = struct.pack(">H", packet_id), dice.randrange(3), dice.choice(topics)
        properties = mqtt_properties(dice) if level == 5 else b""
        out.append(dice.choice((
            packet(SUBSCRIBE, pid + none + text(dice.choice(filters)) + bytes([qos]), 2),
            packet(UNSUBSCRIBE, pid + none + text(dice.choice(filters)), 2),
            packet(PUBLISH, text(topic) + (pid if qos else b"") + properties + dice.randbytes(dice.choice((0, 5, 300, 5000))),
                   qos << 1 | dice.randrange(2)),
            packet(PUBACK, pid), packet(PUBREC, pid), packet(PUBREL, pid, 2), packet(PINGREQ, b""))))
    if dice.random() < 0.5:
        out.append(packet(DISCONNECT, b""))
    return out


def stomp_frames(dice, number, version):
    """Some frame that is right behind a good login. What lasts is called garbage, and small."""
    destination = ("destination", dice.choice(("/topic/garbage.a", "/queue/garbage", "/mqtt/garbage/#", "/topic/garbage.*",
                                               "/exchange/amq.fanout/x", "/mqtt/$share/g/garbage/#", "/amq/queue/garbage")))
    body = dice.randbytes(dice.choice((0, 5, 300)))
    some = [("x-max-length", "20"), ("x-message-ttl", "50"), ("priority", "3"), ("expiration", "20"), ("x-delay", "20"),
            ("reply-to", "/temp-queue/r"), ("transaction", "t"), ("reject", "receipt"), ("x-overflow", "reject-publish"),
            ("x-dead-letter-exchange", "amq.fanout"), ("x-max-priority", "5"), ("durable", "true"), ("prefetch-count", "3"),
            ("x-queue-name", "garbage"), ("x-credit", "2"), ("browser", "true"), ("x-single-active-consumer", "true")]
    more = dice.sample(some, dice.choice((0, 0, 1, 2, 3)))
    verb, *wants = dice.choice((("declare-queue", "queue"), ("bind", "queue", "exchange"), ("unbind", "queue", "exchange"),
                                ("delete-queue", "queue"), ("purge", "queue"), ("pause", "queue"), ("resume", "queue"),
                                ("delete-exchange", "exchange"), ("declare-exchange", "exchange", "type")))
    manage = [("destination", "/manage/" + verb)] + [(name, "fanout" if name == "type" else "garbage") for name in wants]
    return dice.choice((
        raw.frame("SEND", [destination, ("content-length", str(len(body))), ("receipt", str(number)), *more], body, version),
        raw.frame("SUBSCRIBE", [destination, ("id", str(number)), ("ack", dice.choice(("auto", "client"))), *more]),
        raw.frame("SEND", manage),
        raw.frame("UNSUBSCRIBE", [("id", str(number))]), raw.frame("BEGIN", [("transaction", "t")]),
        raw.frame("COMMIT", [("transaction", "t")]), raw.frame("ABORT", [("transaction", "t")]),
        raw.frame("ACK", [("id", "1")]), raw.frame("NACK", [("id", "1")]), b"\n"))


def stomp_conversation(dice, with_login=True):
    version = dice.choice(("1.0", "1.1", "1.2"))
    out = []
    if with_login:
        out.append(raw.frame("CONNECT", [("accept-version", version), ("host", "localhost"), ("heart-beat", "0,0")]))
    if dice.random() < 0.5:
        out.append(raw.frame("BEGIN", [("transaction", "t")]))
    return out + [stomp_frames(dice, number, version) for number in range(dice.randrange(1, 10))]


def upgrade_request(dice):
    made = ws.RawWs.__new__(ws.RawWs)
    made.key, made.host = b"dGhlIHNhbXBsZSBub25jZQ==", "localhost"
    return made.request_bytes(protocol=dice.choice(("mqtt", "mqttv3.1", "mqtt, soap")))


# ------------------------------------------------------------------------------------------------ what is wrong with it

def mutate(dice, data):
    """The bytes with one to four small accidents."""
    data = bytearray(data)
    for _ in range(dice.randrange(1, 5)):
        if not data:
            break
        at, n = dice.randrange(len(data)), dice.choice((1, 1, 2, 4, 17))
        how = dice.randrange(7)
        if how == 0:
            data[at] ^= 1 << dice.randrange(8)
        elif how == 1:
            data[at] = dice.choice((0, 1, 0x7f, 0x80, 0xff))
        elif how == 2:
            del data[at:at + n]
        elif how == 3:
            data[at:at] = dice.randbytes(n)
        elif how == 4:
            data[at:at] = data[at:at + dice.randrange(200)]
        elif how == 5:
            del data[at:]
        else:
            data[at:at + n] = dice.randbytes(n)
    return bytes(data)


def in_frames(dice, packets):
    """The packets in WebSocket frames, of which some are wrong."""
    out = []
    for one in packets:
        good = dice.random() < 0.8
        out.append(ws.frame_bytes(
            ws.BINARY if good else dice.randrange(16), one, final=good or dice.random() < 0.5,
            mask=good or dice.random() < 0.5, reserved=0 if good else dice.randrange(8)))
        if dice.random() < 0.2:
            out.append(ws.frame_bytes(dice.choice((ws.PING, ws.PONG, ws.CLOSE)), dice.randbytes(dice.choice((0, 2, 125)))))
    return out


class Feeder(threading.Thread):
    """Feeds from its own dice until the end. counts: {kind: connections}."""

    def __init__(self, port, seed, end):
        super().__init__(daemon=True)
        self.port, self.dice, self.end = port, random.Random(seed), end
        self.counts, self.half_open = {}, []
        self.problem = None

    def run(self):
        kinds = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("feed_")]
        try:
            while time.monotonic() < self.end:
                kind = self.dice.choice(kinds)
                self.counts[kind.__name__] = self.counts.get(kind.__name__, 0) + 1
                kind()
        except Exception as problem:
            self.problem = problem
        for half in self.half_open:
            half.close()

    def open(self):
        return socket.create_connection((HOST, self.port), ROUND_TRIP_S)

    def say(self, pieces, then="listen", before=b""):
        """Sends `before` and waits for an answer, then the pieces, however the broker takes it; then listens a little,
        goes at once, or stays."""
        sock = self.open()
        try:
            if before:
                sock.sendall(before)
                sock.recv(65536)
            for piece in pieces:
                sock.sendall(piece)
            if then == "stay":
                self.half_open.append(sock)
                if len(self.half_open) > HALF_OPEN_MAX:
                    self.half_open.pop(self.dice.randrange(len(self.half_open))).close()
                return
            if then == "listen":
                sock.settimeout(0.02)
                while sock.recv(65536):
                    pass
        except OSError:
            pass  # refused, reset or silent: all of it is allowed
        if then != "stay":
            sock.close()

    def then(self):
        return self.dice.choice(("listen", "go", "go", "stay"))

    def conversation(self, **options):
        return self.dice.choice((mqtt_conversation, mqtt_conversation, stomp_conversation))(self.dice, **options)

    def feed_random_bytes(self):
        self.say([self.dice.randbytes(self.dice.choice((1, 10, 1000, 65536))) for _ in range(3)], self.then())

    def feed_random_behind_a_good_start(self):
        start = self.dice.choice((b"\x10", b"\x10\x20\0\4MQTT\5", b"CONNECT\n", b"STOMP\naccept-version:", b"GET / HTTP/1.1\r\n"))
        self.say([start, self.dice.randbytes(200)], self.then())

    def feed_mutated(self):
        packets = self.conversation()
        victim = self.dice.randrange(len(packets))
        packets[victim] = mutate(self.dice, packets[victim])
        self.say([b"".join(packets)], self.then())

    def feed_mutated_behind_a_login(self):
        packets = mqtt_conversation(self.dice)
        self.say([mutate(self.dice, b"".join(packets[1:]))], self.then(), before=packets[0])

    def feed_cut_off(self):
        data = b"".join(self.conversation())
        data = data[:self.dice.randrange(len(data))]
        step = self.dice.choice((1, 7, len(data) or 1)) if len(data) < 500 else len(data)
        self.say([data[i:i + step] for i in range(0, len(data), step)], self.then())

    def feed_half_open(self):
        data = self.dice.choice((b"", b"\x10", raw.mqtt_connect(5, "half")[:-2], b"CONNECT\naccept-version:1.2\n",
                                 upgrade_request(self.dice)[:-2], upgrade_request(self.dice)))
        self.say([data], "stay")

    def feed_http(self):
        self.say([mutate(self.dice, upgrade_request(self.dice)), mutate(self.dice, b"".join(mqtt_conversation(self.dice)))],
                 self.then())

    def feed_websocket_frames(self):
        frames = in_frames(self.dice, mqtt_conversation(self.dice))
        self.say(frames, self.then(), before=upgrade_request(self.dice))

    def feed_websocket_mutated(self):
        frames = b"".join(in_frames(self.dice, mqtt_conversation(self.dice)))
        self.say([mutate(self.dice, frames)], self.then(), before=upgrade_request(self.dice))

    def feed_websocket_random(self):
        self.say([self.dice.randbytes(self.dice.choice((2, 14, 5000)))], self.then(), before=upgrade_request(self.dice))


# ------------------------------------------------------------------------------------------------ the two halves

def feed(broker, seconds, seed):
    """Feeds for that long. False when the onlooker was disturbed or a feeder could not go on."""
    end = time.monotonic() + seconds
    feeders = [Feeder(broker.port, "%s %d" % (seed, i), end) for i in range(FEEDERS)]
    before, slowest = rss_kb(broker.child.pid), 0
    onlooker = raw.RawMqtt(broker.port, 5)
    onlooker.connect("onlooker")
    onlooker.subscribe("onlooker/t", 1)
    for feeder in feeders:
        feeder.start()
    n = 0
    while time.monotonic() < end:
        n, start = n + 1, time.monotonic()
        onlooker.publish("onlooker/t", b"%d" % n, 1, packet_id=1)
        for _ in range(2):
            got = onlooker.read(deadline_s=ROUND_TRIP_S)
            if got.kind == PUBLISH:
                at = 2 + struct.unpack(">H", got.body[:2])[0]
                onlooker.ack(PUBACK, struct.unpack(">H", got.body[at:at + 2])[0])
        slowest = max(slowest, time.monotonic() - start)
        feeders[0].join(0.05)  # a pause that ends with the feeding
    onlooker.disconnect()
    for feeder in feeders:
        feeder.join(ROUND_TRIP_S * 2)
    counts = {}
    for feeder in feeders:
        for kind, count in feeder.counts.items():
            counts[kind] = counts.get(kind, 0) + count
    for kind in sorted(counts):
        print("%8d  %s" % (counts[kind], kind[len("feed_"):].replace("_", " ")))
    print("%8d  connections in %g s; the slowest of %d round trips beside them took %.0f ms; memory %d KB, then %d KB" % (
        sum(counts.values()), seconds, n, slowest * 1000, before, rss_kb(broker.child.pid)), flush=True)
    problems = [feeder.problem for feeder in feeders if feeder.problem]
    for problem in problems:
        print("a feeder could not go on: %r" % problem)
    return not problems


def suite(broker, names):
    """Every test file against that broker. The names of those that failed."""
    here = os.path.join(ROOT, "tests", "e2e")
    names = names or sorted(name for name in os.listdir(here)
                            if name.startswith("test_") and name.endswith(".py") and name not in OWN_BROKERS)
    failed = []
    for name in names:
        start = time.monotonic()
        done = subprocess.run([sys.executable, "-B", os.path.join(here, name)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True,
                              env=dict(os.environ, WEIR_BROKER="%d,%d" % (broker.child.pid, broker.port)))
        ran = [line for line in done.stdout.splitlines() if line.startswith("Ran ")]
        print("%-7s %-26s %5.1f s  %s" % ("ok" if done.returncode == 0 else "FAILED", name, time.monotonic() - start,
                                          ran[0] if ran else "no test ran"), flush=True)
        if done.returncode != 0 or not ran:
            print(done.stdout)
            failed.append(name)
    return failed


def read_again(args, directory):
    """What the garbage left on the disk is a log without damage, and a broker starts with it."""
    done = subprocess.run([WEIR_BIN, "check-log", directory], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, flush=True)
    broker = Broker(args)
    try:
        broker.stop()
    finally:
        broker.kill()
    print(broker.output(), flush=True)
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("GARBAGE_S") or 60))
    parser.add_argument("--seed", type=int, default=None, help="default: from the clock; it is printed")
    parser.add_argument("--no-suite", action="store_true", help="only the garbage")
    parser.add_argument("--data", action="store_true", help="with a log, which is checked and read again afterwards")
    parser.add_argument("names", nargs="*", help="test files; all if there is none")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else int(time.time())
    print("garbage.py --seed %d" % seed, flush=True)
    directory = tempfile.mkdtemp(prefix="weir-garbage-") if options.data else None
    args = ("-p", "0", "--data", directory) if directory else ("-p", "0")
    broker = Broker(args)
    ok = False
    try:
        ok = feed(broker, options.seconds, seed)
        raw.forget_sessions(broker.port, {"garbage-%d" % i for i in range(50)} | {"half"})  # their wills go out now
        raw.clear_retained(broker.port)
        raw.delete_all(broker.port, {"garbage"}, {"garbage"})
        if not options.no_suite:
            ok = not suite(broker, options.names) and ok
        broker.stop()
        ok = (directory is None or read_again(args, directory)) and ok
    except BaseException:
        ok = False
        raise
    finally:
        broker.kill()
        if directory:
            shutil.rmtree(directory, ignore_errors=True)
        if not ok:
            print("\n---- log of the broker\n%s\n----" % "\n".join(broker.lines[-200:]))
    print("the broker took %g s of garbage%s" % (options.seconds, "" if options.no_suite else " and then passed the suite")
          if ok else "FAILED (--seed %d)" % seed)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())

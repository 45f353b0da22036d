# SPDX-License-Identifier: Apache-2.0
"""load.py: devices and applications that outlive their broker, and remember exactly what it told them.

Every actor is one connection that speaks its protocol by hand (raw.py's encoders). What it knows is a function of the
notes it has taken, and of nothing else:

    bytes in ──► note ──► state          note ──► bytes out          Actor.apply(note) is the only place that changes state

    before it sends something that counts, it notes that; what it was told is noted when it was read. So an actor can be
    made again as it was at any moment, from the notes up to there: the power-cut test does that.

    MqttPublisher    QoS 1 or 2 into a topic, a window of them on their way; after a reconnect it goes on with the session
    MqttConsumer     a lasting session; acknowledges; at QoS 2 with the receiver's table of packet ids (MQTT 5 §4.3.3)
    Retainer         retained messages at QoS 1 on a few topics, counting up
    StompProducer    SEND persistent:true with a receipt into a queue
    StompTx          transactions over two queues and a topic
    StompConsumer    takes from a queue, ACK with a receipt

What is demanded (check() of each; what is wrong is a line in world.wrong):
    acknowledged, then it arrives; QoS 2 never arrives twice; what was settled with a receipt does not come back; first
    arrivals are in order; of a transaction all or nothing; a session that was told of is still present.
"""
import collections
import errno
import json
import os
import random
import selectors
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import raw  # noqa: E402

HOST = "127.0.0.1"
LOGIN_S = 20


class Refused(Exception):
    pass


class Actor:
    """One connection. Subclasses have on_input(), pump() and apply()."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.socket, self.input, self.output = None, b"", []
        self.closed_by_peer = 0  # how often the broker ended the connection while we were running

    # -- notes

    def note(self, *note):
        self.apply(note)
        self.world.notes.append((self.name, note))

    def wrong(self, text, *args):
        self.world.wrong.append("%s: %s" % (self.name, text % args if args else text))

    # -- the connection

    def dial(self, port):
        self.socket = socket.create_connection((HOST, port), LOGIN_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input, self.output = b"", []
        self.login()
        self.socket.setblocking(False)
        self.world.selector.register(self.socket, selectors.EVENT_READ, self)
        self.on_input()  # what came with the answer to the login
        self.pump()

    def say(self, data):
        self.output.append(data)
        self.world.dirty.add(self)

    def flush(self):
        if self.socket is None:
            return
        data = b"".join(self.output)
        try:
            n = self.socket.send(data) if data else 0
        except BlockingIOError:
            n = 0
        except OSError:  # it has ended; what it had sent before is still there to be read
            self.output = []
            return
        self.output = [data[n:]] if n < len(data) else []
        if self.output:
            self.world.dirty.add(self)

    def read(self, may_answer=True):
        """False at the end of the stream."""
        try:
            data = self.socket.recv(262144)
        except BlockingIOError:
            return True
        except OSError as problem:
            if problem.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT):
                raise
            data = b""
        if not data:
            return False
        self.input += data
        self.on_input()
        if not may_answer:
            self.output = []
        return True

    def hang_up(self):
        if self.socket is not None:
            self.world.selector.unregister(self.socket)
            self.socket.close()
            self.socket = None
        self.output = []
        self.world.dirty.discard(self)

    # -- for subclasses

    def pump(self):
        """May send more."""

    def owes(self):
        """It still waits for the broker to answer something."""
        return False

    def apply(self, note):
        raise NotImplementedError


class World:
    """All actors, their loop, their notes, and what went wrong."""

    def __init__(self, seed=0, record=None):
        self.selector = selectors.DefaultSelector()
        self.actors, self.notes, self.wrong, self.dirty = {}, [], [], set()
        self.random = random.Random(seed)
        self.record = record  # something with mark(bytes), or None
        self.may_send = False
        self.refusals = []  # (name, code): PUBACK, DISCONNECT or ERROR instead of yes
        self.is_alive = lambda: True  # the broker

    def add(self, kind, name, *args, **options):
        self.actors[name] = kind(self, name, *args, **options)
        return self.actors[name]

    def write_notes(self):
        if self.record is not None and self.notes:
            self.record.mark(json.dumps(self.notes, separators=(",", ":")).encode())
        self.notes = []

    def flush(self):
        self.write_notes()
        dirty, self.dirty = self.dirty, set()
        for actor in dirty:
            actor.flush()

    def connect(self, port):
        for actor in self.actors.values():
            if actor.socket is None:
                actor.dial(port)
        self.flush()

    def step(self, timeout=0.02):
        """One turn of the loop. Connections that ended are hung up and counted."""
        for key, _ in self.selector.select(timeout):
            actor = key.data
            if actor.socket is not None and not actor.read():
                actor.closed_by_peer += 1
                actor.hang_up()
        if self.may_send:
            for actor in self.actors.values():
                if actor.socket is not None:
                    actor.pump()
        self.flush()

    def run(self, seconds):
        """Load, for so long."""
        self.may_send = True
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.is_alive():
            self.step(0.005)
        self.may_send = False

    def until(self, what, ready, seconds=20):
        """Goes on without new messages until ready(); False and a line in `wrong` when nothing has happened for so long."""
        end, seen = time.monotonic() + seconds, -1
        while not ready():
            pause = time.monotonic() + 0.03
            while time.monotonic() < pause:
                self.step(0.01)
            now = sum(actor.progress() for actor in self.actors.values() if hasattr(actor, "progress"))
            if now != seen:
                seen, end = now, time.monotonic() + seconds
            if not self.is_alive():
                self.wrong.append("the broker has ended while we waited for " + what)
                return False
            if time.monotonic() > end:
                self.wrong.append("%s: nothing more has come for %g s" % (what, seconds))
                return False
        return True

    def read_out(self, seconds=5):
        """The broker is gone: reads what it had sent, and answers nothing."""
        end = time.monotonic() + seconds
        for actor in self.actors.values():
            if actor.socket is None:
                continue
            while actor.read(may_answer=False) and time.monotonic() < end:
                pass
            actor.hang_up()
        self.dirty.clear()
        self.write_notes()

    def hang_up(self):
        for actor in self.actors.values():
            actor.hang_up()
        self.write_notes()

    def settle(self, seconds=20):
        """Nobody sends anything new; every publisher gets its answers."""
        return self.until("answers to " + ", ".join(a.name for a in self.actors.values() if a.owes())[:200],
                          lambda: not any(a.owes() for a in self.actors.values()), seconds)


# ------------------------------------------------------------------------------------------------ MQTT

class MqttActor(Actor):
    """A lasting session of MQTT 3.1.1, or of 5 with an expiry of an hour."""

    def __init__(self, world, name, level=4):
        super().__init__(world, name)
        self.level, self.known = level, False  # known: the broker has said that it keeps this session

    def login(self):
        if self.level == 5:
            packet = raw.mqtt_connect(5, self.name, clean=False, keepalive=600, expiry_s=3600)
        else:
            packet = raw.mqtt_connect(4, self.name, clean=False, keepalive=600)
        self.socket.sendall(packet)
        kind, flags, body = self.wait_packet()
        if kind != raw.CONNACK or body[1] != 0:
            raise Refused("%s: CONNACK %r" % (self.name, body))
        present = bool(body[0] & 1)
        if self.known and not present:
            self.wrong("the broker has forgotten the session it had told of")
            self.forget()
        if not self.known:
            self.note("known")
        self.resume(present)

    def wait_packet(self):
        while True:
            got = self.cut()
            if got is not None:
                return got
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("%s: the broker ended the connection" % self.name)
            self.input += data

    def cut(self):
        """(kind, flags, body) of the first packet of the input, or None."""
        data = self.input
        length, shift, i = 0, 0, 1
        while True:
            if len(data) <= i:
                return None
            length |= (data[i] & 127) << shift
            shift, i = shift + 7, i + 1
            if not data[i - 1] & 128:
                break
        if len(data) < i + length:
            return None
        self.input = data[i + length:]
        return data[0] >> 4, data[0] & 15, data[i:i + length]

    def on_input(self):
        data, at = self.input, 0
        while len(data) - at >= 2:
            length, shift, i = 0, 0, at + 1
            while i < len(data):
                length |= (data[i] & 127) << shift
                shift, i = shift + 7, i + 1
                if not data[i - 1] & 128:
                    break
            else:
                break
            if data[i - 1] & 128 or len(data) < i + length:
                break
            self.on_packet(data[at] >> 4, data[at] & 15, data[i:i + length])
            at = i + length
        self.input = data[at:]

    def ack(self, kind, packet_id):
        self.say(bytes([kind << 4 | (2 if kind == raw.PUBREL else 0), 2]) + struct.pack(">H", packet_id))

    def resume(self, present):
        pass

    def forget(self):
        pass

    def apply(self, note):
        if note[0] == "known":
            self.known = True


class MqttPublisher(MqttActor):
    """Messages "NAME:k" at QoS 1 or 2. sent: numbers up to next_k; acked: those the broker has said yes to (PUBACK, PUBREC)."""

    def __init__(self, world, name, topic, qos, window=50, level=4, payload=100, retain_topics=0):
        super().__init__(world, name, level)
        self.topic, self.qos, self.window, self.payload = topic, qos, window, payload
        self.next_k, self.next_id = 0, 1
        self.flight = collections.OrderedDict()  # packet id -> (k, "sent" or "released")
        self.acked, self.refused = set(), set()
        self.retain_topics = retain_topics

    def topic_of(self, k):
        return "%s/%d" % (self.topic, k % self.retain_topics) if self.retain_topics else self.topic

    def packet(self, packet_id, k, dup):
        body = raw.text(self.topic_of(k)) + struct.pack(">H", packet_id) + (b"\0" if self.level == 5 else b"")
        body += ("%s:%d:" % (self.name, k)).encode().ljust(self.payload, b".")
        return raw.packet(raw.PUBLISH, body, dup << 3 | self.qos << 1 | (1 if self.retain_topics else 0))

    def pump(self):
        while self.world.may_send and len(self.flight) < self.window:
            while self.next_id in self.flight:
                self.next_id = self.next_id % 65535 + 1
            packet_id, k = self.next_id, self.next_k
            self.note("s", packet_id, k)
            self.say(self.packet(packet_id, k, 0))

    def resume(self, present):
        """Everything that is not settled once more, in its order. [MQTT-4.4.0-1]"""
        for packet_id, (k, state) in list(self.flight.items()):
            if state == "sent":
                self.say(self.packet(packet_id, k, 1))
            else:
                self.ack(raw.PUBREL, packet_id)

    def on_packet(self, kind, flags, body):
        if kind == raw.DISCONNECT:
            self.world.refusals.append((self.name, body[0]))
            return
        packet_id = struct.unpack(">H", body[:2])[0]
        code = body[2] if len(body) > 2 else 0
        entry = self.flight.get(packet_id)
        if entry is None:
            self.wrong("kind %d for packet id %d, which nobody waits for", kind, packet_id)
            return
        if code >= 0x80 and kind in (raw.PUBACK, raw.PUBREC):
            self.world.refusals.append((self.name, code))
            self.note("x", packet_id)
        elif kind == raw.PUBACK and self.qos == 1:
            self.note("a", packet_id)
        elif kind == raw.PUBREC and self.qos == 2:
            self.note("r", packet_id)
            self.ack(raw.PUBREL, packet_id)
        elif kind == raw.PUBCOMP and self.qos == 2 and entry[1] == "released":
            self.note("c", packet_id)
        else:
            self.wrong("kind %d for packet id %d (%s)", kind, packet_id, entry[1])

    def apply(self, note):
        what, packet_id = note[0], note[1] if len(note) > 1 else 0
        if what == "s":
            self.flight[packet_id] = (note[2], "sent")
            self.next_k, self.next_id = note[2] + 1, packet_id % 65535 + 1
        elif what == "a":
            self.acked.add(self.flight.pop(packet_id)[0])
        elif what == "r":
            k = self.flight[packet_id][0]
            self.acked.add(k)
            self.flight[packet_id] = (k, "released")
        elif what == "c":
            self.flight.pop(packet_id)
        elif what == "x":
            self.refused.add(self.flight.pop(packet_id)[0])
        else:
            super().apply(note)

    def forget(self):
        self.flight.clear()

    def owes(self):
        return self.socket is not None and bool(self.flight)

    def progress(self):
        return len(self.acked) - len(self.flight)


class MqttConsumer(MqttActor):
    """Subscribes once, then only returns. seen: how often each message has arrived."""

    def __init__(self, world, name, filters, qos, level=4):
        super().__init__(world, name, level)
        self.filters, self.qos = filters, qos
        self.subscribed = False
        self.seen, self.held = {}, {}  # (publisher, k) -> n; packet id -> (publisher, k)
        self.last = {}                 # publisher -> highest k seen
        self.again = 0                 # arrivals that were not the first

    def resume(self, present):
        if self.subscribed:
            return
        body = b"\0\1" + (b"\0" if self.level == 5 else b"")
        for name in self.filters:
            body += raw.text(name) + bytes([self.qos])
        self.socket.sendall(raw.packet(raw.SUBSCRIBE, body, 2))
        while True:  # what matches may come before the SUBACK
            kind, flags, body = self.wait_packet()
            if kind == raw.SUBACK:
                break
            self.on_packet(kind, flags, body)
        if any(code >= 0x80 for code in body[2 + (1 if self.level == 5 else 0):]):
            raise Refused("%s: SUBACK %r" % (self.name, body))
        self.note("sub")

    def on_packet(self, kind, flags, body):
        if kind == raw.PUBLISH:
            self.on_publish(flags, body)
        elif kind == raw.PUBREL:
            packet_id = struct.unpack(">H", body[:2])[0]
            self.note("rel", packet_id)  # one that is not held: its PUBCOMP was lost
            self.ack(raw.PUBCOMP, packet_id)
        else:
            self.wrong("kind %d %r", kind, body[:40])

    def on_publish(self, flags, body):
        n = struct.unpack(">H", body[:2])[0]
        at, qos, packet_id = 2 + n, flags >> 1 & 3, 0
        if qos:
            packet_id = struct.unpack(">H", body[at:at + 2])[0]
            at += 2
        if self.level == 5:
            at += 1 + body[at]  # short properties only
        publisher, k = body[at:].split(b":", 2)[:2]
        key = [publisher.decode(), int(k)]
        if qos == 2:
            if packet_id in self.held:
                if list(self.held[packet_id]) != key:
                    self.wrong("packet id %d is %r and now %r", packet_id, self.held[packet_id], key)
            else:
                self.note("g", packet_id, key, 2, flags >> 3)
            self.ack(raw.PUBREC, packet_id)
            return
        self.note("g", packet_id, key, qos, flags >> 3)
        if qos == 1:
            self.ack(raw.PUBACK, packet_id)

    def apply(self, note):
        if note[0] == "g":
            _, packet_id, key, qos, dup = note
            key = tuple(key)
            n = self.seen[key] = self.seen.get(key, 0) + 1
            self.again += n > 1
            if qos == 2:
                self.held[packet_id] = key
                if n > 1:
                    self.wrong("%r has arrived %d times at QoS 2", key, n)
            if n == 1:
                if key[1] < self.last.get(key[0], -1):
                    self.wrong("%r came for the first time behind %d", key, self.last[key[0]])
                self.last[key[0]] = max(key[1], self.last.get(key[0], -1))
        elif note[0] == "rel":
            self.held.pop(note[1], None)
        elif note[0] == "sub":
            self.subscribed = True
        else:
            super().apply(note)

    def has(self, publisher, k):
        return (publisher, k) in self.seen

    def progress(self):
        return len(self.seen) + self.again


# ------------------------------------------------------------------------------------------------ STOMP

class StompActor(Actor):
    def login(self):
        self.socket.sendall(raw.frame("CONNECT", [("accept-version", "1.2"), ("host", "localhost")]))
        while b"\0" not in self.input:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("%s: the broker ended the connection" % self.name)
            self.input += data
        head, self.input = self.input.split(b"\0", 1)
        if not head.startswith(b"CONNECTED"):
            raise Refused("%s: %r" % (self.name, head))
        self.resume()

    def on_input(self):
        while True:
            self.input = self.input.lstrip(b"\r\n")
            at = self.input.find(b"\n\n")
            if at < 0:
                return
            lines = self.input[:at].decode().split("\n")
            headers = {}
            for line in lines[1:]:
                name, _, value = line.partition(":")
                headers.setdefault(name, value)
            if "content-length" in headers:
                end = at + 2 + int(headers["content-length"])
                if len(self.input) <= end:
                    return
            else:
                end = self.input.find(b"\0", at + 2)
                if end < 0:
                    return
            body, self.input = self.input[at + 2:end], self.input[end + 1:]
            self.on_frame(lines[0], headers, body)

    def frame(self, command, *headers, body=b""):
        self.say(raw.frame(command, headers, body))

    def on_error(self, headers):
        self.world.refusals.append((self.name, headers.get("x-code") or headers.get("message")))

    def resume(self):
        pass


class StompProducer(StompActor):
    def __init__(self, world, name, queue, window=50, payload=100):
        super().__init__(world, name)
        self.queue, self.window, self.payload = queue, window, payload
        self.next_k, self.acked, self.waiting = 0, set(), set()

    def pump(self):
        while self.world.may_send and len(self.waiting) < self.window:
            self.send_one()

    def send_one(self):
        k = self.next_k
        self.note("s", k)
        self.frame("SEND", ("destination", self.queue), ("persistent", "true"), ("receipt", str(k)),
                   body=("%s:%d:" % (self.name, k)).encode().ljust(self.payload, b"."))

    def on_frame(self, command, headers, body):
        if command == "RECEIPT":
            self.note("a", int(headers["receipt-id"]))
        elif command == "ERROR":
            self.on_error(headers)
        else:
            self.wrong("%s %r", command, headers)

    def resume(self):
        self.note("lost")

    def apply(self, note):
        if note[0] == "s":
            self.waiting.add(note[1])
            self.next_k = note[1] + 1
        elif note[0] == "a":
            self.waiting.remove(note[1])
            self.acked.add(note[1])
        else:
            self.waiting.clear()  # nobody knows of these whether they are stored

    def owes(self):
        return self.socket is not None and bool(self.waiting)

    def progress(self):
        return len(self.acked) - len(self.waiting)


class StompTx(StompActor):
    """Transaction k sends messages k*8 .. k*8+4: 0 to 1 into the first queue, 2 to 3 into the second, 4 to the topic."""

    PARTS = 5

    def __init__(self, world, name, queues, topic, window=4):
        super().__init__(world, name)
        self.queues, self.topic, self.window = queues, topic, window
        self.next_k, self.acked, self.waiting = 0, set(), set()

    def destinations(self):
        return [self.queues[0], self.queues[0], self.queues[1], self.queues[1], "/topic/" + self.topic]

    def pump(self):
        while self.world.may_send and len(self.waiting) < self.window:
            self.send_one()

    def send_one(self):
        k = self.next_k
        self.note("s", k)
        name = "t%d" % k
        self.frame("BEGIN", ("transaction", name))
        for part, destination in enumerate(self.destinations()):
            self.frame("SEND", ("destination", destination), ("persistent", "true"), ("transaction", name),
                       body=("%s:%d:" % (self.name, k * 8 + part)).encode().ljust(60, b"."))
        self.frame("COMMIT", ("transaction", name), ("receipt", str(k)))

    on_frame = StompProducer.on_frame
    resume = StompProducer.resume
    apply = StompProducer.apply
    owes = StompProducer.owes
    progress = StompProducer.progress


class StompConsumer(StompActor):
    """gone: what the broker has confirmed as acknowledged; it must never come again."""

    def __init__(self, world, name, queue, prefetch=20):
        super().__init__(world, name)
        self.queue, self.prefetch = queue, prefetch
        self.seen, self.gone, self.last = {}, set(), {}

    def resume(self):
        self.frame("SUBSCRIBE", ("id", "0"), ("destination", self.queue), ("ack", "client-individual"),
                   ("prefetch-count", str(self.prefetch)))

    def on_frame(self, command, headers, body):
        if command == "MESSAGE":
            publisher, k = body.split(b":", 2)[:2]
            key = [publisher.decode(), int(k)]
            self.note("g", key)
            self.frame("ACK", ("id", headers["ack"]), ("receipt", "%s:%d" % tuple(key)))
        elif command == "RECEIPT":
            publisher, k = headers["receipt-id"].replace("\\c", ":").split(":")
            self.note("k", [publisher, int(k)])
        elif command == "ERROR":
            self.on_error(headers)
        else:
            self.wrong("%s %r", command, headers)

    def apply(self, note):
        key = tuple(note[1])
        if note[0] == "g":
            if key in self.gone:
                self.wrong("%r was acknowledged with a receipt, and comes again", key)
            n = self.seen[key] = self.seen.get(key, 0) + 1
            if n == 1:
                if key[1] < self.last.get(key[0], -1):
                    self.wrong("%r came for the first time behind %d", key, self.last[key[0]])
                self.last[key[0]] = max(key[1], self.last.get(key[0], -1))
        else:
            self.gone.add(key)

    def has(self, publisher, k):
        return (publisher, k) in self.seen

    def progress(self):
        return len(self.seen) + len(self.gone)


# ------------------------------------------------------------------------------------------------ a world, and its judgement

class Flow:
    """Who must get whose messages, and all that is demanded of it. checked: messages that have arrived everywhere."""

    def __init__(self, publisher, *consumers):
        self.publisher, self.consumers = publisher, consumers
        self.checked, self.judged_k = set(), 0

    def has(self, k):
        return all(consumer.has(self.publisher.name, k) for consumer in self.consumers)

    def missing(self):
        """Acknowledged, and not there."""
        todo = self.publisher.acked - self.checked
        lost = {k for k in todo if not self.has(k)}
        self.checked |= todo - lost
        return lost

    def judge(self, world):
        lost = sorted(self.missing())
        if lost:
            world.wrong.append("%d of %d acknowledged messages of %s are lost: %s" % (
                len(lost), len(self.publisher.acked), self.publisher.name, [
                    (k, [c.name for c in self.consumers if not c.has(self.publisher.name, k)]) for k in lost[:10]]))
        for consumer in self.consumers:
            highest = consumer.last.get(self.publisher.name, -1)
            if highest >= self.publisher.next_k:
                world.wrong.append("%s: message %d of %s was never sent" % (consumer.name, highest, self.publisher.name))


class TxFlow:
    """Like Flow, but of transactions. To be judged when a transaction sent last is there: then nothing else comes."""

    def __init__(self, tx, first, second, session):
        self.publisher, self.consumers = tx, (first, second, session)
        self.of_part = (first, first, second, second, session)
        self.checked, self.judged_k = set(), 0

    def parts(self, k):
        return [self.of_part[part].has(self.publisher.name, k * 8 + part) for part in range(StompTx.PARTS)]

    def has(self, k):
        return all(self.parts(k))

    missing = Flow.missing

    def judge(self, world):
        lost, torn = sorted(self.missing()), []
        for k in range(self.judged_k, self.publisher.next_k):
            parts = self.parts(k)
            if any(parts) and not all(parts):
                torn.append((k, parts))
        self.judged_k = self.publisher.next_k
        if lost:
            world.wrong.append("%d of %d committed transactions are not whole: %s" % (
                len(lost), len(self.publisher.acked), [(k, self.parts(k)) for k in lost[:10]]))
        if torn:
            world.wrong.append("%d transactions are there in part: %s" % (len(torn), torn[:5]))


class RetainedCheck:
    """After settle: each topic has its last message, or one that is still on its way."""

    def __init__(self, publisher):
        self.publisher = publisher

    def judge(self, world, port):
        probe = raw.RawMqtt(port)
        probe.connect("retained-probe", clean=True)
        probe.send(raw.packet(raw.SUBSCRIBE, b"\0\1" + raw.text(self.publisher.topic + "/#") + b"\0", 2))
        found, want = {}, {}
        for k in self.publisher.acked:
            want[k % self.publisher.retain_topics] = max(k, want.get(k % self.publisher.retain_topics, -1))
        end = time.monotonic() + 5
        while len(found) < len(want) and time.monotonic() < end:
            try:
                got = probe.read(deadline_s=1)  # retained messages come before, among or behind the SUBACK
            except TimeoutError:
                break
            if got.kind == raw.PUBLISH:
                n = struct.unpack(">H", got.body[:2])[0]
                found[int(got.body[2:2 + n].rsplit(b"/", 1)[1])] = int(got.body[2 + n:].split(b":")[1])
        probe.disconnect()
        for i, k in sorted(want.items()):
            if found.get(i, -1) < k:
                world.wrong.append("retained %s/%d: message %d was acknowledged, there is %s" % (
                    self.publisher.topic, i, k, found.get(i)))


class Everything:
    """One world with every kind of actor: what the kill and power-cut tests put a broker under."""

    def __init__(self, seed=0, record=None, window=40, payload=100, prefix=""):
        world = self.world = World(seed, record)
        self.flows, p = [], prefix
        away1 = world.add(MqttConsumer, p + "away1", ["one/#", "tx/all"], 1)
        away2 = world.add(MqttConsumer, p + "away2", ["two/#"], 2, level=5)
        live1 = world.add(MqttConsumer, p + "live1", ["one/#"], 1, level=5)
        live2 = world.add(MqttConsumer, p + "live2", ["two/#"], 2)
        self.away = [away1, away2]
        for i, level in enumerate((4, 5)):
            one = world.add(MqttPublisher, "%sone%d" % (p, i), "one/%d" % i, 1, window, level, payload)
            two = world.add(MqttPublisher, "%stwo%d" % (p, i), "two/%d" % i, 2, window // 2, level, payload)
            self.flows += [Flow(one, away1, live1), Flow(two, away2, live2)]
        take = world.add(StompConsumer, p + "take", "/queue/work")
        self.flows.append(Flow(world.add(StompProducer, p + "work", "/queue/work", window, payload), take))
        first = world.add(StompConsumer, p + "first", "/queue/first")
        second = world.add(StompConsumer, p + "second", "/queue/second")
        self.flows.append(TxFlow(world.add(StompTx, p + "tx", ["/queue/first", "/queue/second"], "tx.all"),
                                 first, second, away1))
        keep = world.add(MqttPublisher, p + "keep", "keep", 1, 10, 4, 40, retain_topics=20)
        self.retained = RetainedCheck(keep)
        self.actors = world.actors

    def send_off(self):
        """The absent go: their sessions get messages that wait."""
        for actor in self.away:
            actor.hang_up()

    def connect(self, port, away=False):
        for actor in self.actors.values():
            if actor.socket is None and (away or actor not in self.away):
                actor.dial(port)
        self.world.flush()

    def verify(self, port, seconds=20):
        """Everybody comes, nobody sends anything new, everything must arrive. Closes nothing."""
        world = self.world
        self.connect(port, away=True)
        world.settle(seconds)
        tx = next(a for a in self.actors.values() if isinstance(a, StompTx))
        tx.send_one()  # in the queues it stands behind all that came before: when it is there, nothing else comes
        world.settle(seconds)
        world.until("messages that were acknowledged", lambda: not any(flow.missing() for flow in self.flows), seconds)
        for flow in self.flows:
            flow.judge(world)
        self.retained.judge(world, port)

    def count(self):
        """Acknowledged so far: messages and transactions."""
        return sum(len(flow.publisher.acked) for flow in self.flows) + len(self.retained.publisher.acked)

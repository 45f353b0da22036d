# SPDX-License-Identifier: Apache-2.0
"""Shared subscriptions while members die: a publisher sends numbered messages through $share/g/work/#, members are cut off
without goodbye and come back, or others come instead, at random by a seed. In the end every number was settled by somebody:
at QoS 1 at least once, at QoS 2 exactly once as long as the sessions come back. WEIR_SEED repeats a run."""
import os
import random
import select
import struct
import threading
import time

from harness import E2E, TimeOut, main
from raw import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, RawMqtt, packet

SEED = int(os.environ.get("WEIR_SEED") or 20261121)
FILTER, ALL_S = "$share/g/work/#", 60


class Member:
    """A connection of one member. What it has read is settled late or never, as the dice say."""

    def __init__(self, test, name, level, qos, lasting, dice):
        self.test, self.name, self.level, self.qos, self.lasting, self.dice = test, name, level, qos, lasting, dice
        self.to_settle, self.released = [], []
        self.raw = RawMqtt(test.port, level)
        options = {"clean": not lasting}
        if lasting and level == 5:
            options["expiry_s"] = 300
        self.present = self.raw.connect(name, **options)
        if not self.present:
            self.raw.subscribe(FILTER, qos)
        self.take_whole()

    def fileno(self):
        return self.raw.socket.fileno()

    def pump(self):
        """Takes what is there. False when the connection has ended, which no member expects."""
        try:
            data = self.raw.fill(time.monotonic() + 1, "messages")
        except TimeoutError:
            return True
        self.take_whole()
        return bool(data)

    def take_whole(self):
        while self.whole():
            self.on_packet(self.raw.read())

    def whole(self):
        """Whether a whole packet is in the buffer."""
        b, length, shift, i = self.raw.buffer, 0, 0, 1
        while i < len(b):
            length |= (b[i] & 127) << shift
            shift, i = shift + 7, i + 1
            if not b[i - 1] & 128:
                return len(b) >= i + length
        return False

    def on_packet(self, got):
        if got.kind == PUBLISH:
            n = struct.unpack(">H", got.body[:2])[0]
            packet_id = struct.unpack(">H", got.body[2 + n:4 + n])[0]
            number = int(got.body[4 + n + (self.level == 5):])
            self.to_settle.append((packet_id, number, got.flags >> 3))
        elif got.kind == PUBREL:
            self.released.append(struct.unpack(">H", got.body[:2])[0])

    def settle(self, n=None):
        """The oldest n; all without n."""
        now, self.to_settle = self.to_settle[:n], self.to_settle[n:] if n is not None else []
        for packet_id, number, is_again in now:
            self.test.on_settled(self, packet_id, number, is_again)
        self.raw.send(b"".join(packet(PUBACK if self.qos == 1 else PUBREC, struct.pack(">H", packet_id))
                               for packet_id, _, _ in now))
        gone, self.released = self.released, []
        for packet_id in gone:
            self.test.on_released(self, packet_id)
        self.raw.send(b"".join(packet(PUBCOMP, struct.pack(">H", packet_id)) for packet_id in gone))

    def die(self):
        """Without goodbye: with a reset, or with an end in the middle of what it would have said."""
        if self.dice.random() < 0.5:
            self.raw.socket.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER 0: RST
        self.raw.close()


class Dying(E2E):
    SECONDS = 120

    def setUp(self):
        super().setUp()
        print("WEIR_SEED=%d" % SEED)
        self.dice = random.Random("%d %s" % (SEED, self._testMethodName))
        self.settled, self.open_ids, self.deaths = {}, {}, 0

    # ---- what members tell

    def on_settled(self, member, packet_id, number, is_again):
        """QoS 1: settled. QoS 2: received; the same packet id of the same session is the same message until PUBREL."""
        if member.qos == 2:
            key = (member.name, packet_id)
            if key in self.open_ids:
                self.assertEqual((self.open_ids[key], is_again), (number, 1), "another message under an open packet id")
                return
            self.open_ids[key] = number
        self.settled[number] = self.settled.get(number, 0) + 1

    def on_released(self, member, packet_id):
        self.open_ids.pop((member.name, packet_id), None)

    # ---- the run

    def publisher(self, n, qos, wave):
        """Sends n numbers in waves, the next one when the one before is settled: the group never has all at once."""
        try:
            pub = self.mqtt("publisher", in_flight=wave)
            for start in range(0, n, wave):
                for i in range(start, min(start + wave, n)):
                    pub.publish("work/%d" % (i % 5), b"%d" % i, qos, wait=False)
                pub.wait_settled(min(start + wave, n))
        except Exception as problem:  # shown by the test, which sees that numbers are missing
            print("the publisher: %r" % problem)

    def run_group(self, n, qos, new_member, deaths, members_n=4):
        """Until all n are settled. new_member(old name or None) gives a member; all are replaced when they die."""
        members = [new_member(None) for _ in range(members_n)]
        thread = threading.Thread(target=self.publisher, args=(n, qos, 200), daemon=True)
        thread.start()
        end = time.monotonic() + ALL_S
        try:
            while len(self.settled) < n or self.open_ids:
                if time.monotonic() > end:
                    raise TimeOut("settled %d of %d after %d deaths; %d open at QoS 2; missing %r" % (
                        len(self.settled), n, self.deaths, len(self.open_ids),
                        [i for i in range(n) if i not in self.settled][:20]))
                self.turn(members, new_member, deaths)
        finally:
            thread.join(5)
            for member in members:
                member.raw.close()
        print("%d messages, %d deaths, %d settled more than once" % (
            n, self.deaths, sum(count > 1 for count in self.settled.values())))

    def turn(self, members, new_member, deaths):
        readable, _, _ = select.select(members, [], [], 0.02)
        for member in readable:
            self.assertTrue(member.pump(), "the broker closed the connection of %s" % member.name)
        for i, member in enumerate(members):
            if self.dice.random() < 0.7:
                member.settle(self.dice.choice((None, 1, 3)))
            if member.to_settle and self.deaths < deaths and self.dice.random() < 0.3:
                self.deaths += 1
                member.die()
                members[i] = new_member(member.name)

    def test_qos1_members_of_every_kind(self):
        """Clean ones and lasting ones, 3.1.1 and 5; a lasting one sometimes comes back, sometimes stays away."""
        names = iter(range(10000))

        def new_member(old):
            if old and old.startswith("lasting") and self.dice.random() < 0.7:
                return Member(self, old, int(old[-1]), 1, True, self.dice)
            kind, level = self.dice.choice(("lasting", "clean")), self.dice.choice((4, 5))
            return Member(self, "%s-%d-%d" % (kind, next(names), level), level, 1, kind == "lasting", self.dice)

        self.run_group(20000, 1, new_member, 400)
        self.assertEqual(sorted(self.settled), list(range(20000)))

    def test_qos2_members_that_come_back(self):
        """What was sent to a session at QoS 2 stays with it: nothing is lost, and nothing comes twice."""
        names = iter(range(10000))

        def new_member(old):
            level = int(old[-1]) if old else self.dice.choice((4, 5))
            member = Member(self, old or "lasting-%d-%d" % (next(names), level), level, 2, True, self.dice)
            self.assertEqual(member.present, old is not None)
            return member

        self.run_group(6000, 2, new_member, 200)
        self.assertEqual(self.settled, {i: 1 for i in range(6000)})

    def test_nobody_is_there_for_a_while(self):
        """All members are away: the backlog waits, in order, and goes to whoever comes first."""
        members = [Member(self, "lasting-%d-5" % i, 5, 1, True, self.dice) for i in range(3)]
        for member in members:
            member.die()
        pub = self.mqtt("publisher")
        for i in range(500):
            pub.publish("work/x", b"%d" % i, 1, wait=False)
        pub.wait_settled(500)
        one = Member(self, "lasting-1-5", 5, 1, True, self.dice)
        self.assertTrue(one.present)
        order = []
        while len(self.settled) < 500:
            order += [number for _, number, _ in one.to_settle]
            one.settle()
            self.assertTrue(len(self.settled) == 500 or one.pump())
        self.assertEqual(order, list(range(500)))
        one.raw.disconnect()

    def test_a_member_that_does_not_read(self):
        """Credit, not round robin: who does not acknowledge gets no more than its Receive Maximum; the other does the work."""
        stuck = self.keep(RawMqtt(self.port, 5))
        stuck.connect("stuck", props=b"\x21\0\x05")
        stuck.subscribe(FILTER, 1)
        busy = self.mqtt("busy")
        busy.subscribe(FILTER, 1)
        pub = self.mqtt("publisher")
        for i in range(200):
            pub.publish("work/x", b"%d" % i, 1)
        got = [int(m.payload) for m in busy.take(195)]
        held = [int(stuck.read_publish()[1]) for _ in range(5)]
        stuck.ping()
        self.assertEqual(sorted(got + held), list(range(200)))
        stuck.close()  # what it held goes to the other
        self.assertEqual(sorted(int(m.payload) for m in busy.take(5)), sorted(held))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""test_kill.py: kill -9 under load, again and again, on one data directory.

Every round: load from MQTT (QoS 1 and 2, sessions that are away and sessions that are not) and STOMP (persistent with
receipt, transactions, consumers that acknowledge with receipt), kill -9 at a random moment, restart (and in some rounds
kill -9 again while it starts or while everybody comes back), then everybody returns and all that was ever acknowledged
must have arrived. What is demanded in detail: load.py. 50 rounds; with CRASH_LONG=1 (./dev crash) 300.
"""
import random
import time
import unittest

import crash
import load

ROUNDS = 300 if crash.LONG else 50


class Kill(crash.CrashTest):
    def rounds(self, n, seed, *options):
        chance = random.Random(seed)
        everything = load.Everything(seed)
        world, told, kills = everything.world, 0, 0
        broker = self.start(*options)
        everything.connect(broker.port, away=True)
        everything.send_off()
        for i in range(n):
            world.run(chance.uniform(0.02, 0.25))
            broker.crash()
            kills += 1
            world.read_out()
            told = everything.count()
            while chance.random() < 0.3:  # once more, before it is ready or while they come back
                broker = self.start(*options, wait=False)
                time.sleep(chance.uniform(0, 0.1))
                broker.crash()
                kills += 1
            broker = self.start(*options)
            if chance.random() < 0.3:
                everything.connect(broker.port, away=chance.random() < 0.5)
                world.run(chance.uniform(0, 0.03))
                broker.crash()
                kills += 1
                world.read_out()
                broker = self.start(*options)
            everything.verify(broker.port)
            self.nothing_wrong(world, "round %d (seed %d)" % (i, seed))
            everything.send_off()
        self.assertGreater(told, 100 * n, "that was no load")
        self.assertEqual(world.refusals, [])
        world.hang_up()
        broker.stop()
        crash.say("%d kills, %d acknowledged, 0 lost" % (kills, told))

    def test_kill_9(self):
        self.rounds(ROUNDS, 1, *crash.SMALL)

    def test_kill_9_while_it_lingers(self):
        """A long linger and a short commit interval: more is open when it dies."""
        self.rounds(ROUNDS // 10, 2, "persistence_commit_linger 100", "persistence_commit_interval 5", *crash.SMALL)

    def test_interval_survives_kill_9(self):
        """persistence interval: what is written is the system's, so it survives the death of the process."""
        self.rounds(ROUNDS // 10, 3, "persistence interval 1000", *crash.SMALL)

    def test_these_eyes_see(self):
        """A broker that keeps nothing must be found out, in every respect."""
        everything = load.Everything(4)
        broker = self.start("persistence off")
        everything.connect(broker.port, away=True)
        everything.send_off()
        everything.world.run(0.1)
        broker.crash()
        everything.world.read_out()
        broker = self.start("persistence off")
        everything.verify(broker.port, 1)
        wrong = "\n".join(everything.world.wrong)
        for what in ("forgotten the session", "of one0 are lost", "of two1 are lost", "of work are lost",
                     "committed transactions are not whole", "there in part", "retained keep/3: message"):
            self.assertIn(what, wrong)
        everything.world.hang_up()
        broker.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)

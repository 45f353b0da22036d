# SPDX-License-Identifier: Apache-2.0
"""nats.py: NATS server with its MQTT listener, Debian package nats-server.

MQTT needs JetStream, which keeps QoS 1 messages and sessions in files; they are in the run's temporary directory. Version
2.9 has no QoS 2.
"""
import os

from side_by_side.broker import OFFLINE, RETAINED, WILDCARD, Peer, write

CONFIGURATION = """\
server_name: bench
listen: "127.0.0.1:%d"
jetstream { store_dir: "%s" }
mqtt { listen: "127.0.0.1:%d", max_ack_pending: 1000 }
"""


class Nats(Peer):
    name = "nats"
    title = "NATS"
    program = "nats-server"
    can = frozenset((RETAINED, OFFLINE, WILDCARD))
    how = "JetStream in files (MQTT needs it; QoS 1 messages are written there), max_ack_pending 1000, no QoS 2"

    def configure(self, home, ports):
        text = CONFIGURATION % (ports.inner, os.path.join(home, "jetstream"), ports.mqtt)
        return [self.path, "-c", write(home, "nats.conf", text)], {}

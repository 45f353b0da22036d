# SPDX-License-Identifier: Apache-2.0
"""flashmq.py: FlashMQ, if a program of that name is on the PATH; Debian has no package."""
from side_by_side.broker import OFFLINE, QOS2, RETAINED, WILDCARD, Peer, write

CONFIGURATION = """\
allow_anonymous true
thread_count 1
quiet true
max_qos_msg_pending_per_client 65535
client_max_write_buffer_size 33554432
listen {
  protocol mqtt
  inet_protocol ip4
  inet4_bind_address 127.0.0.1
  port %d
}
"""


class Flashmq(Peer):
    name = "flashmq"
    title = "FlashMQ"
    program = "flashmq"
    can = frozenset((QOS2, RETAINED, OFFLINE, WILDCARD))
    how = "one thread, max_qos_msg_pending_per_client 65535 (its most), client_max_write_buffer_size 32 MiB, no storage"

    def configure(self, home, ports):
        return [self.path, "--config-file", write(home, "flashmq.conf", CONFIGURATION % ports.mqtt)], {}

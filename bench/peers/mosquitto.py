# SPDX-License-Identifier: Apache-2.0
"""mosquitto.py: Eclipse mosquitto, Debian package mosquitto."""
from side_by_side.broker import OFFLINE, QOS2, RETAINED, WILDCARD, Peer, write

CONFIGURATION = """\
listener %d 127.0.0.1
allow_anonymous true
persistence false
set_tcp_nodelay true
max_inflight_messages 1000
max_queued_messages 0
max_queued_bytes 0
sys_interval 0
log_dest none
log_type none
"""


class Mosquitto(Peer):
    name = "mosquitto"
    title = "mosquitto"
    program = "mosquitto"
    can = frozenset((QOS2, RETAINED, OFFLINE, WILDCARD))
    how = "persistence off, set_tcp_nodelay, max_inflight_messages 1000, no limit on queued messages, no $SYS, log off"

    def version(self):
        return self.ask(self.path, "-h")

    def configure(self, home, ports):
        return [self.path, "-c", write(home, "mosquitto.conf", CONFIGURATION % ports.mqtt)], {}

# SPDX-License-Identifier: Apache-2.0
"""weir.py: the broker of this repository, with no limit on what waits (its default is 100,000 messages per session)."""
import os

from side_by_side.broker import OFFLINE, QOS2, RETAINED, STOMP, WILDCARD, Peer, write

CONFIGURATION = """\
listener %d 127.0.0.1
listener %d 127.0.0.1
max_queued_messages 0
max_queued_bytes 0
log_dest none
"""


class Weir(Peer):
    name = "weir"
    title = "**Weir**"
    can = frozenset((QOS2, STOMP, RETAINED, OFFLINE, WILDCARD))
    end_codes = (0,)
    how = "no limit on queued messages, log off"

    def find(self):
        path = os.path.join(self.build, "weir")
        return path if os.access(path, os.X_OK) else None

    def configure(self, home, ports):
        return [self.path, "-c", write(home, "weir.conf", CONFIGURATION % (ports.mqtt, ports.stomp))], {}

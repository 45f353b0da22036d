# SPDX-License-Identifier: Apache-2.0
"""forwarder.py: bench/forwarder.c, the limit of the machine."""
import os

from side_by_side.broker import QOS2, Peer


class Forwarder(Peer):
    name = "forwarder"
    title = "forwarder"
    can = frozenset((QOS2,))
    how = "nothing to configure: exact topics, no sessions, no checks"

    def find(self):
        path = os.path.join(self.build, "forwarder")
        return path if os.access(path, os.X_OK) else None

    def version(self):
        return "of this repository"

    def configure(self, home, ports):
        return [self.path, "-p", str(ports.mqtt)], {}

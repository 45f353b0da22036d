# SPDX-License-Identifier: Apache-2.0
"""paho-python over TCP and WebSocket: the common tests. What is special to one version is in test_mqtt5.py."""
from paho.mqtt.client import SubscribeOptions
from paho.mqtt.packettypes import PacketTypes

from clients import E2E, Aliases, Suite
from harness import DEADLINE_S, main, properties


class PahoPython(Suite, Aliases, E2E):
    KINDS = ("py", "py ws")

    def subscribe_with_id(self, client, filter, number, **options):
        client.client.subscribe(filter, options=SubscribeOptions(qos=1, **options), properties=properties(
            PacketTypes.SUBSCRIBE, SubscriptionIdentifier=number))
        _, granted = client.subacks.get(timeout=DEADLINE_S)
        self.assertEqual(granted[0].value, 1)


if __name__ == "__main__":
    main()

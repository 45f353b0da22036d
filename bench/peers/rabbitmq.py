# SPDX-License-Identifier: Apache-2.0
"""rabbitmq.py: RabbitMQ with its plug-ins for MQTT and STOMP, Debian package rabbitmq-server.

The package's command wants to be its system user and its service. We start the script behind it, as ourselves: node,
database, plug-in list and cookie are in the run's directory. Erlang's port mapper (epmd) would be started as a daemon
that stays; so we start one of our own, on loopback and in the foreground, and end it with the broker.

A start takes some nine seconds (it waits for a cluster that is not there), so it is started once and kept.
"""
import glob
import os

from side_by_side.broker import OFFLINE, STOMP, WILDCARD, Peer, write

CONFIGURATION = """\
listeners.tcp = none
mqtt.listeners.tcp.1 = 127.0.0.1:%d
mqtt.allow_anonymous = true
mqtt.prefetch = 1000
stomp.listeners.tcp.1 = 127.0.0.1:%d
stomp.default_user = guest
stomp.default_pass = guest
log.console = false
log.file = false
"""
SCRIPTS = "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"


class Rabbitmq(Peer):
    name = "rabbitmq"
    title = "RabbitMQ"
    can = frozenset((STOMP, OFFLINE, WILDCARD))  # it stores retained messages, but does not replay them to wildcards
    start_s = 25
    is_kept = True
    how = "MQTT and STOMP plug-ins, mqtt.prefetch 1000, otherwise its defaults, log off, one process " \
          "kept for all scenarios (paused while others run) but those that measure memory"

    def find(self):
        found = sorted(glob.glob(SCRIPTS))
        return found[-1] if found and os.access("/usr/bin/epmd", os.X_OK) else None

    def version(self):
        return "RabbitMQ " + self.path.split("rabbitmq_server-")[1].split("/")[0]

    def helper(self, ports):
        return ["/usr/bin/epmd", "-port", str(ports.mapper), "-address", "127.0.0.1"]

    def configure(self, home, ports):
        return [self.path], {
            "HOME": home,
            "ERL_EPMD_PORT": str(ports.mapper),
            "RABBITMQ_BASE": home,
            "RABBITMQ_NODENAME": "bench@localhost",
            "RABBITMQ_MNESIA_BASE": os.path.join(home, "mnesia"),
            "RABBITMQ_LOG_BASE": os.path.join(home, "log"),
            "RABBITMQ_CONFIG_FILE": write(home, "rabbitmq.conf", CONFIGURATION % (ports.mqtt, ports.stomp)),
            "RABBITMQ_ENABLED_PLUGINS_FILE": write(home, "plugins", "[rabbitmq_mqtt,rabbitmq_stomp].\n"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_DIST_PORT": str(ports.inner),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
            "RUNNING_UNDER_SYSTEMD": "yes",  # so the script becomes the broker instead of waiting for it
        }

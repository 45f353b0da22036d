# SPDX-License-Identifier: Apache-2.0
"""scenarios.py: what is measured. Everything that decides it is a table here.

A scenario is a call of weir-bench (or a measurement of our own, see `kind`) for every broker that can do it:

    pairs("pairs-50-q1", 50, qos=1)   ─►  weir-bench pairs 50 --qos 1 --seconds 1 ...   for each broker, in rounds

Rounds are interleaved: forwarder, weir, peers; again; so that all brokers see the same minutes of the machine. Brokers with
fewer rounds than others take part in the first ones.

A group is a table of the document. Its columns name a row of weir-bench's report, by index, and a key in it.
"""
from dataclasses import dataclass, field

from .broker import OFFLINE, QOS2, RETAINED, STOMP, WILDCARD

WEIR, FORWARDER = "weir", "forwarder"
OURS = (FORWARDER, WEIR)


@dataclass(frozen=True)
class Scenario:
    name: str
    group: str
    title: str
    command: str = ""         # of weir-bench
    n: int = 1
    options: tuple = ()
    kind: str = "bench"       # start: only the memory after a start; syscalls: weir-bench with strace on the broker
    seconds: int = 1
    needs: frozenset = frozenset()
    without: tuple = ()       # brokers that are left out
    only: tuple = ()          # brokers that take part; empty: all that can
    sizes: dict = field(default_factory=dict)       # broker -> smaller n
    more: dict = field(default_factory=dict)        # broker -> further options
    instead: dict = field(default_factory=dict)     # broker -> (command, n, options) of its own
    rounds: int = 3           # of forwarder and weir
    peer_rounds: int = 3
    fresh: bool = False       # also brokers that are otherwise kept are started anew
    points: tuple = ()        # of a curve: (x, n, further options)

    def takes(self, peer):
        if self.only and peer.name not in self.only or peer.name in self.without:
            return False
        return peer.name in self.instead or self.needs <= peer.can

    def rounds_of(self, name):
        return self.rounds if name in OURS else self.peer_rounds


@dataclass(frozen=True)
class Column:
    title: str
    row: int                  # of the report of weir-bench, -1: the last
    key: str                  # in that row; "a.b": in the object a
    unit: str = "count"       # count, ns, us, seconds, bytes, ratio, share
    scale: float = 1.0


@dataclass(frozen=True)
class Group:
    name: str
    title: str
    text: str
    columns: tuple
    compare: bool = True      # the first column also as a ratio to the forwarder's, and weir's to the peer's


CPU = Column("CPU/msg", 0, "broker_cpu_ns", "ns")
BUSY = Column("its core", 0, "broker_share", "share")
RATE = Column("msg/s", 0, "per_s")
MEMORY = "Growth of RssAnon (memory it allocated and touched), divided by N. Sockets' kernel memory is not in it. "

GROUPS = (
    Group("mqtt", "MQTT throughput",
          "Received messages per second (deliveries in a fan-out), 64-byte payloads unless said. P→S: P publishers, S "
          "subscribers; 50→50 are fifty pairs with a topic each.", (RATE, CPU, BUSY)),
    Group("stomp", "STOMP throughput",
          "64-byte bodies, one producer, one consumer. There is no forwarder for STOMP. `receipt`: every SEND asks for one; "
          "`ack`: client-individual.", (RATE, CPU, BUSY)),
    Group("latency", "Latency at 10,000 messages per second",
          "One pair, open loop: the time runs from when a message was due, so a stall delays all that were due "
          "meanwhile. Tails mean something only beside the forwarder's, which is the noise of the machine.",
          (Column("p50", 0, "latency_us.p50", "us"), Column("p90", 0, "latency_us.p90", "us"),
           Column("p99", 0, "latency_us.p99", "us"), Column("p99.9", 0, "latency_us.p99.9", "us"), CPU), compare=False),
    Group("start", "Memory after the start", "RSS has the program's text and shared libraries in it, RssAnon has not.",
          (Column("RSS", 0, "rss_bytes", "bytes"), Column("RssAnon", 0, "rss_anon_bytes", "bytes")), compare=False),
    Group("idle", "Idle connections", MEMORY,
          (Column("bytes per connection", 0, "bytes_per_connection"),), compare=False),
    Group("connect", "Connects", "CONNECT, CONNACK, DISCONNECT, 32 at a time. The generator works as hard as the broker.",
          (Column("connects/s", 0, "per_s"), Column("CPU/connect", 0, "cpu_us_per_connect", "us")), compare=False),
    Group("storms", "Storms", "Ten times N connections as fast as they come, then all leave at once.",
          (Column("logins/s, last storm", -1, "per_s"), Column("RssAnon after the first", 0, "rss_anon_out_bytes", "bytes"),
           Column("after the last", -1, "rss_anon_out_bytes", "bytes"),
           Column("CPU/connect and close", -1, "cpu_us_per_connect_and_close", "us")), compare=False),
    Group("retained", "Retained messages",
          "N topics with 64-byte payloads stored at QoS 1, replayed to a subscriber of `#`, cleared. " + MEMORY,
          (Column("stored/s", 0, "per_s"), Column("bytes per topic", 0, "bytes_per_topic"),
           Column("replay", 1, "seconds", "seconds"), Column("CPU/msg of it", 1, "broker_cpu_ns", "ns")), compare=False),
    Group("offline", "Offline session",
          "N messages at QoS 1 for a session that is away; it returns and takes them. " + MEMORY,
          (Column("enqueued/s", 0, "per_s"), Column("bytes per message", 0, "bytes_per_message"),
           Column("drain", 1, "seconds", "seconds"), Column("CPU/msg of it", 1, "broker_cpu_ns", "ns")), compare=False),
    Group("subs", "Many subscriptions",
          "N filters over 100 connections; messages go to random ones of their N topics: the worst case for caches. "
          + MEMORY,
          (Column("subscribed/s", 0, "per_s"), Column("bytes per subscription", 0, "bytes_per_subscription"),
           Column("matched msg/s", 1, "per_s"), Column("CPU/msg", 1, "broker_cpu_ns", "ns")), compare=False),
    Group("steady", "Ageing, and one that does not read",
          "Ageing: a pair before and after N connections have subscribed to its topic and gone. Stuck: 1→100, then the "
          "same with one subscriber that reads nothing; what the others still get. The forwarder's ratio is the noise.",
          (Column("before, msg/s", 0, "per_s"), Column("after", -1, "per_s"), Column("ratio", -1, "rate_ratio", "ratio")),
          compare=False),
    Group("syscalls", "System calls per message",
          "All system calls of the broker (strace) divided by messages received, at full load. strace slows it, so more "
          "messages wait for each call: read these as orders of magnitude. What is on its way bounds them: a read and a "
          "write for each batch of at most 100 messages (50→50) is the least, and the forwarder's figure shows it.",
          (Column("calls per message", 0, "syscalls_per_message", "ratio"),), compare=False),
    Group("growth", "Growth", "", (CPU,), compare=False),
)


def traffic(name, title, command, n, qos, **more):
    options = ("--qos", str(qos)) + more.pop("options", ())
    return Scenario(name, "mqtt", title + " QoS %d" % qos, command, n, options, rounds=more.pop("rounds", 7),
                    needs=frozenset((QOS2,)) if qos == 2 else frozenset(), **more)


def mqtt_scenarios():
    slow = ("rabbitmq",)  # minutes for what says nothing new
    for n in (1, 50, 500):
        for qos in (0, 1, 2):
            few = n == 500
            yield traffic("pairs-%d-q%d" % (n, qos), "%d→%d" % (n, n), "pairs", n, qos,
                          peer_rounds=1 if few else 3, rounds=3 if few else 7,
                          without=slow + (("nats",) if qos == 1 else ()) if few else ())
    yield traffic("pairs-1-q0-1k", "1→1, 1 KiB,", "pairs", 1, 0, options=("--payload", "1024"))
    for n in (100, 1000):
        for qos in (0, 1):
            yield traffic("fanout-%d-q%d" % (n, qos), "1→%s" % format(n, ","), "fanout", n, qos,
                          rounds=7 if n == 100 else 3, without=slow if n == 1000 or qos == 1 else ())
    for qos in (0, 1):
        yield traffic("fanin-100-q%d" % qos, "100→1", "fanin", 100, qos, without=slow if qos == 1 else ())


def stomp(name, title, *options):
    return Scenario(name, "stomp", title, "stomp", 1, options, needs=frozenset((STOMP,)))


STOMP_SCENARIOS = (
    stomp("stomp-topic", "/topic"),
    stomp("stomp-topic-receipt", "/topic, receipt", "--receipts"),
    stomp("stomp-queue", "/queue", "--queue"),
    stomp("stomp-queue-ack", "/queue, ack", "--queue", "--ack", "client-individual"),
    stomp("stomp-queue-ack-receipt", "/queue, ack, receipt", "--queue", "--ack", "client-individual", "--receipts"),
    stomp("mqtt-to-stomp", "MQTT QoS 0 → STOMP /topic", "--from", "mqtt"),
)

OTHER_SCENARIOS = (
    Scenario("rate-q0", "latency", "QoS 0", "rate", 1, ("--rate", "10000", "--qos", "0"), rounds=5, seconds=2),
    Scenario("rate-q1", "latency", "QoS 1", "rate", 1, ("--rate", "10000", "--qos", "1"), rounds=3, seconds=2,
             without=("rabbitmq",)),
    Scenario("start", "start", "start", kind="start", rounds=3, peer_rounds=1, fresh=True),
    Scenario("idle-0", "idle", "no subscription", "idle", 10000, rounds=2, peer_rounds=1, fresh=True,
             sizes={"rabbitmq": 2000}),
    Scenario("idle-1", "idle", "1 subscription", "idle", 10000, ("--subs", "1"), rounds=2, peer_rounds=1, fresh=True,
             sizes={"rabbitmq": 2000}),
    Scenario("idle-5", "idle", "5 subscriptions", "idle", 10000, ("--subs", "5"), rounds=2, peer_rounds=1, fresh=True,
             without=("rabbitmq",)),
    Scenario("connect", "connect", "32 at a time", "connect", 32, rounds=3),
    Scenario("storms", "storms", "ten storms", "storms", 10000, rounds=1, peer_rounds=1, sizes={"nats": 2000},
             without=("rabbitmq", FORWARDER)),
    Scenario("retained", "retained", "store and replay", "retained", 1000000, needs=frozenset((RETAINED,)),
             peer_rounds=1, sizes={"nats": 20000}),
    Scenario("offline", "offline", "100,000 queued", "offline", 100000, needs=frozenset((OFFLINE,)), peer_rounds=1,
             sizes={"rabbitmq": 20000}, fresh=True),
    Scenario("subs-exact", "subs", "exact", "subs", 1000000, peer_rounds=1, sizes={"nats": 100000},
             without=("rabbitmq",)),
    Scenario("subs-wildcard", "subs", "wildcards", "subs", 1000000, ("--wildcard",), needs=frozenset((WILDCARD,)),
             peer_rounds=1, sizes={"nats": 100000}, without=("rabbitmq",)),
    Scenario("ageing", "steady", "ageing, 100,000 cycles", "ageing", 100000, peer_rounds=1, sizes={"nats": 20000}, without=("rabbitmq",)),
    Scenario("stuck", "steady", "1→100, one stuck", "stuck", 100, peer_rounds=1, without=("rabbitmq",)),
    Scenario("syscalls-1-q0", "syscalls", "1→1 QoS 0", "pairs", 1, ("--qos", "0"), kind="syscalls", rounds=2,
             peer_rounds=1),
    Scenario("syscalls-50-q0", "syscalls", "50→50 QoS 0", "pairs", 50, ("--qos", "0"), kind="syscalls", rounds=2,
             peer_rounds=1, without=("rabbitmq",)),
    Scenario("syscalls-50-q1", "syscalls", "50→50 QoS 1", "pairs", 50, ("--qos", "1"), kind="syscalls", rounds=2,
             peer_rounds=1, without=("rabbitmq",)),
)

CONNECTIONS = (10, 100, 1000, 10000)
SUBSCRIPTIONS = (1, 10, 100, 1000, 10000, 100000, 1000000)
WAITING = (1, 100, 10000, 100000, 1000000)
QUEUED = (1000, 10000, 100000, 1000000)


def growth(name, title, command, **more):
    return Scenario(name, "growth", title, command, only=OURS, rounds=more.pop("rounds", 3), **more)


GROWTH_SCENARIOS = (
    growth("growth-pairs", "all at work, in pairs", "pairs", points=tuple((x, x // 2, ()) for x in CONNECTIONS)),
    growth("growth-idle", "idle, beside fifty pairs", "pairs",
           points=tuple((x, 50, ("--idle", str(x))) for x in CONNECTIONS)),
    growth("growth-exact", "exact filters", "subs", options=("--parallel", "10"),
           points=tuple((x, x, ()) for x in SUBSCRIPTIONS)),
    growth("growth-wildcard", "filters with wildcards", "subs", options=("--parallel", "10"),
           points=tuple((x, x, ()) for x in SUBSCRIPTIONS), more={WEIR: ("--wildcard",)}),
    growth("growth-waiting", "waiting elsewhere, beside fifty pairs", "pairs",
           points=tuple((x, 50, ("--waiting", str(x))) for x in WAITING)),
    growth("growth-through", "in and out of one queue of that length", "offline",
           points=tuple((x, x, ()) for x in QUEUED),
           instead={FORWARDER: ("pairs", 1, ("--qos", "1", "--window", "1000"))}),
)

SCENARIOS = tuple(mqtt_scenarios()) + STOMP_SCENARIOS + OTHER_SCENARIOS + GROWTH_SCENARIOS

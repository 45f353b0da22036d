#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seed corpus of fuzz_mqtt_wire to mqtt_wire/ beside this file.

A seed is a run of packets "first byte | body"; bytes are hex, text stands in quotes, the remaining length is computed.
"""
import pathlib

SEEDS = {
    "connect_v5_will": ["10 | 0004 'MQTT' 05 f6 003c 08 11 0000000a 21 0014 0003 'cid'"
                        " 0d 18 00000005 03 0005 'a/txt' 0006 'will/t' 0003 'bye' 0004 'anna' 0006 'secret'"],
    "connect_v311": ["10 | 0004 'MQTT' 04 c2 000a 0000 0001 'u' 0000"],
    "connect_v31": ["10 | 0006 'MQIsdp' 03 02 000a 0003 'abc'", "18 | 0006 'MQIsdp' 03 fb 000a 0003 'abc'"],
    "connack": ["20 | 01 00 0f 21 0014 24 01 1f 0003 'why' 2a 01 25 00", "20 | 01 00", "20 | 00 05"],
    "publish_v5": ["3b | 0003 'a/b' 1234 02 0101 'hello'",
                   "34 | 0003 'a/b' 0001 27 0101 02 0000003c 08 0003 'r/t' 09 0002 00ff 0b07 0b8001 23 0005"
                   " 26 0001 'k' 0001 'v' 03 0001 'c' 'payload'"],
    "publish_v311": ["30 | 0003 'a/b' 'hello'", "32 | 0003 'a/b' 0001"],
    "acks": ["40 | 0001", "50 | 0002", "62 | 0002", "70 | 0002"],
    "acks_v5": ["40 | 0001 10", "62 | 0002 92 00", "50 | 0003 87 05 1f 0002 'no'", "70 | 0004 92"],
    "subscribe_v5": ["82 | 000a 02 0b07 0003 'a/+' 2e 0002 'b#' 00", "82 | 0001 00 000a '$share/g/a' 08"],
    "subscribe_v311": ["82 | 0001 0001 '#' 02 0003 '+/b' 00"],
    "suback": ["90 | 000a 00 00 01 8f", "90 | 000a 02 80"],
    "unsubscribe": ["a2 | 0002 0001 'a' 0001 'b'", "a2 | 0003 00 0001 'a'"],
    "unsuback": ["b0 | 0002 00 11 00", "b0 | 0003"],
    "ping": ["c0 | ", "d0 | "],
    "disconnect": ["e0 | ", "e0 | 04", "e0 | 00 05 11 00000000"],
    "auth": ["f0 | ", "f0 | 18 08 15 0001 'x' 16 0001 'd'"],
    "refused": ["36 | 0001 't' 0001", "38 | 0001 't'", "10 | 0004 'MQTT' 06 02 000a 0000", "90 | 0001 00"],
}


def to_bytes(text):
    parts = text.split("'")
    return b"".join(p.encode() if i % 2 else bytes.fromhex(p) for i, p in enumerate(parts))


def packet(text):
    first, body = text.split("|")
    body = to_bytes(body)
    assert len(body) < 128
    return to_bytes(first) + bytes([len(body)]) + body


folder = pathlib.Path(__file__).with_name("mqtt_wire")
folder.mkdir(exist_ok=True)
for name, packets in SEEDS.items():
    (folder / (name + ".bin")).write_bytes(b"".join(map(packet, packets)))

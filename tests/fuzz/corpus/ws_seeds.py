#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seed corpora of fuzz_ws and fuzz_http_upgrade to ws/ and http_upgrade/ beside this file."""
import pathlib

HERE = pathlib.Path(__file__).parent


def frame(first, payload=b"", mask=b"\0\0\0\0"):
    n = len(payload)
    length = bytes([0x80 | n]) if n < 126 else b"\xfe" + n.to_bytes(2, "big") if n < 65536 else b"\xff" + n.to_bytes(8, "big")
    return bytes([first]) + length + mask + bytes(c ^ mask[i % 4] for i, c in enumerate(payload))


FRAMES = {
    "data": frame(0x82, b"hello", b"\x37\xfa\x21\x3d") + frame(0x82, b"you") + frame(0x82),
    "fragments": frame(0x02, b"ab") + frame(0x89, b"ping") + frame(0x00, b"cd") + frame(0x80, b"ef"),
    "long": frame(0x82, b"x" * 200, b"abcd") + frame(0x8a, b"p" * 125) + frame(0x89, b"p" * 125),
    "close": frame(0x82, b"bye") + frame(0x88, b"\x03\xe8done") + frame(0x82, b"late"),
    "close_bad": frame(0x88, b"\x03\xed"),
    "text": frame(0x82, b"a") + frame(0x81, b"b"),
    "unmasked": b"\x82\x01a",
    "too_big": frame(0x02, b"x" * 100) + b"\x80\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
    "pings": b"".join(frame(0x89, bytes([i])) for i in range(9)),
}
TEXTS = {
    "utf8": frame(0x81, "schön €".encode()) + frame(0x01, b"\xe2") + frame(0x00, b"\x82") + frame(0x89, b"p") + frame(0x80, b"\xac"),
    "both_kinds": frame(0x81, b"a") + frame(0x82, b"\xff") + frame(0x81, b"b"),
    "not_utf8": frame(0x81, b"fine") + frame(0x01, b"ok\xed") + frame(0x80, b"\xa0\x80"),
    "half_a_character": frame(0x01, b"a\xf0\x9f") + frame(0x80),
}
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
UP = "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" + KEY + "Sec-WebSocket-Version: 13\r\n"
MQTT = "Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n"
REQUESTS = {
    "good": "GET /mqtt HTTP/1.1\r\nHost: localhost:80\r\nOrigin: http://localhost\r\n" + UP + MQTT + "\r\n",
    "query": "GET /mqtt?a=b HTTP/1.1\r\nHost: [::1]\r\nOrigin: https://[::1]:443\r\n" + UP + MQTT + "Content-Length: 0\r\n\r\n",
    "no_offer": "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + UP + "\r\n",
    "page": "GET / HTTP/1.1\r\nHost: hub.example.com\r\nAccept: */*\r\n\r\n",
    "origin": "GET / HTTP/1.1\r\nHost: hub.example.com\r\nOrigin: https://app.example.com\r\n" + UP + MQTT + "\r\n",
    "head": "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    "post": "POST /mqtt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "old": "GET / HTTP/1.0\r\n\r\n",
    "stomp": "GET /ws HTTP/1.1\r\nHost: localhost\r\n" + UP + "Sec-WebSocket-Protocol: v12.stomp, v11.stomp\r\n\r\n",
    "twice": "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + UP + MQTT + "\r\n",
}


def write(folder, name, content):
    (HERE / folder).mkdir(exist_ok=True)
    (HERE / folder / (name + ".bin")).write_bytes(content)


for name, stream in FRAMES.items():
    write("ws", name, bytes([30, 7]) + stream)
for name, stream in TEXTS.items():
    write("ws", name, bytes([30 | 128, 7]) + stream)
for i, (name, request) in enumerate(REQUESTS.items()):
    tail = b"".join(FRAMES.values()) if name == "good" else b"".join(TEXTS.values()) if name == "stomp" else FRAMES["data"]
    write("http_upgrade", name, bytes([(0, 5, 1, 0, 40, 0, 4, 0, 0, 2)[i], 9]) + request.encode() + tail)

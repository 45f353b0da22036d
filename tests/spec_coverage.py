#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""spec_coverage.py: which rules of the specifications have code, and which have a test.

    tests/spec_coverage.py [--list] [ROOT]   a summary; with --list every rule that has only one of the two
    tests/spec_coverage.py --self-test

A rule is named by its tag, where it is enforced and again where it is tested:

    [MQTT-3.3.1-4]                    a statement of MQTT 5 or 3.1.1, by its own number
    [MQTT-3.3.1-1, -4; MQTT-4.7.3-2]  several
    STOMP 1.2 §Heart-beating          a section of a STOMP specification, by its title

Exit 1 only for a tag that cannot be right (a typo hides a rule for ever); what is missing is a report, not a failure.
"""
import os
import re
import sys

CODE = ("app", "core", "transport", "proto_mqtt", "proto_stomp", "persist", "bridge", "admin")
TESTS = ("tests",)
NOT_ABOUT_THE_PRODUCT = ("tests/check_style.py", "tests/spec_coverage.py")

STOMP_SECTIONS = (
    "Abstract", "Overview", "Background", "Protocol Overview", "Changes in the Protocol", "Design Philosophy",
    "Conformance", "STOMP Frames", "Frames and Headers", "Frames", "Value Encoding", "Body", "Standard Headers",
    "Header content-length", "Header content-type", "Header receipt", "Repeated Header Entries", "Size Limits",
    "Connection Lingering", "Connecting", "CONNECT or STOMP Frame", "CONNECTED Frame", "CONNECT", "CONNECTED", "STOMP",
    "Protocol Negotiation", "Once Connected", "Heart-beating", "Client Frames", "SEND", "SUBSCRIBE id Header",
    "SUBSCRIBE ack Header", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT", "DISCONNECT",
    "Server Frames", "MESSAGE", "RECEIPT", "ERROR", "Augmented BNF",
)
SECTION = "|".join(re.escape(title) for title in sorted(STOMP_SECTIONS, key=len, reverse=True))

# Everything that looks as if it wanted to be a tag, and what a tag is.
MQTT_LIKE = re.compile(r"\[\s*MQTT\s*[-–. ][^\]\n]{0,120}\]?")
MQTT_TAGS = re.compile(r"\[MQTT-[1-7](\.\d{1,2}){1,3}-\d{1,2}([,;] (MQTT-[1-7](\.\d{1,2}){1,3})?-\d{1,2})*\]")
STOMP_LIKE = re.compile(r"STOMP[ -]?(v?\d\S*)\s+(?:§|section\b)\s*(.{0,40})", re.I)
STOMP_TAG = re.compile(r"STOMP (1\.[012]) §(%s)(?![\w-])" % SECTION, re.I)


def tags_of(text):
    """(line, tag or None, as written) for everything in text that is a tag or looks like one."""
    for match in MQTT_LIKE.finditer(text):
        line, section = text.count("\n", 0, match.start()) + 1, None
        if not MQTT_TAGS.fullmatch(match.group(0)):
            yield line, None, match.group(0)
            continue
        for own, number in re.findall(r"(?:MQTT-([\d.]+))?-(\d+)", match.group(0)):
            section = own or section
            yield line, "[MQTT-%s-%s]" % (section, number), match.group(0)
    for match in STOMP_LIKE.finditer(text):
        tag = STOMP_TAG.match(match.group(0))
        name = tag and "STOMP %s §%s" % (tag.group(1), tag.group(2).lower())
        yield text.count("\n", 0, match.start()) + 1, name, match.group(0)


def collect(root, folders):
    """tag -> places, and the malformed ones."""
    places, malformed = {}, []
    for folder in folders:
        for where, inner, files in os.walk(os.path.join(root, folder)):
            inner.sort()
            for name in sorted(files):
                path = os.path.relpath(os.path.join(where, name), root)
                if not name.endswith((".c", ".h", ".py", ".txt", ".inc")) or path in NOT_ABOUT_THE_PRODUCT:
                    continue
                with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
                    for line, tag, written in tags_of(file.read()):
                        if tag:
                            places.setdefault(tag, []).append("%s:%d" % (path, line))
                        else:
                            malformed.append("%s:%d: %s" % (path, line, written))
    return places, malformed


def in_order(tags):
    return sorted(tags, key=lambda tag: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", tag)])


def self_test():
    good = ["[MQTT-3.3.1-4]", "[MQTT-1.5.5-1]", "[MQTT-3.1.2-24]", "[MQTT-4.7.3-1]", "[MQTT-2.2.1-2]",
            "STOMP 1.2 §Frames and Headers", "STOMP 1.1 §Heart-beating: both", "STOMP 1.0 §send, then",
            "STOMP 1.2 §SUBSCRIBE ack Header"]
    bad = ["[MQTT-3.3.1]", "[MQTT 3.3.1-4]", "[MQTT-3.3.1-4, 5]", "[MQTT-3.3.1-1 -2]", "[MQTT-33.1-4 ]", "[MQTT-9.1.1-1]",
           "STOMP 1.3 §SEND", "STOMP 1.2 §Heartbeats", "STOMP 1.2 section Body", "STOMP v1.2 §Body"]
    none = ["names[MQTT_CONNECT] = 1;", "MQTT 5 §4.7", "STOMP 1.2 is a protocol", "[MQTT] and [STOMP]"]
    several = [tag for _, tag, _ in tags_of("[MQTT-1.5.4-1, -2; MQTT-4.7.3-2]")]
    assert several == ["[MQTT-1.5.4-1]", "[MQTT-1.5.4-2]", "[MQTT-4.7.3-2]"], several
    for text in good:
        found = list(tags_of("/* %s */" % text))
        assert len(found) == 1 and found[0][1], (text, found)
    for text in bad:
        found = list(tags_of("/* %s */" % text))
        assert len(found) == 1 and found[0][1] is None, (text, found)
    for text in none:
        assert not list(tags_of(text)), text
    print("spec tags: %d samples are judged as they should be" % len(good + bad + none))


def main(args):
    if args[:1] == ["--self-test"]:
        self_test()
        return
    details = args[:1] == ["--list"]
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    root = (args[1:] if details else args)[0] if (args[1:] if details else args) else here
    code, bad_code = collect(root, CODE)
    tests, bad_tests = collect(root, TESTS)
    both, only_code, only_tests = set(code) & set(tests), set(code) - set(tests), set(tests) - set(code)
    if details:
        for title, tags, places in (("code without a test", only_code, code), ("test without code", only_tests, tests)):
            for tag in in_order(tags):
                print("%s: %s (%s)" % (title, tag, ", ".join(places[tag][:3])))
    for family in ("MQTT", "STOMP"):
        count = [len([tag for tag in tags if family in tag]) for tags in (both, only_code, only_tests)]
        print("%-5s  %3d rules with code and test, %3d with code only, %3d with a test only" % (family, *count))
    for line in bad_code + bad_tests:
        print("not a tag: " + line)
    if bad_code or bad_tests:
        sys.exit("spec tags: %d malformed; write [MQTT-3.3.1-4] or STOMP 1.2 §Title, with a title of: %s"
                 % (len(bad_code + bad_tests), ", ".join(STOMP_SECTIONS)))


main(sys.argv[1:])

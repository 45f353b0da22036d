# SPDX-License-Identifier: Apache-2.0
"""The examples of the documentation, played against a real broker: every fenced block `stomp` in these files, each with a
broker of its own. docs/queues.md says how to read them, script.py plays them."""
import glob
import os
import re
import unittest

from harness import E2E, ROOT, main
from script import HEADING, Player, Step, blocks

FILES = ("queues.md", "stomp.md", "mapping.md")
LEAST = {"queues.md": 25, "stomp.md": 8, "mapping.md": 6}


class Examples(E2E):
    """One test per block, made below: Examples.test_queues_3_dead_letters"""
    ARGS = None

    def play(self, config, script):
        if config:
            conf = self.write("weir.conf", "\n".join(["listener 0 127.0.0.1", "allow_anonymous true", *config, ""]))
            broker = self.start("-c", conf)
        else:
            broker = self.start(*self.DEFAULT)
        player = Player(broker.port)
        self.addCleanup(player.close)
        player.play(script)


class Playing(E2E):
    """Scripts that are wrong are found out."""

    def wrong(self, script, *words):
        player = Player(self.port)
        with self.assertRaises(AssertionError) as caught:
            player.play(script)
        player.close()
        for word in words:
            self.assertIn(word, str(caught.exception))

    def test_what_is_not_so(self):
        send = 'a > SEND  destination:/queue/q  "x"\n'
        take = "a > SUBSCRIBE  destination:/queue/q  id:0\n"
        for wrong, *words in (('a < MESSAGE  "y"', "line 3", "the body is"), ("a < RECEIPT", "line 3", "came instead"),
                              ("a < MESSAGE  id:4", "id is None"), ("a < MESSAGE  -destination", "destination is there"),
                              ("a < nothing", "unexpected"), ("# not read", "at the end", "unexpected"),
                              ("a > bye", "unexpected"), ("a < MESSAGE  (after 60000 ms)", "already")):
            with self.subTest(line=wrong):
                self.wrong(send + take + wrong, *words)

    def test_errors_are_not_overlooked(self):
        self.wrong("a > SEND  destination:/nowhere\na > SEND  destination:/queue/q", "line 2")
        self.wrong("a > SEND  destination:/nowhere", "at the end")

    def test_bad_lines(self):
        for line in ("a SEND", "a > SEND destination:/queue/q", "a > SEND  destination"):
            with self.assertRaises(SyntaxError):
                Step(line, 1)

    def test_a_script(self):
        Player(self.port).play("""
# a remark
device1 > SUBSCRIBE  topic:a/+  qos:1
web > CONNECT  accept-version:1.1  host:localhost
web < CONNECTED  version:1.1
web > SUBSCRIBE  destination:/topic/a.*  id:1  receipt:r
web < RECEIPT  receipt-id:r
device1 > PUBLISH  topic:a/b  qos:1  color:blue  "hello there"
device1 < PUBLISH  topic:a/b  color:blue  -retained  "hello there"
web < MESSAGE  destination:/topic/a.b  color:$c  -nonsense  "hello there"
web > SEND  destination:/topic/a.$c
device1 < PUBLISH  topic:a/blue
web < MESSAGE  destination:/topic/a.blue  ""
web > NONSENSE
web < ERROR  x-code:unknown-command
web < end
""")


class Complete(unittest.TestCase):
    """What there is in the source is in the documentation, by name."""

    def words(self, path, pattern, start=None, end=None):
        """What the pattern finds in a source file, between the lines that have these texts."""
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            text = file.read()
        if start:
            text = text[text.index(start):]
            text = text[:text.index(end)]
        found = set(re.findall(pattern, text))
        self.assertGreater(len(found), 5, "nothing like %r in %s" % (pattern, path))
        return found

    def missing(self, words, *files):
        docs = ""
        for name in files:
            with open(os.path.join(ROOT, "docs", name), encoding="utf-8") as file:
                docs += file.read()
        return sorted(word for word in words if not re.search(r"[`:/ -]%s(?![\w-])" % re.escape(word), docs))

    def test_every_error(self):
        codes = self.words("proto_stomp/stomp_error.h", r'X\([A-Z_]+, "([a-z-]+)"')
        self.assertEqual(self.missing(codes, "stomp.md"), [])
        with open(os.path.join(ROOT, "docs", "stomp.md"), encoding="utf-8") as file:
            table = file.read().split("| `x-code` |")[1].split("\n\n")[0]
        named = {code for line in table.split("\n")[2:] for code in re.findall(r"`([a-z-]+)`", line.split("|")[1])}
        self.assertEqual(named - codes, set(), "codes that do not exist")

    def test_every_header(self):
        headers = self.words("proto_stomp/stomp_wire.h", r'X\([A-Z_]+, "([^"]+)"\)', "define STOMP_HEADER_LIST", "enum stomp_known")
        self.assertEqual(self.missing(headers - {"timestamp"}, "stomp.md", "queues.md", "mapping.md"), [])

    def test_every_argument(self):
        arguments = self.words("core/queue_policy.h", r'X\([A-Z_]+, "([^"]+)"\)')
        self.assertEqual(self.missing(arguments, "queues.md"), [])

    def test_every_verb(self):
        verbs = self.words("proto_stomp/stomp_manage.c", r'"([a-z-]+)"', "} verbs[] = {", "};")
        self.assertEqual(self.missing(verbs, "queues.md"), [])

    def test_every_way_to_be_dropped(self):
        drops = self.words("core/stats.h", r"X\((DROP_[A-Z_]+),")
        self.assertEqual(self.missing({name.lower() for name in drops}, "queues.md"), [])

    def test_references(self):
        """Sections that comments in the source refer to, as docs/mapping.md, "Destinations", exist."""
        found = 0
        for folder in ("core", "proto_mqtt", "proto_stomp", "tests", "transport"):
            for path in glob.glob(os.path.join(ROOT, folder, "**", "*.[ch]"), recursive=True):
                with open(path, encoding="utf-8") as file:
                    text = re.sub(r"\n[ *]*", " ", file.read())
                for name, sections in re.findall(r'docs/(mapping|stomp|queues)\.md((?:, "[^"]+")+)', text):
                    with open(os.path.join(ROOT, "docs", name + ".md"), encoding="utf-8") as file:
                        headings = HEADING.findall(file.read())
                    for section in re.findall(r'"([^"]+)"', sections):
                        found += 1
                        self.assertIn(section, headings, os.path.relpath(path, ROOT))
        self.assertGreater(found, 5)

    def test_links(self):
        """Every link within the documentation leads somewhere, headings too."""
        for name in FILES:
            with open(os.path.join(ROOT, "docs", name), encoding="utf-8") as file:
                text = file.read()
            for page, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", text):
                path = os.path.join(ROOT, "docs", page or name)
                self.assertTrue(os.path.exists(path), page)
                if anchor:
                    with open(path, encoding="utf-8") as file:
                        headings = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
                                    for heading in HEADING.findall(file.read())}
                    self.assertIn(anchor, headings, page)


def add_tests():
    for name in FILES:
        path = os.path.join(ROOT, "docs", name)
        with open(path, encoding="utf-8") as file:
            found = blocks(file.read())
        assert len(found) >= LEAST[name], "%s has %d examples only" % (name, len(found))
        for i, (heading, config, script) in enumerate(found):
            def test(self, config=config, script=script):
                self.play(config, script)
            word = re.sub(r"\W+", "_", heading.lower()).strip("_")
            setattr(Examples, "test_%s_%02d_%s" % (name[:-3], i + 1, word), test)


add_tests()

if __name__ == "__main__":
    main()

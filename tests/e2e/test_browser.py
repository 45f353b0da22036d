# SPDX-License-Identifier: Apache-2.0
"""The example page (docs/examples) in headless Chromium: two people and an MQTT device in a chat room, a board of MQTT
sensors, the broker's restart, and what is typed or sent wrong. One browser for all tests."""
import json
import os
import shutil
import tempfile

from browser import Browser, Site
from harness import E2E, ROOT, V5, free_port, main

CONNECTED = "document.querySelector('#state').dataset.state === 'on'"
SAID = "[...document.querySelectorAll('#messages li')].map((li) => [li.querySelector('b').textContent, " \
       "li.querySelector('.what').textContent, li.className])"


def value_of(sensor, what):
    return "document.querySelector('[data-id=%s] [data-what=%s] .value').textContent" % (json.dumps(sensor), json.dumps(what))


class Page(E2E):
    ARGS = None

    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.mkdtemp(prefix="weir-browser-")
        cls.browser = Browser(cls.home)
        cls.site = Site({"/": "docs/examples/", "/node_modules/": "tests/e2e/js/node_modules/"})

    @classmethod
    def tearDownClass(cls):
        cls.site.close()
        cls.browser.close()
        shutil.rmtree(cls.home, ignore_errors=True)

    def setUp(self):
        super().setUp()
        self.port, self.ws_port = free_port(), free_port()
        with open(os.path.join(ROOT, "docs/examples/weir.conf")) as file:
            text = file.read()
        for example, own in (("1883", str(self.port)), ("61613", str(self.ws_port)), ("localhost\n", "127.0.0.1\n"),
                             ("http://localhost:8000", self.site.origin)):
            self.assertIn(example, text)
            text = text.replace(example, own)
        self.config = self.write("weir.conf", text)
        self.broker = self.start("-c", self.config)
        del self.browser.events[:]

    def tearDown(self):
        complaints = self.browser.complaints()
        self.assertEqual(complaints, [])

    def open(self, name="anna", room="lobby", broker=None, wait=True):
        tab = self.browser.open(self.site.url("index.html?name=%s&room=%s&broker=%s" % (
            name, room, broker or "ws://127.0.0.1:%d/ws" % self.ws_port)))
        self.addCleanup(lambda: tab.ask("Page.close"))
        if wait:
            tab.wait(CONNECTED)
        return tab

    def say(self, tab, text):
        tab.fill("#text", text)
        tab.press_enter()

    def wait_said(self, tab, expected):
        """All of it, in this order, and nothing else."""
        tab.wait("JSON.stringify(%s) === %s" % (SAID, json.dumps(json.dumps(expected, separators=(",", ":"), ensure_ascii=False))))

    def test_two_people_and_a_device(self):
        anna, bert = self.open("anna"), self.open("bert")
        device = self.mqtt("device", version=V5)
        device.subscribe("chat/lobby/#", 1)
        self.say(anna, "Grüße – <b>3 < 4</b> & \"so\" 😀")
        at_device = device.next()
        self.assertEqual(at_device.payload.decode(), "Grüße – <b>3 < 4</b> & \"so\" 😀")
        self.assertTrue(at_device.topic.startswith("chat/lobby/"))
        self.assertIn(("from", "anna"), at_device.properties.UserProperty)
        device.publish("chat/lobby", b"the door is open", 1, UserProperty=[("from", "the door: no. 3")])
        device.publish("chat/lobby", b"\xff\xfe\x00", 1)
        bert.wait("document.querySelector('#messages').childElementCount === 3")
        self.say(bert, "thanks")
        said = [["anna", "Grüße – <b>3 < 4</b> & \"so\" 😀"], ["the door: no. 3", "the door is open"],
                ["a device", "3 bytes that are not text"], ["bert", "thanks"]]
        self.wait_said(anna, [[who, what, "mine" if who == "anna" else ""] for who, what in said])
        self.wait_said(bert, [[who, what, "mine" if who == "bert" else ""] for who, what in said])
        late = self.open("cleo")  # the history is what people said; the device did not retain
        self.wait_said(late, [[who, what, ""] for who, what in (said[0], said[3])])

    def test_rooms(self):
        anna, bert = self.open("anna", "one"), self.open("bert", "two")
        self.say(bert, "in two")
        self.wait_said(bert, [["bert", "in two", "mine"]])
        self.say(anna, "in one")
        self.wait_said(anna, [["anna", "in one", "mine"]])
        anna.fill("#room", "two")
        anna.click("#room-form button")
        self.wait_said(anna, [["bert", "in two", ""]])
        self.say(anna, "here I am")
        self.wait_said(bert, [["bert", "in two", "mine"], ["anna", "here I am", ""]])

    def test_sensors(self):
        device = self.mqtt("device", version=V5)
        device.publish("sensors/kitchen/temperature", b"21.5", 1, retain=True)
        tab = self.open()
        tab.wait(value_of("kitchen", "temperature") + " === '21.5'")
        self.assertTrue(tab.run("document.querySelector('.reading').classList.contains('last-known')"))
        for value in (b"21.75", b"22"):
            device.publish("sensors/kitchen/temperature", value, 1, retain=True)
        device.publish("sensors/room 1.2/door*", "öffen".encode(), 1)  # characters that mean something in a destination
        tab.wait(value_of("kitchen", "temperature") + " === '22'")
        self.assertFalse(tab.run("document.querySelector('.reading').classList.contains('last-known')"))
        self.assertEqual(tab.run("document.querySelector('polyline').getAttribute('points').split(' ').length"), 3)
        tab.wait(value_of("room 1.2", "door*") + " === 'öffen'")
        self.assertEqual(tab.run("document.querySelectorAll('.sensor').length"), 2)
        for odd in (b"\xff\xfe", b"<img src=x onerror=alert(1)>", b"x" * 100000):
            device.publish("sensors/odd/one", odd, 1)
        tab.wait(value_of("odd", "one") + ".length === 40")
        device.publish("sensors/kitchen/temperature", b"", 1, retain=True)  # it is gone
        tab.wait("!document.querySelector('[data-id=kitchen]')")

    def test_restart_of_the_broker(self):
        anna, bert = self.open("anna"), self.open("bert")
        self.broker.stop()
        for tab in (anna, bert):
            tab.wait("document.querySelector('#state').dataset.state === 'trying'")
        self.assertTrue(anna.run("document.querySelector('#send').disabled"))
        self.broker = self.start("-c", self.config)
        for tab in (anna, bert):
            tab.wait(CONNECTED)
        device = self.mqtt("device", version=V5)
        device.publish("sensors/a/b", b"1", 1)
        self.say(anna, "back")
        self.wait_said(bert, [["anna", "back", ""]])
        bert.wait(value_of("a", "b") + " === '1'")

    def test_wrong_input(self):
        tab = self.open()
        for text in ("", "   "):
            self.say(tab, text)
            self.assertTrue(tab.run("document.querySelector('#text').classList.contains('wrong')"))
        tab.fill("#room", "a/b #")
        tab.press_enter()
        self.assertTrue(tab.run("document.querySelector('#room').classList.contains('wrong')"))
        self.assertEqual(tab.run("room"), "lobby")
        tab.fill("#broker", "http://nowhere")
        tab.press_enter()
        self.assertTrue(tab.run("document.querySelector('#broker').classList.contains('wrong')"))
        self.assertEqual(tab.run("document.querySelector('#messages').childElementCount"), 0)
        self.say(tab, "x" * 3000)  # the field takes 2,000
        self.wait_said(tab, [["anna", "x" * 2000, "mine"]])

    def test_another_origin(self):
        """A page that the listener does not list is refused, and says what to do."""
        port = self.start("-p", "0").port
        tab = self.open(broker="ws://127.0.0.1:%d/ws" % port, wait=False)
        tab.wait("document.querySelector('#trouble').textContent.includes('websockets_origin http://127.0.0.1:')")
        tab = self.open(broker="ws://127.0.0.1:%d/elsewhere" % self.ws_port, wait=False)
        tab.wait("document.querySelector('#trouble').textContent.includes('No WebSocket at')")


if __name__ == "__main__":
    main()

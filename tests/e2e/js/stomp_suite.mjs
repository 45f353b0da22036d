// SPDX-License-Identifier: Apache-2.0
// stomp_suite.mjs: what web developers do with @stomp/stompjs and rx-stomp, over WebSocket and TCP. Run by
// ../test_stomp_js.py, one scenario a process:
//
//     node stomp_suite.mjs SCENARIO PORT
//
// It prints "ok ..." for each part, and "done" at the end. What it cannot do itself it asks for: "? restart" on standard
// output, and goes on when a line comes back.
import assert from 'node:assert/strict'
import net from 'node:net'
import readline from 'node:readline'
import WebSocket from 'ws'
import { Client, Versions } from '@stomp/stompjs'
import { RxStomp, RxStompRPC } from '@stomp/rx-stomp'
import { TCPWrapper } from '@stomp/tcp-wrapper'
import { firstValueFrom, take, toArray } from 'rxjs'

Object.assign(globalThis, { WebSocket })

const HOST = '127.0.0.1'
const DEADLINE_MS = 20000
const [scenario, portText] = process.argv.slice(2)
const port = Number(portText)
const lines = readline.createInterface({ input: process.stdin })

// ---------------------------------------------------------------- waiting

// A list that can be waited on.
class Inbox {
  constructor (name) {
    this.name = name
    this.items = []
    this.waiting = []
  }

  put (item) {
    const next = this.waiting.shift()
    if (next) next(item)
    else this.items.push(item)
  }

  next () {
    if (this.items.length > 0) return Promise.resolve(this.items.shift())
    return within(this.name, new Promise((resolve) => this.waiting.push(resolve)))
  }

  async take (n) {
    const out = []
    while (out.length < n) out.push(await this.next())
    return out
  }
}

function within (what, promise) {
  let timer
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error('nothing more while waiting for ' + what)), DEADLINE_MS)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

async function ask (what) {
  console.log('? ' + what)
  await within(what, new Promise((resolve) => lines.once('line', resolve)))
}

// ---------------------------------------------------------------- clients

const TRANSPORTS = {
  ws: { brokerURL: `ws://${HOST}:${port}/ws` },
  tcp: { webSocketFactory: () => new TCPWrapper(HOST, port) }
}

const all = []
let number = 0

// Peer: a client of stompjs with inboxes instead of callbacks.
class Peer {
  constructor (transport, version, options = {}) {
    this.connects = new Inbox('CONNECTED')
    this.errors = new Inbox('ERROR')
    this.closes = new Inbox('the end of the connection')
    this.client = new Client({
      ...TRANSPORTS[transport],
      stompVersions: new Versions([version]),
      reconnectDelay: 0,
      heartbeatIncoming: 0,
      heartbeatOutgoing: 0,
      onConnect: (frame) => this.connects.put(frame),
      onStompError: (frame) => this.errors.put(frame),
      onWebSocketClose: (event) => this.closes.put(event),
      ...options
    })
    all.push(this)
  }

  static async open (transport, version, options) {
    const peer = new Peer(transport, version, options)
    await peer.open()
    return peer
  }

  async open () {
    this.client.activate()
    this.connected = await this.connects.next()
  }

  // The subscription, when the broker has it.
  async subscribe (destination, headers = {}) {
    const inbox = new Inbox('MESSAGE from ' + destination)
    const receipt = 'r' + ++number
    const done = this.receipt(receipt)
    inbox.subscription = this.client.subscribe(destination, (message) => inbox.put(message), { receipt, ...headers })
    await done
    return inbox
  }

  receipt (id) {
    return within('RECEIPT ' + id, new Promise((resolve) => this.client.watchForReceipt(id, resolve)))
  }

  // Publishes, and waits for the RECEIPT.
  async publish (destination, body, headers = {}) {
    const receipt = 'r' + ++number
    const done = this.receipt(receipt)
    const content = typeof body === 'string' ? { body } : { binaryBody: body }
    this.client.publish({ destination, headers: { receipt, ...headers }, ...content })
    return done
  }

  async close () {
    await this.client.deactivate()
  }
}

// each: runs f for every transport and version.
async function each (versions, f) {
  for (const transport of Object.keys(TRANSPORTS)) {
    for (const version of versions) {
      await f(transport, version, `${transport}-${version.replace('.', '')}-${++number}`)
      console.log(`ok ${transport} ${version}`)
    }
  }
}

const EVERY = ['1.0', '1.1', '1.2']
const NEW = ['1.1', '1.2']
const byte = (n, f) => Uint8Array.from({ length: n }, (_, i) => f(i))

// ---------------------------------------------------------------- scenarios

const scenarios = {
  async versions () {
    await each(EVERY, async (transport, version) => {
      const peer = await Peer.open(transport, version)
      assert.equal(peer.client.connectedVersion, version)
      assert.match(peer.connected.headers.server, /^weir/i)
      if (transport === 'ws') assert.equal(peer.client.webSocket.protocol, `v${version.replace('.', '')}.stomp`)
      await peer.close()
    })
    const best = await Peer.open('ws', '1.2', { stompVersions: Versions.default })
    assert.equal(best.client.connectedVersion, '1.2')
    assert.equal(best.client.webSocket.protocol, 'v12.stomp')
    await best.close()
  },

  async topics () {
    await each(EVERY, async (transport, version, name) => {
      const one = await Peer.open(transport, version)
      const two = await Peer.open(transport === 'ws' ? 'tcp' : 'ws', version)
      const got = await one.subscribe(`/topic/${name}.*`)
      const headers = { plain: 'v', 'content-type': 'text/plain;charset=utf-8', ünicode: 'grüße €😀' }
      if (version === '1.2') Object.assign(headers, { odd: 'a:b\nc\\ d', cr: 'a\r\nb' }) // the library escapes in 1.2 only
      for (const body of ['hello', '', 'grüße €😀', '\n', 'a\0b', 'x'.repeat(1000)]) {
        await two.publish(`/topic/${name}.x`, body, headers)
        const message = await got.next()
        assert.equal(message.body, body)
        assert.equal(message.headers.destination, `/topic/${name}.x`)
        for (const [key, value] of Object.entries(headers)) assert.equal(message.headers[key], value)
      }
      got.subscription.unsubscribe({ receipt: 'gone-' + name })
      await one.receipt('gone-' + name)
      await two.publish(`/topic/${name}.x`, 'nobody hears this')
      const again = await one.subscribe(`/topic/${name}.*`)
      await two.publish(`/topic/${name}.x`, 'last')
      assert.equal((await again.next()).body, 'last')
      assert.equal(got.items.length, 0)
      await one.close()
      await two.close()
    })
  },

  // Binary bodies, from and to peers that like text and peers that like binary.
  async binary () {
    await each(EVERY, async (transport, version, name) => {
      const text = await Peer.open(transport, version)
      const binary = await Peer.open(transport, version, { forceBinaryWSFrames: true })
      const [atText, atBinary] = [await text.subscribe('/topic/' + name), await binary.subscribe('/topic/' + name)]
      const kinds = transport === 'ws' ? [spy(text), spy(binary)] : null
      for (const body of [byte(256, (i) => i), byte(3, () => 0), byte(5000, (i) => 255 - i % 7)]) {
        await binary.publish('/topic/' + name, body)
        for (const inbox of [atText, atBinary]) assert.deepEqual((await inbox.next()).binaryBody, body)
      }
      await binary.publish('/topic/' + name, 'schön')
      for (const inbox of [atText, atBinary]) assert.equal((await inbox.next()).body, 'schön')
      if (kinds) {
        assert.deepEqual(kinds[0].messages, [true, false, true, false]) // text where it is UTF-8, which NULs are
        assert.ok(kinds[1].messages.every((isBinary) => isBinary))
      }
      await text.publish('/topic/' + name, byte(2, () => 0xff)) // its first binary message: it gets binary from now on
      await atText.next()
      await binary.publish('/topic/' + name, 'to all')
      assert.equal((await atText.next()).body, 'to all')
      if (kinds) assert.equal(kinds[0].messages.pop(), true)
      await text.close()
      await binary.close()
    })
  },

  async big () {
    await each(['1.2'], async (transport, version, name) => {
      const one = await Peer.open(transport, version)
      const split = await Peer.open(transport, version, { splitLargeFrames: true, maxWebSocketChunkSize: 1000 })
      const got = await one.subscribe('/topic/' + name)
      for (const n of [100, 125, 126, 8191, 65535, 65536, 300000]) {
        await split.publish('/topic/' + name, '€'.repeat(n)) // three bytes each, cut between frames
        assert.equal((await got.next()).body, '€'.repeat(n))
      }
      const body = byte(1048576, (i) => (i * 7 + (i >> 8)) & 255)
      await one.publish('/topic/' + name, body)
      assert.deepEqual((await got.next()).binaryBody, body)
      await one.close()
      await split.close()
    })
  },

  async acks () {
    await each(EVERY, async (transport, version, name) => {
      const [one, two] = [await Peer.open(transport, version), await Peer.open(transport, version)]
      const queue = '/queue/' + name
      for (let i = 0; i < 4; i++) await one.publish(queue, String(i))
      const first = await one.subscribe(queue, { ack: 'client' })
      const seen = await first.take(4)
      seen[2].ack() // and with it those before
      await settled(one)
      await one.close()
      const second = await two.subscribe(queue, { ack: version === '1.0' ? 'client' : 'client-individual' })
      const again = await second.next()
      assert.equal(again.body, '3')
      assert.equal(again.headers.redelivered, 'true')
      if (version !== '1.0') {
        again.nack()
        const third = await second.next()
        assert.equal(third.body, '3')
        third.ack()
      } else {
        again.ack()
      }
      await settled(two)
      await two.publish(queue, 'end')
      const end = await second.next()
      assert.equal(end.body, 'end')
      end.ack()
      await settled(two)
      await two.close()
    })
  },

  async receipts () {
    await each(EVERY, async (transport, version, name) => {
      const peer = await Peer.open(transport, version, { disconnectHeaders: { receipt: 'bye-' + name } })
      const got = await peer.subscribe('/queue/' + name, { ack: 'client' })
      await peer.publish('/queue/' + name, 'x')
      const message = await got.next()
      const acked = peer.receipt('acked-' + name)
      message.ack({ receipt: 'acked-' + name })
      await acked
      const gone = peer.receipt('gone-' + name)
      got.subscription.unsubscribe({ receipt: 'gone-' + name })
      await gone
      const left = new Inbox('RECEIPT of DISCONNECT')
      peer.client.onDisconnect = (frame) => left.put(frame)
      await peer.close()
      assert.equal((await left.next()).headers['receipt-id'], 'bye-' + name)
    })
  },

  async transactions () {
    await each(EVERY, async (transport, version, name) => {
      const [one, two] = [await Peer.open(transport, version), await Peer.open(transport, version)]
      const got = await two.subscribe('/topic/' + name)
      const tx = one.client.begin()
      for (const body of ['a', 'b']) one.client.publish({ destination: '/topic/' + name, body, headers: { transaction: tx.id } })
      await one.publish('/topic/' + name, 'outside')
      assert.equal((await got.next()).body, 'outside') // what is in a transaction waits for its end
      tx.commit()
      await settled(one)
      assert.deepEqual((await got.take(2)).map((message) => message.body), ['a', 'b'])
      const undone = one.client.begin('t-' + name)
      one.client.publish({ destination: '/topic/' + name, body: 'never', headers: { transaction: undone.id } })
      undone.abort()
      await one.publish('/topic/' + name, 'after')
      assert.equal((await got.next()).body, 'after')

      const queue = '/queue/' + name
      await one.publish(queue, 'job')
      const jobs = await two.subscribe(queue, { ack: 'client' })
      const aborted = two.client.begin()
      ;(await jobs.next()).ack({ transaction: aborted.id })
      aborted.abort()
      await settled(two)
      await two.close() // not acknowledged: it is there for the next one
      const more = await one.subscribe(queue, { ack: 'client' })
      const message = await more.next()
      assert.equal(message.body, 'job')
      const both = one.client.begin()
      message.ack({ transaction: both.id })
      one.client.publish({ destination: queue + '.done', body: 'result', headers: { transaction: both.id } })
      both.commit()
      await settled(one)
      const results = await one.subscribe(queue + '.done')
      assert.equal((await results.next()).body, 'result')
      await one.close()
    })
  },

  // Each side hears the other while nothing is said; a peer that falls silent is let go.
  async heartbeats () {
    const one = (transport, version) => Peer.open(transport, version, { heartbeatIncoming: 300, heartbeatOutgoing: 300 })
    const pairs = []
    for (const transport of Object.keys(TRANSPORTS)) for (const version of NEW) pairs.push([transport, version])
    await Promise.all(pairs.map(async ([transport, version]) => {
      const peer = await one(transport, version)
      let lost = 0
      peer.client.onHeartbeatLost = () => lost++
      const kinds = transport === 'ws' ? spy(peer) : null
      const beats = new Inbox('heart-beats')
      const handler = peer.client.webSocket.onmessage
      peer.client.webSocket.onmessage = (event) => {
        beats.put(event.data)
        return handler.call(peer.client.webSocket, event)
      }
      for (const beat of await beats.take(4)) assert.equal(String(beat), '\n') // by itself, not behind something
      assert.ok(peer.client.connected)
      assert.equal(lost, 0)
      if (kinds) assert.ok(kinds.messages.every((isBinary) => !isBinary))
      await peer.close()
      console.log(`ok ${transport} ${version}`)
    }))
    const silent = await one('ws', '1.2')
    silent.client.webSocket.send = () => {} // not a word more, neither heart-beats
    await silent.closes.next()
    console.log('ok silence')
  },

  async reconnect () {
    const peers = []
    for (const transport of Object.keys(TRANSPORTS)) {
      const got = new Inbox('MESSAGE after a reconnect')
      const peer = new Peer(transport, '1.2', { reconnectDelay: 100 })
      peer.client.onConnect = (frame) => {
        peer.client.subscribe('/topic/again', (message) => got.put(message.body), { receipt: 'here' })
        peer.client.watchForReceipt('here', () => peer.connects.put(frame))
      }
      peer.client.activate()
      await peer.connects.next()
      peers.push([peer, got])
    }
    for (const round of [1, 2]) {
      await ask('restart')
      for (const [peer] of peers) await peer.connects.next()
      await peers[0][0].publish('/topic/again', 'round ' + round)
      for (const [, got] of peers) assert.equal(await got.next(), 'round ' + round)
    }
    for (const [peer] of peers) await peer.close()
  },

  async durable () {
    await each(NEW, async (transport, version, name) => {
      const me = { connectHeaders: { 'client-id': 'me-' + name } }
      const headers = { id: 'news', durable: 'true', 'auto-delete': 'false', ack: 'client' }
      const writer = await Peer.open(transport, version)
      const first = await Peer.open(transport, version, me)
      const got = await first.subscribe(`/topic/${name}.#`, headers)
      await writer.publish(`/topic/${name}.a`, 'here')
      ;(await got.next()).ack()
      await settled(first)
      await first.close()
      for (const body of ['one', 'two']) await writer.publish(`/topic/${name}.b`, body, { persistent: 'true' })
      const second = await Peer.open(transport, version, me)
      const missed = await second.subscribe(`/topic/${name}.#`, headers)
      const messages = await missed.take(2)
      assert.deepEqual(messages.map((message) => message.body), ['one', 'two'])
      messages[1].ack()
      await settled(second)
      missed.subscription.unsubscribe({ receipt: 'end-' + name, durable: 'true' })
      await second.receipt('end-' + name)
      await writer.publish(`/topic/${name}.c`, 'nobody waits')
      const third = await second.subscribe(`/topic/${name}.#`, headers)
      await writer.publish(`/topic/${name}.d`, 'new')
      const message = await third.next()
      assert.equal(message.body, 'new')
      message.ack()
      third.subscription.unsubscribe({ durable: 'true' })
      await settled(second)
      await second.close()
      await writer.close()
    })
  },

  // A queue with arguments as headers: length, time to live, dead letters.
  async queues () {
    await each(['1.2'], async (transport, version, name) => {
      const peer = await Peer.open(transport, version)
      const dead = { 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': name + '-dead' }
      const letters = await peer.subscribe('/queue/' + name + '-dead') // it must be there: a letter to nowhere is gone
      const short = { 'x-max-length': '2', 'x-overflow': 'drop-head', ...dead }
      for (const body of ['1', '2', '3']) await peer.publish('/queue/' + name, body, short)
      const got = await peer.subscribe('/queue/' + name, { ack: 'client-individual', ...short })
      const [two, three] = await got.take(2)
      assert.deepEqual([two.body, three.body], ['2', '3'])
      two.nack({ requeue: 'false' })
      three.ack()
      await settled(peer)
      const [one, rejected] = await letters.take(2)
      assert.deepEqual([one.body, one.headers['x-first-death-reason']], ['1', 'maxlen'])
      assert.deepEqual([rejected.body, rejected.headers['x-first-death-reason']], ['2', 'rejected'])
      assert.equal(rejected.headers['x-first-death-queue'], name)
      await peer.publish('/queue/' + name + '-ttl', 'late', { 'x-message-ttl': '50', ...dead })
      const late = await letters.next()
      assert.deepEqual([late.body, late.headers['x-first-death-reason']], ['late', 'expired'])
      await peer.publish('/queue/' + name + '-delayed', 'then', { 'x-delay': '50' })
      const then = await peer.subscribe('/queue/' + name + '-delayed')
      assert.equal((await then.next()).body, 'then')
      const other = new Inbox('ERROR')
      peer.client.onStompError = (frame) => other.put(frame)
      peer.client.subscribe('/queue/' + name, () => {}, { 'x-max-length': '3' })
      assert.match((await other.next()).body, /x-max-length/) // which argument differs
      await peer.closes.next()
    })
  },

  async errors () {
    await each(EVERY, async (transport, version) => {
      const peer = await Peer.open(transport, version)
      peer.client.publish({ destination: '/topic/a.#', body: 'x', headers: { receipt: 'mine' } })
      const frame = await peer.errors.next()
      assert.equal(frame.headers['receipt-id'], 'mine')
      assert.ok(frame.headers['x-code'] && frame.headers.message && frame.body)
      await peer.closes.next()
      assert.equal(peer.client.connected, false)
    })
    // Half a frame of STOMP in a message of its own, and two in one: what no library does, and proxies do.
    const socket = new WebSocket(`ws://${HOST}:${port}/any/path`, ['v12.stomp'])
    const got = new Inbox('frames')
    socket.onmessage = (event) => got.put(event.data)
    await within('open', new Promise((resolve) => { socket.onopen = resolve }))
    for (const part of ['CONN', 'ECT\naccept-version:1.2\nhost:/\n', '\n\0SUBSCRIBE\nid:0\ndestination:/topic/parts\n\n\0SE',
      'ND\ndestination:/topic/parts\n\nhal', 'f\0\n\nSEND\ndestination:/topic/parts\n\n2\0']) socket.send(part)
    const frames = await got.take(3)
    assert.match(frames[0], /^CONNECTED\n/)
    assert.match(frames[1], /^MESSAGE\n[^]*\n\nhalf\0$/)
    assert.match(frames[2], /^MESSAGE\n[^]*\n\n2\0$/)
    socket.close()
  },

  // rx-stomp: streams that outlive connections.
  async rx () {
    for (const transport of Object.keys(TRANSPORTS)) {
      const rx = new RxStomp()
      rx.configure({ ...TRANSPORTS[transport], reconnectDelay: 100, heartbeatIncoming: 0, heartbeatOutgoing: 0 })
      const first = within('messages', firstValueFrom(rx.watch({ destination: '/topic/rx' }).pipe(take(3), toArray())))
      rx.publish({ destination: '/topic/rx', body: 'queued before there is a connection' })
      rx.activate()
      await within('connection', firstValueFrom(rx.connected$))
      const receipt = rx.asyncReceipt('rx-1')
      rx.publish({ destination: '/topic/rx', body: 'with a receipt', headers: { receipt: 'rx-1' } })
      await within('RECEIPT', receipt)
      rx.publish({ destination: '/topic/rx', binaryBody: byte(4, (i) => 0xfc + i) })
      const messages = await first
      assert.deepEqual(messages.slice(0, 2).map((message) => message.body), ['queued before there is a connection', 'with a receipt'])
      assert.deepEqual(messages[2].binaryBody, byte(4, (i) => 0xfc + i))

      const later = within('message after a restart', firstValueFrom(rx.watch('/topic/rx')))
      await ask('restart')
      await within('connection', firstValueFrom(rx.connected$))
      const here = rx.asyncReceipt('rx-2')
      rx.publish({ destination: '/topic/rx', body: 'again', headers: { receipt: 'rx-2' } })
      await within('RECEIPT', here)
      assert.equal((await later).body, 'again')
      await rx.deactivate()
      console.log('ok ' + transport)
    }
  },

  // RPC as rx-stomp does it with RabbitMQ: reply-to:/temp-queue/..., answered to what the server sees as reply-to.
  async rpc () {
    for (const transport of Object.keys(TRANSPORTS)) {
      const options = { ...TRANSPORTS[transport], reconnectDelay: 0, heartbeatIncoming: 0, heartbeatOutgoing: 0 }
      const [server, client] = [new RxStomp(), new RxStomp()]
      for (const rx of [server, client]) {
        rx.configure(options)
        rx.activate()
        await within('connection', firstValueFrom(rx.connected$))
      }
      server.watch('/queue/rpc-' + transport).subscribe((message) => {
        assert.match(message.headers['reply-to'], /^\/reply-queue\/./)
        server.publish({
          destination: message.headers['reply-to'],
          body: 'answer to ' + message.body,
          headers: { 'correlation-id': message.headers['correlation-id'] }
        })
      })
      const rpc = new RxStompRPC(client)
      for (const question of ['one', 'two', 'three']) {
        const answer = await within('answer', firstValueFrom(rpc.rpc({ destination: '/queue/rpc-' + transport, body: question })))
        assert.equal(answer.body, 'answer to ' + question)
      }
      for (const rx of [server, client]) await rx.deactivate()
      console.log('ok ' + transport)
    }
  },

  // Servers that allow one path only.
  async path () {
    const refused = new Peer('ws', '1.2', { brokerURL: `ws://${HOST}:${port}/other` })
    refused.client.activate()
    assert.equal((await refused.closes.next()).code, 1006)
    const fine = await Peer.open('ws', '1.2')
    await fine.close()
    const raw = net.connect(port, HOST)
    const answer = new Promise((resolve) => raw.once('data', resolve))
    raw.write('GET /other HTTP/1.1\r\nHost: localhost\r\n\r\n')
    assert.match(String(await within('answer', answer)), /^HTTP\/1.1 404 /)
    raw.destroy()
  }
}

// settled: the broker has done all that this peer asked for so far.
async function settled (peer) {
  await peer.publish('/topic/settled', '')
}

// spy: notes for each message from the broker but RECEIPT whether it was binary.
function spy (peer) {
  const kinds = { messages: [] }
  peer.client.webSocket.on('message', (data, isBinary) => {
    if (!Buffer.from(data).toString('latin1').startsWith('RECEIPT\n')) kinds.messages.push(isBinary)
  })
  return kinds
}

// ---------------------------------------------------------------- main

try {
  await scenarios[scenario]()
  for (const peer of all) await peer.client.deactivate({ force: true })
  console.log('done')
  process.exit(0)
} catch (error) {
  console.log('failed: ' + (error.stack || error))
  for (const peer of all) for (const frame of peer.errors.items) console.log('ERROR ' + JSON.stringify(frame.headers) + ' ' + frame.body)
  process.exit(1)
}

// SPDX-License-Identifier: Apache-2.0
//
// app.js: a chat room and a sensor board on one STOMP connection.
//
//     chat      SEND       /topic/chat.ROOM.ID      retain:true, expiration: one hour; ID is new for each message
//               SUBSCRIBE  /topic/chat.ROOM.#       what was said in the last hour, then what is said
//     sensors   SUBSCRIBE  /topic/sensors.*.*       the last known values, then the new ones
//
// Each chat message has a topic of its own, so the broker's retained messages are the history of the room, and the
// expiry keeps it short. MQTT devices take part by the same topics: they subscribe to chat/ROOM/#, publish to chat/ROOM
// (and are not in the history, unless they retain, too), and publish sensors/ID/WHAT, retained.
//
// Nothing that comes in is trusted: it is shown as text only, cut where it is too long, and counted.
'use strict'

const HISTORY_MS = 3600 * 1000
const MESSAGES_MAX = 500 // shown; older ones go
const READINGS_MAX = 200
const POINTS_MAX = 40 // of a reading's curve
const TEXT_MAX = 2000
const WORD = /^[\p{L}\p{N}_-]{1,40}$/u // a room: one level of a topic, without a character that means something there

const $ = (id) => document.getElementById(id)
const make = (tag, className, text) => {
  const element = document.createElement(tag)
  if (className) element.className = className
  if (text !== undefined) element.textContent = text
  return element
}
const cut = (text, n) => (text.length > n ? text.slice(0, n - 1) + '…' : text)
const randomId = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (b) => b.toString(16).padStart(2, '0')).join('')

// ---------------------------------------------------------------- what is kept in this browser

function remembered (key, otherwise) {
  try {
    return localStorage.getItem('weir.' + key) || otherwise
  } catch (error) {
    return otherwise // not allowed here
  }
}

function remember (key, value) {
  try {
    localStorage.setItem('weir.' + key, value)
  } catch (error) { /* then not */ }
}

// ---------------------------------------------------------------- connection

const query = new URLSearchParams(location.search)
const myself = randomId() // this page, so that it knows its own messages
let client = null
let room = ''
let chatSubscription = null

function show (state, text) {
  $('state').dataset.state = state
  $('state-text').textContent = text
  $('send').disabled = state !== 'on'
}

function trouble (text) {
  $('trouble').textContent = text
  $('trouble').hidden = text === ''
}

// brokerUrl: what was typed as an address, or null. A page over HTTPS may open wss: only; the browser sees to that.
function brokerUrl (text) {
  try {
    const url = new URL(text.includes('://') ? text : 'ws://' + text)
    return url.protocol === 'ws:' || url.protocol === 'wss:' ? url.href : null
  } catch (error) {
    return null
  }
}

function onConnect () {
  trouble('')
  show('on', 'connected')
  client.subscribe('/topic/sensors.*.*', onReading, { id: 'sensors' })
  chatSubscription = null
  enterRoom()
}

// onError: an ERROR frame: the broker says what is wrong and ends the connection.
function onError (frame) {
  trouble('The broker says: ' + cut(frame.headers.message || 'an error', 300))
}

let wasOpen = false

function onSocketClose () {
  if (!client.active) return show('off', 'not connected')
  if (!wasOpen && $('trouble').hidden) {
    trouble('No WebSocket at ' + client.brokerURL + '. Is the broker there, and does its listener have the line ' +
      '“websockets_origin ' + location.origin + '”?')
  }
  wasOpen = false
  show('trying', 'connection lost, trying again …')
}

async function connect (url) {
  if (client) await client.deactivate({ force: true })
  clearSensors()
  client = new StompJs.Client({
    brokerURL: url,
    reconnectDelay: 500,
    maxReconnectDelay: 10000,
    reconnectTimeMode: StompJs.ReconnectionTimeMode.EXPONENTIAL,
    connectionTimeout: 10000,
    heartbeatIncoming: 10000,
    heartbeatOutgoing: 10000,
    onConnect: () => { wasOpen = true; onConnect() },
    onStompError: onError,
    onWebSocketClose: onSocketClose
  })
  show('trying', 'connecting …')
  client.activate()
}

// ---------------------------------------------------------------- chat

const seen = new Set() // what a reconnect would bring again, with the history

// bodyText: null when it is not UTF-8.
function bodyText (message) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(message.binaryBody)
  } catch (error) {
    return null
  }
}

// isKnown: a message with a topic of its own was here, or a device's retained one.
function isKnown (headers, text) {
  const isOwn = headers.destination.startsWith('/topic/chat.' + room + '.')
  const key = isOwn ? headers.destination : headers.destination + '\n' + text
  if (seen.has(key) && (isOwn || headers.retained === 'true')) return true
  seen.add(key)
  if (seen.size > 4 * MESSAGES_MAX) seen.delete(seen.values().next().value)
  return false
}

function onChat (message) {
  const headers = message.headers
  const text = bodyText(message)
  if (message.binaryBody.length === 0 || isKnown(headers, text)) return // empty: a retained message was cleared
  const sent = Number(headers.sent)
  const at = Number.isFinite(sent) && sent > 0 ? Math.min(sent, Date.now()) : Date.now()
  const item = make('li', headers.page === myself ? 'mine' : '')
  item.dataset.at = at
  const who = make('div', 'who')
  who.append(make('b', '', cut(headers.from || 'a device', 40)))
  const time = make('time', '', new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }))
  time.dateTime = new Date(at).toISOString()
  who.append(time)
  item.append(who, text === null
    ? make('div', 'what odd', message.binaryBody.length + ' bytes that are not text')
    : make('div', 'what', cut(text, TEXT_MAX)))
  place(item, headers.retained === 'true')
}

// place: at the end; retained messages come in no order, so these go by their time.
function place (item, isRetained) {
  const list = $('messages')
  const isAtEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 40
  let before = list.lastElementChild
  while (isRetained && before && Number(before.dataset.at) > Number(item.dataset.at)) before = before.previousElementSibling
  list.insertBefore(item, before ? before.nextElementSibling : list.firstElementChild)
  while (list.childElementCount > MESSAGES_MAX) list.firstElementChild.remove()
  if (isAtEnd) list.scrollTop = list.scrollHeight
}

function enterRoom () {
  if (chatSubscription) chatSubscription.unsubscribe()
  chatSubscription = client.subscribe('/topic/chat.' + room + '.#', onChat, { id: 'chat-' + randomId() })
}

function say (text) {
  client.publish({
    destination: '/topic/chat.' + room + '.' + randomId(),
    body: text,
    headers: {
      'content-type': 'text/plain;charset=utf-8',
      retain: 'true',
      expiration: String(HISTORY_MS),
      from: $('name').value.trim(),
      page: myself,
      sent: String(Date.now())
    }
  })
}

// ---------------------------------------------------------------- sensors

const readings = new Map() // by destination

function clearSensors () {
  readings.clear()
  $('sensors').replaceChildren()
  $('no-sensors').hidden = false
}

function sensorCard (id) {
  for (const card of $('sensors').children) if (card.dataset.id === id) return card
  const card = make('article', 'sensor')
  card.dataset.id = id
  card.append(make('h3', '', cut(id, 60)))
  const next = Array.from($('sensors').children).find((other) => other.dataset.id > id)
  $('sensors').insertBefore(card, next || null)
  return card
}

function newReading (destination, id, what) {
  const element = make('div', 'reading')
  element.dataset.what = what
  const value = make('span', 'value')
  const age = make('span', 'age')
  const curve = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  curve.setAttribute('viewBox', '0 0 100 20')
  curve.setAttribute('preserveAspectRatio', 'none')
  curve.setAttribute('aria-hidden', 'true')
  curve.append(document.createElementNS('http://www.w3.org/2000/svg', 'polyline'))
  element.append(make('span', 'label', cut(what, 60)), value, curve, age)
  sensorCard(id).append(element)
  const reading = { element, value, age, line: curve.firstChild, curve, points: [], at: 0, isRetained: false }
  readings.set(destination, reading)
  return reading
}

function removeReading (destination) {
  const reading = readings.get(destination)
  if (!reading) return
  const card = reading.element.parentElement
  readings.delete(destination)
  reading.element.remove()
  if (!card.querySelector('.reading')) card.remove()
  $('no-sensors').hidden = readings.size > 0
}

// onReading: /topic/sensors.ID.WHAT. An empty retained message says that the sensor is gone.
function onReading (message) {
  const destination = message.headers.destination
  const levels = destination.slice('/topic/'.length).split('.').map(unescapeLevel)
  if (message.binaryBody.length === 0) return removeReading(destination)
  if (levels.length !== 3 || (readings.size >= READINGS_MAX && !readings.has(destination))) return
  const reading = readings.get(destination) || newReading(destination, levels[1], levels[2])
  const text = bodyText(message)
  const number = text !== null && text.trim() !== '' ? Number(text) : NaN
  reading.isRetained = message.headers.retained === 'true'
  reading.at = Date.now()
  reading.value.textContent = Number.isFinite(number) ? number.toLocaleString() : text === null ? 'not text' : cut(text, 40)
  reading.value.classList.toggle('odd', !Number.isFinite(number))
  reading.element.classList.toggle('last-known', reading.isRetained)
  if (Number.isFinite(number)) reading.points.push(number)
  if (reading.points.length > POINTS_MAX) reading.points.shift()
  draw(reading)
  showAge(reading)
  $('no-sensors').hidden = true
}

// unescapeLevel: a level may hold characters that would mean something in a destination; they come as %XX.
function unescapeLevel (level) {
  try {
    return decodeURIComponent(level)
  } catch (error) {
    return level
  }
}

function draw (reading) {
  const points = reading.points
  reading.curve.style.display = points.length < 2 ? 'none' : ''
  if (points.length < 2) return
  const low = Math.min(...points)
  const height = Math.max(...points) - low || 1
  reading.line.setAttribute('points', points.map((value, i) =>
    (100 * i / (points.length - 1)).toFixed(1) + ',' + (19 - 18 * (value - low) / height).toFixed(1)).join(' '))
}

function showAge (reading) {
  const s = Math.round((Date.now() - reading.at) / 1000)
  const age = s < 2 ? 'now' : s < 60 ? s + ' s ago' : s < 3600 ? Math.round(s / 60) + ' min ago' : Math.round(s / 3600) + ' h ago'
  reading.age.textContent = reading.isRetained ? 'last known value' : age
}

setInterval(() => readings.forEach(showAge), 1000)

// ---------------------------------------------------------------- the page

// wrong: marks a field, and says why in the browser's own words.
function wrong (field, why) {
  field.setCustomValidity(why)
  field.classList.toggle('wrong', why !== '')
  if (why !== '') field.reportValidity()
  return why !== ''
}

for (const id of ['broker', 'room', 'name', 'text']) $(id).addEventListener('input', () => wrong($(id), ''))

$('broker-form').addEventListener('submit', (event) => {
  event.preventDefault()
  const url = brokerUrl($('broker').value.trim())
  if (wrong($('broker'), url === null ? 'An address like ws://localhost:61613/ws, please.' : '')) return
  remember('broker', url)
  trouble('')
  connect(url)
})

$('room-form').addEventListener('submit', (event) => {
  event.preventDefault()
  const wanted = $('room').value.trim()
  const name = $('name').value.trim()
  if (wrong($('room'), WORD.test(wanted) ? '' : 'Letters, digits, - and _ only, please.')) return
  if (wrong($('name'), name === '' ? 'A name, please.' : '')) return
  remember('name', name)
  remember('room', wanted)
  if (wanted === room) return
  room = wanted
  seen.clear()
  $('messages').replaceChildren()
  if (client && client.connected) enterRoom()
})

$('send-form').addEventListener('submit', (event) => {
  event.preventDefault()
  const text = $('text').value.trim()
  if (wrong($('text'), text === '' ? 'Nothing to say?' : '')) return
  if (!client || !client.connected) return wrong($('text'), 'There is no connection.')
  say(text)
  $('text').value = ''
})

function start () {
  if (typeof StompJs === 'undefined') {
    trouble('The library @stomp/stompjs is missing: run “npm install” in the folder of this page, and load it again.')
    return
  }
  room = [query.get('room'), remembered('room', '')].find((text) => text && WORD.test(text)) || 'lobby'
  $('room').value = room
  $('name').value = cut(query.get('name') || remembered('name', 'visitor ' + myself.slice(0, 3)), 40)
  $('broker').value = query.get('broker') || remembered('broker', 'ws://' + (location.hostname || 'localhost') + ':61613/ws')
  $('broker-form').requestSubmit()
}

start()

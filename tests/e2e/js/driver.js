// SPDX-License-Identifier: Apache-2.0
// driver.js: MQTT.js, steered line by line. The lines are described in ../drivers.py.
'use strict'

const crypto = require('crypto')
const readline = require('readline')
const mqtt = require('mqtt')

const clients = new Map()

// ---------------------------------------------------------------- words

const CONNECT_NUMBERS = ['SessionExpiryInterval', 'ReceiveMaximum', 'MaximumPacketSize', 'TopicAliasMaximum']
const CONNECT_FLAGS = ['RequestResponseInformation', 'RequestProblemInformation']
const PUBLISH_NUMBERS = ['MessageExpiryInterval', 'TopicAlias']
const QUOTED = Array.from({ length: 256 }, (_, byte) => '%' + (byte < 16 ? '0' : '') + byte.toString(16))
const TEXTS = ['ResponseTopic', 'ContentType']

function unquote (word) {
  return Buffer.from(word.replace(/%(..)/g, (_, hex) => String.fromCharCode(parseInt(hex, 16))), 'latin1')
}

function quote (value) {
  const text = (Buffer.isBuffer(value) ? value : Buffer.from(String(value))).toString('latin1')
  return text.replace(/[^A-Za-z0-9._~/-]/g, (c) => QUOTED[c.charCodeAt(0)])
}

// {topic: Buffer, ...}; UserProperty is a list of pairs
function parse (words) {
  const values = { UserProperty: [] }
  for (const word of words) {
    const [key, ...rest] = word.split('=')
    if (key === 'UserProperty') {
      values.UserProperty.push(rest.map((half) => unquote(half).toString()))
    } else {
      values[key] = key === 'payload' ? Buffer.from(rest[0], 'hex') : unquote(rest[0])
    }
  }
  return values
}

const text = (value) => (value === undefined ? undefined : value.toString())
const number = (value) => (value === undefined ? undefined : Number(value.toString()))
const flag = (value) => number(value) === 1
const ours = (name) => name[0].toLowerCase() + name.slice(1)
const theirs = (name) => name[0].toUpperCase() + name.slice(1)

// ---------------------------------------------------------------- properties

function user (pairs) {
  const out = {}
  for (const [name, value] of pairs) {
    if (out[name] === undefined) out[name] = value
    else out[name] = [].concat(out[name], value)
  }
  return out
}

function properties (values, numbers, flags) {
  const out = {}
  for (const name of numbers) if (values[name] !== undefined) out[ours(name)] = number(values[name])
  for (const name of flags) if (values[name] !== undefined) out[ours(name)] = flag(values[name])
  for (const name of TEXTS) if (values[name] !== undefined) out[ours(name)] = text(values[name])
  if (values.CorrelationData !== undefined) out.correlationData = values.CorrelationData
  if (values.UserProperty.length > 0) out.userProperties = user(values.UserProperty)
  return out
}

function words (made) {
  let out = ''
  for (const [key, value] of Object.entries(made || {})) {
    if (key === 'userProperties') {
      for (const [name, one] of Object.entries(value)) {
        for (const each of [].concat(one)) out += ` UserProperty=${quote(name)}=${quote(each)}`
      }
    } else if (key === 'subscriptionIdentifier') {
      for (const each of [].concat(value)) out += ` SubscriptionIdentifier=${each}`
    } else {
      out += ` ${theirs(key)}=${typeof value === 'boolean' ? Number(value) : quote(value)}`
    }
  }
  return out
}

// ---------------------------------------------------------------- SCRAM-SHA-256 (RFC 5802, RFC 7677)

class Scram {
  constructor (name, password) {
    this.password = password
    this.nonce = crypto.randomBytes(18).toString('base64')
    this.bare = `n=${name.replace(/=/g, '=3D').replace(/,/g, '=2C')},r=${this.nonce}`
  }

  first () {
    return Buffer.from('n,,' + this.bare)
  }

  final (serverFirst) {
    const [, nonce, salt, rounds] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(serverFirst)
    if (!nonce.startsWith(this.nonce) || nonce === this.nonce) throw new Error('the nonce of the broker does not extend ours')
    const hmac = (key, data) => crypto.createHmac('sha256', key).update(data).digest()
    const salted = crypto.pbkdf2Sync(this.password, Buffer.from(salt, 'base64'), Number(rounds), 32, 'sha256')
    const key = hmac(salted, 'Client Key')
    const plain = `c=biws,r=${nonce}`
    const all = `${this.bare},${serverFirst},${plain}`
    const signature = hmac(crypto.createHash('sha256').update(key).digest(), all)
    this.verifier = 'v=' + hmac(hmac(salted, 'Server Key'), all).toString('base64')
    return Buffer.from(`${plain},p=${Buffer.from(key.map((byte, i) => byte ^ signature[i])).toString('base64')}`)
  }
}

const METHOD = 'SCRAM-SHA-256'

function answerAuth (client, scram) {
  client.handleAuth = (packet, callback) => {
    if (packet.reasonCode !== 0x18) return callback()
    try {
      const data = scram.final(packet.properties.authenticationData.toString())
      callback(null, { cmd: 'auth', reasonCode: 0x18, properties: { authenticationMethod: METHOD, authenticationData: data } })
    } catch (error) {
      callback(error)
    }
  }
}

// ---------------------------------------------------------------- verbs

function connectOptions (values) {
  const version = number(values.version)
  const options = {
    protocol: text(values.transport) === 'ws' ? 'ws' : 'mqtt',
    host: text(values.host),
    port: number(values.port),
    path: '/mqtt',
    clientId: text(values.id),
    protocolVersion: version,
    protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
    clean: flag(values.clean),
    keepalive: number(values.keepalive),
    reconnectPeriod: 0,
    connectTimeout: 15000,
    autoAssignTopicAlias: flag(values.aliases)
  }
  if (version === 5) options.properties = properties(values, CONNECT_NUMBERS, CONNECT_FLAGS)
  if (values.will_topic) {
    options.will = {
      topic: text(values.will_topic),
      payload: values.will_payload,
      qos: number(values.will_qos) || 0,
      retain: flag(values.will_retain),
      properties: values.will_delay ? { willDelayInterval: number(values.will_delay) } : undefined
    }
  }
  return options
}

function connect (values, done) {
  const name = text(values.client)
  const options = connectOptions(values)
  let scram
  if (values.scram_user) {
    scram = new Scram(text(values.scram_user), text(values.scram_password))
    Object.assign(options.properties, { authenticationMethod: METHOD, authenticationData: scram.first() })
  }
  options.manualConnect = true
  const client = mqtt.connect(options)
  if (scram) answerAuth(client, scram)
  let answered = false
  let reason
  const answer = (...args) => {
    if (!answered) done(...args)
    answered = true
  }
  clients.set(name, client)
  client.on('connect', (packet) => {
    if (scram) {
      const proof = packet.properties && text(packet.properties.authenticationData)
      if (proof !== scram.verifier) return answer(new Error(`the broker has not proved itself: ${proof}`))
    }
    answer(null, `present=${packet.sessionPresent ? 1 : 0}${words(packet.properties)}`)
  })
  client.on('message', (topic, payload, packet) => {
    print(`- message client=${quote(name)} topic=${quote(topic)} payload=${payload.toString('hex')} qos=${packet.qos} ` +
      `retain=${Number(packet.retain)} dup=${Number(packet.dup)}${words(packet.properties)}`)
  })
  client.on('disconnect', (packet) => { reason = packet.reasonCode || 0 })
  client.on('error', (error) => answer(error))
  client.on('close', () => {
    answer(new Error('the connection ended'))
    print(`- end client=${quote(name)}${reason === undefined ? '' : ` reason=${reason}`}`)
  })
  client.connect()
}

const VERBS = {
  connect,

  subscribe (values, done, client) {
    const options = { qos: number(values.qos), nl: flag(values.no_local), rap: flag(values.retain_as_published) }
    if (values.retain_handling) options.rh = number(values.retain_handling)
    if (values.SubscriptionIdentifier) {
      options.properties = { subscriptionIdentifier: number(values.SubscriptionIdentifier) }
    }
    client.subscribe(text(values.filter), options, (error, granted, packet) => {
      if (packet && packet.granted) return done(null, `granted=${packet.granted[0]}`)
      done(error || new Error('no SUBACK'))
    })
  },

  unsubscribe (values, done, client) {
    client.unsubscribe(text(values.filter), (error) => done(error))
  },

  publish (values, done, client) {
    const options = { qos: number(values.qos), retain: flag(values.retain) }
    const made = properties(values, PUBLISH_NUMBERS, ['PayloadFormatIndicator'])
    if (Object.keys(made).length > 0) options.properties = made
    client.publish(text(values.topic), values.payload, options, (error, packet) => {
      done(error, `reason=${(packet && packet.reasonCode) || 0}`)
    })
  },

  disconnect (values, done, client) {
    const made = properties(values, ['SessionExpiryInterval'], [])
    client.end(false, Object.keys(made).length > 0 ? { properties: made } : {}, (error) => done(error))
  },

  drop (values, done, client) {
    if (client.stream.destroyed) return done()
    client.stream.once('close', () => done())
    client.stream.destroy()
  }
}

// ---------------------------------------------------------------- lines

function print (line) {
  process.stdout.write(line + '\n')
}

function onLine (line) {
  const [id, verb, ...rest] = line.trim().split(' ')
  const done = (error, result) => {
    if (!error) return print(`${id} ok ${result || ''}`)
    print(`${id} no why=${quote(error.message)}${error.code === undefined ? '' : ` code=${quote(error.code)}`}`)
  }
  const values = parse(rest)
  const client = clients.get(text(values.client))
  if (!VERBS[verb] || (verb !== 'connect' && !client)) return done(new Error(`cannot ${verb}`))
  try {
    VERBS[verb](values, done, client)
  } catch (error) {
    done(error)
  }
}

readline.createInterface({ input: process.stdin, crlfDelay: Infinity }).on('line', onLine).on('close', () => process.exit(0))

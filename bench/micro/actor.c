/* SPDX-License-Identifier: Apache-2.0 */
/*
 * actor.c: publishers and subscribers on a stage.
 *
 *     script:  payload[i] = "0000002a" and filler          bytes = batch packets around them
 *     actor_perform ─► the batch is fed ─► the broker ─► on_out: the next payload of the batch, or a fault
 *
 * Output comes in pieces that end anywhere. What is not whole is carried over to the next piece.
 *
 * Spec    MQTT 3.1.1 §3.1 to §3.4, §3.8, §3.9; STOMP 1.2.
 */
#include "bench/micro/actor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 512, NUMBER_BYTES = 8 };

static void put(struct actor_bytes *b, const void *p, size_t n)
{
    if (b->n + n > b->cap) {
        b->cap = (b->n + n) * 2;
        b->p = micro_must(realloc(b->p, b->cap));
    }
    if (n != 0)
        memcpy(b->p + b->n, p, n);
    b->n += n;
}

static void put_u8(struct actor_bytes *b, unsigned v)
{
    uint8_t byte = (uint8_t)v;
    put(b, &byte, 1);
}

static void put_u16(struct actor_bytes *b, size_t v)
{
    put_u8(b, (unsigned)v >> 8);
    put_u8(b, (unsigned)v & 0xffu);
}

/* put_string: an MQTT string. */
static void put_string(struct actor_bytes *b, const char *text)
{
    put_u16(b, strlen(text));
    put(b, text, strlen(text));
}

/* put_head: an MQTT fixed header; the rest is `n` bytes. */
static void put_head(struct actor_bytes *b, unsigned first, size_t n)
{
    put_u8(b, first);
    for (; n >= 128; n /= 128)
        put_u8(b, (unsigned)(n % 128) | 128u);
    put_u8(b, (unsigned)n);
}

/* ---- script ------------------------------------------------------------------------------------------------- */

static const uint8_t *payload_at(const struct script *s, uint32_t i)
{
    return s->payload + (size_t)i * SCRIPT_PAYLOAD_BYTES;
}

static void write_publish(struct actor_bytes *out, const struct script *s, uint32_t i)
{
    size_t topic = strlen(s->topic), id = s->qos != 0 ? 2 : 0;
    put_head(out, 0x30u | (unsigned)s->qos << 1, 2 + topic + id + SCRIPT_PAYLOAD_BYTES);
    put_string(out, s->topic);
    if (id != 0)
        put_u16(out, i + 1);
    put(out, payload_at(s, i), SCRIPT_PAYLOAD_BYTES);
}

static void write_send(struct actor_bytes *out, const struct script *s, uint32_t i)
{
    char head[TEXT_MAX];
    int n = snprintf(head, sizeof head, "SEND\ndestination:%s\ncontent-length:%u\n\n", s->destination,
                     SCRIPT_PAYLOAD_BYTES);
    put(out, head, (size_t)n);
    put(out, payload_at(s, i), SCRIPT_PAYLOAD_BYTES);
    put_u8(out, 0);
}

void script_write(struct script *s)
{
    struct actor_bytes out = {0};
    s->payload = micro_take(s->batch, SCRIPT_PAYLOAD_BYTES);
    for (uint32_t i = 0; i < s->batch; i++) {
        uint8_t *p = s->payload + (size_t)i * SCRIPT_PAYLOAD_BYTES;
        char number[NUMBER_BYTES + 1];
        memset(p, 'a' + (int)(i % 26), SCRIPT_PAYLOAD_BYTES);
        snprintf(number, sizeof number, "%08x", i);
        memcpy(p, number, NUMBER_BYTES);
        if (s->is_stomp)
            write_send(&out, s, i);
        else
            write_publish(&out, s, i);
    }
    s->bytes = out.p;
    s->bytes_n = out.n;
}

void script_free(struct script *s)
{
    free(s->payload);
    free(s->bytes);
}

/* ---- what the broker says ----------------------------------------------------------------------------------- */

static void take_message(struct actor *a, const uint8_t *payload, size_t n)
{
    if (n != SCRIPT_PAYLOAD_BYTES)
        micro_die("message %u of the batch arrived with %zu bytes", a->next, n);
    if (memcmp(payload, payload_at(a->script, a->next), n) != 0)
        micro_die("instead of message %u of the batch came %.*s", a->next, (int)NUMBER_BYTES, (const char *)payload);
    a->next = a->next + 1 < a->script->batch ? a->next + 1 : 0;
    a->messages++;
}

static void take_publish(struct actor *a, unsigned flags, const uint8_t *body, size_t n)
{
    size_t topic = strlen(a->script->topic), id = (flags & 6u) != 0 ? 2 : 0, at = 2 + topic;
    if (n < at + id || (size_t)(body[0] << 8 | body[1]) != topic || memcmp(body + 2, a->script->topic, topic) != 0)
        micro_die("a PUBLISH has another topic");
    if (flags != (unsigned)a->script->qos << 1)
        micro_die("a PUBLISH has the flags 0x%x", flags);
    if (id != 0) {
        const uint8_t puback[4] = {0x40, 2, body[at], body[at + 1]};
        put(&a->answer, puback, sizeof puback);
    }
    take_message(a, body + at + id, n - at - id);
}

/* take_packet: the MQTT packet at the front of in[n]. Returns its bytes, 0 if it is not whole. */
static size_t take_packet(struct actor *a, const uint8_t *in, size_t n)
{
    size_t length = 0, at = 1;
    for (unsigned shift = 0;; shift += 7) {
        if (at == n)
            return 0;
        length |= (size_t)(in[at] & 127) << shift;
        if ((in[at++] & 128) == 0)
            break;
    }
    if (n - at < length)
        return 0;
    const uint8_t *body = in + at;
    switch (in[0] >> 4) {
    case 2: /* CONNACK */
        if (body[1] != 0)
            micro_die("the login was refused: %u", body[1]);
        a->greetings++;
        break;
    case 3:
        take_publish(a, in[0] & 15u, body, length);
        break;
    case 4: /* PUBACK */
        a->settled++;
        break;
    case 9: /* SUBACK */
        if (body[2] > 2)
            micro_die("the subscription was refused");
        a->greetings++;
        break;
    default:
        micro_die("the broker sent an MQTT packet of type %u", in[0] >> 4);
    }
    return at + length;
}

struct frame {
    struct slice command, ack, body;
};

/* header: the value, if `line` has this name; "name:" as it is written. */
static bool header(struct slice line, const char *name, struct slice *out)
{
    struct slice n = slice_from_str(name);
    if (!slice_starts_with(line, n))
        return false;
    *out = slice_skip(line, n.len);
    return true;
}

/* read_frame: a STOMP frame at the front of in. Returns its bytes, 0 if it is not whole. */
static size_t read_frame(struct slice in, struct frame *out)
{
    struct slice rest = in, line, length = {0};
    *out = (struct frame){0};
    do {
        ptrdiff_t end = slice_find(rest, '\n');
        if (end == -1)
            return 0;
        line = slice_make(rest.p, (size_t)end);
        rest = slice_skip(rest, (size_t)end + 1);
        if (out->command.len == 0)
            out->command = line;
        else if (!header(line, "content-length:", &length))
            (void)header(line, "ack:", &out->ack);
    } while (line.len != 0);
    ptrdiff_t nul = slice_find(rest, 0);
    size_t body = nul == -1 ? rest.len : (size_t)nul;
    if (length.len != 0) {
        body = 0;
        for (size_t i = 0; i < length.len; i++)
            body = body * 10 + (size_t)(length.p[i] - '0');
    }
    if (rest.len < body + 1)
        return 0;
    if (rest.p[body] != 0)
        micro_die("a STOMP frame does not end where its content-length says");
    out->body = slice_make(rest.p, body);
    return (size_t)(rest.p - in.p) + body + 1;
}

static size_t take_frame(struct actor *a, const uint8_t *in, size_t n)
{
    struct frame f;
    size_t eaten = 0;
    while (eaten < n && in[eaten] == '\n') /* between frames */
        eaten++;
    if (eaten == n)
        return n;
    size_t bytes = read_frame(slice_make(in + eaten, n - eaten), &f);
    if (bytes == 0)
        return 0;
    if (slice_eq_str(f.command, "MESSAGE")) {
        take_message(a, f.body.p, f.body.len);
        if (a->acks && f.ack.len == 0)
            micro_die("a MESSAGE to be acknowledged has no ack header");
        if (a->acks) {
            put(&a->answer, "ACK\nid:", 7);
            put(&a->answer, f.ack.p, f.ack.len);
            put(&a->answer, "\n\n", 3); /* and NUL */
        }
    } else if (slice_eq_str(f.command, "CONNECTED") || slice_eq_str(f.command, "RECEIPT")) {
        a->greetings++;
    } else {
        micro_die("the broker sent the STOMP frame %.*s", (int)MIN(n, 200), (const char *)in);
    }
    return eaten + bytes;
}

static size_t take_all(struct actor *a, const uint8_t *in, size_t n)
{
    size_t at = 0;
    while (at < n) {
        size_t eaten = (a->is_stomp ? take_frame : take_packet)(a, in + at, n - at);
        if (eaten == 0)
            break;
        at += eaten;
    }
    return at;
}

static void on_out(struct pipe *p, const uint8_t *bytes, size_t n)
{
    struct actor *a = CONTAINER_OF(p, struct actor, pipe);
    if (a->carry.n == 0) {
        size_t eaten = take_all(a, bytes, n);
        put(&a->carry, bytes + eaten, n - eaten);
        return;
    }
    put(&a->carry, bytes, n);
    size_t eaten = take_all(a, a->carry.p, a->carry.n);
    a->carry.n -= eaten;
    if (eaten != 0 && a->carry.n != 0)
        memmove(a->carry.p, a->carry.p + eaten, a->carry.n);
}

/* ---- entering ----------------------------------------------------------------------------------------------- */

/* say: one thing, which the broker answers. */
static void say(struct actor *a, const void *bytes, size_t n)
{
    uint64_t before = a->greetings;
    stage_pipe_feed(&a->pipe, bytes, n);
    while (stage_turn(a->pipe.stage))
        ;
    if (a->greetings != before + 1)
        micro_die("the broker did not answer a login or a subscription");
}

void actor_enter(struct actor *a, struct stage *s, const struct script *script, bool is_stomp, uint32_t number)
{
    static const char connect[] = "CONNECT\naccept-version:1.2\nhost:/\nheart-beat:0,0\n\n";
    a->script = script;
    a->is_stomp = is_stomp;
    a->pipe.on_out = on_out;
    stage_pipe_open(s, &a->pipe);
    if (is_stomp) {
        say(a, connect, sizeof connect); /* with its NUL */
        return;
    }
    struct actor_bytes packet = {0};
    char id[16];
    snprintf(id, sizeof id, "a%u", number);
    put_head(&packet, 0x10, 10 + 2 + strlen(id));
    put_string(&packet, "MQTT");
    put(&packet, "\4\2\0\0", 4); /* 3.1.1, clean session, no keep-alive */
    put_string(&packet, id);
    say(a, packet.p, packet.n);
    free(packet.p);
}

void actor_subscribe(struct actor *a)
{
    if (a->is_stomp) {
        char frame[TEXT_MAX];
        int n = snprintf(frame, sizeof frame, "SUBSCRIBE\nid:0\ndestination:%s\nack:%s\nreceipt:1\n\n",
                         a->script->destination, a->acks ? "client-individual" : "auto");
        say(a, frame, (size_t)n + 1);
        return;
    }
    struct actor_bytes packet = {0};
    put_head(&packet, 0x82, 2 + 2 + strlen(a->script->topic) + 1);
    put_u16(&packet, 1);
    put_string(&packet, a->script->topic);
    put_u8(&packet, a->script->qos);
    say(a, packet.p, packet.n);
    free(packet.p);
}

void actor_perform(struct actor *a)
{
    stage_pipe_feed(&a->pipe, a->script->bytes, a->script->bytes_n);
}

void actor_answer(struct actor *a)
{
    if (a->answer.n == 0 || !stage_pipe_is_read(&a->pipe))
        return;
    struct actor_bytes read = a->fed;
    a->fed = a->answer;
    a->answer = read;
    a->answer.n = 0;
    stage_pipe_feed(&a->pipe, a->fed.p, a->fed.n);
}

void actor_free(struct actor *a)
{
    free(a->carry.p);
    free(a->answer.p);
    free(a->fed.p);
}

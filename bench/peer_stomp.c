/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_stomp.c: STOMP 1.2 as a producer and a consumer speak it.
 *
 *     giver   SEND (receipt:00017) ─►          taker   ◄─ MESSAGE (ack:x)
 *                                 ◄─ RECEIPT                 ACK (id:x) ─►     client-individual
 *
 * A frame is cut at its header lines; only those that matter are looked at: content-length, ack and receipt-id. A body
 * without a content-length ends at its NUL. Nothing is unescaped: what we send holds nothing that would be escaped, and
 * the ack header goes back as it came.
 *
 * Invariants
 *   1. An ACK is shorter than the MESSAGE it answers, so the answers to one read fit the output.
 * Cost    one memchr per header line.
 * Spec    STOMP 1.2 §STOMP Frames, §Augmented BNF.
 */
#include "bench/peer.h"

#include <stdio.h>
#include <string.h>

struct frame {
    const uint8_t *command, *body, *ack, *receipt;
    uint32_t command_bytes, body_bytes, ack_bytes, receipt_bytes;
};

static inline bool starts(const uint8_t *p, size_t n, const char *with)
{
    size_t bytes = strlen(with);
    return n >= bytes && memcmp(p, with, bytes) == 0;
}

static inline void on_header(struct frame *f, const uint8_t *line, size_t n, int64_t *length)
{
    if (line[0] == 'c' && starts(line, n, "content-length:")) {
        *length = 0;
        for (size_t i = 15; i < n && i < 30 && line[i] >= '0' && line[i] <= '9'; i++)
            *length = *length * 10 + (line[i] - '0');
    } else if (line[0] == 'a' && starts(line, n, "ack:")) {
        f->ack = line + 4;
        f->ack_bytes = (uint32_t)n - 4;
    } else if (line[0] == 'r' && starts(line, n, "receipt-id:")) {
        f->receipt = line + 11;
        f->receipt_bytes = (uint32_t)n - 11;
    }
}

/* frame_peek: the bytes of the frame at the front of in[len], with the line ends before it; 0 if it is not whole. */
static size_t frame_peek(const uint8_t *in, size_t len, struct frame *f)
{
    size_t at = 0;
    int64_t length = -1;
    while (at < len && (in[at] == '\n' || in[at] == '\r'))
        at++;
    *f = (struct frame){.command = in + at};
    for (;;) {
        const uint8_t *line = in + at, *end = at < len ? memchr(line, '\n', len - at) : NULL;
        if (end == NULL)
            return 0;
        size_t n = (size_t)(end - line);
        at += n + 1;
        n -= n > 0 && line[n - 1] == '\r';
        if (n == 0)
            break;
        if (f->command_bytes == 0)
            f->command_bytes = (uint32_t)n;
        else
            on_header(f, line, n, &length);
    }
    f->body = in + at;
    if (length < 0) {
        const uint8_t *nul = at < len ? memchr(in + at, 0, len - at) : NULL;
        if (nul == NULL)
            return 0;
        length = nul - f->body;
    }
    f->body_bytes = (uint32_t)length;
    at += (size_t)length + 1;
    if (at > len)
        return 0;
    if (f->body[length] != 0)
        die("a STOMP frame does not end with NUL where its content-length says");
    return at;
}

static bool frame_is(const struct frame *f, const char *command)
{
    return f->command_bytes == strlen(command) && memcmp(f->command, command, f->command_bytes) == 0;
}

static _Noreturn void unexpected(const struct frame *f)
{
    const uint8_t *end = f->body + MIN(f->body_bytes, 200u);
    die("the broker sent the STOMP frame: %.*s", (int)(end - f->command), (const char *)f->command);
}

void template_stomp(struct template *t, const char *destination, unsigned with, uint32_t payload_bytes)
{
    char head[512];
    int n = snprintf(head, sizeof(head), "SEND\ndestination:%s\ncontent-length:%u\n%s%s\n", destination, payload_bytes,
                     (with & STOMP_PERSISTENT) != 0 ? "persistent:true\n" : "",
                     (with & STOMP_RECEIPT) != 0 ? "receipt:00000\n" : "");
    if (n < 0 || (size_t)n >= sizeof(head))
        die("the destination is too long");
    uint32_t at = (uint32_t)n;
    *t = (struct template){.bytes = take(at + payload_bytes + 1, 1),
                           .n = at + payload_bytes + 1,
                           .payload_at = at,
                           .payload_bytes = payload_bytes,
                           .id_at = (with & STOMP_RECEIPT) != 0 ? at - 7 : 0,
                           .id_is_text = true};
    memcpy(t->bytes, head, at);
    payload_fill(t->bytes + at, payload_bytes);
}

size_t stomp_giver_bytes(struct link *l, const uint8_t *in, size_t len)
{
    struct giver *g = CONTAINER_OF(l, struct giver, link);
    uint32_t settled = 0;
    size_t at = 0;
    for (;;) {
        struct frame f;
        size_t n = frame_peek(in + at, len - at, &f);
        if (n == 0)
            break;
        at += n;
        if (!frame_is(&f, "RECEIPT"))
            unexpected(&f);
        uint32_t id = 0;
        for (uint32_t i = 0; i < f.receipt_bytes && f.receipt[i] >= '0' && f.receipt[i] <= '9'; i++)
            id = id * 10 + (f.receipt[i] - '0');
        giver_settle(g, id, SLOT_SENT, &settled);
    }
    if (settled > 0 && g->on_settled != NULL)
        g->on_settled(g, settled);
    return at;
}

size_t stomp_taker_bytes(struct link *l, const uint8_t *in, size_t len)
{
    struct taker *t = CONTAINER_OF(l, struct taker, link);
    size_t at = 0;
    for (;;) {
        struct frame f;
        size_t n = frame_peek(in + at, len - at, &f);
        if (n == 0)
            return at;
        at += n;
        if (!frame_is(&f, "MESSAGE") || (t->acks && f.ack == NULL))
            unexpected(&f);
        if (t->acks) {
            uint8_t *out = link_end(l);
            memcpy(out, "ACK\nid:", 7);
            memcpy(out + 7, f.ack, f.ack_bytes);
            memcpy(out + 7 + f.ack_bytes, "\n\n", 3);
            l->out_n += 10 + f.ack_bytes;
        }
        struct message m = {.payload = f.body, .payload_bytes = f.body_bytes};
        t->on_message(t, &m);
    }
}

/* ---- login and subscriptions -------------------------------------------------------------------------------- */

/* expect: reads one frame, byte by byte, and dies unless it has that command. */
static void expect(struct link *l, const char *command)
{
    uint8_t text[2048];
    struct frame f;
    for (size_t n = 0; n < sizeof(text);) {
        link_recv(l, text + n++, 1);
        if (text[n - 1] == 0 && frame_peek(text, n, &f) != 0) {
            if (!frame_is(&f, command))
                unexpected(&f);
            return;
        }
    }
    die("the broker's answer to a STOMP login or subscription is too long");
}

void stomp_login(struct link *l)
{
    static const char frame[] = "CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\nheart-beat:0,0\n\n";
    link_send(l, frame, sizeof(frame)); /* with its NUL */
    expect(l, "CONNECTED");
}

void stomp_subscribe(struct link *l, const char *destination, bool ack_individual)
{
    char frame[512];
    int n = snprintf(frame, sizeof(frame), "SUBSCRIBE\nid:0\ndestination:%s\nack:%s\nreceipt:subscribed\n\n",
                     destination, ack_individual ? "client-individual" : "auto");
    if (n < 0 || (size_t)n >= sizeof(frame))
        die("the destination is too long");
    link_send(l, frame, (size_t)n + 1);
    expect(l, "RECEIPT");
}

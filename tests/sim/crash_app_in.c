/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_app_in.c: what an application hears.
 *
 * What is checked on the spot
 *   1. Receipts come in the order they were asked for.
 *   2. No ERROR comes without a reason (a full or failed disk, a broker that ends).
 *   3. A MESSAGE belongs to a subscription of this connection and has an ack header.
 */
#include "tests/sim/crash_app.h"

#include <stdlib.h>
#include <string.h>

static const struct stomp_limits limits_wide = {STOMP_COMMAND_BYTES_MAX, STOMP_HEADERS_MAX, STOMP_LINE_BYTES_MAX,
                                                STOMP_HEAD_BYTES_MAX, UINT32_MAX};

/* get: a header as text into out[cap]; empty: there is none. */
static void get(const struct stomp_frame *f, enum stomp_known h, char *out, size_t cap)
{
    struct slice v = {0};
    out[0] = 0;
    if (stomp_frame_get(f, h, (uint8_t *)out, cap - 1, &v) != ERR_OK)
        return;
    memmove(out, v.p, v.len);
    out[v.len] = 0;
}

static uint32_t get_u32(const struct stomp_frame *f, enum stomp_known h)
{
    char text[32];
    get(f, h, text, sizeof(text));
    return (uint32_t)strtoul(text, NULL, 10);
}

static void on_message(struct crash_app *a, const struct stomp_frame *f)
{
    struct crash_world *w = a->w;
    uint32_t q = get_u32(f, STOMP_H_SUBSCRIPTION);
    struct crash_held h = {.box = BOX_QUEUE + q};
    get(f, STOMP_H_ACK, h.ack, sizeof(h.ack));
    if (q >= CRASH_QUEUES || !(a->consumes >> q & 1) || h.ack[0] == 0) {
        crash_fail(&w->model, "%s: a MESSAGE for no subscription, or without ack", a->name);
        return;
    }
    h.msg = crash_from_payload(&w->model, f->body);
    crash_trace(w, "%s < MESSAGE #%d of %s", a->name, (int)h.msg, crash_queues[q]);
    if (h.msg == CRASH_NONE || a->state == APP_LEAVING)
        return; /* it said goodbye: another consumer may have answered this one already */
    crash_take(&w->model, h.box, h.msg);
    a->held = crash_grow(&w->mem, a->held, &a->held_cap, a->held_n + 1, sizeof(*a->held));
    a->held[a->held_n++] = h;
}

static void on_receipt(struct crash_app *a, const struct stomp_frame *f)
{
    struct crash_world *w = a->w;
    uint32_t number = get_u32(f, STOMP_H_RECEIPT_ID);
    crash_trace(w, "%s < RECEIPT %u", a->name, number);
    if (a->await_n == 0 || a->await[0].number != number) {
        crash_fail(&w->model, "%s: RECEIPT %u, %u is next", a->name, number, a->await_n ? a->await[0].number : 0);
        return;
    }
    struct crash_receipt r = a->await[0];
    memmove(&a->await[0], &a->await[1], (a->await_n - 1) * sizeof(r));
    a->await_n--;
    switch ((enum crash_receipt_kind)r.kind) {
    case RECEIPT_SEND:
        crash_msg_yes(&w->model, r.ref);
        if (w->model.msg[r.ref].kind == TO_QUEUE)
            w->queue_known[w->model.msg[r.ref].place] = true;
        break;
    case RECEIPT_SUBSCRIBE:
        w->queue_known[r.ref] = true;
        break;
    case RECEIPT_ACK:
    case RECEIPT_NACK:
        crash_done(&w->model, r.box, r.ref, r.kind == RECEIPT_ACK);
        break;
    case RECEIPT_COMMIT:
        crash_tx_ended(&w->model, r.ref, CRASH_TX_DONE);
        break;
    case RECEIPT_BYE:
        break;
    }
}

/* on_error: what it answers was refused; nobody knows about the rest. */
static void on_error(struct crash_app *a, const struct stomp_frame *f)
{
    struct crash_world *w = a->w;
    char text[256], code[64];
    uint32_t number = get_u32(f, STOMP_H_RECEIPT_ID);
    get(f, STOMP_H_MESSAGE, text, sizeof(text));
    get(f, STOMP_H_X_CODE, code, sizeof(code));
    crash_trace(w, "%s < ERROR %s %s receipt %u: " SLICE_FMT, a->name, code, text, number, SLICE_ARG(f->body));
    bool is_fair = crash_may_refuse(w) || w->shard == NULL || w->shard->is_stopping || strcmp(code, "shutdown") == 0;
    if (!is_fair)
        crash_fail(&w->model, "%s: ERROR %s %s", a->name, code, text);
    for (uint32_t i = 0; number && i < a->await_n; i++) {
        if (a->await[i].number != number)
            continue;
        if (a->await[i].kind == RECEIPT_SEND && is_fair && strcmp(code, "shutdown") != 0)
            crash_msg_no(&w->model, a->await[i].ref);
        else if (a->await[i].kind == RECEIPT_COMMIT && is_fair && strcmp(code, "shutdown") != 0)
            crash_tx_ended(&w->model, a->await[i].ref, CRASH_TX_VOID);
    }
}

static void on_frame(struct crash_app *a, const struct stomp_frame *f)
{
    struct crash_model *m = &a->w->model;
    if (f->command != STOMP_CMD_ERROR && (a->state == APP_CONNECTING) != (f->command == STOMP_CMD_CONNECTED)) {
        crash_fail(m, "%s: " SLICE_FMT " in the wrong place", a->name, SLICE_ARG(stomp_command_text(f->command)));
        return;
    }
    switch (f->command) {
    case STOMP_CMD_CONNECTED:
        crash_trace(a->w, "%s < CONNECTED", a->name);
        a->state = APP_ON;
        crash_app_subscribe_all(a);
        break;
    case STOMP_CMD_MESSAGE:
        on_message(a, f);
        break;
    case STOMP_CMD_RECEIPT:
        on_receipt(a, f);
        break;
    case STOMP_CMD_ERROR:
        on_error(a, f);
        break;
    default:
        crash_fail(m, "%s: a server does not send " SLICE_FMT, a->name, SLICE_ARG(stomp_command_text(f->command)));
    }
}

static size_t on_bytes(struct crash_link *l, const uint8_t *in, size_t len)
{
    struct crash_app *a = CONTAINER_OF(l, struct crash_app, link);
    size_t eaten = 0;
    while (l->t && eaten < len && a->w->model.why[0] == 0) {
        struct stomp_frame f;
        ptrdiff_t n = stomp_frame_decode(in + eaten, len - eaten, &limits_wide, STOMP_1_2, &a->scan, &f);
        if (n < 0)
            crash_fail(&a->w->model, "%s: bytes that are no frame: %s", a->name, err_text((enum err) - n));
        if (n <= 0)
            break;
        if (f.command != STOMP_CMD_EOL) {
            a->w->busy_at = crash_now(a->w);
            on_frame(a, &f);
        }
        eaten += (size_t)n;
    }
    return eaten;
}

static void on_end(struct crash_link *l)
{
    struct crash_app *a = CONTAINER_OF(l, struct crash_app, link);
    crash_trace(a->w, "%s < end", a->name);
    crash_app_lost(a);
}

const struct crash_link_ops crash_app_link_ops = {.on_bytes = on_bytes, .on_end = on_end};

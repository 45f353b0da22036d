/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_app.c: what an application does. Frames are put together as text, as a STOMP user would.
 *
 *     number 0   consumes "work" (which has dead letters) and "dead"; at the end also "later", where a backlog waits
 *     the others consume "shared" together
 *
 * Invariants
 *   1. held: deliveries of this connection that were not answered; empty without one.
 *   2. await: receipts asked for on this connection, in order.
 */
#include "tests/sim/crash_app.h"

#include <stdio.h>
#include <string.h>

static void put(struct crash_app *a, const char *text)
{
    buf_put_str(&a->link.out, text);
}

static void put_end(struct crash_app *a)
{
    buf_put(&a->link.out, "\n\0", 2);
}

static void send_out(struct crash_app *a)
{
    if (a->link.out.len)
        a->w->busy_at = crash_now(a->w);
    crash_link_flush(&a->link);
}

/* ask_receipt: the header, and what is awaited. */
static void ask_receipt(struct crash_app *a, enum crash_receipt_kind kind, uint32_t ref, uint32_t box)
{
    a->await = crash_grow(&a->w->mem, a->await, &a->await_cap, a->await_n + 1, sizeof(*a->await));
    a->await[a->await_n++] =
        (struct crash_receipt){.number = ++a->next_receipt, .ref = ref, .box = box, .kind = (uint8_t)kind};
    buf_printf(&a->link.out, "receipt:%u\n", a->next_receipt);
}

/* ---- SEND ---------------------------------------------------------------------------------------------------------
 */

static void draw_place(struct crash_app *a, struct crash_msg *out)
{
    struct crash_world *w = a->w;
    static const uint8_t topics[] = {TOPIC_A, TOPIC_B, TOPIC_C, TOPIC_GROUP, TOPIC_GROUP2};
    out->kind = TO_QUEUE;
    out->place = (uint8_t)(w->plan.has_pages && crash_chance(w, 70) ? 2 : crash_roll(w, CRASH_QUEUES - 1));
    if (crash_chance(w, 25) || (out->place == 0 && !w->queue_known[0])) {
        out->kind = TO_TOPIC;
        out->place = topics[crash_roll(w, ARRAY_N(topics))];
    } else if (crash_chance(w, 10)) {
        out->is_late = true;
        out->due = 1 + crash_roll(w, 3000);
        w->late_until = MAX(w->late_until, crash_now(w) + out->due);
    } else if (crash_chance(w, 6)) {
        out->until = 1 + crash_roll(w, 20000);
    }
}

/* put_send: a whole frame; tx: + 1. Returns the message. */
static uint32_t put_send(struct crash_app *a, uint32_t tx, bool wants_receipt)
{
    struct crash_world *w = a->w;
    struct crash_msg spec = {.from = CRASH_DEVS + a->number, .qos = 1, .bytes = crash_size(w), .tx = tx};
    draw_place(a, &spec);
    if (tx) {
        spec.is_late = false;
        spec.due = spec.until = 0;
    }
    uint32_t msg = crash_msg_new(&w->model, &spec);
    crash_msg_say(&w->model, msg);
    struct crash_msg *c = &w->model.msg[msg];
    if (spec.kind == TO_QUEUE)
        buf_printf(&a->link.out, "SEND\ndestination:/queue/%s\n", crash_queues[spec.place]);
    else
        buf_printf(&a->link.out, "SEND\ndestination:/topic/%s\n", crash_topics[spec.place]);
    put(a, "persistent:true\n");
    buf_printf(&a->link.out, "content-length:%u\n", c->bytes);
    if (spec.due)
        buf_printf(&a->link.out, "x-delay:%u\n", (unsigned)spec.due);
    if (spec.until)
        buf_printf(&a->link.out, "expiration:%u\n", (unsigned)spec.until);
    if (tx)
        buf_printf(&a->link.out, "transaction:t%u\n", tx);
    if (wants_receipt)
        ask_receipt(a, RECEIPT_SEND, msg, 0);
    put(a, "\n");
    uint8_t *room = buf_room(&a->link.out, c->bytes);
    BUG_ON(room == NULL);
    crash_payload(&w->model, msg, room);
    buf_wrote(&a->link.out, c->bytes);
    buf_put_u8(&a->link.out, 0);
    if (!wants_receipt && tx == 0)
        crash_msg_maybe(&w->model, msg);
    crash_trace(w, "%s > SEND #%u %s%s delay %u ttl %u receipt %d tx %d %u bytes", a->name, msg,
                spec.kind == TO_QUEUE ? "/queue/" : "",
                spec.kind == TO_QUEUE ? crash_queues[spec.place] : crash_topics[spec.place], (unsigned)spec.due,
                (unsigned)spec.until, wants_receipt ? (int)a->next_receipt : -1, (int)tx - 1, c->bytes);
    return msg;
}

/* ---- ACK, NACK ----------------------------------------------------------------------------------------------------
 */

static struct crash_held take_held(struct crash_app *a, uint32_t i)
{
    struct crash_held h = a->held[i];
    memmove(&a->held[i], &a->held[i + 1], (a->held_n - i - 1) * sizeof(h));
    a->held_n--;
    return h;
}

static void put_answer(struct crash_app *a, uint32_t i, bool accepts, bool requeue, uint32_t tx)
{
    struct crash_world *w = a->w;
    struct crash_held h = take_held(a, i);
    buf_printf(&a->link.out, "%s\nid:%s\n", accepts ? "ACK" : "NACK", h.ack);
    if (!accepts && !requeue)
        put(a, "requeue:false\n");
    if (tx)
        buf_printf(&a->link.out, "transaction:t%u\n", tx);
    if (!requeue)
        crash_answer(&w->model, h.box, h.msg, accepts, tx);
    bool wants_receipt = tx == 0 && (w->is_draining || crash_chance(w, 50)) && !requeue;
    if (wants_receipt)
        ask_receipt(a, accepts ? RECEIPT_ACK : RECEIPT_NACK, h.msg, h.box);
    put_end(a);
    crash_trace(w, "%s > %s #%u of box %u%s receipt %d tx %d", a->name, accepts ? "ACK" : "NACK", h.msg, h.box,
                requeue ? " again" : "", wants_receipt ? (int)a->next_receipt : -1, (int)tx - 1);
}

static void answer(struct crash_app *a)
{
    struct crash_world *w = a->w;
    if (a->held_n == 0)
        return;
    uint32_t i = crash_chance(w, 60) ? 0 : crash_roll(w, a->held_n);
    bool is_calm = w->is_draining;
    if (!is_calm && crash_chance(w, 8))
        put_answer(a, i, false, true, 0);
    else if (!is_calm && a->held[i].box == BOX_QUEUE && crash_chance(w, 20))
        put_answer(a, i, false, false, 0);
    else
        put_answer(a, i, true, false, 0);
}

/* ---- transactions -------------------------------------------------------------------------------------------------
 */

static void transact(struct crash_app *a)
{
    struct crash_world *w = a->w;
    uint32_t tx = crash_tx_new(&w->model) + 1;
    buf_printf(&a->link.out, "BEGIN\ntransaction:t%u\n", tx);
    put_end(a);
    bool is_commit = crash_chance(w, 85);
    for (uint32_t n = crash_roll(w, 5); n > 0; n--) {
        put_send(a, tx, false);
        w->model.tx[tx - 1].sends++;
    }
    for (uint32_t n = is_commit ? crash_roll(w, 4) : 0; n > 0 && a->held_n > 0; n--)
        put_answer(a, crash_roll(w, a->held_n), true, false, tx);
    buf_printf(&a->link.out, "%s\ntransaction:t%u\n", is_commit ? "COMMIT" : "ABORT", tx);
    if (is_commit)
        ask_receipt(a, RECEIPT_COMMIT, tx - 1, 0);
    else
        crash_tx_ended(&w->model, tx - 1, CRASH_TX_VOID);
    put_end(a);
    crash_trace(w, "%s > %s tx %u", a->name, is_commit ? "COMMIT" : "ABORT", tx - 1);
}

/* ---- connections --------------------------------------------------------------------------------------------------
 */

static void put_subscribe(struct crash_app *a, uint32_t q)
{
    struct crash_world *w = a->w;
    a->consumes |= UINT32_C(1) << q;
    buf_printf(&a->link.out, "SUBSCRIBE\nid:%u\ndestination:/queue/%s\nack:client-individual\n", q, crash_queues[q]);
    buf_printf(&a->link.out, "prefetch-count:%u\n", 1 + crash_roll(w, 30));
    if (q == 0) /* the same words every time: a queue that came back otherwise would be an error */
        buf_printf(&a->link.out, "x-dead-letter-exchange:\nx-dead-letter-routing-key:%s\n",
                   crash_queues[CRASH_QUEUES - 1]);
    ask_receipt(a, RECEIPT_SUBSCRIBE, q, 0);
    put_end(a);
    crash_trace(w, "%s > SUBSCRIBE %s receipt %u", a->name, crash_queues[q], a->next_receipt);
}

void crash_app_subscribe_all(struct crash_app *a)
{
    if (a->number == 0) {
        if (!(a->consumes & 8)) /* before "work", whose dead letters go there */
            put_subscribe(a, 3);
        if (!(a->consumes & 1))
            put_subscribe(a, 0);
        if (!(a->consumes & 4) && a->w->is_draining)
            put_subscribe(a, 2);
    } else if (!(a->consumes & 2)) {
        put_subscribe(a, 1);
    }
    send_out(a);
}

static void plan_back(struct crash_app *a, mono_ms in_ms)
{
    sim_plan(a->w->loop, &a->back, crash_now(a->w) + in_ms);
}

static void app_connect(struct crash_app *a)
{
    struct crash_world *w = a->w;
    if (a->state != APP_OFF)
        return;
    if (!crash_link_open(&a->link)) {
        plan_back(a, 20 + crash_roll(w, 200));
        return;
    }
    a->state = APP_CONNECTING;
    put(a, "CONNECT\naccept-version:1.2\nhost:/\n");
    put_end(a);
    crash_trace(w, "%s > CONNECT", a->name);
    send_out(a);
}

static void on_back(struct sim_event *ev)
{
    app_connect(CONTAINER_OF(ev, struct crash_app, back));
}

void crash_app_lost(struct crash_app *a)
{
    struct crash_world *w = a->w;
    for (uint32_t i = 0; i < a->await_n; i++)
        if (a->await[i].kind == RECEIPT_SEND)
            crash_msg_maybe(&w->model, a->await[i].ref);
    a->held_n = a->await_n = a->consumes = 0;
    a->scan = (struct stomp_scan){0};
    a->state = APP_OFF;
    mono_ms heard = 2 * w->plan.net.delay_ms_max + 10; /* not before the broker has: it would see two consumers */
    plan_back(a, heard + (w->is_draining || crash_chance(w, 70) ? crash_roll(w, 200) : crash_roll(w, 3000)));
}

static void leave(struct crash_app *a)
{
    if (crash_chance(a->w, 40)) {
        put(a, "DISCONNECT\n");
        ask_receipt(a, RECEIPT_BYE, 0, 0);
        put_end(a);
        a->state = APP_LEAVING;
        crash_trace(a->w, "%s > DISCONNECT", a->name);
        send_out(a);
        return;
    }
    crash_trace(a->w, "%s breaks its connection", a->name);
    crash_link_close(&a->link, crash_chance(a->w, 50));
    crash_app_lost(a);
}

/* ---- acts ---------------------------------------------------------------------------------------------------------
 */

void crash_app_act(struct crash_app *a)
{
    struct crash_world *w = a->w;
    if (a->state != APP_ON || a->link.out.len > 300000)
        return;
    uint32_t dice = crash_roll(w, 100);
    if (dice < 35) {
        for (uint32_t n = crash_chance(w, 80) ? 1 : 1 + crash_roll(w, w->plan.has_pages ? 40 : 8); n > 0; n--)
            put_send(a, 0, crash_chance(w, 80));
    } else if (dice < 80) {
        for (uint32_t n = 1 + crash_roll(w, 4); n > 0; n--)
            answer(a);
    } else if (dice < 97) {
        transact(a);
    } else {
        leave(a);
        return;
    }
    send_out(a);
}

bool crash_app_rest(struct crash_app *a)
{
    if (a->state != APP_ON)
        return false;
    crash_app_subscribe_all(a);
    while (a->held_n)
        answer(a);
    send_out(a);
    return a->await_n == 0 && a->link.out.len == 0;
}

struct crash_app *crash_app_new(struct crash_world *w, uint32_t number)
{
    struct crash_app *a = mem_zalloc(&w->mem, sizeof(*a));
    BUG_ON(a == NULL);
    a->w = w;
    a->number = number;
    a->back.on_due = on_back;
    snprintf(a->name, sizeof(a->name), "app-%u", number);
    crash_link_init(&a->link, w, &crash_app_link_ops);
    plan_back(a, crash_roll(w, 20));
    return a;
}

void crash_app_free(struct crash_app *a)
{
    struct crash_world *w = a->w;
    sim_cancel(w->loop, &a->back);
    crash_link_fini(&a->link);
    mem_free(&w->mem, a->held);
    mem_free(&w->mem, a->await);
    mem_free(&w->mem, a);
}

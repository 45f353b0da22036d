/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage_act.c: what happens on stage: sends, subscriptions, answers, transactions, ends. Each act says to the broker as
 * frames what it tells the twin as verbs, and notes the answer that the twin's result calls for.
 *
 * Several frames may go out at once; when one of them is refused with ERROR, what stands behind it must have no effect.
 */
#include <stdio.h>
#include <string.h>

#include "tests/sim/model.h"
#include "tests/sim/stage.h"

void stage_queue_name(struct stage *st, char *out)
{
    snprintf(out, TWIN_TEXT, "q%u", stage_roll(st, st->plan.queues));
}

static const char *const keys[] = {"a", "b", "a.b", "a.c", "a.b.c", "q0", "q1"};
static const char *const filters[] = {"a", "b", "a.*", "a.#", "#", "*", "a.b.c", "#.c", "q0"};

/* exchange_name: one that is there always, or now and then. */
static void exchange_name(struct stage *st, char *out)
{
    static const char *const builtin[] = {"amq.topic", "amq.direct", "amq.fanout"};
    snprintf(out, TWIN_TEXT, "x%u", stage_roll(st, st->plan.exchanges));
    bool is_there = twin_exchange_get(&st->twin, out) != NULL;
    if (stage_chance(st, is_there ? 30 : 93)) /* an error ends a connection, and there is less to see */
        snprintf(out, TWIN_TEXT, "%s", builtin[stage_roll(st, ARRAY_N(builtin))]);
}

/* ---- policies --------------------------------------------------------------------------------------------------- */

static void draw_dead(struct stage *st, struct twin_policy *p)
{
    p->has_dlx = true;
    if (stage_chance(st, 60)) { /* straight into another queue, or in a circle */
        p->has_dlk = true;
        stage_queue_name(st, p->dlk);
        return;
    }
    exchange_name(st, p->dlx);
    p->has_dlk = stage_chance(st, 50);
    if (p->has_dlk)
        snprintf(p->dlk, sizeof(p->dlk), "%s", keys[stage_roll(st, ARRAY_N(keys))]);
}

static void draw_limits(struct stage *st, struct twin_policy *p)
{
    static const enum twin_overflow ways[] = {TWIN_DROP_HEAD, TWIN_REJECT, TWIN_REJECT_DLX};
    if (stage_chance(st, 70))
        p->len_max = 1 + stage_roll(st, 8);
    if (st->plan.has_weights && stage_chance(st, 70))
        p->weight_max = 2 + stage_roll(st, 3); /* no message is larger than a whole queue */
    p->overflow = TWIN_DROP_HEAD;              /* without x-overflow, as in RabbitMQ */
    if (p->len_max + p->weight_max == 0)
        p->overflow = TWIN_REJECT;
    else
        p->overflow = ways[stage_roll(st, p->has_dlx && !stage_has(st, FEATURE_TOPOLOGY) ? 3 : 2)]; /* of several
        queues that refuse, it is not said which one makes a dead letter of it */
}

static void draw_life(struct stage *st, struct twin_policy *p)
{
    p->durable = stage_chance(st, 60);
    p->auto_delete = stage_chance(st, 30);
    p->exclusive = stage_chance(st, 20);
    if (stage_chance(st, 40))
        p->expires = 1 + stage_roll(st, (uint32_t)MIN(st->plan.step_max, UINT32_MAX - 1));
}

void stage_draw_policy(struct stage *st, struct twin_policy *p)
{
    uint32_t span = (uint32_t)MIN(st->plan.step_max, UINT32_MAX - 1);
    twin_policy_init(p);
    if (stage_has(st, FEATURE_DEAD) && stage_chance(st, 60))
        draw_dead(st, p);
    if (stage_has(st, FEATURE_TTL) && stage_chance(st, 50)) {
        p->has_ttl = true;
        p->ttl = stage_chance(st, 15) ? 0 : 1 + stage_roll(st, span);
    }
    if (stage_has(st, FEATURE_LEN) && stage_chance(st, 60))
        draw_limits(st, p);
    if (stage_has(st, FEATURE_LIMIT) && stage_chance(st, 60)) {
        p->has_limit = true;
        p->limit = stage_roll(st, 4);
    }
    if (stage_has(st, FEATURE_RETRY) && stage_chance(st, 60)) {
        p->retry_min = 1 + stage_roll(st, span / 2);
        p->retry_max = p->retry_min + stage_roll(st, span);
    }
    if (stage_has(st, FEATURE_LEVELS) && stage_chance(st, 50))
        p->levels = 1 + stage_roll(st, stage_chance(st, 50) ? 3 : 255);
    p->single = stage_has(st, FEATURE_SINGLE) && stage_chance(st, 40);
    if (stage_has(st, FEATURE_LIFE) && stage_chance(st, 60))
        draw_life(st, p);
    if (stage_has(st, FEATURE_ACK_MS) && stage_chance(st, 60))
        p->ack_ms = stage_chance(st, 10) ? 0 : 1 + stage_roll(st, span);
}

static const char *flag(bool b)
{
    return b ? "true" : "false";
}

static void write_number(struct stage_peer *p, const char *name, uint64_t value, bool is_given)
{
    if (is_given)
        frame_header(p, name, "%llu", (unsigned long long)value);
}

void stage_write_policy(struct stage_peer *p, const struct twin_policy *y)
{
    static const char *const overflow[] = {"", "drop-head", "reject-publish", "reject-publish-dlx"};
    struct stage *st = p->st;
    struct twin_policy def;
    twin_policy_init(&def);
    frame_header(p, "durable", "%s", flag(y->durable)); /* always one: an argument is given */
    if (y->auto_delete || stage_chance(st, 10))
        frame_header(p, "auto-delete", "%s", flag(y->auto_delete));
    if (y->exclusive)
        frame_header(p, "exclusive", "true");
    write_number(p, "x-message-ttl", y->ttl, y->has_ttl);
    write_number(p, "x-expires", y->expires, y->expires != 0);
    write_number(p, "x-max-length", y->len_max, y->len_max != 0);
    write_number(p, "x-max-length-bytes", y->weight_max * STAGE_WEIGHT_BYTES + STAGE_WEIGHT_BYTES / 2,
                 y->weight_max != 0);
    bool has_limit = y->len_max + y->weight_max != 0;
    if (has_limit && (y->overflow != TWIN_DROP_HEAD || stage_chance(st, 50)))
        frame_header(p, "x-overflow", "%s", overflow[y->overflow]);
    if (y->has_dlx)
        frame_header(p, "x-dead-letter-exchange", "%s", y->dlx);
    if (y->has_dlk)
        frame_header(p, "x-dead-letter-routing-key", "%s", y->dlk);
    write_number(p, "x-delivery-limit", y->limit, y->has_limit);
    write_number(p, "x-retry-delay-min", y->retry_min, y->retry_min != 0);
    write_number(p, "x-retry-delay-max", y->retry_max, y->retry_min != 0);
    write_number(p, "x-consumer-timeout", y->ack_ms, y->ack_ms != def.ack_ms);
    write_number(p, "x-max-priority", y->levels, y->levels != 0);
    if (y->single)
        frame_header(p, "x-single-active-consumer", "true");
}

/* ---- SEND ------------------------------------------------------------------------------------------------------- */

/* some_policy: what to declare with: nothing, what is there, or something else. False: nothing is given. */
static bool some_policy(struct stage *st, const char *name, struct twin_policy *out)
{
    const struct twin_queue *q = twin_queue_get(&st->twin, name);
    if (q == NULL) {
        twin_policy_init(out);
        if (stage_chance(st, 20))
            return false;
        stage_draw_policy(st, out);
        return true;
    }
    if (stage_chance(st, 80))
        return false;
    if (stage_chance(st, 80))
        *out = q->policy;
    else
        stage_draw_policy(st, out);
    return true;
}

static void write_body(struct stage_peer *p, const struct twin_msg *m)
{
    struct stage *st = p->st;
    size_t n = 16 + (size_t)m->weight * STAGE_WEIGHT_BYTES;
    char *body = mem_zalloc(&st->mem, n);
    BUG_ON(body == NULL);
    memset(body, '.', n);
    int len = snprintf(body, 14, "#%u ", m->number);
    body[len] = '.';
    frame_header(p, "content-length", "%zu", n);
    frame_end(p, body, n);
    mem_free(&st->mem, body);
}

/* draw_message: everything but where it goes. */
static void draw_message(struct stage *st, struct twin_msg *m)
{
    *m = (struct twin_msg){.number = ++st->number_next};
    m->weight = st->plan.has_weights ? 1 + stage_roll(st, 2) : 0;
    if (stage_has(st, FEATURE_LEVELS) && stage_chance(st, 60))
        m->priority = (uint8_t)stage_roll(st, stage_chance(st, 80) ? 5 : 256);
}

static void write_message(struct stage_peer *p, struct twin_msg *m, mono_ms *delay)
{
    struct stage *st = p->st;
    uint32_t span = (uint32_t)MIN(st->plan.step_max, UINT32_MAX - 1);
    *delay = 0;
    if (m->priority || stage_chance(st, 5))
        frame_header(p, "priority", "%u", m->priority);
    if (stage_has(st, FEATURE_TTL) && stage_chance(st, 20)) {
        mono_ms ttl = 1 + stage_roll(st, span);
        frame_header(p, stage_chance(st, 50) ? "expiration" : "ttl", "%llu", (unsigned long long)ttl);
        m->expires_at = st->twin.now + ttl;
    } else if (stage_has(st, FEATURE_DELAY) && stage_chance(st, 20)) {
        *delay = 1 + stage_roll(st, span);
        frame_header(p, stage_chance(st, 70) ? "x-delay" : "AMQ_SCHEDULED_DELAY", "%llu", (unsigned long long)*delay);
    }
    if (stage_chance(st, 30))
        frame_header(p, "persistent", "true");
}

/* expect_of: what a peer hears of a publish with that result. */
static void expect_of(struct stage_peer *p, enum twin_result r, struct stage_expect *receipt, bool takes_no)
{
    if (r == TWIN_REFUSED_DLX)
        r = TWIN_REFUSED;
    if (r == TWIN_REFUSED && takes_no && receipt) {
        receipt->is_rejected = true;
        snprintf(receipt->queue, sizeof(receipt->queue), "%s", p->st->twin.refused_by);
    } else if (r == TWIN_REFUSED) {
        peer_expect_error(p, "rejected");
        snprintf(p->expect[p->expect_n - 1].queue, TWIN_TEXT, "%s", p->st->twin.refused_by);
    } else if (r == TWIN_NOT_FOUND) {
        peer_expect_error(p, "not-found");
    } else if (r == TWIN_DENIED) {
        peer_expect_error(p, ""); /* denied, or locked */
    } else if (r == TWIN_EXISTS || r == TWIN_INVALID) {
        peer_expect_error(p, "");
    }
}

/* draw_to: where to; writes the destination. Returns TWIN_OK or why it cannot be sent there. */
static enum twin_result draw_to(struct stage_peer *p, struct twin_msg *m)
{
    struct stage *st = p->st;
    if (stage_chance(st, 60)) {
        struct twin_policy policy;
        stage_queue_name(st, m->key);
        bool is_there = twin_queue_get(&st->twin, m->key) != NULL, must_be = is_there && stage_chance(st, 20);
        frame_header(p, "destination", "%s%s", must_be ? "/amq/queue/" : "/queue/", m->key);
        bool is_given = !must_be && some_policy(st, m->key, &policy);
        if (is_given)
            stage_write_policy(p, &policy);
        struct twin_queue *q;
        if (is_given || !is_there)
            return twin_declare(&st->twin, m->key, &policy, is_given, p->session, &q);
        return TWIN_OK;
    }
    exchange_name(st, m->exchange);
    snprintf(m->key, sizeof(m->key), "%s", keys[stage_roll(st, ARRAY_N(keys))]);
    bool is_topic = strcmp(m->exchange, "amq.topic") == 0 && stage_chance(st, 50);
    if (is_topic)
        frame_header(p, "destination", "/topic/%s", m->key);
    else
        frame_header(p, "destination", "/exchange/%s/%s", m->exchange, m->key);
    const struct twin_exchange *x = twin_exchange_get(&st->twin, m->exchange);
    twin_spell(x, m->key);
    return x == NULL ? TWIN_NOT_FOUND : x->internal ? TWIN_DENIED : TWIN_OK;
}

static uint32_t some_tx(struct stage_peer *p)
{
    if (stage_chance(p->st, 40))
        return 0;
    for (uint32_t i = 0; i < ARRAY_N(p->session->tx); i++)
        if (p->session->tx[i].id && stage_chance(p->st, 70))
            return p->session->tx[i].id;
    return 0;
}

static void send_message(struct stage_peer *p)
{
    struct stage *st = p->st;
    struct twin_msg m;
    mono_ms delay = 0;
    draw_message(st, &m);
    frame_begin(p, "SEND");
    enum twin_result r = draw_to(p, &m);
    uint32_t tx = some_tx(p);
    if (tx)
        frame_header(p, "transaction", "t%u", tx);
    else
        write_message(p, &m, &delay);
    /* With a store the ERROR waits for earlier receipts, and the connection still gets messages until then. */
    bool must_ask = st->plan.has_store && stage_has(st, FEATURE_LEN), takes_no = must_ask || stage_chance(st, 60);
    struct stage_expect *receipt = must_ask || stage_chance(st, 50) ? frame_receipt(p) : NULL;
    if (takes_no && receipt)
        frame_header(p, "reject", "receipt");
    write_body(p, &m);
    stage_trace(st, "        #%u", m.number);
    if (r == TWIN_OK && tx)
        r = twin_tx_send(&st->twin, p->session, tx, &m);
    else if (r == TWIN_OK && delay)
        twin_publish_later(&st->twin, &m, delay);
    else if (r == TWIN_OK)
        r = twin_publish(&st->twin, &m);
    expect_of(p, r, receipt, takes_no);
}

/* ---- SUBSCRIBE -------------------------------------------------------------------------------------------------- */

static void draw_consumer(struct stage *st, struct twin_consumer *k)
{
    uint32_t mode = stage_roll(st, 10);
    k->is_auto = mode < 2;
    k->is_cumulative = mode == 2 || mode == 3;
    if (stage_has(st, FEATURE_PULL) && stage_chance(st, 30)) {
        k->is_pull = true;
        k->credit = stage_roll(st, 4);
    } else if (!k->is_auto && stage_chance(st, 60)) {
        k->prefetch = 1 + stage_roll(st, 4);
    }
    if (stage_chance(st, 30))
        k->priority = (int)stage_roll(st, 5) - 2;
}

static void write_consumer(struct stage_peer *p, const struct twin_consumer *k)
{
    frame_header(p, "id", "%u", k->sub);
    if (!k->is_auto || stage_chance(p->st, 30))
        frame_header(p, "ack", "%s", k->is_auto ? "auto" : k->is_cumulative ? "client" : "client-individual");
    if (k->is_pull)
        frame_header(p, "x-credit", "%u", k->credit);
    if (k->prefetch)
        frame_header(p, "prefetch-count", "%u", k->prefetch);
    if (k->priority)
        frame_header(p, "x-priority", "%d", k->priority);
}

static void browse(struct stage_peer *p)
{
    struct stage *st = p->st;
    char name[TWIN_TEXT];
    stage_queue_name(st, name);
    struct twin_queue *q = twin_queue_get(&st->twin, name);
    if (q == NULL || (q->owner && q->owner != p->session) || q->going_n || p->browse_sub)
        return;
    p->browse_sub = ++p->next_sub;
    frame_begin(p, "SUBSCRIBE");
    frame_header(p, "destination", "/queue/%s", name);
    frame_header(p, "id", "%u", p->browse_sub);
    frame_header(p, "browser", "true");
    frame_end(p, NULL, 0);
    p->browse = model_grow(&st->mem, p->browse, &p->browse_cap, q->copy_n + 1, sizeof(*p->browse));
    for (int level = (int)q->policy.levels; level >= 0; level--)
        for (uint32_t i = 0; i < q->copy_n; i++)
            if (q->copy[i]->state == TWIN_READY && q->copy[i]->level == level)
                p->browse[p->browse_n++] = q->copy[i]->m.number;
    p->browse[p->browse_n++] = UINT32_MAX;
    twin_queue_used(&st->twin, q);
}

static void subscribe_queue(struct stage_peer *p, struct twin_consumer *k)
{
    struct stage *st = p->st;
    char name[TWIN_TEXT];
    struct twin_policy policy;
    struct twin_queue *q;
    stage_queue_name(st, name);
    frame_header(p, "destination", "/queue/%s", name);
    bool is_given = some_policy(st, name, &policy);
    if (is_given)
        stage_write_policy(p, &policy);
    if (stage_chance(st, 50))
        frame_receipt(p);
    enum twin_result r = twin_declare(&st->twin, name, &policy, is_given, p->session, &q);
    if (r == TWIN_OK)
        twin_consume(&st->twin, p->session, q, k);
    else
        expect_of(p, r, NULL, false);
}

static void subscribe_exchange(struct stage_peer *p, struct twin_consumer *k)
{
    static const struct twin_policy own = {.overflow = TWIN_DROP_NEW, .auto_delete = true, .exclusive = true};
    struct stage *st = p->st;
    char name[TWIN_TEXT];
    const char *filter = filters[stage_roll(st, ARRAY_N(filters))];
    exchange_name(st, name);
    frame_header(p, "destination", "/exchange/%s/%s", name, filter);
    if (stage_chance(st, 50))
        frame_receipt(p);
    struct twin_exchange *x = twin_exchange_get(&st->twin, name);
    if (x == NULL) {
        peer_expect_error(p, "not-found");
        return;
    }
    struct twin_queue *q = twin_queue_new(&st->twin, "", &own, p->session);
    twin_bind_own(&st->twin, x, filter, q);
    twin_consume(&st->twin, p->session, q, k);
}

static void subscribe(struct stage_peer *p)
{
    struct twin_consumer k = {.sub = ++p->next_sub};
    if (p->out.len)
        return; /* what came before it in the same breath may be handed out already, or not */
    if (stage_has(p->st, FEATURE_PAUSE) && stage_chance(p->st, 15)) {
        browse(p);
        return;
    }
    draw_consumer(p->st, &k);
    frame_begin(p, "SUBSCRIBE");
    write_consumer(p, &k);
    if (stage_chance(p->st, 75))
        subscribe_queue(p, &k);
    else
        subscribe_exchange(p, &k);
    frame_end(p, NULL, 0);
}

/* some_consumer: one of p's that is not over; NULL: none. */
static struct twin_consumer *some_consumer(struct stage_peer *p)
{
    struct twin_consumer *found = NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->st->twin.consumer_n; i++) {
        struct twin_consumer *k = p->st->twin.consumer[i];
        if (k->session == p->session && !k->is_over && stage_roll(p->st, ++n) == 0)
            found = k;
    }
    return found;
}

static void unsubscribe(struct stage_peer *p)
{
    struct twin_consumer *k = some_consumer(p);
    if (k == NULL || p->out.len) /* see subscribe */
        return;
    frame_begin(p, "UNSUBSCRIBE");
    frame_header(p, "id", "%u", k->sub);
    if (stage_chance(p->st, 50))
        frame_receipt(p);
    frame_end(p, NULL, 0);
    twin_cancel(&p->st->twin, k);
}

/* ---- answers, transactions -------------------------------------------------------------------------------------- */

static void answer(struct stage_peer *p)
{
    static const char *const command[] = {"ACK", "NACK", "NACK"};
    struct stage *st = p->st;
    if (p->session->held_n == 0)
        return;
    uint32_t i = stage_roll(st, p->session->held_n), mode = stage_roll(st, 10), tx = some_tx(p);
    const struct twin_held *h = &p->session->held[i];
    bool may_circle = h->by->queue->policy.has_dlx && stage_chance(st, 50);
    enum twin_answer a = may_circle || mode >= 8 ? TWIN_REJECT_IT : mode < 5 ? TWIN_ACK : TWIN_NACK;
    frame_begin(p, command[a]);
    if (p->is_v11) {
        frame_header(p, "message-id", "%s", h->id);
        frame_header(p, "subscription", "%u", h->by->sub);
    } else {
        frame_header(p, "id", "%s", h->id);
    }
    if (a == TWIN_REJECT_IT)
        frame_header(p, "requeue", "false");
    if (tx)
        frame_header(p, "transaction", "t%u", tx);
    if (stage_chance(st, 30))
        frame_receipt(p);
    frame_end(p, NULL, 0);
    stage_trace(st, "        #%u", h->number);
    if (twin_settle(&st->twin, p->session, i, a, tx) != TWIN_OK)
        peer_expect_error(p, "unknown-ack");
}

/* transact: BEGIN, COMMIT or ABORT. */
static void transact(struct stage_peer *p)
{
    static const char *const code[] = {[TWIN_INVALID] = "unknown-transaction",
                                       [TWIN_NOT_FOUND] = "unknown-transaction",
                                       [TWIN_EXISTS] = "duplicate-transaction"};
    struct stage *st = p->st;
    uint32_t id = 1 + stage_roll(st, 3), what = stage_roll(st, 10);
    bool is_open = false, must_ask = p->out.len != 0, takes_no = stage_chance(st, 70) || must_ask;
    for (uint32_t i = 0; i < ARRAY_N(p->session->tx); i++)
        is_open |= p->session->tx[i].id == id;
    bool is_begin = is_open == stage_chance(st, 3), is_commit = !is_begin && what < 7;
    frame_begin(p, is_begin ? "BEGIN" : is_commit ? "COMMIT" : "ABORT");
    frame_header(p, "transaction", "t%u", id);
    struct stage_expect *receipt = stage_chance(st, 60) || must_ask ? frame_receipt(p) : NULL;
    if (is_commit && takes_no && receipt)
        frame_header(p, "reject", "receipt");
    frame_end(p, NULL, 0);
    enum twin_result r = is_begin    ? twin_begin(&st->twin, p->session, id)
                         : is_commit ? twin_commit(&st->twin, p->session, id)
                                     : twin_abort(&st->twin, p->session, id);
    st->commits += is_commit && r == TWIN_OK;
    if (r == TWIN_REFUSED || (is_commit && r == TWIN_NOT_FOUND))
        expect_of(p, r, receipt, takes_no);
    else if (r != TWIN_OK)
        peer_expect_error(p, code[r]);
}

/* ---- all together ----------------------------------------------------------------------------------------------- */

/* one_frame: false: nothing more in this breath. */
static bool one_frame(struct stage_peer *p)
{
    uint32_t what = stage_roll(p->st, 100);
    if (what < 40)
        send_message(p);
    else if (what < 52)
        subscribe(p);
    else if (what < 56)
        unsubscribe(p);
    else if (what < 78)
        answer(p);
    else if (what < 88 && stage_has(p->st, FEATURE_TX))
        transact(p);
    else if (what < 98)
        stage_manage(p);
    return !p->must_end && !p->is_done && (what < 40 || what >= 52);
}

/* leave: in good order, or not; and then perhaps in the middle of a frame. */
static void leave(struct stage_peer *p)
{
    struct stage *st = p->st;
    uint32_t how = stage_roll(st, 4);
    if (how == 0) {
        frame_begin(p, "DISCONNECT");
        frame_receipt(p);
        frame_end(p, NULL, 0);
        p->must_end = true;
        twin_session_close(p->session);
        stage_settle(st);
        return;
    }
    if (how == 1) { /* any byte but the last: nothing of it may happen */
        size_t before = p->out.len;
        frame_begin(p, stage_chance(st, 60) ? "COMMIT" : "ABORT");
        frame_header(p, "transaction", "t%u", 1 + stage_roll(st, 3));
        frame_end(p, NULL, 0);
        p->out.len = before + stage_roll(st, (uint32_t)(p->out.len - before));
        stage_settle(st);
    }
    peer_leave(p, how == 2);
    stage_settle(st);
}

void stage_act(struct stage *st)
{
    struct stage_peer *p = &st->peer[stage_roll(st, st->plan.peers)];
    if (stage_chance(st, 15)) {
        uint64_t span = stage_chance(st, 70) ? MIN(st->plan.step_max, 1000) : st->plan.step_max;
        mono_ms due = twin_next_due(&st->twin);
        mono_ms by = 1 + rng_u64(&st->rng) % span;
        bool until_due = due != MONO_NEVER && stage_chance(st, 30) && due <= st->loop->now + 4 * st->plan.step_max;
        stage_pass(st, until_due ? due : st->loop->now + by);
        return;
    }
    if (p->t == NULL) {
        peer_connect(p);
    } else if (stage_chance(st, 3)) {
        leave(p);
        return;
    } else {
        p->is_done = false;
        bool is_alone = st->plan.has_pieces || stage_has(st, FEATURE_LEVELS);
        uint32_t n = is_alone || stage_chance(st, 60) ? 1 : 1 + stage_roll(st, 6);
        while (one_frame(p) && --n > 0)
            ;
    }
    stage_settle(st);
}

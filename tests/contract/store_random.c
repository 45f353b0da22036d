/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_random.c: histories at random, with lives that end well or by a crash, against store_living.c. Included by
 * store_suite.c.
 *
 * After a crash the store may have kept any of several stories (each of them has all that was reported durable). The
 * replay must show one of these, and the history goes on from it:
 *
 *     log      1 2 3 4 5 │ 6 7 n8 9 n10 │ 11 12           n: a note
 *                durable ┘    a submit  └ another one
 *     stories  1-5 · 1-6 · 1-7 · 1-n8 · ...                              records are written as they come
 *              1-5 · 1-6 · 1-7 · 1-7,9 · 1-7,9,n8 · 1-7,9,n8,n10         notes last: some submits' batches are there,
 *                                                                        and a part of the next; with or without what
 *                                                                        died within that one
 */

/* ---- inventing ----------------------------------------------------------------------------------------------- */

/* invent_publish: targets among the living queues from place `first` on, an inbound id or not, a dead letter or not. */
static void invent_publish(const struct whole_log *w, struct rng *rng, struct logged *l, unsigned first)
{
    struct store_rec *r = &l->rec;
    for (unsigned i = 0; i < 3; i++) {
        unsigned place = (first + i) % NUMBERS;
        if (w->queue[place] == 0 || rng_chance(rng, 40))
            continue;
        uint32_t *id = l->sub_id[r->target_n];
        id[0] = rng_below(rng, 300);
        id[1] = id[0] + 1 + rng_below(rng, 300);
        l->target[r->target_n++] = (struct store_target){.queue = w->queue[place],
                                                         .sub_id = id,
                                                         .sub_id_n = (uint16_t)rng_below(rng, 3),
                                                         .plain = (uint8_t)rng_below(rng, 6)};
    }
    r->target = l->target;
    if (r->session == 0 || rng_chance(rng, 50))
        r->session = r->rx_id = 0;
    r->queue = 0;
    if (r->target_n == 0 && rng_chance(rng, 30)) { /* waits for its delay */
        r->target_n = 1;
        r->due = WALL_START + w->n;
    }
    if (w->n == 0 || rng_chance(rng, 75))
        return;
    r->of = 1 + rng_below(rng, w->n); /* a dead letter */
    const struct store_rec *was = &w->v[r->of - 1].rec;
    if (was->target_n != 0)
        r->queue = was->target[rng_below(rng, was->target_n)].queue;
}

static void invent_note(const struct whole_log *w, struct rng *rng, struct store_rec *r)
{
    r->of = 1 + rng_below(rng, w->n + 1);
    if (r->of <= w->n && w->v[r->of - 1].rec.target_n != 0)
        r->queue = w->v[r->of - 1].rec.target[rng_below(rng, w->v[r->of - 1].rec.target_n)].queue;
    r->ticket = (uint16_t)(1 + rng_below(rng, 65535));
    r->returns = (uint16_t)(1 + rng_below(rng, 5));
    if (r->kind != STORE_SENT || rng_chance(rng, 50))
        r->session = 0;
}

/* owner_of: the session that this queue is of, or 0. */
static uint64_t owner_of(const struct whole_log *w, uint64_t queue)
{
    for (unsigned i = 0; i < w->n; i++) {
        if (w->v[i].rec.kind == STORE_QUEUE && w->v[i].rec.queue == queue)
            return w->v[i].rec.session;
    }
    return 0;
}

/* invent_definition: of queues, sessions, exchanges, bindings. False when it makes no sense. */
static bool invent_definition(struct whole_log *w, struct rng *rng, struct logged *l, unsigned a, unsigned b)
{
    struct store_rec *r = &l->rec;
    switch (r->kind) {
    case STORE_SESSION:
        if (r->session == 0)
            r->session = w->session[a] = ++w->number;
        r->due = rng_chance(rng, 50) ? WALL_START + rng_below(rng, 1000) : 0;
        return true;
    case STORE_QUEUE:
        if (r->queue != 0)
            return false;
        r->queue = w->queue[b] = ++w->number;
        l->policy = (struct queue_policy){.len_max = w->n, .dead_exchange = slice_from_str(l->key)};
        r->policy = rng_chance(rng, 50) ? &l->policy : NULL;
        return true;
    case STORE_SESSION_END:
        if (r->session == 0 || rng_chance(rng, 70))
            return false;
        w->session[a] = 0;
        return true;
    case STORE_QUEUE_END:
        if (r->queue == 0 || rng_chance(rng, 50))
            return false;
        w->queue[b] = 0;
        return true;
    case STORE_BIND:
    case STORE_UNBIND:
        r->key = slice_from_str(l->key);
        r->session = owner_of(w, r->queue);
        if (r->queue != 0 && rng_chance(rng, 60))
            return true;
        r->session = 0;
        snprintf(l->to, sizeof(l->to), "n%u", b);
        r->to = slice_from_str(l->to);
        r->queue = 0;
        return true;
    case STORE_EXCHANGE:
        l->exchange = (struct exchange_spec){
            .name = r->name, .kind = EXCHANGE_TOPIC, .alternate = slice_from_str(l->key), .rate = w->n};
        r->exchange = &l->exchange;
        r->queue = rng_below(rng, 100);
        return true;
    default:
        r->queue = 0;
        return true;
    }
}

static bool invent_tx(struct whole_log *w, struct rng *rng, struct store_rec *r)
{
    if ((r->kind == STORE_TX) != (w->unit == 0))
        return false;
    w->unit = r->kind == STORE_TX ? w->n + 1 : 0;
    if (r->kind == STORE_TX_END)
        r->flags = rng_chance(rng, 20) ? STORE_TX_VOID : 0;
    return true;
}

/* any_message: sometimes so large that the medium has to be tidied up now and then. */
static struct msg *any_message(struct suite *s, struct rng *rng, const struct logged *l)
{
    if (l->payload[0] == 0 || !rng_chance(rng, 15))
        return message(s, l->name, l->payload);
    char payload[12000];
    size_t n = 1 + rng_below(rng, sizeof(payload) - 1);
    memset(payload, 'a' + (int)rng_below(rng, 26), n);
    payload[n] = 0;
    return message(s, l->name, payload);
}

static enum store_kind invent_kind(struct rng *rng)
{
    uint32_t k = 1 + rng_below(rng, STORE_WILL + 10);
    if (k > STORE_WILL)
        return k % 2 == 0 ? STORE_PUBLISH : STORE_SETTLE;
    return (enum store_kind)k;
}

/* invent: the next record: anything a broker could write about what lives. False when this draw makes no sense. */
static bool invent(struct suite *s, struct whole_log *w, struct rng *rng, struct logged *l)
{
    unsigned a = rng_below(rng, NUMBERS), b = rng_below(rng, NUMBERS);
    struct store_rec *r = &l->rec;
    *l = (struct logged){.rec = {.kind = invent_kind(rng), .lsn = w->n + 1}};
    r->session = w->session[a];
    r->queue = w->queue[b];
    r->rx_id = (uint16_t)(1 + rng_below(rng, 3));
    r->expiry_s = rng_below(rng, 100);
    r->qos = (uint8_t)rng_below(rng, 3);
    snprintf(l->name, sizeof(l->name), "n%u", a);
    snprintf(l->key, sizeof(l->key), "k%u", rng_below(rng, 3));
    r->name = slice_from_str(l->name);
    if (r->kind == STORE_PUBLISH && rng_chance(rng, 25))
        r->flags = STORE_PUBLISH_RETAINED;
    if (!retains(r) || !rng_chance(rng, 30)) /* else: clears */
        snprintf(l->payload, sizeof(l->payload), "p%u", w->n);
    bool has_msg = r->kind == STORE_PUBLISH || r->kind == STORE_RETAIN || r->kind == STORE_WILL;
    switch (r->kind) {
    case STORE_PUBLISH:
        invent_publish(w, rng, l, b);
        break;
    case STORE_SETTLE:
    case STORE_SENT:
    case STORE_RECEIVED:
    case STORE_RETURNED:
        invent_note(w, rng, r);
        break;
    case STORE_TX:
    case STORE_TX_END:
        if (!invent_tx(w, rng, r))
            return false;
        break;
    case STORE_MEMBER:
    case STORE_MEMBER_END:
        if (r->queue == 0 || r->session == 0)
            return false;
        break;
    case STORE_WILL:
        if (r->session == 0)
            return false;
        has_msg = rng_chance(rng, 70);
        break;
    case STORE_RETAIN:
        has_msg = rng_chance(rng, 90); /* else clears by name */
        break;
    case STORE_RX_RELEASE:
        break;
    default:
        if (!invent_definition(w, rng, l, a, b))
            return false;
    }
    if (has_msg)
        r->msg = any_message(s, rng, l);
    return true;
}

/* ---- what a crash may leave ------------------------------------------------------------------------------------ */

/* find_living: sessions and queues that live at the end of the log, at any places; in a unit that may yet be void: now.
 */
static void find_living(struct whole_log *w)
{
    struct story story;
    story_begin(&story, w, w->n);
    if (w->unit == 0)
        story_whole(&story);
    memset(w->session, 0, sizeof(w->session));
    memset(w->queue, 0, sizeof(w->queue));
    for (unsigned i = 0; i < story.n; i++) {
        const struct store_rec *r = story.v[i];
        if (r->kind == STORE_SESSION && !is_ended(&story, STORE_SESSION_END, r->session))
            w->session[r->session % NUMBERS] = r->session;
        if (r->kind == STORE_QUEUE && !queue_is_ended(&story, r->queue))
            w->queue[r->queue % NUMBERS] = r->queue;
    }
}

/* adopt: this story is what happened; all else in the log never was. */
static void adopt(struct suite *s, struct whole_log *w, const struct story *story)
{
    bool is_kept[LOG_MAX] = {false};
    for (unsigned i = 0; i < story->n; i++)
        is_kept[story->v[i]->lsn - 1] = true;
    for (unsigned i = 0; i < w->n; i++) {
        w->v[i].is_lost = !is_kept[i];
        if (!is_kept[i])
            s->numbered[i].lsn = 0; /* which may be somebody else's from now on */
    }
    w->kept = w->n;
    w->submitted_n = w->unit = 0;
    find_living(w);
}

/* tell_difference: the first line in which what replay shows and what was expected differ. */
static void tell_difference(const struct suite *s, const struct buf *text)
{
    const char *a = seen(s), *b = (const char *)text->p;
    size_t same = 0, line = 0;
    while (a[same] != 0 && a[same] == b[same]) {
        same++;
        line = a[same - 1] == '\n' ? same : line;
    }
    print_error("replay shows: %.*s\n", (int)strcspn(a + line, "\n"), a + line);
    print_error("expected:     %.*s\n", (int)strcspn(b + line, "\n"), b + line);
}

static bool matches(struct suite *s, struct story *story, struct buf *text)
{
    story_whole(story);
    put_living(story, text);
    return strcmp(seen(s), (const char *)text->p) == 0;
}

static bool any_beginning(struct suite *s, const struct whole_log *w, unsigned least, unsigned most, struct buf *text,
                          struct story *out)
{
    for (unsigned n = least; n <= most; n++) {
        story_begin(out, w, n);
        if (matches(s, out, text))
            return true;
    }
    return false;
}

/* died_within: is record i a publish that has no reason to live at the end of this story, and was nothing else? */
static bool died_within(const struct whole_log *w, const struct story *all, unsigned i)
{
    const struct store_rec *r = &w->v[i].rec;
    struct store_target left[3];
    struct store_rec view;
    if (r->kind != STORE_PUBLISH || retains(r) || r->rx_id != 0 || r->of != 0)
        return false;
    for (unsigned at = 0; at < all->n; at++) {
        if (all->v[at] == r)
            return !living_publish(all, at, &view, left);
    }
    return false;
}

/* batch_order: the records from `from` to `upto` as they are written: those that are no notes, or belong to a unit, as
 * they came; the notes before a unit, or at the end. */
static unsigned batch_order(const struct whole_log *w, unsigned from, unsigned upto, unsigned *out)
{
    unsigned n = 0, noted = from;
    bool in_unit = false;
    for (unsigned i = from; i <= upto; i++) {
        const struct store_rec *r = i < upto ? &w->v[i].rec : NULL;
        bool flush = r == NULL || r->kind == STORE_TX;
        for (bool within = false; flush && noted < i; noted++) {
            const struct store_rec *o = &w->v[noted].rec;
            if (o->kind == STORE_TX || o->kind == STORE_TX_END)
                within = o->kind == STORE_TX;
            if (is_note(o->kind) && !within)
                out[n++] = noted;
        }
        if (r == NULL)
            break;
        if (r->kind == STORE_TX || r->kind == STORE_TX_END)
            in_unit = r->kind == STORE_TX;
        if (!is_note(r->kind) || in_unit)
            out[n++] = i;
    }
    return n;
}

/* any_batch: a batch, of the records from `durable` to `upto`, is there up to some place, maybe without the publishes
 * that died in it. */
static bool any_batch(struct suite *s, const struct whole_log *w, unsigned durable, unsigned upto, struct buf *text,
                      struct story *out)
{
    struct story all;
    unsigned order[LOG_MAX], n = batch_order(w, durable, upto, order);
    story_begin(&all, w, upto);
    story_whole(&all);
    for (unsigned there = 1; there <= n; there++) {
        for (unsigned without = 0; without < 2; without++) {
            bool in_unit = false;
            story_begin(out, w, durable);
            for (unsigned i = 0; i < there; i++) {
                const struct store_rec *r = &w->v[order[i]].rec;
                if (r->kind == STORE_TX || r->kind == STORE_TX_END)
                    in_unit = r->kind == STORE_TX;
                if (without == 0 || in_unit || !died_within(w, &all, order[i]))
                    out->v[out->n++] = r;
            }
            if (matches(s, out, text))
                return true;
        }
    }
    return false;
}

/* any_batches: the batches of some submits are there whole, and of another one as any_batch says. */
static bool any_batches(struct suite *s, const struct whole_log *w, unsigned durable, struct buf *text,
                        struct story *out)
{
    for (unsigned i = 0; i <= w->submitted_n; i++) {
        unsigned whole = i == 0 ? durable : w->submitted[i - 1];
        for (unsigned j = i; j < w->submitted_n && whole >= durable; j++) {
            if (w->submitted[j] > whole && any_batch(s, w, whole, w->submitted[j], text, out))
                return true;
        }
    }
    return false;
}

/* after_crash: which story is it that replay shows? */
static void after_crash(struct suite *s, struct whole_log *w, unsigned durable, struct buf *text)
{
    struct story story;
    unsigned most = w->submitted_n != 0 ? w->submitted[w->submitted_n - 1] : w->kept;
    bool found = false;
    most = MAX(most, durable);
    if (!s->f->notes_last)
        found = any_beginning(s, w, durable, most, text, &story);
    else
        found = any_beginning(s, w, durable, durable, text, &story);
    if (!found && s->f->notes_last)
        found = any_batches(s, w, durable, text, &story);
    if (!found) {
        story_begin(&story, w, durable);
        (void)matches(s, &story, text);
        print_error("no story leads there (%u durable, %u submitted); what was durable comes to:\n", durable, most);
        tell_difference(s, text);
        fail();
    }
    adopt(s, w, &story);
}

/* durable_n: how many records of the log were reported durable. */
static unsigned durable_n(const struct suite *s, const struct whole_log *w)
{
    unsigned n = w->kept;
    while (n < w->n && s->numbered[n].lsn <= s->durable)
        n++;
    return n;
}

/* ---- histories ------------------------------------------------------------------------------------------------- */

static void restart(struct suite *s, struct whole_log *w, struct buf *text)
{
    struct story story;
    sync_all(s);
    end(s);
    begin(s);
    story_begin(&story, w, w->n);
    if (!matches(s, &story, text)) {
        tell_difference(s, text);
        fail();
    }
    adopt(s, w, &story);
}

static void live_on(struct suite *s, struct whole_log *w, struct rng *rng, struct buf *text)
{
    if (rng_chance(rng, 30)) {
        w->submitted[w->submitted_n++] = w->n;
        submit(s);
    }
    if (rng_chance(rng, 20)) {
        w->submitted[w->submitted_n++] = w->n; /* a wait may submit */
        wait(s);
    }
    if (rng_chance(rng, 3)) {
        restart(s, w, text);
    } else if (rng_chance(rng, 3)) {
        unsigned durable = durable_n(s, w);
        crash(s, rng_u64(rng));
        begin(s);
        after_crash(s, w, durable, text);
    }
}

static void one_history(struct suite *s, struct whole_log *w, struct buf *text, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed);
    memset(w, 0, sizeof(*w));
    while (w->n < LOG_MAX - 1 || w->unit != 0) {
        struct logged *l = &w->v[w->n];
        if (w->n == LOG_MAX - 1) { /* the last one ends a unit */
            *l = (struct logged){.rec = {.kind = STORE_TX_END, .lsn = w->n + 1, .flags = STORE_TX_VOID}};
            w->unit = 0;
        } else if (!invent(s, w, &rng, l)) {
            continue;
        }
        assert_int_equal(append(s, &l->rec), w->n + 1);
        w->n++;
        if (l->rec.kind == STORE_TX_END || l->rec.kind == STORE_SESSION_END)
            find_living(w);
        if (w->unit == 0)
            live_on(s, w, &rng, text);
    }
    restart(s, w, text);
    for (unsigned i = 0; i < w->n; i++) {
        if (w->v[i].rec.msg != NULL)
            msg_drop(w->v[i].rec.msg);
    }
}

static void test_random(void **state)
{
    const struct store_fixture *f = ((struct suite *)*state)->f;
    struct whole_log *w = test_calloc(1, sizeof(*w));
    for (uint64_t seed = 1; seed <= 30; seed++) {
        void *inner = (void *)(uintptr_t)f;
        suite_setup(&inner);
        struct suite *s = inner;
        struct buf text;
        buf_init(&text, &s->own);
        one_history(s, w, &text, seed);
        buf_fini(&text);
        suite_teardown(&inner);
    }
    test_free(w);
}

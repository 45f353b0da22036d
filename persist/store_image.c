/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_image.c: the living records of a log.
 *
 *     all:   [SESSION 7] ─ [QUEUE 8] ─ [BIND 9] ─ [PUBLISH 12] ─ [RETAIN 14] ─ ...      a list, by LSN
 *     index: kind + what identifies it ─► item                                          a map
 *     open:  the PUBLISHes whose inbound QoS 2 id is not released                       a second list
 *     unit:  [PUBLISH 20] ─ [SETTLE 21] ─ ...     behind TX 19, while TX_END is not there     a third
 *
 * An item is the place (index key, list nodes), its copy is the content. A change makes a new copy and swaps it in, so
 * it either happens whole or, out of memory, not at all.
 *
 * Invariants (store_image_check)
 *   1. `all` is sorted by LSN; only a PUBLISH and the RETAIN that it is, too, share one. Every item of it is in the
 *      index and the other way round.
 *   2. A PUBLISH has a target or an open rx_id; it has a message exactly when it has a target, and then holds it.
 *   3. An item is in `open` exactly when it is a PUBLISH with rx_id != 0.
 *   4. `bytes` is the sum of the copies'.
 *   5. `unit` gathers what follows a STORE_TX; its end applies all of it. Of one that never ends nothing is applied.
 * Cost    apply is O(1) and three blocks, but O(living records) for the end of a queue, exchange or session, and O(open
 *         ids) for a release: this is a store for tests and for brokers without a data directory, not the log.
 * Thread  the holder's.
 */
#include "persist/store_image.h"

#include <stddef.h>
#include <string.h>

#include "core/base/map.h"
#include "core/exchange.h"
#include "core/queue_policy.h"

struct item {
    struct list_node all, open;
    struct rec_copy *copy;
    uint32_t key_len;
    uint8_t key[]; /* see key_of */
};

enum unit_state {
    UNIT_NONE,
    UNIT_OPEN,  /* its records gather */
    UNIT_ENDED, /* they are being applied; left only by what ran out of memory */
};

/* owner: who made it (a test, or the store) */
struct store_image {
    struct mem *mem;
    struct msg_pool msgs;
    struct map index;
    struct list all, open;
    struct list unit; /* struct rec_copy, each with a message of its own: records behind a STORE_TX */
    enum unit_state unit_state;
    lsn_t lsn;
    uint64_t bytes;
    unsigned visiting;
};

/* ---- copies and keys ----------------------------------------------------------------------------------------- */

/* put_slice: moves the string into a block at *at. */
static void put_slice(struct slice *s, uint8_t **at)
{
    if (s->len != 0)
        memcpy(*at, s->p, s->len);
    s->p = *at;
    *at += s->len;
}

/* round_up: so that anything may stand behind it. */
static size_t round_up(size_t n)
{
    const size_t unit = _Alignof(max_align_t);
    return (n + unit - 1) / unit * unit;
}

static size_t strings_bytes(const struct store_rec *rec)
{
    size_t n = rec->name.len + rec->key.len + rec->to.len;
    if (rec->policy != NULL)
        n += rec->policy->dead_exchange.len + rec->policy->dead_key.len;
    if (rec->exchange != NULL)
        n += rec->exchange->name.len + rec->exchange->alternate.len;
    return n;
}

struct rec_copy *rec_copy_new(struct mem *mem, const struct store_rec *rec)
{
    size_t targets = round_up(rec->target_n * sizeof(struct store_target));
    size_t policy = rec->policy != NULL ? round_up(sizeof(struct queue_policy)) : 0;
    size_t exchange = rec->exchange != NULL ? sizeof(struct exchange_spec) : 0;
    size_t bytes = sizeof(struct rec_copy) + targets + policy + exchange + strings_bytes(rec);
    struct rec_copy *c = mem_alloc(mem, bytes);
    if (c == NULL)
        return NULL;
    list_node_init(&c->node);
    c->rec = *rec;
    c->bytes = bytes + (rec->msg != NULL ? msg_bytes(rec->msg) : 0);
    uint8_t *fixed = (uint8_t *)c->target + targets, *at = fixed + policy + exchange;
    if (rec->target_n != 0)
        memcpy(c->target, rec->target, rec->target_n * sizeof(struct store_target));
    c->rec.target = c->target;
    put_slice(&c->rec.name, &at);
    put_slice(&c->rec.key, &at);
    put_slice(&c->rec.to, &at);
    if (policy != 0) {
        struct queue_policy *p = (struct queue_policy *)(void *)fixed;
        *p = *rec->policy;
        put_slice(&p->dead_exchange, &at);
        put_slice(&p->dead_key, &at);
        c->rec.policy = p;
    }
    if (exchange != 0) {
        struct exchange_spec *x = (struct exchange_spec *)(void *)(fixed + policy);
        *x = *rec->exchange;
        put_slice(&x->name, &at);
        put_slice(&x->alternate, &at);
        c->rec.exchange = x;
    }
    return c;
}

static struct slice item_key(const void *item)
{
    const struct item *it = item;
    return slice_make(it->key, it->key_len);
}

static size_t put_u64(uint8_t *out, uint64_t v)
{
    memcpy(out, &v, sizeof(v)); /* never leaves this process */
    return sizeof(v);
}

#define KEY_HEAD 25u /* most bytes of a key before its strings */

/* key_head: kind and numbers that identify what rec is about, into out[KEY_HEAD]; returns the bytes. UNBIND names the
 * key of its BIND, an END that of what it ends. */
static size_t key_head(const struct store_rec *rec, uint8_t *out)
{
    switch (rec->kind) {
    case STORE_PUBLISH:
        out[0] = STORE_PUBLISH;
        return 1 + put_u64(out + 1, rec->lsn);
    case STORE_SETTLE:
        out[0] = STORE_PUBLISH;
        return 1 + put_u64(out + 1, rec->of);
    case STORE_RETAIN:
        out[0] = STORE_RETAIN;
        return 1;
    case STORE_SESSION:
    case STORE_SESSION_END:
        out[0] = STORE_SESSION;
        return 1 + put_u64(out + 1, rec->session);
    case STORE_QUEUE:
    case STORE_QUEUE_END:
        out[0] = STORE_QUEUE;
        return 1 + put_u64(out + 1, rec->queue);
    case STORE_BIND:
    case STORE_UNBIND:
        out[0] = STORE_BIND;
        put_u64(out + 1, rec->queue);
        put_u64(out + 9, rec->name.len);
        return 17 + put_u64(out + 17, rec->key.len);
    case STORE_EXCHANGE:
    case STORE_EXCHANGE_END:
        out[0] = STORE_EXCHANGE;
        return 1;
    case STORE_MEMBER:
    case STORE_MEMBER_END:
        out[0] = STORE_MEMBER;
        put_u64(out + 1, rec->queue);
        return 9 + put_u64(out + 9, rec->session);
    case STORE_RX_RELEASE:
    case STORE_TX:
    case STORE_TX_END:
        break;
    }
    bug_at(__FILE__, __LINE__, "a record of unknown kind");
}

/* has_strings: is the key of this kind more than its head? */
static bool has_strings(uint8_t kind)
{
    return kind == STORE_BIND || kind == STORE_RETAIN || kind == STORE_EXCHANGE;
}

/* item_new: an item keyed for rec, without a copy; NULL when out of memory. */
static struct item *item_new(struct mem *mem, const struct store_rec *rec)
{
    uint8_t head[KEY_HEAD];
    size_t head_n = key_head(rec, head);
    struct slice part[3] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    if (has_strings(head[0]))
        part[0] = head[0] == STORE_RETAIN ? slice_make(rec->msg->bytes, rec->msg->topic_len) : rec->name;
    if (head[0] == STORE_BIND) {
        part[1] = rec->key;
        part[2] = rec->to;
    }
    struct item *it = mem_alloc(mem, sizeof(*it) + head_n + part[0].len + part[1].len + part[2].len);
    if (it == NULL)
        return NULL;
    list_node_init(&it->all);
    list_node_init(&it->open);
    it->copy = NULL;
    memcpy(it->key, head, head_n);
    uint8_t *at = it->key + head_n;
    for (unsigned i = 0; i < ARRAY_N(part); i++)
        put_slice(&part[i], &at);
    it->key_len = (uint32_t)(at - it->key);
    return it;
}

static struct item *item_of_node(struct list_node *n)
{
    return LIST_ITEM(n, struct item, all);
}

/* ---- making and unmaking ------------------------------------------------------------------------------------- */

static void copy_free(struct store_image *img, struct rec_copy *c)
{
    if (c == NULL)
        return;
    if (c->rec.msg != NULL)
        msg_drop(c->rec.msg);
    mem_free(img->mem, c);
}

/* full_copy: rec with a message of our own. NULL when out of memory. */
static struct rec_copy *full_copy(struct store_image *img, const struct store_rec *rec)
{
    struct rec_copy *c = rec_copy_new(img->mem, rec);
    if (c == NULL || rec->msg == NULL)
        return c;
    struct msgview v;
    msg_view(rec->msg, &v);
    c->rec.msg = msg_new(&img->msgs, &v);
    if (c->rec.msg == NULL) {
        mem_free(img->mem, c);
        return NULL;
    }
    return c;
}

static void item_end(struct store_image *img, struct item *it)
{
    void *gone = map_del(&img->index, item_key(it));
    BUG_ON(gone != it);
    list_del(&it->all);
    list_del(&it->open);
    img->bytes -= it->copy->bytes;
    copy_free(img, it->copy);
    mem_free(img->mem, it);
}

/* item_settle: after a target or the rx_id went: shrink to the id, or end. */
static void item_settle(struct store_image *img, struct item *it)
{
    struct store_rec *rec = &it->copy->rec;
    if (rec->target_n != 0)
        return;
    if (rec->rx_id == 0) {
        item_end(img, it);
        return;
    }
    if (rec->msg != NULL) {
        img->bytes -= msg_bytes(rec->msg);
        it->copy->bytes -= msg_bytes(rec->msg);
        msg_drop(rec->msg);
        rec->msg = NULL;
    }
}

static void item_remove_target(struct store_image *img, struct item *it, uint64_t queue)
{
    struct rec_copy *c = it->copy;
    for (uint32_t i = 0; i < c->rec.target_n; i++) {
        if (c->target[i].queue != queue)
            continue;
        uint32_t after = c->rec.target_n - i - 1;
        memmove(&c->target[i], &c->target[i + 1], after * sizeof(c->target[0]));
        c->rec.target_n--;
        item_settle(img, it);
        return; /* a queue is named once */
    }
}

static void item_release(struct store_image *img, struct item *it)
{
    list_del(&it->open);
    it->copy->rec.rx_id = 0;
    it->copy->rec.session = 0;
    item_settle(img, it);
}

/* put: makes rec living under its key, replacing what was there. Where the record is a change, the first one's LSN and
 * place stay; `moves`: they become the new one's. */
static enum err put(struct store_image *img, const struct store_rec *rec, bool moves)
{
    enum err e = ERR_NOMEM;
    struct rec_copy *c = NULL;
    struct item *fresh = item_new(img->mem, rec), *it = NULL;
    if (fresh == NULL)
        goto out;
    c = full_copy(img, rec);
    if (c == NULL)
        goto out;
    it = map_get(&img->index, item_key(fresh));
    if (it == NULL) {
        e = map_put(&img->index, fresh);
        if (e != ERR_OK)
            goto out;
        it = fresh;
        fresh = NULL;
        list_push(&img->all, &it->all);
    } else {
        if (moves) {
            list_del(&it->all);
            list_push(&img->all, &it->all);
        } else {
            c->rec.lsn = it->copy->rec.lsn;
        }
        img->bytes -= it->copy->bytes;
        copy_free(img, it->copy);
    }
    it->copy = c;
    img->bytes += c->bytes;
    c = NULL;
    e = ERR_OK;
out:
    copy_free(img, c);
    mem_free(img->mem, fresh);
    return e;
}

/* ---- applying ------------------------------------------------------------------------------------------------ */

static struct item *find_open(struct store_image *img, uint64_t session, uint16_t rx_id)
{
    LIST_EACH(&img->open, n)
    {
        struct item *it = LIST_ITEM(n, struct item, open);
        if (it->copy->rec.session == session && it->copy->rec.rx_id == rx_id)
            return it;
    }
    return NULL;
}

/* find: the living item that rec, which carries no message, is about; NULL if there is none or memory for the key is
 * lacking (then *out_err says so). */
static struct item *find(struct store_image *img, const struct store_rec *rec, enum err *out_err)
{
    uint8_t head[KEY_HEAD];
    size_t head_n = key_head(rec, head);
    *out_err = ERR_OK;
    if (!has_strings(head[0]))
        return map_get(&img->index, slice_make(head, head_n));
    struct item *probe = item_new(img->mem, rec);
    *out_err = probe != NULL ? ERR_OK : ERR_NOMEM;
    struct item *it = probe != NULL ? map_get(&img->index, item_key(probe)) : NULL;
    mem_free(img->mem, probe);
    return it;
}

static void end_queue(struct store_image *img, uint64_t queue)
{
    LIST_EACH(&img->all, n)
    {
        struct item *it = item_of_node(n);
        enum store_kind kind = it->copy->rec.kind;
        if (kind == STORE_PUBLISH)
            item_remove_target(img, it, queue);
        else if ((kind == STORE_BIND || kind == STORE_QUEUE || kind == STORE_MEMBER) && it->copy->rec.queue == queue)
            item_end(img, it);
    }
}

/* next_owned: the first living queue of this session. */
static struct item *next_owned(struct store_image *img, uint64_t session)
{
    LIST_EACH(&img->all, n)
    {
        struct item *it = item_of_node(n);
        if (it->copy->rec.kind == STORE_QUEUE && it->copy->rec.session == session)
            return it;
    }
    return NULL;
}

static void end_session(struct store_image *img, struct item *session_item)
{
    uint64_t session = session_item->copy->rec.session;
    item_end(img, session_item);
    LIST_EACH(&img->open, n)
    {
        struct item *it = LIST_ITEM(n, struct item, open);
        if (it->copy->rec.session == session)
            item_release(img, it);
    }
    LIST_EACH(&img->all, n)
    {
        struct item *it = item_of_node(n);
        if (it->copy->rec.kind == STORE_MEMBER && it->copy->rec.session == session)
            item_end(img, it);
    }
    struct item *owned = next_owned(img, session);
    while (owned != NULL) {
        end_queue(img, owned->copy->rec.queue);
        owned = next_owned(img, session);
    }
}

/* end_exchange: with all bindings from and to it. `it` is NULL for one that is not known itself. */
static void end_exchange(struct store_image *img, struct slice name, struct item *it)
{
    LIST_EACH(&img->all, n)
    {
        struct item *bound = item_of_node(n);
        const struct store_rec *rec = &bound->copy->rec;
        bool is_to = rec->queue == 0 && slice_eq(rec->to, name);
        if (rec->kind == STORE_BIND && (is_to || slice_eq(rec->name, name)))
            item_end(img, bound);
    }
    if (it != NULL)
        item_end(img, it);
}

static enum err apply_end(struct store_image *img, const struct store_rec *rec)
{
    if (rec->kind == STORE_RX_RELEASE) {
        struct item *open = find_open(img, rec->session, rec->rx_id);
        if (open != NULL)
            item_release(img, open);
        return ERR_OK;
    }
    enum err e;
    struct item *it = find(img, rec, &e);
    if (e == ERR_OK && rec->kind == STORE_EXCHANGE_END)
        end_exchange(img, rec->name, it);
    if (it == NULL || rec->kind == STORE_EXCHANGE_END)
        return e; /* ERR_OK: ended already, as when a queue went with its session */
    if (rec->kind == STORE_SETTLE)
        item_remove_target(img, it, rec->queue);
    else if (rec->kind == STORE_SESSION_END)
        end_session(img, it);
    else if (rec->kind == STORE_QUEUE_END)
        end_queue(img, rec->queue);
    else
        item_end(img, it); /* UNBIND, and RETAIN with an empty payload */
    return ERR_OK;
}

/* as_retain: the retained message that rec, a PUBLISH, is too. */
static struct store_rec as_retain(const struct store_rec *rec)
{
    return (struct store_rec){.kind = STORE_RETAIN, .lsn = rec->lsn, .msg = rec->msg};
}

static enum err apply_retain(struct store_image *img, const struct store_rec *rec)
{
    return rec->msg->payload_len != 0 ? put(img, rec, true) : apply_end(img, rec);
}

static enum err apply_publish(struct store_image *img, const struct store_rec *rec)
{
    bool is_open = rec->session != 0 && rec->rx_id != 0, lives = is_open || rec->target_n != 0;
    struct item *former = is_open ? find_open(img, rec->session, rec->rx_id) : NULL, *it = NULL;
    enum err e = ERR_OK;
    if (lives) {
        struct store_rec r = *rec;
        if (r.target_n == 0)
            r.msg = NULL; /* nobody will ever ask for it */
        if (r.of != 0)
            r.of = r.queue = 0;
        e = put(img, &r, false);
        if (e != ERR_OK)
            return e;
        it = item_of_node(list_last(&img->all));
    }
    if (rec->flags & STORE_PUBLISH_RETAINED) {
        struct store_rec retained = as_retain(rec);
        e = apply_retain(img, &retained);
    }
    if (e != ERR_OK) {
        if (it != NULL)
            item_end(img, it);
        return e;
    }
    if (former != NULL)
        item_release(img, former); /* an id is open once */
    if (is_open)
        list_push(&img->open, &it->open);
    if (rec->of != 0) /* a dead letter: it came from there */
        (void)apply_end(img, &(struct store_rec){.kind = STORE_SETTLE, .queue = rec->queue, .of = rec->of});
    return ERR_OK;
}

static enum err apply_one(struct store_image *img, const struct store_rec *rec)
{
    switch (rec->kind) {
    case STORE_PUBLISH:
        return apply_publish(img, rec);
    case STORE_RETAIN:
        return apply_retain(img, rec);
    case STORE_SESSION:
    case STORE_QUEUE:
    case STORE_EXCHANGE:
    case STORE_BIND:
    case STORE_MEMBER:
        return put(img, rec, false);
    default:
        return apply_end(img, rec);
    }
}

/* ---- units --------------------------------------------------------------------------------------------------- */

static void unit_drop_first(struct store_image *img)
{
    copy_free(img, LIST_ITEM(list_pop(&img->unit), struct rec_copy, node));
}

static void unit_drop(struct store_image *img)
{
    while (!list_is_empty(&img->unit))
        unit_drop_first(img);
    img->unit_state = UNIT_NONE;
}

/* unit_finish: applies a unit whose end has come; what cannot be done now is done before anything else next time. */
static enum err unit_finish(struct store_image *img)
{
    if (img->unit_state != UNIT_ENDED)
        return ERR_OK;
    while (!list_is_empty(&img->unit)) {
        enum err e = apply_one(img, &LIST_ITEM(list_first(&img->unit), struct rec_copy, node)->rec);
        if (e != ERR_OK)
            return e;
        unit_drop_first(img);
    }
    img->unit_state = UNIT_NONE;
    return ERR_OK;
}

static enum err unit_add(struct store_image *img, const struct store_rec *rec)
{
    BUG_ON(rec->kind == STORE_TX);
    if (rec->kind == STORE_TX_END && (rec->flags & STORE_TX_VOID)) {
        unit_drop(img);
        return ERR_OK;
    }
    if (rec->kind == STORE_TX_END) {
        img->unit_state = UNIT_ENDED;
        img->lsn = rec->lsn;
        return unit_finish(img);
    }
    struct rec_copy *c = full_copy(img, rec);
    if (c == NULL)
        return ERR_NOMEM;
    list_push(&img->unit, &c->node);
    return ERR_OK;
}

enum err store_image_apply(struct store_image *img, const struct store_rec *rec)
{
    BUG_ON(img->visiting != 0 || rec->lsn <= img->lsn);
    enum err e = unit_finish(img);
    if (e != ERR_OK)
        return e;
    if (img->unit_state == UNIT_OPEN)
        e = unit_add(img, rec);
    else if (rec->kind == STORE_TX)
        img->unit_state = UNIT_OPEN;
    else
        e = apply_one(img, rec);
    if (e == ERR_OK)
        img->lsn = rec->lsn;
    return e;
}

void store_image_cut(struct store_image *img)
{
    if (img->unit_state == UNIT_OPEN)
        unit_drop(img);
}

/* ---- the rest ------------------------------------------------------------------------------------------------ */

struct store_image *store_image_new(struct mem *mem)
{
    struct store_image *img = mem_zalloc(mem, sizeof(*img));
    if (img == NULL)
        return NULL;
    img->mem = mem;
    msg_pool_init(&img->msgs, mem);
    map_init(&img->index, mem, item_key, (uint64_t)(uintptr_t)img);
    list_init(&img->all);
    list_init(&img->open);
    list_init(&img->unit);
    return img;
}

void store_image_free(struct store_image *img)
{
    if (img == NULL)
        return;
    LIST_EACH(&img->all, n)
    item_end(img, item_of_node(n));
    unit_drop(img);
    map_fini(&img->index);
    msg_pool_fini(&img->msgs);
    mem_free(img->mem, img);
}

enum err store_image_visit(struct store_image *img, store_visit_fn visit, void *ctx)
{
    enum err e = unit_finish(img);
    img->visiting++;
    for (struct list_node *n = list_first(&img->all); n != NULL && e == ERR_OK; n = list_next(&img->all, n)) {
        struct store_rec view = item_of_node(n)->copy->rec;
        e = visit(&view, ctx);
    }
    img->visiting--;
    return e;
}

lsn_t store_image_lsn(const struct store_image *img)
{
    return img->lsn;
}

uint64_t store_image_bytes(const struct store_image *img)
{
    return img->bytes;
}

void store_image_check(const struct store_image *img)
{
    const struct store_rec *before = NULL;
    uint64_t bytes = 0;
    uint32_t n = 0, open_n = 0;
    LIST_EACH(&img->all, node)
    {
        const struct item *it = item_of_node(node);
        const struct store_rec *rec = &it->copy->rec;
        bool is_both = before != NULL && before->kind == STORE_PUBLISH && rec->kind == STORE_RETAIN;
        BUG_ON(rec->lsn > img->lsn || rec->lsn == 0);
        BUG_ON(before != NULL && (is_both ? rec->lsn < before->lsn : rec->lsn <= before->lsn));
        BUG_ON(map_get(&img->index, item_key(it)) != it);
        BUG_ON(list_in(&it->open) != (rec->kind == STORE_PUBLISH && rec->rx_id != 0));
        if (rec->kind == STORE_PUBLISH) {
            BUG_ON(rec->target_n == 0 && rec->rx_id == 0);
            BUG_ON((rec->target_n != 0) != (rec->msg != NULL));
            BUG_ON(rec->of != 0);
        }
        before = rec;
        bytes += it->copy->bytes;
        open_n += list_in(&it->open);
        n++;
    }
    LIST_EACH(&img->open, node)
    open_n--;
    BUG_ON(img->unit_state == UNIT_NONE && !list_is_empty(&img->unit));
    BUG_ON(open_n != 0 || n != img->index.n || bytes != img->bytes);
    map_check(&img->index);
}

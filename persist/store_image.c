/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_image.c: the living records of a log.
 *
 *     sort:  EXCHANGE  [x 3] ─ [y 9]                                             a list for each sort, by LSN
 *            SESSION   [7]
 *            ...
 *            MESSAGE   [PUBLISH 12] ─ [RETAIN 14] ─ [PUBLISH 20] ─ [RETAIN 20]
 *     index: kind + what identifies it ─► item                                    a map
 *     open:  the PUBLISHes whose inbound QoS 2 id is not released                 one more list
 *     unit:  [PUBLISH 30] ─ [SETTLE 31] ─ ...    behind TX 29, while TX_END is not there
 *
 * An item is the place (index key, list nodes), its copy is the content. A change makes a new copy and swaps it in, so
 * it either happens whole or, out of memory, not at all. What SENT, RECEIVED and RETURNED say is written into the copy.
 *
 * Invariants (store_image_check)
 *   1. Each list is sorted by LSN; only a PUBLISH and the RETAIN that it is, too, share one. Every item of one is in
 * the index and the other way round.
 *   2. A PUBLISH has a target or an open rx_id; it has a message exactly when it has a target, and then holds it.
 *   3. An item is in `open` exactly when it is a PUBLISH with rx_id != 0.
 *   4. `bytes` is the sum of the copies'.
 *   5. `unit` gathers what follows a STORE_TX; its end applies all of it. Of one that never ends nothing is applied.
 *   6. Times in the messages of items are wall-clock times.
 * Cost    apply is O(1) and three blocks, but O(living records of a sort) for the end of a queue, exchange or session,
 *         and O(open ids) for a release: this is a store for tests and for brokers without a data directory, not the
 *         log.
 * Thread  the holder's.
 */
#include "persist/store_image.h"

#include <stddef.h>
#include <string.h>

#include "persist/store_image_in.h"

/* ---- keys ---------------------------------------------------------------------------------------------------- */

static bool is_note(enum store_kind kind)
{
    return kind == STORE_SETTLE || kind == STORE_SENT || kind == STORE_RECEIVED || kind == STORE_RETURNED;
}

static enum sort sort_of(enum store_kind kind)
{
    switch (kind) {
    case STORE_EXCHANGE:
        return SORT_EXCHANGE;
    case STORE_SESSION:
        return SORT_SESSION;
    case STORE_QUEUE:
        return SORT_QUEUE;
    case STORE_BIND:
        return SORT_BIND;
    case STORE_MEMBER:
        return SORT_MEMBER;
    case STORE_WILL:
        return SORT_WILL;
    default:
        return SORT_MESSAGE;
    }
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
    case STORE_SENT:
    case STORE_RECEIVED:
    case STORE_RETURNED:
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
    case STORE_WILL:
        out[0] = STORE_WILL;
        return 1 + put_u64(out + 1, rec->session);
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

/* retain_topic: a RETAIN without a message names the topic it clears. */
static struct slice retain_topic(const struct store_rec *rec)
{
    return rec->msg != NULL ? slice_make(rec->msg->bytes, rec->msg->topic_len) : rec->name;
}

static void put_part(uint8_t **at, struct slice s)
{
    if (s.len != 0)
        memcpy(*at, s.p, s.len);
    *at += s.len;
}

/* item_new: an item keyed for rec, without a copy; NULL when out of memory. */
static struct item *item_new(struct mem *mem, const struct store_rec *rec)
{
    uint8_t head[KEY_HEAD];
    size_t head_n = key_head(rec, head);
    struct slice part[3] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    if (has_strings(head[0]))
        part[0] = head[0] == STORE_RETAIN ? retain_topic(rec) : rec->name;
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
        put_part(&at, part[i]);
    it->key_len = (uint32_t)(at - it->key);
    return it;
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

/* full_copy: rec with a message of our own, in wall-clock time. NULL when out of memory. */
static struct rec_copy *full_copy(struct store_image *img, const struct store_rec *rec)
{
    struct rec_copy *c = rec_copy_new(img->mem, rec);
    if (c == NULL || rec->msg == NULL)
        return c;
    struct msgview v;
    msg_view(rec->msg, &v);
    if (v.expires_at != 0 && rec->kind != STORE_WILL)
        v.expires_at = (mono_ms)((int64_t)v.expires_at + img->clock);
    c->rec.msg = msg_new(&img->msgs, &v);
    if (c->rec.msg == NULL) {
        mem_free(img->mem, c);
        return NULL;
    }
    return c;
}

void image_end(struct store_image *img, struct item *it)
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
        image_end(img, it);
        return;
    }
    if (rec->msg != NULL) {
        img->bytes -= msg_bytes(rec->msg);
        it->copy->bytes -= msg_bytes(rec->msg);
        msg_drop(rec->msg);
        rec->msg = NULL;
    }
}

void image_remove_target(struct store_image *img, struct item *it, uint64_t queue)
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

void image_release(struct store_image *img, struct item *it)
{
    list_del(&it->open);
    it->copy->rec.rx_id = 0;
    it->copy->rec.session = 0;
    item_settle(img, it);
}

/* put: makes c, whose message is ours, living under its key, in the place of what was there. c is taken exactly when
 * ERR_OK. */
static enum err put(struct store_image *img, struct rec_copy *c)
{
    struct item *fresh = item_new(img->mem, &c->rec);
    if (fresh == NULL)
        return ERR_NOMEM;
    struct item *it = map_get(&img->index, item_key(fresh));
    if (it == NULL) {
        enum err e = map_put(&img->index, fresh);
        if (e != ERR_OK) {
            mem_free(img->mem, fresh);
            return e;
        }
        it = fresh;
    } else {
        mem_free(img->mem, fresh);
        list_del(&it->all);
        img->bytes -= it->copy->bytes;
        copy_free(img, it->copy);
    }
    list_push(&img->all[sort_of(c->rec.kind)], &it->all);
    it->copy = c;
    img->bytes += c->bytes;
    return ERR_OK;
}

enum err image_put(struct store_image *img, const struct store_rec *rec)
{
    struct rec_copy *c = full_copy(img, rec);
    enum err e = c != NULL ? put(img, c) : ERR_NOMEM;
    if (e != ERR_OK)
        copy_free(img, c);
    return e;
}

/* image_find: the living item that rec, which carries no message, is about; NULL if there is none or memory for the key
 * is lacking (then *out_err says so). */
struct item *image_find(struct store_image *img, const struct store_rec *rec, enum err *out_err)
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
    enum err e = ERR_OK;
    int64_t clock = img->clock;
    img->clock = 0; /* their messages are ours already */
    while (e == ERR_OK && !list_is_empty(&img->unit)) {
        e = image_apply(img, &LIST_ITEM(list_first(&img->unit), struct rec_copy, node)->rec);
        if (e == ERR_OK)
            unit_drop_first(img);
    }
    img->clock = clock;
    if (e == ERR_OK)
        img->unit_state = UNIT_NONE;
    return e;
}

static void took(struct store_image *img, const struct store_rec *rec)
{
    img->lsn = MAX(img->lsn, rec->lsn);
    img->stamp = MAX(img->stamp, rec->at);
    if (!is_note(rec->kind))
        img->own_lsn = rec->lsn;
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
        took(img, rec);
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
    BUG_ON(img->visiting != 0 || rec->lsn == 0 || (!is_note(rec->kind) && rec->lsn <= img->own_lsn));
    enum err e = unit_finish(img);
    if (e != ERR_OK)
        return e;
    if (img->unit_state == UNIT_OPEN)
        e = unit_add(img, rec);
    else if (rec->kind == STORE_TX)
        img->unit_state = UNIT_OPEN;
    else
        e = image_apply(img, rec);
    if (e == ERR_OK)
        took(img, rec);
    return e;
}

void store_image_set_clock(struct store_image *img, int64_t clock)
{
    img->clock = clock;
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
    for (unsigned i = 0; i < SORT_N; i++)
        list_init(&img->all[i]);
    list_init(&img->open);
    list_init(&img->unit);
    return img;
}

void store_image_free(struct store_image *img)
{
    if (img == NULL)
        return;
    for (unsigned i = 0; i < SORT_N; i++) {
        LIST_EACH(&img->all[i], n)
        image_end(img, image_item(n));
    }
    unit_drop(img);
    map_fini(&img->index);
    msg_pool_fini(&img->msgs);
    mem_free(img->mem, img);
}

enum err store_image_visit(struct store_image *img, store_visit_fn visit, void *ctx)
{
    enum err e = unit_finish(img);
    img->visiting++;
    for (unsigned i = 0; i < SORT_N && e == ERR_OK; i++) {
        const struct list *all = &img->all[i];
        for (struct list_node *n = list_first(all); n != NULL && e == ERR_OK; n = list_next(all, n)) {
            struct store_rec view = image_item(n)->copy->rec;
            e = visit(&view, ctx);
        }
    }
    img->visiting--;
    return e;
}

const struct msg *store_image_get(struct store_image *img, lsn_t lsn)
{
    enum err e = unit_finish(img);
    uint8_t head[KEY_HEAD];
    size_t head_n = key_head(&(struct store_rec){.kind = STORE_PUBLISH, .lsn = lsn}, head);
    const struct item *it = e == ERR_OK ? map_get(&img->index, slice_make(head, head_n)) : NULL;
    return it != NULL ? it->copy->rec.msg : NULL;
}

lsn_t store_image_lsn(const struct store_image *img)
{
    return img->lsn;
}

wall_ms store_image_stamp(const struct store_image *img)
{
    return img->stamp;
}

uint64_t store_image_n(const struct store_image *img)
{
    return img->index.n;
}

uint64_t store_image_bytes(const struct store_image *img)
{
    return img->bytes;
}

static void check_item(const struct store_image *img, const struct item *it, const struct store_rec *before)
{
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
}

void store_image_check(const struct store_image *img)
{
    uint64_t bytes = 0;
    uint32_t n = 0, open_n = 0;
    for (unsigned i = 0; i < SORT_N; i++) {
        const struct store_rec *before = NULL;
        LIST_EACH(&img->all[i], node)
        {
            const struct item *it = image_item(node);
            BUG_ON(sort_of(it->copy->rec.kind) != i);
            check_item(img, it, before);
            before = &it->copy->rec;
            bytes += it->copy->bytes;
            open_n += list_in(&it->open);
            n++;
        }
    }
    LIST_EACH(&img->open, node)
    open_n--;
    BUG_ON(img->unit_state == UNIT_NONE && !list_is_empty(&img->unit));
    BUG_ON(open_n != 0 || n != img->index.n || bytes != img->bytes);
    map_check(&img->index);
}

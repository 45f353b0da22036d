/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_image.c: the living records of a log.
 *
 *     all:   [SESSION 7] ─ [QUEUE 8] ─ [BIND 9] ─ [PUBLISH 12] ─ [RETAIN 14] ─ ...      a list, by LSN
 *     index: kind + what identifies it ─► item                                          a map
 *     open:  the PUBLISHes whose inbound QoS 2 id is not released                       a second list
 *
 * An item is the place (index key, list nodes), its copy is the content. A change makes a new copy and swaps it in, so
 * it either happens whole or, out of memory, not at all.
 *
 * Invariants (store_image_check)
 *   1. `all` is sorted by LSN, strictly; every item of it is in the index and the other way round.
 *   2. A PUBLISH has a target or an open rx_id; it has a message exactly when it has a target, and then holds it.
 *   3. An item is in `open` exactly when it is a PUBLISH with rx_id != 0.
 *   4. `bytes` is the sum of the copies'.
 * Cost    apply is O(1) and three blocks, but O(living records) for the end of a queue or session, and O(open ids) for
 * a release: this is a store for tests and for brokers without a data directory, not the log. Thread  the holder's.
 */
#include "persist/store_image.h"

#include <string.h>

#include "core/base/map.h"

struct item {
    struct list_node all, open;
    struct rec_copy *copy;
    uint32_t key_len;
    uint8_t key[]; /* see key_of */
};

/* owner: who made it (a test, or the store) */
struct store_image {
    struct mem *mem;
    struct msg_pool msgs;
    struct map index;
    struct list all, open;
    lsn_t lsn;
    uint64_t bytes;
    unsigned visiting;
};

/* ---- copies and keys ----------------------------------------------------------------------------------------- */

struct rec_copy *rec_copy_new(struct mem *mem, const struct store_rec *rec)
{
    size_t targets = rec->target_n * sizeof(struct store_target);
    size_t bytes = sizeof(struct rec_copy) + targets + rec->name.len + rec->key.len;
    struct rec_copy *c = mem_alloc(mem, bytes);
    if (c == NULL)
        return NULL;
    list_node_init(&c->node);
    c->rec = *rec;
    c->bytes = bytes + (rec->msg != NULL ? msg_bytes(rec->msg) : 0);
    uint8_t *at = (uint8_t *)c->target + targets;
    if (targets != 0)
        memcpy(c->target, rec->target, targets);
    if (rec->name.len != 0)
        memcpy(at, rec->name.p, rec->name.len);
    if (rec->key.len != 0)
        memcpy(at + rec->name.len, rec->key.p, rec->key.len);
    c->rec.target = c->target;
    c->rec.name = slice_make(at, rec->name.len);
    c->rec.key = slice_make(at + rec->name.len, rec->key.len);
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

#define KEY_HEAD 17u /* most bytes of a key before its name and topic */

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
        return 9 + put_u64(out + 9, rec->name.len);
    case STORE_MEMBER:
    case STORE_MEMBER_END:
        out[0] = STORE_MEMBER;
        put_u64(out + 1, rec->queue);
        return 9 + put_u64(out + 9, rec->session);
    case STORE_RX_RELEASE:
        break;
    }
    bug_at(__FILE__, __LINE__, "a record of unknown kind");
}

/* item_new: an item keyed for rec, without a copy; NULL when out of memory. */
static struct item *item_new(struct mem *mem, const struct store_rec *rec)
{
    uint8_t head[KEY_HEAD];
    size_t head_n = key_head(rec, head);
    struct slice a = {NULL, 0}, b = {NULL, 0};
    if (head[0] == STORE_BIND) {
        a = rec->name;
        b = rec->key;
    } else if (head[0] == STORE_RETAIN) {
        a = slice_make(rec->msg->bytes, rec->msg->topic_len);
    }
    struct item *it = mem_alloc(mem, sizeof(*it) + head_n + a.len + b.len);
    if (it == NULL)
        return NULL;
    list_node_init(&it->all);
    list_node_init(&it->open);
    it->copy = NULL;
    it->key_len = (uint32_t)(head_n + a.len + b.len);
    memcpy(it->key, head, head_n);
    if (a.len != 0)
        memcpy(it->key + head_n, a.p, a.len);
    if (b.len != 0)
        memcpy(it->key + head_n + a.len, b.p, b.len);
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

static enum err apply_publish(struct store_image *img, const struct store_rec *rec)
{
    bool is_open = rec->session != 0 && rec->rx_id != 0;
    if (rec->target_n == 0 && !is_open)
        return ERR_OK; /* dead on arrival */
    struct store_rec r = *rec;
    if (r.target_n == 0)
        r.msg = NULL; /* nobody will ever ask for it */
    struct item *former = is_open ? find_open(img, rec->session, rec->rx_id) : NULL;
    enum err e = put(img, &r, false);
    if (e != ERR_OK)
        return e;
    if (former != NULL)
        item_release(img, former); /* an id is open once */
    if (is_open)
        list_push(&img->open, &item_of_node(list_last(&img->all))->open);
    return ERR_OK;
}

/* find: the living item that rec, which carries no message, is about; NULL if there is none or memory for the key is
 * lacking (then *out_err says so). */
static struct item *find(struct store_image *img, const struct store_rec *rec, enum err *out_err)
{
    uint8_t head[KEY_HEAD];
    size_t head_n = key_head(rec, head);
    *out_err = ERR_OK;
    if (head[0] != STORE_BIND && head[0] != STORE_RETAIN)
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
    if (it == NULL)
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

enum err store_image_apply(struct store_image *img, const struct store_rec *rec)
{
    BUG_ON(img->visiting != 0 || rec->lsn <= img->lsn);
    enum err e;
    switch (rec->kind) {
    case STORE_PUBLISH:
        e = apply_publish(img, rec);
        break;
    case STORE_RETAIN:
        e = rec->msg->payload_len != 0 ? put(img, rec, true) : apply_end(img, rec);
        break;
    case STORE_SESSION:
    case STORE_QUEUE:
    case STORE_BIND:
    case STORE_MEMBER:
        e = put(img, rec, false);
        break;
    default:
        e = apply_end(img, rec);
        break;
    }
    if (e == ERR_OK)
        img->lsn = rec->lsn;
    return e;
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
    return img;
}

void store_image_free(struct store_image *img)
{
    if (img == NULL)
        return;
    LIST_EACH(&img->all, n)
    item_end(img, item_of_node(n));
    map_fini(&img->index);
    msg_pool_fini(&img->msgs);
    mem_free(img->mem, img);
}

enum err store_image_visit(struct store_image *img, store_visit_fn visit, void *ctx)
{
    enum err e = ERR_OK;
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
    lsn_t before = 0;
    uint64_t bytes = 0;
    uint32_t n = 0, open_n = 0;
    LIST_EACH(&img->all, node)
    {
        const struct item *it = item_of_node(node);
        const struct store_rec *rec = &it->copy->rec;
        BUG_ON(rec->lsn <= before || rec->lsn > img->lsn);
        BUG_ON(map_get(&img->index, item_key(it)) != it);
        BUG_ON(list_in(&it->open) != (rec->kind == STORE_PUBLISH && rec->rx_id != 0));
        if (rec->kind == STORE_PUBLISH) {
            BUG_ON(rec->target_n == 0 && rec->rx_id == 0);
            BUG_ON((rec->target_n != 0) != (rec->msg != NULL));
        }
        before = rec->lsn;
        bytes += it->copy->bytes;
        open_n += list_in(&it->open);
        n++;
    }
    LIST_EACH(&img->open, node)
    open_n--;
    BUG_ON(open_n != 0 || n != img->index.n || bytes != img->bytes);
    map_check(&img->index);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outv.c: what a connection has to say, with as few copies and iovecs as possible.
 *
 *   plain (seg_n == 0):       buf: [ eaten | to send | room ]
 *
 *   with segments:            seg:  own(4)  ref ─► chunk   own(3)   ref ─► msg
 *                             buf: [ eaten | 4 bytes | 3 bytes | room ]
 *
 * Most connections never leave the plain form, whose paths are inline in the header.
 *
 * Invariants (outv_check)
 *   1. Own segments cover [buf_eaten, buf_len) without gap or overlap, in order; so the buffer can be moved as one.
 *   2. No segment is empty, and no two neighbours could be one: own segments never touch, and neighbours with the same
 *      ref are not adjacent in memory.
 *   3. With segments at least one of them is a ref: when the last ref has gone the outv turns plain again.
 *   4. bytes is what is left to send. When it reaches 0 the buffer is used from its start again, and no ref is held.
 *   5. Each ref segment holds one reference.
 *   6. Behind a last segment that is a ref there is room for one more, so outv_wrote cannot fail.
 *   7. Out of memory sets `bad` and appends nothing; what was put before stays whole and its references are dropped by
 *      outv_eat, outv_truncate or outv_free as ever.
 * Cost    amortised O(bytes copied): a byte is moved to the front at most once per byte eaten before it, and by
 *         outv_own only once it stands behind a segment that had to be copied.
 * Thread  the shard's.
 */
#include "core/base/outv.h"

#define OUTV_SEG_MIN 8u

void outv_pool_init(struct outv_pool *pool, struct mem *mem)
{
    *pool = (struct outv_pool){.mem = mem};
}

static size_t bytes_of(const struct outv *o)
{
    return sizeof(*o) + o->buf_cap + o->seg_cap * sizeof(*o->seg);
}

static void destroy(struct outv *o)
{
    struct mem *mem = o->mem;
    mem_free(mem, o->buf);
    mem_free(mem, o->seg);
    mem_free(mem, o);
}

void outv_pool_fini(struct outv_pool *pool)
{
    while (pool->free != NULL) {
        struct outv *o = pool->free;
        pool->free = o->next;
        destroy(o);
    }
    pool->free_n = 0;
    pool->free_bytes = 0;
}

struct outv *outv_new(struct outv_pool *pool)
{
    struct outv *o = pool->free;
    if (LIKELY(o != NULL)) {
        pool->free = o->next;
        pool->free_n--;
        pool->free_bytes -= bytes_of(o);
        o->next = NULL;
        return o;
    }
    o = mem_zalloc(pool->mem, sizeof(*o));
    if (o == NULL)
        return NULL;
    o->mem = pool->mem;
    o->buf = mem_alloc(pool->mem, OUTV_BUF_MIN);
    if (o->buf == NULL) {
        mem_free(pool->mem, o);
        return NULL;
    }
    o->buf_cap = OUTV_BUF_MIN;
    return o;
}

/* restart: nothing is left to send. */
static void restart(struct outv *o)
{
    o->buf_len = o->buf_eaten = 0;
    o->seg_n = o->seg_first = 0;
    o->bytes = 0;
}

void outv_free(struct outv_pool *pool, struct outv *o)
{
    for (uint32_t i = o->seg_first; i < o->seg_n; i++) {
        if (o->seg[i].ref != NULL)
            ref_drop(o->seg[i].ref);
    }
    restart(o);
    o->bad = false;
    bool is_full = pool->free_n == OUTV_FREE_MAX || pool->free_bytes + bytes_of(o) > OUTV_FREE_BYTES;
    if (is_full || o->buf_cap > OUTV_BUF_KEEP_MAX || o->seg_cap > OUTV_SEG_KEEP_MAX) {
        destroy(o);
        return;
    }
    o->next = pool->free;
    pool->free = o;
    pool->free_n++;
    pool->free_bytes += bytes_of(o);
}

/* plain_if_own: with one segment left, our own, the outv is plain again. */
static void plain_if_own(struct outv *o)
{
    if (o->seg_n - o->seg_first != 1 || o->seg[o->seg_first].ref != NULL)
        return;
    o->buf_eaten = o->seg[o->seg_first].at.off;
    o->seg_n = o->seg_first = 0;
}

/* to_front: moves what is left of the own bytes to the start of the buffer. */
static void to_front(struct outv *o)
{
    memmove(o->buf, o->buf + o->buf_eaten, o->buf_len - o->buf_eaten);
    for (uint32_t i = o->seg_first; i < o->seg_n; i++) {
        if (o->seg[i].ref == NULL)
            o->seg[i].at.off -= o->buf_eaten;
    }
    o->buf_len -= o->buf_eaten;
    o->buf_eaten = 0;
}

uint8_t *outv_grow(struct outv *o, size_t n)
{
    if (o->bad)
        return NULL;
    if (n > SIZE_MAX / 2 - o->buf_len) {
        o->bad = true;
        return NULL;
    }
    if (o->buf_eaten >= o->buf_len - o->buf_eaten)
        to_front(o);
    size_t cap = o->buf_cap;
    while (cap - o->buf_len < n)
        cap *= 2;
    if (cap != o->buf_cap) {
        uint8_t *buf = mem_realloc(o->mem, o->buf, cap);
        if (buf == NULL) {
            o->bad = true;
            return NULL;
        }
        o->buf = buf;
        o->buf_cap = cap;
    }
    return o->buf + o->buf_len;
}

/* seg_room: makes room for n more segments; false and bad when there is none. */
static bool seg_room(struct outv *o, uint32_t n)
{
    if (LIKELY(o->seg_cap - o->seg_n >= n))
        return true;
    if (o->seg_first >= n && o->seg_first >= o->seg_n - o->seg_first) { /* eaten ones make room */
        memmove(o->seg, o->seg + o->seg_first, (o->seg_n - o->seg_first) * sizeof(*o->seg));
        o->seg_n -= o->seg_first;
        o->seg_first = 0;
        return true;
    }
    uint64_t cap = MAX((uint64_t)o->seg_cap * 2, OUTV_SEG_MIN);
    struct outseg *seg = NULL;
    if (cap <= UINT32_MAX && cap <= SIZE_MAX / sizeof(*seg))
        seg = mem_realloc(o->mem, o->seg, (size_t)cap * sizeof(*seg));
    if (seg == NULL) {
        o->bad = true;
        return false;
    }
    o->seg = seg;
    o->seg_cap = (uint32_t)cap;
    return true;
}

void outv_wrote_seg(struct outv *o, size_t n)
{
    if (n == 0)
        return;
    struct outseg *last = &o->seg[o->seg_n - 1];
    if (last->ref == NULL) {
        last->len += n;
    } else {
        BUG_ON(o->seg_n == o->seg_cap); /* invariant 6 */
        o->seg[o->seg_n++] = (struct outseg){.at.off = o->buf_len, .len = n};
    }
    o->buf_len += n;
    o->bytes += n;
}

void outv_ref(struct outv *o, struct ref *ref, const uint8_t *p, size_t n)
{
    if (n == 0 || UNLIKELY(o->bad))
        return;
    if (o->seg_n != 0) {
        struct outseg *last = &o->seg[o->seg_n - 1];
        if (last->ref == ref && last->at.p + last->len == p) {
            last->len += n;
            o->bytes += n;
            return;
        }
    }
    if (!seg_room(o, 2)) /* the own bytes so far, or the ones that follow; a first array is larger than both */
        return;
    if (o->seg_n == 0 && o->bytes != 0)
        o->seg[o->seg_n++] = (struct outseg){.at.off = o->buf_eaten, .len = o->bytes};
    o->seg[o->seg_n++] = (struct outseg){.ref = ref, .at.p = p, .len = n};
    ref_hold(ref);
    o->bytes += n;
}

void outv_pass_slow(struct outv *o, struct ref *ref, const uint8_t *p, size_t n)
{
    if (n >= OUTV_PASS_MIN || o->passed_end == p)
        outv_ref(o, ref, p, n);
    else
        outv_put(o, p, n);
    o->passed_end = p + n;
}

static struct iovec iovec_of(const uint8_t *p, size_t n)
{
    return (struct iovec){.iov_base = (void *)(uintptr_t)p, .iov_len = n};
}

int outv_iov(const struct outv *o, struct iovec *iov, int max)
{
    if (max <= 0 || o->bytes == 0)
        return 0;
    if (o->seg_n == 0) {
        iov[0] = iovec_of(o->buf + o->buf_eaten, o->bytes);
        return 1;
    }
    int n = 0;
    for (uint32_t i = o->seg_first; i < o->seg_n && n < max; i++, n++) {
        const struct outseg *s = &o->seg[i];
        iov[n] = iovec_of(s->ref != NULL ? s->at.p : o->buf + s->at.off, s->len);
    }
    return n;
}

void outv_eat(struct outv *o, size_t n)
{
    BUG_ON(n > o->bytes);
    o->bytes -= n;
    if (o->seg_n == 0) {
        o->buf_eaten += n;
        if (o->bytes == 0)
            restart(o);
        return;
    }
    while (n != 0) {
        struct outseg *s = &o->seg[o->seg_first];
        size_t part = MIN(n, s->len);
        n -= part;
        s->len -= part;
        if (s->ref == NULL) {
            s->at.off += part;
            o->buf_eaten += part;
        } else if (s->len != 0) {
            s->at.p += part;
        } else {
            ref_drop(s->ref);
        }
        o->seg_first += s->len == 0;
    }
    if (o->bytes == 0)
        restart(o);
    else
        plain_if_own(o);
}

/* merge_own: makes one segment of own neighbours, from segment `from` on. */
static void merge_own(struct outv *o, uint32_t from)
{
    uint32_t to = from;
    for (uint32_t i = from; i < o->seg_n; i++) {
        struct outseg s = o->seg[i];
        if (to > o->seg_first && s.ref == NULL && o->seg[to - 1].ref == NULL)
            o->seg[to - 1].len += s.len;
        else
            o->seg[to++] = s;
    }
    o->seg_n = to;
    plain_if_own(o);
}

void outv_own(struct outv *o, void (*die)(struct ref *))
{
    uint32_t first = o->seg_n;
    size_t more = 0;
    for (uint32_t i = o->seg_n; i-- > o->seg_first;) {
        if (o->seg[i].ref != NULL && o->seg[i].ref->die == die) {
            first = i;
            more += o->seg[i].len;
        }
    }
    if (first == o->seg_n || outv_room(o, more) == NULL)
        return;
    /* From the back: own bytes make way by the number of bytes still to come in front of them. */
    size_t end = o->buf_len + more;
    o->buf_len = end;
    for (uint32_t i = o->seg_n; i-- > first;) {
        struct outseg *s = &o->seg[i];
        if (s->ref != NULL && s->ref->die != die)
            continue;
        end -= s->len;
        if (s->ref == NULL) {
            memmove(o->buf + end, o->buf + s->at.off, s->len);
        } else {
            memcpy(o->buf + end, s->at.p, s->len);
            ref_drop(s->ref);
            s->ref = NULL;
        }
        s->at.off = end;
    }
    merge_own(o, first);
}

void outv_truncate(struct outv *o, size_t bytes)
{
    BUG_ON(bytes > o->bytes);
    size_t cut = o->bytes - bytes;
    o->bytes = bytes;
    if (bytes != 0 && o->seg_n == 0) {
        o->buf_len -= cut;
        return;
    }
    while (cut != 0 && o->seg_n != 0) {
        struct outseg *s = &o->seg[o->seg_n - 1];
        size_t part = MIN(cut, s->len);
        cut -= part;
        s->len -= part;
        if (s->ref == NULL)
            o->buf_len -= part;
        else if (s->len == 0)
            ref_drop(s->ref);
        o->seg_n -= s->len == 0;
    }
    if (bytes == 0)
        restart(o);
    else
        plain_if_own(o);
}

void outv_check(const struct outv *o)
{
    BUG_ON(o->buf == NULL || o->buf_eaten > o->buf_len || o->buf_len > o->buf_cap);
    BUG_ON(o->bytes == 0 && (o->buf_len != 0 || o->seg_n != 0));
    if (o->seg_n == 0) {
        BUG_ON(o->seg_first != 0 || o->bytes != o->buf_len - o->buf_eaten);
        return;
    }
    BUG_ON(o->seg_first >= o->seg_n || o->seg_n > o->seg_cap);
    size_t bytes = 0, own = o->buf_eaten;
    uint32_t ref_n = 0;
    for (uint32_t i = o->seg_first; i < o->seg_n; i++) {
        const struct outseg *s = &o->seg[i], *before = i > o->seg_first ? s - 1 : NULL;
        BUG_ON(s->len == 0);
        bytes += s->len;
        if (s->ref == NULL) {
            BUG_ON(s->at.off != own || (before != NULL && before->ref == NULL));
            own += s->len;
        } else {
            BUG_ON(before != NULL && before->ref == s->ref && before->at.p + before->len == s->at.p);
            ref_n++;
        }
    }
    BUG_ON(o->seg[o->seg_n - 1].ref != NULL && o->seg_n == o->seg_cap);
    BUG_ON(own != o->buf_len || bytes != o->bytes || ref_n == 0);
}

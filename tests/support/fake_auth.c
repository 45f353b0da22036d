/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_auth.c: exchanges as simple as can be. What the methods say is in the header.
 *
 *     knows ─► begin ─► step ─► step ─► who ─► end
 *
 * Invariants
 *   1. step is never called after its last answer, and who only after AUTH_PROVEN: BUG_ON tells an adapter that does.
 *   2. A talk is one block of the account it was begun with.
 * Cost    nothing to speak of.
 * Thread  one.
 */
#include "tests/support/fake_auth.h"

#include <string.h>

enum fake_method { METHOD_NONE, METHOD_FAKE, METHOD_ONCE, METHOD_HARD, METHOD_LOUD };
enum { NAME_MAX = 64, LOUD_BYTES = 300 };

struct auth_talk {
    struct fake_auth *home;
    struct mem *mem;
    enum fake_method method;
    unsigned steps;
    enum auth_step last;
    size_t name_len;
    uint8_t name[NAME_MAX];
};

static enum fake_method method_of(struct slice name)
{
    static const struct {
        struct slice name;
        enum fake_method method;
    } methods[] = {{{(const uint8_t *)"FAKE", 4}, METHOD_FAKE},
                   {{(const uint8_t *)"ONCE", 4}, METHOD_ONCE},
                   {{(const uint8_t *)"HARD", 4}, METHOD_HARD},
                   {{(const uint8_t *)"LOUD", 4}, METHOD_LOUD}};
    for (size_t i = 0; i < ARRAY_N(methods); i++)
        if (slice_eq(name, methods[i].name))
            return methods[i].method;
    return METHOD_NONE;
}

static bool knows(const struct auth *a, struct slice method)
{
    (void)a;
    return method_of(method) != METHOD_NONE;
}

static struct auth_talk *begin(struct auth *a, struct slice method, struct mem *mem)
{
    struct auth_talk *t = mem_zalloc(mem, sizeof *t);
    BUG_ON(!knows(a, method));
    if (t == NULL)
        return NULL;
    t->home = CONTAINER_OF(a, struct fake_auth, auth);
    t->mem = mem;
    t->method = method_of(method);
    t->last = AUTH_GO_ON;
    t->home->talks++;
    return t;
}

static enum auth_step proven_as(struct auth_talk *t, struct slice name)
{
    t->name_len = MIN(name.len, (size_t)NAME_MAX);
    memcpy(t->name, name.p, t->name_len);
    return AUTH_PROVEN;
}

static enum auth_step first_step(struct auth_talk *t, struct slice in, struct buf *out)
{
    if (in.len == 0 || in.len > NAME_MAX)
        return AUTH_FAILED;
    (void)proven_as(t, in);
    for (size_t i = 0; t->method == METHOD_LOUD && i < LOUD_BYTES; i++)
        buf_put_u8(out, 'a');
    if (t->method == METHOD_FAKE)
        buf_put_str(out, "who goes there?");
    return buf_is_bad(out) ? AUTH_NOMEM : AUTH_GO_ON;
}

static enum auth_step next(struct auth_talk *t, struct slice in, struct buf *out)
{
    bool is_friend = slice_eq(in, SLICE("friend"));
    if (t->method == METHOD_HARD)
        return AUTH_NOMEM;
    if (t->method == METHOD_ONCE)
        return is_friend ? proven_as(t, SLICE("once")) : AUTH_FAILED;
    if (t->steps == 0)
        return first_step(t, in, out);
    if (!is_friend)
        return AUTH_FAILED;
    buf_put_str(out, "welcome");
    return buf_is_bad(out) ? AUTH_NOMEM : AUTH_PROVEN;
}

static enum auth_step step(struct auth_talk *t, struct slice in, struct buf *out)
{
    BUG_ON(t->last != AUTH_GO_ON);
    t->last = next(t, in, out);
    t->steps++;
    return t->last;
}

static struct slice who(const struct auth_talk *t)
{
    BUG_ON(t->last != AUTH_PROVEN);
    return slice_make(t->name, t->name_len);
}

static void end(struct auth_talk *t)
{
    t->home->talks--;
    mem_free(t->mem, t);
}

void fake_auth_init(struct fake_auth *a)
{
    static const struct auth_ops ops = {
        .name = "fake", .knows = knows, .begin = begin, .step = step, .who = who, .end = end};
    *a = (struct fake_auth){.auth.ops = &ops};
}

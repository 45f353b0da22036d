/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_scram.c: any bytes as the messages of an exchange, and as a file of verifiers.
 *
 * Input: one byte says which. Checked for every input:
 *   1. client-first and client-final: what is parsed lies within the message, and gs2 and bare are all of it;
 *   2. an exchange (messages are divided by line ends): it goes on or fails, nobody is proven (the only user's password
 *      is not in the input), and a failure says nothing;
 *   3. a verifier that is read prints as the text it came from; a file that is read has every user it counts.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "auth/scram.h"
#include "auth/scram_auth.h"
#include "core/base/check.h"

#define USER                                                                                                           \
    "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"                   \
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_inside(struct slice part, struct slice all)
{
    return part.len == 0 || (part.p >= all.p && part.p + part.len <= all.p + all.len);
}

static void messages(struct slice in, struct buf *out)
{
    struct scram_first f;
    struct scram_final l;
    if (scram_first_parse(in, &f) == ERR_OK) {
        BUG_ON(f.gs2.len < 3 || f.gs2.len + f.bare.len != in.len || f.gs2.p != in.p || f.bare.p != in.p + f.gs2.len);
        BUG_ON(!is_inside(f.user, f.bare) || !is_inside(f.nonce, f.bare) || f.user.len == 0 || f.nonce.len == 0);
        scram_user(f.user, out);
        BUG_ON(out->len == 0 || out->len > f.user.len);
    }
    if (scram_final_parse(in, &l) == ERR_OK) {
        BUG_ON(l.unsigned_part.p != in.p || l.unsigned_part.len >= in.len);
        BUG_ON(!is_inside(l.nonce, l.unsigned_part) || !is_inside(l.binding, l.unsigned_part));
        BUG_ON(scram_final_check(&l, SLICE("n,,"), l.nonce) == ERR_OK && !slice_eq_str(l.binding, "biws"));
    }
}

static enum err no_random(void *ctx, uint8_t *p, size_t n)
{
    UNUSED(ctx);
    memset(p, 7, n);
    return ERR_OK;
}

static void exchange(struct slice in, struct mem *mem, struct buf *out)
{
    struct verifiers v;
    struct scram_auth a;
    char why[256];
    verifiers_init(&v, mem, 1);
    BUG_ON(verifiers_parse(&v, "f", SLICE(USER), why, sizeof(why)) != ERR_OK);
    BUG_ON(scram_auth_init(&a, &(struct scram_auth_config){.verifiers = &v, .fill = no_random}) != ERR_OK);
    struct auth_talk *t = a.base.ops->begin(&a.base, SLICE("SCRAM-SHA-256"), mem);
    enum auth_step s = AUTH_GO_ON;
    while (s == AUTH_GO_ON && in.len != 0) {
        ptrdiff_t end = slice_find(in, '\n');
        size_t n = end < 0 ? in.len : (size_t)end;
        buf_clear(out);
        s = a.base.ops->step(t, slice_make(in.p, n), out);
        BUG_ON(s == AUTH_PROVEN || s == AUTH_NOMEM || (s == AUTH_FAILED && out->len != 0));
        in = slice_skip(in, end < 0 ? n : n + 1);
    }
    a.base.ops->end(t);
    verifiers_fini(&v);
}

static void file(struct slice in, struct mem *mem, struct buf *out)
{
    struct verifiers v;
    struct scram_verifier one;
    const char *why = NULL;
    char line[512];
    if (scram_verifier_parse(in, &one, &why) == ERR_OK) {
        scram_verifier_put(&one, out);
        BUG_ON(!slice_eq(buf_slice(out), in));
    }
    verifiers_init(&v, mem, 1);
    if (verifiers_parse(&v, "f", in, line, sizeof(line)) == ERR_OK) {
        for (uint32_t i = 0; i < verifiers_n(&v); i++)
            BUG_ON(verifiers_get(&v, slice_make(v.all[i]->user, v.all[i]->user_n)) != v.all[i]);
    }
    verifiers_fini(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mem_heap heap;
    struct mem mem;
    struct buf out;
    if (size == 0)
        return 0;
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "fuzz");
    buf_init(&out, &mem);
    struct slice in = slice_make(data + 1, size - 1);
    if (data[0] % 3 == 0)
        messages(in, &out);
    else if (data[0] % 3 == 1)
        exchange(in, &mem, &out);
    else
        file(in, &mem, &out);
    buf_fini(&out);
    BUG_ON(heap.bytes != 0);
    return 0;
}

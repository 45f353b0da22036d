/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scram.c: SCRAM's messages: letters, '=' and commas.
 *
 *     n , a=user , m=... , n=user , r=nonce , x=more        gs2 header | client-first-bare
 *     └── gs2 ──┘  └──────────── bare ──────────────┘
 *     c=biws , r=nonce , x=more , p=proof                   without-proof | proof
 *     └───── unsigned_part ───┘
 *
 * Every attribute stands in its place: the RFC's grammar fixes the order, and what both sides sign is the text as sent.
 * Extensions that nobody knows are skipped, as they must be, except m=, which says that the peer insists.
 *
 * Invariants
 *   1. What parses is UTF-8 without NUL, and no name, nonce or extension in it is empty.
 *   2. A user name has one spelling: ',' and '=' are always escaped and nothing else is. So names are compared as
 *      written.
 *   3. The peer's text is never longer than SCRAM_MESSAGE_MAX, so what is kept of it is bounded, too.
 * Cost    one or two passes over the message.
 * Thread  any: no state.
 * Spec    RFC 5802 §5, §5.1, §7; RFC 7677 §3. SASLprep (RFC 4013) is the identity for ASCII without control characters;
 *         other names are compared as the peer sent them.
 */
#include "auth/scram.h"

#include <inttypes.h>

#include "auth/b64.h"
#include "core/base/utf8.h"

#define BINDING_MAX (SCRAM_MESSAGE_MAX / 4 * 3)

static enum err message_check(struct slice in)
{
    if (in.len > SCRAM_MESSAGE_MAX)
        return ERR_TOO_BIG;
    return utf8_is_mqtt(in.p, in.len) ? ERR_OK : ERR_MALFORMED;
}

/* next_attr: takes "name=value" and the comma behind it off; *is_last: there was none. False: something else stands
 * there, or the value is empty. */
static bool next_attr(struct slice *rest, char name, struct slice *out, bool *is_last)
{
    if (rest->len < 3 || rest->p[0] != (uint8_t)name || rest->p[1] != '=')
        return false;
    ptrdiff_t comma = slice_find(*rest, ',');
    size_t n = comma < 0 ? rest->len : (size_t)comma;
    *is_last = comma < 0;
    *out = slice_make(rest->p + 2, n - 2);
    *rest = slice_skip(*rest, *is_last ? n : n + 1);
    return out->len != 0;
}

/* next_extension: skips an attribute of any name but m and p. */
static bool next_extension(struct slice *rest, bool *is_last)
{
    if (rest->len == 0)
        return false;
    uint8_t name = rest->p[0];
    bool is_letter = (name >= 'a' && name <= 'z') || (name >= 'A' && name <= 'Z');
    struct slice value;
    return is_letter && name != 'm' && name != 'p' && next_attr(rest, (char)name, &value, is_last) &&
           slice_find(value, '=') < 0;
}

static bool is_name(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] != '=')
            continue;
        struct slice rest = slice_skip(s, i);
        if (!slice_starts_with(rest, SLICE("=2C")) && !slice_starts_with(rest, SLICE("=3D")))
            return false;
    }
    return s.len != 0;
}

/* is_nonce: printable ASCII; commas cannot be there. */
static bool is_nonce(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < 0x21 || s.p[i] > 0x7e)
            return false;
    }
    return s.len != 0;
}

/* ---- client-first ------------------------------------------------------------------------------------------- */

/* take_gs2: "n,a=user," off the front; *out_other is the user it wants to act for, empty: nobody. */
static enum err take_gs2(struct slice *in, struct slice *out_gs2, struct slice *out_other)
{
    struct slice rest = *in;
    *out_other = slice_make(NULL, 0);
    if (slice_starts_with(rest, SLICE("p=")))
        return ERR_UNSUPPORTED; /* RFC 5802 §6: only a method whose name ends in -PLUS binds to the channel */
    if (!slice_starts_with(rest, SLICE("n,")) && !slice_starts_with(rest, SLICE("y,")))
        return ERR_MALFORMED;
    rest = slice_skip(rest, 2);
    bool is_last = false;
    if (rest.len != 0 && rest.p[0] == ',')
        rest = slice_skip(rest, 1);
    else if (!next_attr(&rest, 'a', out_other, &is_last) || is_last || !is_name(*out_other))
        return ERR_MALFORMED;
    *out_gs2 = slice_make(in->p, in->len - rest.len);
    *in = rest;
    return ERR_OK;
}

enum err scram_first_parse(struct slice in, struct scram_first *out)
{
    *out = (struct scram_first){0};
    struct slice other;
    enum err e = message_check(in);
    if (e == ERR_OK)
        e = take_gs2(&in, &out->gs2, &other);
    if (e != ERR_OK)
        return e;
    out->bare = in;
    if (slice_starts_with(in, SLICE("m=")))
        return ERR_UNSUPPORTED; /* RFC 5802 §5.1: an extension that must not be skipped */
    bool is_last = false;
    if (!next_attr(&in, 'n', &out->user, &is_last) || is_last || !is_name(out->user))
        return ERR_MALFORMED;
    if (!next_attr(&in, 'r', &out->nonce, &is_last) || !is_nonce(out->nonce))
        return ERR_MALFORMED;
    while (!is_last) {
        if (!next_extension(&in, &is_last))
            return ERR_MALFORMED;
    }
    return other.len == 0 || slice_eq(other, out->user) ? ERR_OK : ERR_DENIED;
}

void scram_user(struct slice written, struct buf *out)
{
    for (size_t i = 0; i < written.len; i++) {
        bool is_escape = written.p[i] == '=' && written.len - i >= 3;
        buf_put_u8(out, !is_escape ? written.p[i] : written.p[i + 1] == '2' ? ',' : '=');
        i += is_escape ? 2 : 0;
    }
}

void scram_first_answer(struct slice nonce, struct slice our_nonce, const struct scram_verifier *v, struct buf *out)
{
    buf_put_str(out, "r=");
    buf_put_slice(out, nonce);
    buf_put_slice(out, our_nonce);
    buf_put_str(out, ",s=");
    b64_put(out, slice_make(v->salt, v->salt_n));
    buf_printf(out, ",i=%" PRIu32, v->iterations);
}

/* ---- client-final ------------------------------------------------------------------------------------------- */

enum err scram_final_parse(struct slice in, struct scram_final *out)
{
    *out = (struct scram_final){0};
    enum err e = message_check(in);
    if (e != ERR_OK)
        return e;
    struct slice rest = in, proof;
    bool is_last = false;
    if (!next_attr(&rest, 'c', &out->binding, &is_last) || is_last)
        return ERR_MALFORMED;
    if (!next_attr(&rest, 'r', &out->nonce, &is_last) || is_last || !is_nonce(out->nonce))
        return ERR_MALFORMED;
    while (!slice_starts_with(rest, SLICE("p="))) {
        if (!next_extension(&rest, &is_last) || is_last)
            return ERR_MALFORMED;
    }
    out->unsigned_part = slice_make(in.p, in.len - rest.len - 1);
    if (!next_attr(&rest, 'p', &proof, &is_last) || !is_last)
        return ERR_MALFORMED;
    return b64_get(proof, out->proof, sizeof(out->proof)) == SCRAM_KEY_BYTES ? ERR_OK : ERR_MALFORMED;
}

enum err scram_final_check(const struct scram_final *f, struct slice gs2, struct slice nonce)
{
    uint8_t binding[BINDING_MAX];
    ptrdiff_t n = b64_get(f->binding, binding, sizeof(binding));
    if (n < 0 || !slice_eq(slice_make(binding, (size_t)n), gs2))
        return ERR_DENIED; /* RFC 5802 §5.1: somebody changed the gs2 header on the way */
    return slice_eq(f->nonce, nonce) ? ERR_OK : ERR_DENIED;
}

void scram_final_answer(const uint8_t *signature, struct buf *out)
{
    buf_put_str(out, "v=");
    b64_put(out, slice_make(signature, SCRAM_KEY_BYTES));
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scram_auth.c: one exchange of SCRAM-SHA-256 with one peer.
 *
 *     begin ─► AWAITS_FIRST ─ client-first ─► AWAITS_FINAL ─ client-final, proof right ─► PROVEN
 *                   │ empty: asked for it once       └─ anything else ─► FAILED
 *
 * A name that does not exist must look like one that does. So every exchange makes a decoy: a verifier out of a secret
 * of this process and the name, which gives the same salt whenever it is asked. It copies its iterations and the
 * salt's length from one of the real users, chosen by the name, so that they are spread as in the file. The check of
 * the proof runs with whichever it is, and a decoy fails at the end: no proof fits its StoredKey, and if one did, it
 * would fail, too. What is left to see: after a restart, made-up salts are others, and real ones are not.
 *
 * What both sides sign is kept as it came: client-first-bare, server-first, and at last client-final without its proof.
 *
 *     kept  | gs2 | user | bare , server-first , unsigned_part |
 *                         └─────── AuthMessage ───────────────┘
 *
 * Invariants
 *   1. PROVEN is reached only by a user of the verifiers whose proof was checked.
 *   2. Nothing is appended to `out` by a step that fails.
 * Cost    400 bytes and the kept text, at most 2 * SCRAM_MESSAGE_MAX and a little; about fifteen hashes per login.
 * Thread  the shard's own. getrandom blocks only until the system has booted; scram_auth_init has waited for that.
 * Spec    RFC 5802 §5, §7, §9; RFC 7677 §3.
 */
#include "auth/scram_auth.h"

#include <string.h>
#include <sys/random.h>

#include "auth/b64.h"
#include "auth/scram.h"
#include "core/base/log.h"

#define METHOD      "SCRAM-SHA-256"
#define NONCE_BYTES 18u /* 24 letters of Base64, which has no comma */

enum state { AWAITS_FIRST, AWAITS_FIRST_STILL, AWAITS_FINAL, PROVEN, FAILED };

struct auth_talk {
    const struct scram_auth *auth;
    struct mem *mem;
    enum state state;
    bool is_real; /* the user exists */
    struct scram_verifier verifier;
    struct buf kept;
    size_t gs2_n, user_n;     /* kept begins with both; AuthMessage is the rest */
    size_t nonce_at, nonce_n; /* both halves, in kept */
};

static struct slice part(const struct auth_talk *t, size_t at, size_t n)
{
    return slice_make(t->kept.p + at, n);
}

static struct slice user_of(const struct auth_talk *t)
{
    return part(t, t->gs2_n, t->user_n);
}

static struct slice message_of(const struct auth_talk *t)
{
    return slice_skip(buf_slice(&t->kept), t->gs2_n + t->user_n);
}

static enum err system_random(void *ctx, uint8_t *p, size_t n)
{
    UNUSED(ctx);
    return getrandom(p, n, 0) == (ssize_t)n ? ERR_OK : ERR_IO;
}

/* refuse: the end of an exchange, with the reason for the log: the peer hears none. */
static enum auth_step refuse(struct auth_talk *t, const char *why)
{
    t->state = FAILED;
    struct slice user = t->user_n != 0 ? user_of(t) : SLICE("");
    if (t->auth->with.log != NULL)
        log_line(t->auth->with.log, LOG_INFO, METHOD " of user '" SLICE_FMT "' refused: %s", SLICE_ARG(user), why);
    return AUTH_FAILED;
}

/* stop: the same for what is no fault of the peer's proof. */
static enum auth_step stop(struct auth_talk *t, enum err e)
{
    switch (e) {
    case ERR_NOMEM:
        t->state = FAILED;
        return AUTH_NOMEM;
    case ERR_UNSUPPORTED:
        return refuse(t, "it insists on channel binding or an extension, and there is none");
    case ERR_DENIED:
        return refuse(t, "it wants to act for another user");
    case ERR_IO:
        return refuse(t, "the system has no random bytes");
    default:
        return refuse(t, "the message is malformed or too long");
    }
}

/* ---- client-first ------------------------------------------------------------------------------------------- */

/* stand_in: whose iterations and length of salt a made-up verifier has. */
static const struct scram_verifier *stand_in(const struct verifiers *v, const struct scram_verifier *decoy)
{
    static const struct scram_verifier usual = {.iterations = SCRAM_ITERATIONS_DEFAULT, .salt_n = SCRAM_SALT_BYTES};
    uint32_t at = 0;
    memcpy(&at, decoy->server_key, sizeof(at)); /* no secret: the decoy signs nothing that leaves */
    return verifiers_n(v) == 0 ? &usual : &v->all[at % verifiers_n(v)]->scram;
}

/* choose: the user's verifier, or one made up. The decoy is made for both, so that both take the same time. */
static enum err choose(struct auth_talk *t)
{
    const struct verifiers *all = t->auth->with.verifiers;
    const struct verifier *real = verifiers_get(all, user_of(t));
    const struct scram_verifier longest = {.iterations = SCRAM_ITERATIONS_DEFAULT, .salt_n = SCRAM_SALT_MAX};
    enum err e = scram_verifier_decoy(t->auth->secret, user_of(t), &longest, &t->verifier);
    if (e != ERR_OK)
        return e;
    const struct scram_verifier *like = stand_in(all, &t->verifier);
    t->verifier.iterations = like->iterations;
    t->verifier.salt_n = like->salt_n;
    t->is_real = real != NULL;
    if (t->is_real)
        t->verifier = real->scram;
    return ERR_OK;
}

/* keep_first: gs2, user and the first part of AuthMessage. */
static void keep_first(struct auth_talk *t, const struct scram_first *f)
{
    buf_put_slice(&t->kept, f->gs2);
    t->gs2_n = f->gs2.len;
    scram_user(f->user, &t->kept);
    t->user_n = buf_is_bad(&t->kept) ? 0 : t->kept.len - t->gs2_n;
}

/* answer_first: server-first, which is also the second part of AuthMessage. */
static enum err answer_first(struct auth_talk *t, const struct scram_first *f, struct buf *out)
{
    uint8_t random[NONCE_BYTES];
    enum err e = t->auth->with.fill(t->auth->with.ctx, random, sizeof(random));
    if (e != ERR_OK)
        return e;
    struct buf ours;
    buf_init(&ours, t->mem);
    b64_put(&ours, slice_make(random, sizeof(random)));
    buf_put_slice(&t->kept, f->bare);
    buf_put_str(&t->kept, ",");
    size_t at = t->kept.len;
    scram_first_answer(f->nonce, buf_slice(&ours), &t->verifier, &t->kept);
    t->nonce_at = at + 2; /* behind "r=" */
    t->nonce_n = f->nonce.len + ours.len;
    bool is_whole = !buf_is_bad(&ours) && !buf_is_bad(&t->kept);
    buf_fini(&ours);
    if (!is_whole)
        return ERR_NOMEM;
    buf_put_slice(out, part(t, at, t->kept.len - at));
    return buf_is_bad(out) ? ERR_NOMEM : ERR_OK;
}

static enum auth_step on_first(struct auth_talk *t, struct slice in, struct buf *out)
{
    struct scram_first f;
    enum err e = scram_first_parse(in, &f);
    if (e != ERR_OK)
        return stop(t, e);
    keep_first(t, &f);
    e = buf_is_bad(&t->kept) ? ERR_NOMEM : choose(t);
    if (e == ERR_OK)
        e = answer_first(t, &f, out);
    if (e != ERR_OK)
        return stop(t, e);
    t->state = AWAITS_FINAL;
    return AUTH_GO_ON;
}

/* ---- client-final ------------------------------------------------------------------------------------------- */

static enum auth_step on_final(struct auth_talk *t, struct slice in, struct buf *out)
{
    struct scram_final f;
    uint8_t signature[SCRAM_KEY_BYTES];
    enum err e = scram_final_parse(in, &f);
    if (e != ERR_OK)
        return stop(t, e);
    if (scram_final_check(&f, part(t, 0, t->gs2_n), part(t, t->nonce_at, t->nonce_n)) != ERR_OK)
        return refuse(t, "the channel binding or the nonce is not that of this exchange");
    buf_put_str(&t->kept, ",");
    buf_put_slice(&t->kept, f.unsigned_part);
    if (buf_is_bad(&t->kept))
        return stop(t, ERR_NOMEM);
    e = scram_verifier_check(&t->verifier, message_of(t), f.proof);
    if (e == ERR_NOMEM)
        return stop(t, e);
    enum err signed_ = scram_verifier_sign(&t->verifier, message_of(t), signature);
    if (signed_ != ERR_OK)
        return stop(t, signed_);
    if (e != ERR_OK || !t->is_real)
        return refuse(t, t->is_real ? "the proof is wrong (another password)" : "there is no such user");
    scram_final_answer(signature, out);
    t->state = PROVEN;
    return buf_is_bad(out) ? stop(t, ERR_NOMEM) : AUTH_PROVEN;
}

/* ---- the seam ----------------------------------------------------------------------------------------------- */

static bool scram_knows(const struct auth *a, struct slice method)
{
    UNUSED(a);
    return slice_eq_str(method, METHOD);
}

static struct auth_talk *scram_begin(struct auth *a, struct slice method, struct mem *mem)
{
    BUG_ON(!scram_knows(a, method));
    struct auth_talk *t = mem_zalloc(mem, sizeof(*t));
    if (t == NULL)
        return NULL;
    t->auth = CONTAINER_OF(a, struct scram_auth, base);
    t->mem = mem;
    buf_init(&t->kept, mem);
    return t;
}

static enum auth_step scram_step(struct auth_talk *t, struct slice in, struct buf *out)
{
    switch (t->state) {
    case AWAITS_FIRST:
        t->state = AWAITS_FIRST_STILL;
        return in.len == 0 ? AUTH_GO_ON : on_first(t, in, out); /* RFC 4422 §5: the peer may wait to be asked */
    case AWAITS_FIRST_STILL:
        return on_first(t, in, out);
    case AWAITS_FINAL:
        return on_final(t, in, out);
    case PROVEN:
    case FAILED:
        break;
    }
    BUG_ON(true); /* the seam forbids it */
    return AUTH_FAILED;
}

static struct slice scram_who(const struct auth_talk *t)
{
    BUG_ON(t->state != PROVEN);
    return user_of(t);
}

static void scram_end(struct auth_talk *t)
{
    struct mem *mem = t->mem;
    buf_fini(&t->kept);
    explicit_bzero(&t->verifier, sizeof(t->verifier));
    mem_free(mem, t);
}

static const struct auth_ops scram_auth_ops = {
    .name = "scram",
    .knows = scram_knows,
    .begin = scram_begin,
    .step = scram_step,
    .who = scram_who,
    .end = scram_end,
};

enum err scram_auth_init(struct scram_auth *a, const struct scram_auth_config *with)
{
    *a = (struct scram_auth){.base = {.ops = &scram_auth_ops}, .with = *with};
    if (a->with.fill == NULL)
        a->with.fill = system_random;
    return a->with.fill(a->with.ctx, a->secret, sizeof(a->secret));
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_durable.c: names of durable subscriptions.
 *
 *     CONNECT    login:ann client-id:phone                 who     d ann 0 phone 0
 *     SUBSCRIBE  id:mail durable:true  /topic/mail.#       key     d ann 0 phone 0 mail 0 /topic/mail.#
 *     SUBSCRIBE  id:7                  /dsub/mail          prefix  d ann 0 phone 0 mail 0
 *
 * RabbitMQ makes the name of id and destination alone, so that one user can take another's messages; here the user and
 * the client-id belong to it.
 *
 * Invariants
 *   1. Every part is UTF-8 and no part but the last holds a NUL, so no two different owners or names make the same
 *      prefix, and the key can be shown (x-death).
 *   2. s->who is set once, at the login; a peer without login and client-id has none and shares "d00" with all of
 * those.
 * Cost    one allocation for a connection that says who it is; O(bytes).
 * Thread  the shard's own.
 * Spec    docs/stomp.md, "Durable subscriptions".
 */
#include "proto_stomp/stomp_durable.h"

#include "core/base/utf8.h"
#include "proto_stomp/stomp_attrs.h"
#include "proto_stomp/stomp_conn.h"

bool stomp_durable_login(struct conn *c, struct slice login, struct slice client_id)
{
    struct stomp_conn *s = stomp_state(c);
    if (login.len == 0 && client_id.len == 0)
        return true;
    uint8_t *p = mem_zalloc(conn_mem(c), login.len + client_id.len + 3);
    if (p == NULL)
        return false;
    s->who = p;
    s->who_len = (uint32_t)(login.len + client_id.len + 3);
    p[0] = 'd';
    if (login.len != 0)
        memcpy(p + 1, login.p, login.len);
    if (client_id.len != 0)
        memcpy(p + 1 + login.len + 1, client_id.p, client_id.len);
    return true;
}

struct slice stomp_durable_user(const struct conn *c)
{
    const struct stomp_conn *s = stomp_state(c);
    return s->who != NULL ? slice_from_str((const char *)s->who + 1) : SLICE("");
}

enum stomp_fault stomp_durable_asks(const struct stomp_frame *f, struct stomp_durable_ask *out, struct slice *out_bad)
{
    static const char *const names[] = {"activemq.subscriptionName", "activemq.subcriptionName",
                                        "durable-subscription-name", "durable-subscriber-name"};
    static const enum stomp_known flags[] = {STOMP_H_DURABLE, STOMP_H_PERSISTENT};
    out->is_asked = out->has_name = false;
    for (size_t i = 0; i < ARRAY_N(flags); i++) {
        bool on;
        if (stomp_frame_get(f, flags[i], out->buf, sizeof out->buf, &out->name) != ERR_OK)
            continue;
        *out_bad = stomp_known_text(flags[i]);
        if (!stomp_bool_parse(out->name, &on))
            return STOMP_FAULT_HEADER;
        out->is_asked |= on;
    }
    for (size_t i = 0; i < ARRAY_N(names) && !out->has_name; i++) {
        *out_bad = slice_from_str(names[i]);
        out->has_name = stomp_frame_find(f, *out_bad, out->buf, sizeof out->buf, &out->name) == ERR_OK;
    }
    if (!out->has_name)
        return STOMP_FAULT_NONE;
    out->is_asked = true;
    return utf8_is_mqtt(out->name.p, out->name.len) ? STOMP_FAULT_NONE : STOMP_FAULT_HEADER_TEXT;
}

void stomp_durable_key(const struct conn *c, struct slice name, const struct slice *dest, struct buf *b)
{
    const struct stomp_conn *s = stomp_state(c);
    buf_put_slice(b, s->who != NULL ? slice_make(s->who, s->who_len) : slice_make("d\0\0", 3));
    buf_put_slice(b, name);
    buf_put(b, "", 1);
    if (dest != NULL)
        buf_put_slice(b, *dest);
}

struct slice stomp_durable_dest(struct slice key)
{
    for (unsigned i = 0; i < 3; i++) {
        ptrdiff_t nul = slice_find(key, '\0');
        key = nul < 0 ? slice_skip(key, key.len) : slice_skip(key, (size_t)nul + 1);
    }
    return key;
}

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_MODEL_H
#define WEIR_TESTS_MODEL_H

/*
 * model.h: what must and what may have happened, told from outside: the peers report what they sent, were promised and
 * got, and the model compares. It shares no code with the broker (not even the matching of filters), and knows nothing
 * of bytes.
 *
 *   pub    one message, from its sending (sent_at) to the last moment in which the broker can have taken it in
 * (last_at) box    something that collects: one MQTT session, or one STOMP topic subscription; it has subs and gots sub
 * one filter of a box: may match from the sending of SUBSCRIBE (may_from), must from its SUBACK (must_from) ... queue
 * a named queue: whoever takes a message out of it leaves a `take`
 *
 * Time is a counter of reports, not milliseconds: only before and after matter. What is wrong is noted in `why`, the
 * first only; the caller looks there.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/mem.h"
#include "core/base/slice.h"

#define MODEL_NEVER UINT64_MAX
#define MODEL_NONE  UINT32_MAX
#define MODEL_NAME  320u
#define PAYLOAD_MIN 12u

enum pub_fate {
    PUB_OPEN,    /* no answer yet, perhaps never one */
    PUB_ACKED,   /* promised: PUBACK, PUBREC or RECEIPT */
    PUB_REFUSED, /* the sender was told no */
    PUB_NEVER,   /* was not sent as a whole, or its reason went away (a will after a goodbye) */
};

struct pub {
    char to[MODEL_NAME]; /* topic in MQTT spelling, or the queue's name */
    uint64_t sent_at, acked_at, last_at;
    uint32_t from;    /* publisher; order is promised for one publisher, topic and QoS */
    uint32_t session; /* publisher's session, for no-local; 0: none */
    uint32_t stream;  /* number of (from, to, qos) */
    uint32_t bytes;   /* payload */
    uint32_t attempts;
    uint32_t queue; /* index + 1 of the named queue; 0: a topic */
    uint32_t delay_s;
    uint64_t due; /* delayed: not before this time, in ms; 0: at once */
    uint32_t tx;  /* number + 1 of the transaction it was sent in; 0: none */
    uint8_t qos, fate;
    bool retain, is_clear /* empty payload */, may_expire, is_will, had_no_match;
    bool has_tag; /* a property or header of the sender's own, with the message's number */
};

struct sub {
    char filter[MODEL_NAME]; /* MQTT spelling; '#' also in the middle */
    uint64_t may_from, must_from, must_to, may_to;
    uint32_t id; /* Subscription Identifier; 0: none */
    uint8_t qos;
    bool no_local, retain_as_published;
};

struct got {
    uint32_t pub;
    uint8_t qos;
    bool retain;            /* the RETAIN flag, or `retained:true` */
    bool dup;               /* DUP, or `redelivered:true` */
    const uint32_t *sub_id; /* [sub_id_n]: Subscription Identifiers in the delivery */
    uint32_t sub_id_n;
};

struct box {
    char name[MODEL_NAME];
    uint32_t session; /* whose: for no-local */
    bool is_ended;    /* nothing is owed to it any more */
    bool is_stomp;
    uint32_t resumes;  /* times it got a new connection */
    uint32_t sub_asks; /* SUBSCRIBEs sent: each may replay retained messages */
    struct sub *sub;
    uint32_t sub_n, sub_cap;
    struct tally *tally; /* by pub: what was delivered */
    uint32_t tally_cap;
    uint32_t *last; /* by stream: last pub delivered for the first time, + 1 */
    uint32_t last_cap;
};

enum take_state {
    TAKE_HELD,     /* delivered, unanswered */
    TAKE_AUTO,     /* delivered to an `auto` consumer: gone */
    TAKE_ACKED,    /* ACK sent */
    TAKE_SURE,     /* ACK sent and a later receipt came */
    TAKE_NACKED,   /* NACK sent: comes again */
    TAKE_REJECTED, /* NACK requeue:false sent */
};

struct take {
    uint32_t pub, link;
    uint64_t at, answered_at;
    const struct box *keeper; /* taken at QoS 2 by this MQTT session, which keeps it until it ends; NULL: by the link */
    uint8_t state;
    bool redelivered;
};

/* Sends that happen together or not at all. */
enum tx_fate {
    TX_OPEN, /* COMMIT was sent, the answer has not come, perhaps never will */
    TX_COMMITTED,
    TX_REFUSED,
    TX_LEFT, /* ABORT was sent, or the connection ended before COMMIT had been sent as a whole */
};

struct link_life { /* one connection, as its peer saw it */
    uint64_t ended_at;
    bool by_peer; /* the peer ended it, and the broker had not done so before */
};

struct groups;

struct model {
    struct mem *mem;
    const uint64_t *now;   /* ms; NULL: nothing is delayed */
    struct groups *groups; /* shared subscriptions: model_group.h; NULL: none */
    uint64_t clock;
    struct pub *pub;
    uint32_t pub_n, pub_cap;
    struct box **box;
    uint32_t box_n, box_cap;
    struct take *take;
    uint32_t take_n, take_cap;
    uint8_t *tx; /* enum tx_fate */
    uint32_t tx_n, tx_cap;
    struct link_life *link;
    uint32_t link_n, link_cap;
    uint32_t stream_n;
    bool may_drop;      /* queues are small or memory fails: what was promised may be dropped, counted */
    uint32_t auto_lost; /* bit per queue: an `auto` consumer's connection ended: what was on its way is gone */
    uint64_t missing;   /* deliveries that were promised and did not come */
    uint64_t gots;
    char first_missing[192];
    char why[256]; /* empty: all is well */
};

void model_init(struct model *m, struct mem *mem);
void model_fini(struct model *m);

/* model_fail: notes the first violation. */
void model_fail(struct model *m, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* model_grow: makes *v (of items of `size` bytes) hold at least n items, zeroing new ones. Never fails. */
void *model_grow(struct mem *mem, void *v, uint32_t *cap, uint32_t n, size_t size) MUST_CHECK;

/* model_matches: does the filter (MQTT spelling, '#' anywhere) match the topic? */
bool model_matches(const char *filter, const char *topic);

/* ---- messages --------------------------------------------------------------------------------------------------- */

/* model_pub_new: about to be sent: to, from, session, bytes, qos, queue and flags as in *p. Returns its number. */
uint32_t model_pub_new(struct model *m, const struct pub *p);
void model_pub_again(struct model *m, uint32_t pub); /* sent once more (DUP) */
void model_pub_acked(struct model *m, uint32_t pub);
void model_pub_refused(struct model *m, uint32_t pub);
/* model_pub_no_match: acked with "nobody wanted it": then nobody may have been subscribed all the time (judged at the
 * end). */
void model_pub_no_match(struct model *m, uint32_t pub);
/* model_pub_never: it cannot have been published, and may not be in future. */
void model_pub_never(struct model *m, uint32_t pub);
/* model_pub_settled: all open messages of this publisher were taken in by now, or never will be. */
void model_pub_settled(struct model *m, uint32_t from);

/* model_payload: writes pub[].bytes bytes that tell the message's number and look like no other message's. */
void model_payload(const struct model *m, uint32_t pub, uint8_t *out);
/* model_tag: the text of a message's tag. */
#define MODEL_TAG 16u
void model_tag(uint32_t pub, char out[MODEL_TAG]);
/* model_check_tag: the tag (empty: none) that came with the message is the one that was sent. */
void model_check_tag(struct model *m, uint32_t pub, struct slice tag);

/* model_pub_from_payload: the number, or MODEL_NONE, which has been noted as a violation, if these are not exactly the
 * bytes of a message. */
uint32_t model_pub_from_payload(struct model *m, struct slice payload);

/* ---- boxes ------------------------------------------------------------------------------------------------------ */

struct box *model_box_new(struct model *m, const char *name, uint32_t session, bool is_stomp);

/* model_sub_ask: SUBSCRIBE was sent; an open sub with this filter is replaced. Returns the sub's number in the box. */
uint32_t model_sub_ask(struct model *m, struct box *b, const struct sub *s);
void model_sub_granted(struct model *m, struct box *b, uint32_t sub);
void model_sub_drop(struct model *m, struct box *b, const char *filter); /* UNSUBSCRIBE was sent */
void model_sub_gone(struct model *m, struct box *b, const char *filter); /* UNSUBACK came */

/* model_got: a delivery reached the box, of `topic` as the peer read it. Checks all that can be checked at once: right
 * bytes and topic, somebody asked for it, QoS and flags, not too often, in order. */
void model_got(struct model *m, struct box *b, const struct got *g, struct slice topic);

/* model_check_fate: may the message be delivered at all, and now? For whoever got it. */
void model_check_fate(struct model *m, const struct box *b, uint32_t pub);

/* model_check_boxes: everybody is connected and quiet: nothing that was promised is missing (missing is counted, judged
 * by the caller). */
void model_check_boxes(struct model *m);

/* model_check_retained: pub (MODEL_NONE: nothing) is what a fresh subscriber got as retained message of the topic. */
void model_check_retained(struct model *m, const char *topic, uint32_t pub);

/* ---- connections and named queues ------------------------------------------------------------------------------- */

uint32_t model_link_new(struct model *m);
void model_link_ended(struct model *m, uint32_t link, bool by_peer);

/* model_take: a consumer on this link got pub out of its queue: t.pub, link, state (HELD or AUTO), keeper and
 * redelivered are given. Returns the take's number. */
uint32_t model_take(struct model *m, const struct take *t, struct slice queue);
void model_answer(struct model *m, uint32_t take, enum take_state state);

/* model_tx_new: a transaction begins; model_pub_new with its number + 1 in tx. model_tx_ended: how it ended; with that
 * each of its messages is promised, refused or was never sent. */
uint32_t model_tx_new(struct model *m);
void model_tx_ended(struct model *m, uint32_t tx, enum tx_fate fate);

/* model_check_txs: every queue was emptied: of each transaction all messages were seen, or none. */
void model_check_txs(struct model *m);

/* model_check_queues: every queue was emptied: each message was taken by exactly one in the end, nothing is missing. */
void model_check_queues(struct model *m);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_MODEL_GROUP_H
#define WEIR_TESTS_MODEL_GROUP_H

/*
 * model_group.h: shared subscriptions, told from outside. A group exists while it has a member; what is published
 * meanwhile is for exactly one of them in the end.
 *
 *   member   one session's stay in a group: may be one from the sending of SUBSCRIBE, is one from its SUBACK ...
 *   handed   one delivery out of a group to one session on one connection
 */

#include "tests/sim/model.h"

struct member {
    struct box *box;
    uint64_t may_from, must_from, must_to, may_to;
    uint8_t qos_mask; /* bit per QoS that it asked for */
    bool retain_as_published;
};

struct handed {
    uint32_t pub, link;
    struct box *box;
    uint64_t at, answered_at;
    uint8_t qos;
    uint8_t state; /* enum take_state: HELD, AUTO (QoS 0), ACKED, SURE */
};

struct group {
    char name[MODEL_NAME];   /* as in SUBSCRIBE: $share/group/filter */
    char filter[MODEL_NAME]; /* its end */
    struct member *member;
    struct handed *handed;
    uint32_t *last; /* by stream: last message handed out for the first time, + 1; while there was one member only */
    uint32_t member_n, member_cap, handed_n, handed_cap, last_cap;
};

/* owner: model->groups */
struct groups {
    struct group *group;
    uint32_t n, cap;
    uint64_t missing_closed; /* lost, perhaps because a session ended that had it at QoS 2 [MQTT-4.8.2-5] */
};

/* model_group: the number of the group with this name. */
uint32_t model_group(struct model *m, const char *name);

/* A member's SUBSCRIBE was sent, its SUBACK came; its UNSUBSCRIBE was sent (returns when), the UNSUBACK of that one
 * came. */
void model_member_ask(struct model *m, uint32_t group, struct box *b, uint8_t qos, bool retain_as_published);
void model_member_granted(struct model *m, uint32_t group, const struct box *b);
uint64_t model_member_drop(struct model *m, uint32_t group, const struct box *b);
void model_member_gone(struct model *m, uint32_t group, const struct box *b, uint64_t dropped_at);

/* model_session_gone: the former sessions of this peer are over for certain, and their memberships with them. */
void model_session_gone(struct model *m, uint32_t session);

/* model_handed: a delivery out of the group reached the box on this connection. Returns its number in the group. */
uint32_t model_handed(struct model *m, uint32_t group, struct box *b, uint32_t link, const struct got *g,
                      struct slice topic);
void model_handed_answer(struct model *m, uint32_t group, uint32_t handed, enum take_state state);

/* model_check_groups: everybody is connected and quiet: each message went to exactly one member. */
void model_check_groups(struct model *m);

void model_groups_fini(struct model *m);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_TOPIC_H
#define WEIR_CORE_TOPIC_H

/*
 * topic.h: topics are vectors of levels, filters are vectors of tokens. In core a topic is kept in its MQTT spelling
 * (levels joined by '/'), so that MQTT to MQTT converts nothing; wildcards are token kinds and never characters.
 *
 * Matching: LITERAL matches an equal level, ONE any single level, MANY any number of levels, also none. MANY may stand
 * anywhere. A leading ONE or MANY does not match a first level that begins with '$' [MQTT-4.7.2-1].
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/slice.h"

#define TOPIC_LEVELS_MAX 200u
#define TOPIC_BYTES_MAX  65535u
#define FILTER_MANYS_MAX 8u /* MANY tokens in one filter: each multiplies the router's walk; MQTT allows one */

enum token_kind { TOKEN_LITERAL, TOKEN_ONE, TOKEN_MANY };

struct token {
    enum token_kind kind;
    struct slice bytes; /* LITERAL only; may be empty; never holds '/' in a topic exchange */
};

/* A filter as a view: tokens and the bytes they point to belong to the caller. */
struct filter {
    const struct token *tok;
    uint32_t n; /* 1 .. TOPIC_LEVELS_MAX; 0 for a fanout binding */
};

/* topic_levels: number of levels of a topic in MQTT spelling (1 for an empty string). */
uint32_t topic_levels(struct slice topic);

/* topic_next_level: cuts the first level off *rest. Returns false when nothing is left; start with *at_end = false.
 * "a//b" gives "a", "", "b"; "/" gives "", "". */
bool topic_next_level(struct slice *rest, bool *at_end, struct slice *out_level);

/* topic_is_name: may a message be published to it in a topic exchange: 1 to TOPIC_BYTES_MAX bytes of UTF-8 without NUL,
 * '+' and '#'? Keys elsewhere and names of queues are any bytes. */
bool topic_is_name(struct slice topic);

/* topic_is_sys: "$SYS" or below it, which only the broker writes; not "$SYSTEM". */
bool topic_is_sys(struct slice topic);

/* filter_from_mqtt: splits a filter in MQTT spelling into tok[TOPIC_LEVELS_MAX]: "+" → ONE, "#" → MANY (wherever it
 * stands: that '#' comes last is the MQTT adapter's rule), else LITERAL. ERR_TOO_BIG beyond TOPIC_LEVELS_MAX levels. */
enum err filter_from_mqtt(struct slice text, struct token *tok, struct filter *out) MUST_CHECK;

/* filter_put_mqtt: appends the MQTT spelling of f to b. */
void filter_put_mqtt(struct buf *b, const struct filter *f);

/* filter_is_equal: same kinds and bytes. */
bool filter_is_equal(const struct filter *a, const struct filter *b);

/* filter_is_modest: within `levels_max` levels and FILTER_MANYS_MAX. */
bool filter_is_modest(const struct filter *f, uint64_t levels_max);

/* filter_matches: the reference matcher: plain recursion, for tests and rare use. The router must agree with it. */
bool filter_matches(const struct filter *f, struct slice topic);

#endif

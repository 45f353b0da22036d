/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_dead_letter.c: the history a dead letter carries, and when it would go round.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/attrs.h"
#include "tests/support/fake.h"

static struct queue *named(struct fake *f, const char *name)
{
    struct queue *q = queue_new(f->shard->vhost, slice_from_str(name), &f->shard->vhost->policy_named, false, NULL);
    assert_non_null(q);
    return q;
}

/* show: all attributes, one per line. */
static void show(struct slice attrs, char *out, size_t cap)
{
    struct attr a;
    size_t n = 0;
    out[0] = 0;
    for (size_t pos = 0; attr_next(attrs, &pos, &a);)
        n += (size_t)snprintf(out + n, cap - n, "%d " SLICE_FMT "=" SLICE_FMT "\n", (int)a.id, SLICE_ARG(a.key),
                              SLICE_ARG(a.value));
}

/* die: b has the attributes of a message that has died once more. */
static void die(struct buf *b, struct fake *f, const struct queue *q, const char *key, const char *exchange,
                enum death why, uint64_t at)
{
    struct buf next;
    buf_init(&next, shard_mem(f->shard, MEM_MSG));
    dead_letter_attrs(&next, buf_slice(b), q, slice_from_str(key), slice_from_str(exchange), why, at);
    assert_false(buf_is_bad(&next));
    buf_fini(b);
    *b = next;
}

static void history(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct queue *jobs = named(f, "jobs"), *odd = named(f, "a;b=%\n");
    char text[1024];
    struct buf b;
    buf_init(&b, shard_mem(f->shard, MEM_MSG));
    attr_put(&b, ATTR_DESTINATION, (struct slice){0}, SLICE("/queue/jobs"));
    attr_put(&b, ATTR_USER, SLICE("k"), SLICE("v"));
    die(&b, f, jobs, "jobs", "", DEATH_REJECTED, 100);
    show(buf_slice(&b), text, sizeof text);
    assert_string_equal(text, "1 k=v\n"
                              "9 x-first-death-reason=rejected\n"
                              "9 x-first-death-queue=jobs\n"
                              "9 x-first-death-exchange=\n"
                              "9 x-death=queue=jobs;reason=rejected;count=1;exchange=;routing-key=jobs;time=100\n");
    assert_false(dead_letter_is_cycle(buf_slice(&b), jobs)); /* rejected: somebody wanted it to go on */
    die(&b, f, odd, "x.y", "amq.topic", DEATH_EXPIRED, 200);
    assert_true(dead_letter_is_cycle(buf_slice(&b), odd));
    assert_false(dead_letter_is_cycle(buf_slice(&b), jobs)); /* before that it was rejected */
    die(&b, f, jobs, "jobs", "", DEATH_MAXLEN, 300);
    die(&b, f, jobs, "jobs", "", DEATH_REJECTED, 400);
    show(buf_slice(&b), text, sizeof text);
    assert_string_equal(text,
                        "1 k=v\n"
                        "9 x-first-death-reason=rejected\n"
                        "9 x-first-death-queue=jobs\n"
                        "9 x-first-death-exchange=\n"
                        "9 x-death=queue=jobs;reason=rejected;count=2;exchange=;routing-key=jobs;time=400\n"
                        "9 x-death=queue=jobs;reason=maxlen;count=1;exchange=;routing-key=jobs;time=300\n"
                        "9 x-death=queue=a%3Bb%3D%25%0A;reason=expired;count=1;exchange=amq.topic;routing-key=x.y;"
                        "time=200\n");
    assert_false(dead_letter_is_cycle(buf_slice(&b), odd));
    assert_false(dead_letter_is_cycle((struct slice){0}, jobs));
    buf_fini(&b);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(history)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_read.c: the part of the contract of stores about reading messages back: fetch and read. Included by
 * store_suite.c, which has the suite and its short hands.
 */

#define ASKED_MAX 300u

struct asked {
    struct store_fetch fetch; /* first */
    struct suite *s;
    lsn_t lsn[ASKED_MAX];
    const struct msg *msg[ASKED_MAX];
    unsigned answers;
};

static void on_fetched(struct store_fetch *f)
{
    struct asked *a = (struct asked *)(void *)f;
    assert_false(a->s->in_append || a->s->in_fetch);
    assert_ptr_equal(f->ctx, a);
    a->answers++;
}

/* ask: for these records, by number. */
static void ask(struct suite *s, struct asked *a, const unsigned *number, unsigned n)
{
    assert_true(n <= ASKED_MAX);
    *a = (struct asked){.s = s};
    a->fetch = (struct store_fetch){.lsn = a->lsn, .msg = a->msg, .n = n, .on_fetched = on_fetched, .ctx = a};
    for (unsigned i = 0; i < n; i++)
        a->lsn[i] = s->numbered[number[i] - 1].lsn;
    s->in_fetch = true;
    s->store->ops->fetch(s->store, &a->fetch);
    s->in_fetch = false;
    assert_int_equal(a->answers, 0);
}

/* answered: the texts of what came, comma-separated, '-' for what did not; lets go of it. */
static void answered(struct suite *s, struct asked *a, const char *expected)
{
    struct buf b;
    assert_int_equal(a->answers, 1);
    buf_init(&b, &s->own);
    for (unsigned i = 0; i < a->fetch.n; i++) {
        if (i > 0)
            buf_put_str(&b, ", ");
        if (a->msg[i] == NULL) {
            buf_put_str(&b, "-");
            continue;
        }
        struct msgview v;
        msg_view(a->msg[i], &v);
        buf_printf(&b, SLICE_FMT "=" SLICE_FMT, SLICE_ARG(v.topic), SLICE_ARG(v.payload));
        msg_drop(a->msg[i]);
    }
    buf_put_u8(&b, 0);
    assert_string_equal((const char *)b.p, expected);
    buf_fini(&b);
}

static void test_fetch(void **state)
{
    struct suite *s = *state;
    struct asked *a = test_calloc(2, sizeof(*a));
    publish(s, "t", "1", TO(7, 8), 0, 0);
    publish(s, "t/u", "", TO(7), 0, 0);
    publish(s, "t", "3", TO(7), 0, 0);
    publish(s, "t", "4", TO(7), 3, 5);
    sync_all(s);
    ask(s, &a[0], (const unsigned[]){1, 2, 4}, 3);
    ask(s, &a[1], (const unsigned[]){3}, 1);
    publish(s, "t", "5", TO(7), 0, 0); /* life goes on meanwhile */
    submit(s);
    wait(s);
    answered(s, &a[0], "t=1, t/u=, t=4");
    answered(s, &a[1], "t=3");
    settle(s, 7, 1);
    settle(s, 7, 3);
    settle(s, 7, 4); /* only its id is left */
    sync_all(s);
    ask(s, &a[0], (const unsigned[]){1, 2, 3, 4, 5}, 5);
    wait(s);
    answered(s, &a[0], "t=1, t/u=, -, -, t=5");
    end(s);
    begin(s); /* of a former life */
    ask(s, &a[0], (const unsigned[]){1, 2, 3, 5}, 4);
    ask(s, &a[1], (const unsigned[]){2}, 1);
    wait(s);
    answered(s, &a[0], "t=1, t/u=, -, t=5");
    answered(s, &a[1], "t/u=");
    test_free(a);
}

/* More than one go, in several batches; and what comes back is as it was. */
static void test_fetch_many(void **state)
{
    struct suite *s = *state;
    struct asked *a = test_calloc(1, sizeof(*a));
    unsigned number[ASKED_MAX];
    for (unsigned i = 0; i < ASKED_MAX; i++) {
        char payload[16];
        snprintf(payload, sizeof(payload), "%u", i);
        number[i] = publish(s, "t", payload, TO(7), 0, 0);
        if (i % 37 == 0)
            submit(s);
    }
    struct msg *m = full_message(s);
    struct store_target seven = {.queue = 7};
    unsigned full = append(s, &(struct store_rec){.kind = STORE_PUBLISH, .msg = m, .target = &seven, .target_n = 1});
    msg_drop(m);
    sync_all(s);
    ask(s, a, number, ASKED_MAX);
    wait(s);
    assert_int_equal(a->answers, 1);
    for (unsigned i = 0; i < ASKED_MAX; i++) {
        char payload[16];
        struct msgview v;
        assert_non_null(a->msg[i]);
        msg_view(a->msg[i], &v);
        snprintf(payload, sizeof(payload), "%u", i);
        assert_true(slice_eq_str(v.payload, payload));
        msg_drop(a->msg[i]);
    }
    ask(s, a, &full, 1);
    wait(s);
    assert_int_equal(a->answers, 1);
    assert_non_null(a->msg[0]);
    buf_clear(&s->seen);
    put_msg(&s->seen, a->msg[0]);
    buf_put_u8(&s->seen, 0);
    assert_string_equal(seen(s), FULL_TEXT);
    msg_drop(a->msg[0]);
    test_free(a);
}

/* Its time is that of the life it is read in. */
static void test_read(void **state)
{
    struct suite *s = *state;
    struct msg *full = full_message(s);
    struct store_target seven = {.queue = 7};
    append(s, &(struct store_rec){.kind = STORE_PUBLISH, .msg = full, .target = &seven, .target_n = 1});
    msg_drop(full);
    publish(s, "t", "2", TO(7), 0, 0);
    settle(s, 7, 2);
    sync_all(s);
    for (unsigned life = 0; life < 2; life++) {
        const struct msg *m = s->store->ops->read(s->store, s->numbered[0].lsn);
        assert_non_null(m);
        assert_int_equal(m->expires_at, 124456 - life * 10000);
        struct msgview v;
        msg_view(m, &v);
        assert_true(slice_eq(v.payload, SLICE("hello")));
        msg_drop(m);
        assert_null(s->store->ops->read(s->store, s->numbered[1].lsn));
        assert_null(s->store->ops->read(s->store, UINT64_C(1) << 50));
        end(s);
        s->clock += 10000;
        begin(s);
    }
}

/* close lets nobody wait. */
static void test_fetch_at_close(void **state)
{
    struct suite *s = *state;
    struct asked *a = test_calloc(1, sizeof(*a));
    publish(s, "t", "1", TO(7), 0, 0);
    sync_all(s);
    ask(s, a, (const unsigned[]){1}, 1);
    end(s);
    assert_int_equal(a->answers, 1);
    if (a->msg[0] != NULL)
        msg_drop(a->msg[0]);
    test_free(a);
}

/* A store that cannot write any more can still read. */
static void test_fetch_after_failure(void **state)
{
    struct suite *s = *state;
    struct asked *a = test_calloc(1, sizeof(*a));
    publish(s, "t", "1", TO(7), 0, 0);
    sync_all(s);
    s->f->break_medium(s->world, s->store);
    publish(s, "t", "2", TO(7), 0, 0);
    submit(s);
    wait(s);
    assert_int_equal(s->failed_calls, 1);
    ask(s, a, (const unsigned[]){1}, 1);
    wait(s);
    answered(s, a, "t=1");
    const struct msg *m = s->store->ops->read(s->store, s->numbered[0].lsn);
    assert_non_null(m);
    msg_drop(m);
    test_free(a);
}

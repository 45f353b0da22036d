/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_units.c: the part of the contract of stores that queues and exchanges with names brought: exchanges and their
 * bindings, dead letters, publishes that are retained, too, and units of several records. Included by store_suite.c,
 * which has the suite and its short hands.
 */

/* ---- exchanges, dead letters, retained publishes -------------------------------------------------------------- */

static unsigned exchange(struct suite *s, const char *name, const char *alternate, uint64_t rate)
{
    char spoiled[2][16];
    snprintf(spoiled[0], sizeof(spoiled[0]), "%s", name);
    snprintf(spoiled[1], sizeof(spoiled[1]), "%s", alternate);
    struct exchange_spec spec = {.name = slice_from_str(spoiled[0]),
                                 .kind = EXCHANGE_DIRECT,
                                 .durable = true,
                                 .internal = rate != 0,
                                 .alternate = slice_from_str(spoiled[1]),
                                 .rate = rate};
    unsigned number = append(
        s,
        &(struct store_rec){.kind = STORE_EXCHANGE, .name = spec.name, .exchange = &spec, .queue = strlen(alternate)});
    memset(spoiled, '#', sizeof(spoiled));
    memset(&spec, 0xee, sizeof(spec));
    return number;
}

static unsigned bind_exchange(struct suite *s, enum store_kind kind, const char *from, const char *key, const char *to)
{
    return append(
        s, &(struct store_rec){
               .kind = kind, .name = slice_from_str(from), .key = slice_from_str(key), .to = slice_from_str(to)});
}

static void test_exchanges(void **state)
{
    struct suite *s = *state;
    exchange(s, "x", "other", 0);
    exchange(s, "y", "z", 18446744073709551615u);
    about(s, STORE_QUEUE, 7, 0, "jobs", 0);
    bind_exchange(s, STORE_BIND, "x", "k", "y");
    bind_exchange(s, STORE_BIND, "y", "k", "x");
    bind_exchange(s, STORE_BIND, "x", "", "ky"); /* the same bytes, cut elsewhere */
    bind_exchange(s, STORE_BIND, "amq.topic", "a/#", "y");
    bind_to(s, STORE_BIND, 7, "k", 1);
    exchange(s, "x", "changed", 0);
    bind_exchange(s, STORE_UNBIND, "y", "k", "y");
    expect(s, "2 EXCHANGE y number=1 'y' kind=2 alternate='z' rate=18446744073709551615 durable internal\n"
              "9 EXCHANGE x number=7 'x' kind=2 alternate='changed' rate=0 durable\n"
              "3 QUEUE 7 'jobs' of 0\n"
              "4 BIND 0 x k qos=0 sub=0 flags=0 to y\n"
              "5 BIND 0 y k qos=0 sub=0 flags=0 to x\n"
              "6 BIND 0 x  qos=0 sub=0 flags=0 to ky\n"
              "7 BIND 0 amq.topic a/# qos=0 sub=0 flags=0 to y\n"
              "8 BIND 7 amq.topic k qos=1 sub=268435455 flags=5\n");
    bind_exchange(s, STORE_UNBIND, "x", "k", "y");
    about(s, STORE_EXCHANGE_END, 0, 0, "x", 0); /* with what is bound to it and from it */
    about(s, STORE_EXCHANGE_END, 0, 0, "never", 0);
    expect(s, "2 EXCHANGE y number=1 'y' kind=2 alternate='z' rate=18446744073709551615 durable internal\n"
              "3 QUEUE 7 'jobs' of 0\n"
              "7 BIND 0 amq.topic a/# qos=0 sub=0 flags=0 to y\n"
              "8 BIND 7 amq.topic k qos=1 sub=268435455 flags=5\n");
    exchange(s, "x", "", 0); /* a new one */
    about(s, STORE_EXCHANGE_END, 0, 0, "y", 0);
    expect(s, "14 EXCHANGE x 'x' kind=2 alternate='' rate=0 durable\n"
              "3 QUEUE 7 'jobs' of 0\n"
              "8 BIND 7 amq.topic k qos=1 sub=268435455 flags=5\n");
}

/* A dead letter's record publishes it and settles what it was: never both, never neither. */
static void test_dead_letters(void **state)
{
    struct suite *s = *state;
    publish(s, "a", "hello", TO(7, 8), 0, 0);
    struct msg *m = message(s, "a", "hello, dead");
    const struct store_target nine = {.queue = 9};
    append(s,
           &(struct store_rec){.kind = STORE_PUBLISH, .msg = m, .target = &nine, .target_n = 1, .queue = 7, .of = 1});
    expect(s, "1 PUBLISH a=hello qos=1 flags=1 -> 8\n2 PUBLISH a=hello, dead qos=1 flags=1 -> 9\n");
    append(s, &(struct store_rec){.kind = STORE_PUBLISH, .msg = m, .queue = 8, .of = 1}); /* nobody wanted it */
    append(s, &(struct store_rec){.kind = STORE_PUBLISH, .msg = m, .queue = 8, .of = 12345});
    expect(s, "2 PUBLISH a=hello, dead qos=1 flags=1 -> 9\n");
    append(s, /* back to where it was */
           &(struct store_rec){.kind = STORE_PUBLISH, .msg = m, .target = &nine, .target_n = 1, .queue = 9, .of = 2});
    expect(s, "5 PUBLISH a=hello, dead qos=1 flags=1 -> 9\n");
    msg_drop(m);
}

/* A publish may be the retained message of its topic, too; then it lives on as that when nobody else needs it. */
static unsigned publish_retained(struct suite *s, const char *topic, const char *payload, struct to to)
{
    return publish_as(s, topic, payload, to, (struct store_rec){.flags = STORE_PUBLISH_RETAINED});
}

static void test_published_retained(void **state)
{
    struct suite *s = *state;
    publish_retained(s, "a", "nobody", NOBODY);
    publish_retained(s, "b", "one", TO(7));
    retain(s, "c", "plain");
    expect(s, "1 RETAIN a=nobody qos=1 flags=1\n"
              "2 PUBLISH b=one qos=1 flags=1 -> 7\n2 RETAIN b=one qos=1 flags=1\n"
              "3 RETAIN c=plain qos=1 flags=1\n");
    settle(s, 7, 2);
    publish_retained(s, "c", "newer", NOBODY);
    retain(s, "a", "newest");
    expect(s, "2 RETAIN b=one qos=1 flags=1\n5 RETAIN c=newer qos=1 flags=1\n6 RETAIN a=newest qos=1 flags=1\n");
    publish_retained(s, "b", "", TO(7)); /* clears, and is delivered */
    publish(s, "c", "not retained", NOBODY, 0, 0);
    expect(s, "5 RETAIN c=newer qos=1 flags=1\n6 RETAIN a=newest qos=1 flags=1\n7 PUBLISH b= qos=1 flags=1 -> 7\n");
}

/* ---- units --------------------------------------------------------------------------------------------------- */

static unsigned frame(struct suite *s, enum store_kind kind, uint8_t flags)
{
    return append(s, &(struct store_rec){.kind = kind, .flags = flags});
}

static void test_units(void **state)
{
    struct suite *s = *state;
    publish(s, "a", "1", TO(7), 0, 0);
    assert_int_equal(frame(s, STORE_TX, 0), 2);
    publish(s, "a", "2", TO(7), 0, 0);
    settle(s, 7, 1);
    assert_int_equal(frame(s, STORE_TX_END, 0), 5);
    expect(s, "3 PUBLISH a=2 qos=1 flags=1 -> 7\n");
    frame(s, STORE_TX, 0);
    frame(s, STORE_TX_END, 0); /* of nothing */
    frame(s, STORE_TX, 0);
    settle(s, 7, 3);
    retain(s, "a", "void");
    frame(s, STORE_TX_END, STORE_TX_VOID);
    expect(s, "3 PUBLISH a=2 qos=1 flags=1 -> 7\n");
    settle(s, 7, 3);
    expect(s, "");
}

/* Wherever the power fails: all of a unit or nothing. */
static void test_units_are_whole(void **state)
{
    struct suite *s = *state;
    for (uint64_t luck = 0; luck < 8; luck++) {
        char payload[8], expected[2][128];
        snprintf(payload, sizeof(payload), "%u", (unsigned)luck);
        unsigned old = retain(s, "old", payload);
        sync_all(s);
        frame(s, STORE_TX, 0);
        unsigned first = publish(s, "new", payload, TO(7), 0, 0);
        settle(s, 7, old);
        retain(s, "old", "");
        frame(s, STORE_TX_END, 0);
        submit(s);
        crash(s, luck);
        begin(s);
        snprintf(expected[0], sizeof(expected[0]), "%u RETAIN old=%s qos=1 flags=1\n", old, payload);
        snprintf(expected[1], sizeof(expected[1]), "%u PUBLISH new=%s qos=1 flags=1 -> 7\n", first, payload);
        assert_true(strcmp(seen(s), expected[0]) == 0 || strcmp(seen(s), expected[1]) == 0);
        settle(s, 7, first);
        retain(s, "old", "");
        sync_all(s);
    }
}

/* Notes within a unit are part of it. */
static void test_units_of_notes(void **state)
{
    struct suite *s = *state;
    publish(s, "a", "1", TO(7, 8), 0, 0);
    sync_all(s);
    append(s, &(struct store_rec){.kind = STORE_SENT, .queue = 7, .of = 1, .ticket = 5});
    frame(s, STORE_TX, 0);
    append(s, &(struct store_rec){.kind = STORE_RETURNED, .queue = 7, .of = 1, .returns = 3});
    settle(s, 8, 1);
    frame(s, STORE_TX_END, 0);
    expect(s, "1 PUBLISH a=1 qos=1 flags=1 -> 7 returns=3\n"); /* in this order */
    frame(s, STORE_TX, 0);
    append(s, &(struct store_rec){.kind = STORE_SENT, .queue = 7, .of = 1, .ticket = 6});
    settle(s, 7, 1);
    frame(s, STORE_TX_END, STORE_TX_VOID);
    expect(s, "1 PUBLISH a=1 qos=1 flags=1 -> 7 returns=3\n");
}

/* Every allocation fails once around a unit: it happens whole or not at all, and never a leak. */
static void test_units_out_of_memory(void **state)
{
    struct suite *s = *state;
    unsigned whole = 0, none = 0;
    for (unsigned nth = 1; nth < 200; nth++) {
        about(s, STORE_QUEUE, 1, 0, "q", 0);
        unsigned old = publish(s, "old", "a message", TO(1), 0, 0);
        sync_all(s);
        s->heap.fail_at = s->heap.calls + nth;
        bool begun = frame(s, STORE_TX, 0) != 0;
        bool done = begun && publish(s, "new", "a message", TO(1), 0, 0) != 0;
        done = done && settle(s, 1, old) != 0 && retain(s, "kept", "a message") != 0;
        bool ended = done && frame(s, STORE_TX_END, 0) != 0;
        if (begun && !ended) /* as the broker does it: at once */
            assert_true(frame(s, STORE_TX_END, STORE_TX_VOID) != 0);
        submit(s);
        wait(s);
        bool all_asked = s->heap.calls < s->heap.fail_at;
        s->heap.fail_at = 0;
        bool failed = s->failed_calls != 0;
        end(s);
        begin(s);
        bool is_old = strstr(seen(s), "PUBLISH old") != NULL;
        bool is_new = strstr(seen(s), "PUBLISH new") != NULL;
        bool is_kept = strstr(seen(s), "RETAIN kept") != NULL;
        assert_true(is_old != is_new && is_new == is_kept);
        assert_true(ended || is_old);
        assert_true(failed || is_new == ended);
        whole += is_new;
        none += is_old;
        about(s, STORE_QUEUE_END, 1, 0, "", 0);
        retain(s, "kept", "");
        sync_all(s);
        if (all_asked)
            break;
        assert_true(nth < 100);
    }
    assert_true(whole > 0 && none > 0);
}

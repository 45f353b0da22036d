/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_basics.c: the part of the contract of stores that all records share: LSNs and answers, and how long each sort
 * of record lives. Included by store_suite.c, which has the suite and its short hands.
 */

/* ---- LSNs and answers ---------------------------------------------------------------------------------------- */

static void test_empty(void **state)
{
    struct suite *s = *state;
    expect(s, "");
    expect(s, "");
}

static void test_stamp(void **state)
{
    struct suite *s = *state;
    assert_int_equal(s->store->stamp, 0);
    retain(s, "t", "x");
    sync_all(s);
    wall_ms before = WALL_START + 1000, after = WALL_START + s->now;
    end(s);
    s->now += 5000; /* it was away for so long */
    begin(s);
    assert_in_range(s->store->stamp, before, after + 1);
}

/* Until submit nothing is reported; LSNs rise over lives (append checks it within one). */
static void test_lsns(void **state)
{
    struct suite *s = *state;
    for (unsigned i = 1; i <= 100; i++)
        assert_int_equal(retain(s, "t", "x"), i);
    assert_int_equal(s->durable_calls, 0); /* nothing was submitted */
    submit(s);
    wait(s);
    lsn_t last = s->highest;
    assert_true(s->durable >= last);
    expect(s, "100 RETAIN t=x qos=1 flags=1\n");
    assert_int_equal(retain(s, "t", "y"), 101);
    assert_true(s->highest > last);
    settle(s, 7, 1); /* a note has an LSN, too, and is waited for like any other */
    sync_all(s);
    settle(s, 7, 2);
    settle(s, 7, 3);
    sync_all(s);
}

static void test_submit_of_nothing(void **state)
{
    struct suite *s = *state;
    submit(s);
    wait(s);
    assert_int_equal(s->durable, 0);
    retain(s, "t", "x");
    sync_all(s);
    lsn_t durable = s->durable;
    submit(s);
    submit(s);
    wait(s);
    assert_int_equal(s->durable, durable);
}

/* What is appended while a batch is under way gathers for the next one (on_durable checks it). */
static void test_batches(void **state)
{
    struct suite *s = *state;
    lsn_t between = 0;
    for (unsigned i = 0; i < 10; i++) {
        retain(s, "t", "x");
        submit(s);
        between = s->highest;
        retain(s, "u", "x");
        if (i % 3 == 0)
            wait(s);
    }
    wait(s);
    assert_true(s->durable >= between);
    sync_all(s);
    expect(s, "19 RETAIN t=x qos=1 flags=1\n20 RETAIN u=x qos=1 flags=1\n");
}

static void test_close_finishes(void **state)
{
    struct suite *s = *state;
    retain(s, "a", "1");
    submit(s);
    retain(s, "b", "2");
    settle(s, 7, 1);
    submit(s);
    lsn_t last = s->highest;
    end(s);
    assert_true(s->durable >= last);
    begin(s);
    assert_string_equal(seen(s), "1 RETAIN a=1 qos=1 flags=1\n2 RETAIN b=2 qos=1 flags=1\n");
}

/* Many lives with a little in each. */
static void test_many_lives(void **state)
{
    struct suite *s = *state;
    unsigned published[40];
    for (unsigned life = 0; life < ARRAY_N(published); life++) {
        published[life] = publish(s, "t", "x", TO(7), 0, 0);
        if (life >= 2)
            settle(s, 7, published[life - 2]);
        sync_all(s);
        end(s);
        begin(s);
    }
    assert_string_equal(seen(s), "75 PUBLISH t=x qos=1 flags=1 -> 7\n77 PUBLISH t=x qos=1 flags=1 -> 7\n");
}

/* ---- what lives ---------------------------------------------------------------------------------------------- */

static void test_settle(void **state)
{
    struct suite *s = *state;
    unsigned first = publish(s, "t", "1", TO(7, 8, 9), 0, 0);
    publish(s, "t", "2", TO(7), 0, 0);
    unsigned third = publish(s, "t", "3", TO(8), 0, 0);
    settle(s, 8, first);
    expect(s, "1 PUBLISH t=1 qos=1 flags=1 -> 7 9\n"
              "2 PUBLISH t=2 qos=1 flags=1 -> 7\n"
              "3 PUBLISH t=3 qos=1 flags=1 -> 8\n");
    settle(s, 8, third); /* of a message of the former life */
    settle(s, 8, first); /* again, and of things that never were: harmless */
    settle(s, 99, first);
    settle(s, 7, 12345);
    expect(s, "1 PUBLISH t=1 qos=1 flags=1 -> 7 9\n2 PUBLISH t=2 qos=1 flags=1 -> 7\n");
    settle(s, 9, first);
    settle(s, 7, first);
    expect(s, "2 PUBLISH t=2 qos=1 flags=1 -> 7\n");
}

static void test_inbound_qos2_id(void **state)
{
    struct suite *s = *state;
    about(s, STORE_SESSION, 0, 3, "dev", 60);
    unsigned held = publish(s, "t", "1", TO(7), 3, 10);
    publish(s, "t", "nobody wanted it", NOBODY, 3, 11);
    publish(s, "t", "nobody wanted it", NOBODY, 0, 0);
    settle(s, 7, held);
    expect(s, "1 SESSION 3 dev expiry=60\n2 PUBLISH rx=3/10\n3 PUBLISH rx=3/11\n"); /* shrunk to the id */
    append(s, &(struct store_rec){.kind = STORE_RX_RELEASE, .session = 3, .rx_id = 10});
    append(s, &(struct store_rec){.kind = STORE_RX_RELEASE, .session = 4, .rx_id = 11});
    publish(s, "t", "2", TO(7), 3, 10); /* the id is free and used again */
    expect(s, "1 SESSION 3 dev expiry=60\n3 PUBLISH rx=3/11\n8 PUBLISH t=2 qos=1 flags=1 -> 7 rx=3/10\n");
    append(s, &(struct store_rec){.kind = STORE_RX_RELEASE, .session = 3, .rx_id = 10});
    about(s, STORE_SESSION_END, 0, 3, "", 0);
    expect(s, "8 PUBLISH t=2 qos=1 flags=1 -> 7\n");
}

static void test_retain(void **state)
{
    struct suite *s = *state;
    retain(s, "a", "1");
    retain(s, "b", "1");
    retain(s, "a", "2");
    retain(s, "c", "1");
    retain(s, "b", "");
    retain(s, "never", "");
    expect(s, "3 RETAIN a=2 qos=1 flags=1\n4 RETAIN c=1 qos=1 flags=1\n");
    retain(s, "b", "3");
    retain(s, "c", "");
    expect(s, "3 RETAIN a=2 qos=1 flags=1\n7 RETAIN b=3 qos=1 flags=1\n");
}

/* A change takes the place of what it changes; sessions still come before queues, and these before bindings. */
static void test_changes(void **state)
{
    struct suite *s = *state;
    about(s, STORE_SESSION, 0, 3, "dev", 60);
    about(s, STORE_QUEUE, 7, 3, "", 0);
    bind_to(s, STORE_BIND, 7, "a/#", 0);
    bind_to(s, STORE_BIND, 7, "b", 1);
    about(s, STORE_SESSION, 0, 3, "dev", 3600);
    bind_to(s, STORE_BIND, 7, "a/#", 2);
    expect(s, "5 SESSION 3 dev expiry=3600\n"
              "2 QUEUE 7 '' of 3\n"
              "4 BIND 7 amq.topic b qos=1 sub=268435455 flags=5\n"
              "6 BIND 7 amq.topic a/# qos=2 sub=268435455 flags=5\n");
    bind_to(s, STORE_UNBIND, 7, "a/#", 0);
    bind_to(s, STORE_UNBIND, 8, "b", 0);
    bind_to(s, STORE_UNBIND, 7, "bb", 0);
    expect(s, "5 SESSION 3 dev expiry=3600\n"
              "2 QUEUE 7 '' of 3\n"
              "4 BIND 7 amq.topic b qos=1 sub=268435455 flags=5\n");
    bind_to(s, STORE_BIND, 7, "a/#", 1);
    about(s, STORE_QUEUE, 7, 3, "renamed", 0);
    expect(s, "5 SESSION 3 dev expiry=3600\n"
              "11 QUEUE 7 'renamed' of 3\n"
              "4 BIND 7 amq.topic b qos=1 sub=268435455 flags=5\n"
              "10 BIND 7 amq.topic a/# qos=1 sub=268435455 flags=5\n");
}

static void test_queue_end(void **state)
{
    struct suite *s = *state;
    about(s, STORE_QUEUE, 7, 0, "jobs", 0);
    about(s, STORE_QUEUE, 8, 0, "more", 0);
    bind_to(s, STORE_BIND, 7, "a", 1);
    bind_to(s, STORE_BIND, 8, "a", 1);
    publish(s, "a", "both", TO(7, 8), 0, 0);
    publish(s, "a", "one", TO(7), 0, 0);
    about(s, STORE_QUEUE_END, 7, 0, "", 0);
    expect(s, "2 QUEUE 8 'more' of 0\n"
              "4 BIND 8 amq.topic a qos=1 sub=268435455 flags=5\n"
              "5 PUBLISH a=both qos=1 flags=1 -> 8\n");
    about(s, STORE_QUEUE_END, 8, 0, "", 0);
    about(s, STORE_QUEUE_END, 8, 0, "", 0);
    expect(s, "");
}

static void test_session_end_takes_its_queues(void **state)
{
    struct suite *s = *state;
    about(s, STORE_SESSION, 0, 3, "dev", 60);
    about(s, STORE_SESSION, 0, 4, "other", 60);
    about(s, STORE_QUEUE, 7, 3, "", 0);
    about(s, STORE_QUEUE, 8, 3, "", 0);
    about(s, STORE_QUEUE, 9, 4, "", 0);
    bind_to(s, STORE_BIND, 7, "a", 1);
    bind_to(s, STORE_BIND, 9, "a", 1);
    publish(s, "a", "1", TO(7, 8, 9), 3, 5);
    publish(s, "a", "2", TO(8), 4, 5);
    about(s, STORE_SESSION_END, 0, 3, "", 0);
    about(s, STORE_QUEUE_END, 7, 0, "", 0); /* whether the broker says it too or not */
    expect(s, "2 SESSION 4 other expiry=60\n"
              "5 QUEUE 9 '' of 4\n"
              "7 BIND 9 amq.topic a qos=1 sub=268435455 flags=5\n"
              "8 PUBLISH a=1 qos=1 flags=1 -> 9\n"
              "9 PUBLISH rx=4/5\n");
}

static unsigned member(struct suite *s, enum store_kind kind, uint64_t queue, uint64_t session, uint8_t qos)
{
    return append(s,
                  &(struct store_rec){
                      .kind = kind, .queue = queue, .session = session, .qos = qos, .sub_id = 268435455, .flags = 1});
}

/* Members of shared queues end by themselves, with their session, and with the queue. */
static void test_members(void **state)
{
    struct suite *s = *state;
    about(s, STORE_SESSION, 0, 3, "dev", 60);
    about(s, STORE_SESSION, 0, 4, "other", 60);
    about(s, STORE_QUEUE, 7, 0, "g/a", 0);
    about(s, STORE_QUEUE, 8, 0, "jobs", 0);
    member(s, STORE_MEMBER, 7, 3, 1);
    member(s, STORE_MEMBER, 7, 4, 1);
    member(s, STORE_MEMBER, 8, 3, 0);
    member(s, STORE_MEMBER, 8, 4, 0);
    member(s, STORE_MEMBER, 7, 4, 2); /* a change */
    member(s, STORE_MEMBER_END, 8, 4, 0);
    member(s, STORE_MEMBER_END, 9, 4, 0);
    expect(s, "1 SESSION 3 dev expiry=60\n2 SESSION 4 other expiry=60\n3 QUEUE 7 'g/a' of 0\n4 QUEUE 8 'jobs' of 0\n"
              "5 MEMBER 3 of 7 qos=1 sub=268435455 flags=1\n"
              "7 MEMBER 3 of 8 qos=0 sub=268435455 flags=1\n"
              "9 MEMBER 4 of 7 qos=2 sub=268435455 flags=1\n");
    about(s, STORE_SESSION_END, 0, 3, "", 0);
    expect(s, "2 SESSION 4 other expiry=60\n3 QUEUE 7 'g/a' of 0\n4 QUEUE 8 'jobs' of 0\n"
              "9 MEMBER 4 of 7 qos=2 sub=268435455 flags=1\n");
    about(s, STORE_QUEUE_END, 7, 0, "", 0);
    expect(s, "2 SESSION 4 other expiry=60\n4 QUEUE 8 'jobs' of 0\n");
}

/* A delayed message waits with queue 0 as its one target; its routing result settles it. */
static void test_delays(void **state)
{
    struct suite *s = *state;
    const struct store_rec through = {.name = SLICE("amq.topic"), .due = WALL_START + 60000};
    struct store_rec with_id = through;
    with_id.session = 3;
    with_id.rx_id = 5;
    publish_as(s, "a", "later", TO(0), through);
    publish_as(s, "a", "much later", TO(0), with_id);
    publish_as(s, "a", "never", TO(0), through);
    about(s, STORE_QUEUE_END, 7, 0, "", 0);
    expect(s, "1 PUBLISH a=later qos=1 flags=1 -> 0 through 'amq.topic' at 1700000060000\n"
              "2 PUBLISH a=much later qos=1 flags=1 -> 0 through 'amq.topic' at 1700000060000 rx=3/5\n"
              "3 PUBLISH a=never qos=1 flags=1 -> 0 through 'amq.topic' at 1700000060000\n");
    publish_as(s, "a", "later", TO(7, 8), (struct store_rec){.of = 1});
    publish_as(s, "a", "much later", NOBODY, (struct store_rec){.of = 2});
    settle(s, 0, 3);
    expect(s, "2 PUBLISH rx=3/5\n5 PUBLISH a=later qos=1 flags=1 -> 7 8\n");
}

static void test_visit_stops(void **state)
{
    struct suite *s = *state;
    for (char topic[] = "a"; topic[0] <= 'f'; topic[0]++)
        retain(s, topic, "x");
    sync_all(s);
    end(s);
    open_store(s);
    s->stop_after = 3;
    assert_int_equal(s->store->ops->replay(s->store, visit, s), ERR_TOO_BIG);
    assert_int_equal(s->seen_n, 3);
    s->stop_after = 0;
}

static void test_large(void **state)
{
    struct suite *s = *state;
    size_t n = 3u << 20;
    char *payload = test_malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        payload[i] = (char)('a' + i * 7 % 26);
    payload[n] = '\0';
    retain(s, "big", payload);
    sync_all(s);
    end(s);
    begin(s);
    assert_non_null(s->held); /* a message may be held beyond its visit */
    struct msgview v;
    msg_view(s->held, &v);
    assert_int_equal(v.payload.len, n);
    assert_memory_equal(v.payload.p, payload, n);
    test_free(payload);
}

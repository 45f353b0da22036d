/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_state.c: the part of the contract of stores about what of a record survives: every field of every kind, how far
 * deliveries are, wills, and times. Included by store_suite.c, which has the suite and its short hands.
 */

/* ---- fields -------------------------------------------------------------------------------------------------- */

static struct msg *full_message(struct suite *s)
{
    struct buf attrs;
    buf_init(&attrs, &s->own);
    attr_put(&attrs, ATTR_USER, SLICE("b"), SLICE("second in the alphabet"));
    attr_put(&attrs, ATTR_CONTENT_TYPE, (struct slice){0}, SLICE("text/plain"));
    attr_put(&attrs, ATTR_USER, SLICE("a"), SLICE(""));
    attr_put(&attrs, ATTR_USER, SLICE("b"), SLICE("again"));
    struct msgview v = {.topic = SLICE("a/b"),
                        .payload = SLICE("hello"),
                        .attrs = buf_slice(&attrs),
                        .expires_at = 124456,
                        .publisher = UINT64_C(0x8000000000000042),
                        .exchange = 4294967295u,
                        .qos = 2,
                        .priority = 255,
                        .flags = MSG_DURABLE | MSG_STOMP | MSG_RETAIN};
    struct msg *m = msg_new(&s->msgs, &v);
    assert_non_null(m);
    buf_fini(&attrs);
    return m;
}

#define FULL_TEXT                                                                                                      \
    " a/b=hello [1 b:second in the alphabet] [2 :text/plain] [1 a:] [1 b:again] qos=2 flags=7 expires=124456 "         \
    "by=9223372036854775874 exchange=4294967295 priority=255"

static void test_messages(void **state)
{
    struct suite *s = *state;
    struct msg *m = full_message(s);
    uint32_t id[] = {1, 2, 268435455};
    struct store_target target[] = {
        {.queue = 7}, {.queue = UINT64_MAX, .sub_id = id, .sub_id_n = 3, .plain = 5}, {.queue = 1, .plain = 2}};
    append(s, &(struct store_rec){.kind = STORE_PUBLISH,
                                  .msg = m,
                                  .target = target,
                                  .target_n = 3,
                                  .session = UINT64_MAX,
                                  .rx_id = 65535,
                                  .flags = STORE_PUBLISH_REPLAYED});
    memset(target, 0xee, sizeof(target));
    memset(id, 0xee, sizeof(id));
    append(s, &(struct store_rec){.kind = STORE_RETAIN, .msg = m});
    append(s, &(struct store_rec){.kind = STORE_RETAIN, .name = SLICE("unknown")});
    msg_drop(m);
    for (unsigned life = 0; life < 3; life++) /* they stay as they are */
        expect(s, "1 PUBLISH" FULL_TEXT " -> 7 18446744073709551615/1,2,268435455 plain=5 1 plain=2 "
                  "rx=18446744073709551615/65535 replayed\n"
                  "2 RETAIN" FULL_TEXT "\n");
    append(s, &(struct store_rec){.kind = STORE_RETAIN, .name = SLICE("a/b")});
    settle(s, 7, 1);
    append(s, &(struct store_rec){.kind = STORE_RX_RELEASE, .session = UINT64_MAX, .rx_id = 65535});
    expect(s, "1 PUBLISH" FULL_TEXT " -> 18446744073709551615/1,2,268435455 plain=5 1 plain=2 replayed\n");
}

static void test_definitions(void **state)
{
    struct suite *s = *state;
    append(s, &(struct store_rec){.kind = STORE_SESSION,
                                  .session = UINT64_MAX,
                                  .name = SLICE("device \"1\"\n"),
                                  .expiry_s = UINT32_MAX,
                                  .due = WALL_START + 5});
    about(s, STORE_QUEUE, 7, UINT64_MAX, "", 0);
    about(s, STORE_QUEUE, UINT64_MAX, 0, "jobs", 0);
    append(s, &(struct store_rec){.kind = STORE_BIND,
                                  .queue = 7,
                                  .session = UINT64_MAX,
                                  .name = SLICE("x"),
                                  .key = SLICE("a/+/#"),
                                  .qos = 2,
                                  .sub_id = 268435455,
                                  .flags = 255});
    append(s, &(struct store_rec){
                  .kind = STORE_MEMBER, .queue = UINT64_MAX, .session = UINT64_MAX, .qos = 1, .sub_id = 1, .flags = 1});
    const struct exchange_spec spec = {
        .name = SLICE("x"), .kind = EXCHANGE_FANOUT, .auto_delete = true, .internal = true, .rate = 7};
    append(s, &(struct store_rec){.kind = STORE_EXCHANGE, .name = spec.name, .exchange = &spec, .queue = UINT32_MAX});
    expect(s, "6 EXCHANGE x number=4294967295 'x' kind=3 alternate='' rate=7 auto-delete internal\n"
              "1 SESSION 18446744073709551615 device \"1\"\n expiry=4294967295 away=1700000000005\n"
              "2 QUEUE 7 '' of 18446744073709551615\n"
              "3 QUEUE 18446744073709551615 'jobs' of 0\n"
              "4 BIND 7 x a/+/# qos=2 sub=268435455 flags=255 of=18446744073709551615\n"
              "5 MEMBER 18446744073709551615 of 18446744073709551615 qos=1 sub=1 flags=1\n");
    about(s, STORE_SESSION, 0, UINT64_MAX, "device", 60); /* back online */
    about(s, STORE_EXCHANGE_END, 0, 0, "x", 0);
    about(s, STORE_QUEUE_END, UINT64_MAX, 0, "", 0);
    expect(s, "7 SESSION 18446744073709551615 device expiry=60\n2 QUEUE 7 '' of 18446744073709551615\n");
}

static void test_policies(void **state)
{
    struct suite *s = *state;
    char spoiled[2][16] = {"the-exchange", "the-key"};
    struct queue_policy p = {.len_max = UINT64_MAX,
                             .bytes_max = 1u << 20,
                             .ttl_ms = 60000,
                             .expires_ms = 1,
                             .retry_min_ms = 2,
                             .retry_max_ms = 3,
                             .ack_ms = 4,
                             .dead_exchange = slice_from_str(spoiled[0]),
                             .dead_key = slice_from_str(spoiled[1]),
                             .given = 0xffff,
                             .delivery_limit = 65535,
                             .priority_max = 255,
                             .overflow = OVERFLOW_REJECT_DLX,
                             .has_ttl = true,
                             .has_dead_exchange = true,
                             .has_dead_key = true,
                             .durable = true,
                             .single_active = true};
    append(s,
           &(struct store_rec){
               .kind = STORE_QUEUE, .queue = 7, .name = SLICE("user 1 sub"), .policy = &p, .flags = STORE_QUEUE_DSUB});
    memset(spoiled, '#', sizeof(spoiled));
    memset(&p, 0xee, sizeof(p));
    p = (struct queue_policy){
        .has_delivery_limit = true, .exclusive = true, .auto_delete = true, .keep_qos0 = true, .overflow = 1};
    append(s, &(struct store_rec){.kind = STORE_QUEUE, .queue = 8, .name = SLICE("empty"), .policy = &p});
    expect(s,
           "1 QUEUE 7 'user 1 sub' of 0 flags=2 len=18446744073709551615 bytes=1048576 ttl=60000 "
           "dead='the-exchange'/'the-key' limit=65535 overflow=3 expires=1 retry_min=2 retry_max=3 ack=4 given=65535 "
           "priorities=255 has_ttl has_dead has_dead_key durable single\n"
           "2 QUEUE 8 'empty' of 0 len=0 bytes=0 ttl=0 dead=''/'' limit=0 overflow=1 has_limit exclusive auto-delete "
           "qos0\n");
    about(s, STORE_QUEUE, 7, 0, "user 1 sub", 0); /* the default one from now on */
    about(s, STORE_QUEUE_END, 8, 0, "", 0);
    expect(s, "3 QUEUE 7 'user 1 sub' of 0\n");
}

/* ---- deliveries ---------------------------------------------------------------------------------------------- */

static unsigned note(struct suite *s, enum store_kind kind, uint64_t queue, unsigned of, struct store_rec what)
{
    what.kind = kind;
    what.queue = queue;
    what.of = of;
    return append(s, &what);
}

static void test_deliveries(void **state)
{
    struct suite *s = *state;
    publish(s, "t", "1", TO(7, 8, 9), 0, 0);
    publish(s, "t", "2", TO(7), 0, 0);
    note(s, STORE_SENT, 7, 1, (struct store_rec){.ticket = 65535});
    note(s, STORE_SENT, 8, 1, (struct store_rec){.ticket = 1, .session = UINT64_MAX});
    note(s, STORE_SENT, 7, 2, (struct store_rec){.ticket = 2});
    note(s, STORE_RETURNED, 9, 1, (struct store_rec){.returns = 65535});
    expect(s, "1 PUBLISH t=1 qos=1 flags=1 -> 7 sent=65535 8 sent=1 of 18446744073709551615 9 returns=65535\n"
              "2 PUBLISH t=2 qos=1 flags=1 -> 7 sent=2\n");
    note(s, STORE_RECEIVED, 7, 1, (struct store_rec){.rx_id = 0});
    note(s, STORE_RETURNED, 8, 1, (struct store_rec){.returns = 1});
    note(s, STORE_SENT, 9, 1, (struct store_rec){.ticket = 3, .session = 5});
    note(s, STORE_SENT, 7, 2, (struct store_rec){.ticket = 4}); /* again, as another one */
    expect(s, "1 PUBLISH t=1 qos=1 flags=1 -> 7 received=65535 8 returns=1 9 sent=3 of 5 returns=65535\n"
              "2 PUBLISH t=2 qos=1 flags=1 -> 7 sent=4\n");
    settle(s, 7, 1);
    note(s, STORE_SENT, 7, 1, (struct store_rec){.ticket = 9}); /* of what is settled, or never was */
    note(s, STORE_RECEIVED, 7, 12345, (struct store_rec){.ticket = 0});
    note(s, STORE_RETURNED, 77, 2, (struct store_rec){.returns = 9});
    note(s, STORE_RETURNED, 7, 2, (struct store_rec){.returns = 2});
    note(s, STORE_SENT, 8, 1, (struct store_rec){.ticket = 10}); /* the last of several */
    note(s, STORE_RECEIVED, 8, 1, (struct store_rec){.ticket = 0});
    expect(s, "1 PUBLISH t=1 qos=1 flags=1 -> 8 received=10 returns=1 9 sent=3 of 5 returns=65535\n"
              "2 PUBLISH t=2 qos=1 flags=1 -> 7 returns=2\n");
    about(s, STORE_QUEUE_END, 9, 0, "", 0);
    settle(s, 7, 2);
    expect(s, "1 PUBLISH t=1 qos=1 flags=1 -> 8 received=10 returns=1\n");
}

/* Many notes in one batch, near and far, in no order. */
static void test_many_notes(void **state)
{
    struct suite *s = *state;
    unsigned published[200];
    for (unsigned i = 0; i < ARRAY_N(published); i++)
        published[i] = publish(s, "t", "x", TO(7, 8), 0, 0);
    sync_all(s);
    for (unsigned i = 0; i < ARRAY_N(published); i++) {
        unsigned j = i * 77 % ARRAY_N(published);
        if (j != 100)
            settle(s, 7, published[j]);
        if (j != 50)
            settle(s, 8, published[ARRAY_N(published) - 1 - j]);
        note(s, STORE_SENT, 7, published[j], (struct store_rec){.ticket = (uint16_t)(j + 1)});
        note(s, STORE_RETURNED, 8, published[j], (struct store_rec){.returns = (uint16_t)(j + 1)});
    }
    expect(s, "101 PUBLISH t=x qos=1 flags=1 -> 7 sent=101\n150 PUBLISH t=x qos=1 flags=1 -> 8 returns=150\n");
}

/* Settled before it was written: whether it ever is or not, it is reported durable, and gone. */
static void test_consumed(void **state)
{
    struct suite *s = *state;
    const struct store_rec live = {.flags = STORE_PUBLISH_LIVE};
    for (unsigned i = 0; i < 5; i++) {
        unsigned number = publish_as(s, "t", "x", TO(7, 8), live);
        settle(s, 7, number);
        settle(s, 8, number);
    }
    sync_all(s);
    unsigned half = publish_as(s, "t", "half", TO(7, 8), live);
    unsigned whole = publish_as(s, "t", "whole", TO(7, 8), live);
    unsigned dead = publish_as(s, "t", "dead letter", TO(9), (struct store_rec){.queue = 8, .of = whole});
    settle(s, 9, dead); /* it settles `whole` in 8 all the same */
    unsigned kept = publish_as(s, "kept", "y", TO(7), (struct store_rec){.flags = 5}); /* retained, too */
    settle(s, 7, half);
    settle(s, 7, kept);
    submit(s);
    unsigned late = publish_as(s, "t", "late", TO(7), live);
    submit(s);
    settle(s, 7, late);
    expect(s, "16 PUBLISH t=half qos=1 flags=1 -> 8\n17 PUBLISH t=whole qos=1 flags=1 -> 7\n"
              "20 RETAIN kept=y qos=1 flags=1\n");
    publish_as(s, "t", "with an id", TO(7), (struct store_rec){.flags = STORE_PUBLISH_LIVE, .session = 3, .rx_id = 1});
    settle(s, 7, s->n);
    settle(s, 8, half);
    settle(s, 7, whole);
    expect(s, "20 RETAIN kept=y qos=1 flags=1\n25 PUBLISH rx=3/1\n");
}

/* ---- wills ---------------------------------------------------------------------------------------------------- */

static unsigned will(struct suite *s, uint64_t session, const char *payload, uint32_t delay_s)
{
    struct msgview v = {.topic = SLICE("w"), .payload = slice_from_str(payload), .expires_at = 5000, .qos = 1};
    struct msg *m = msg_new(&s->msgs, &v);
    assert_non_null(m);
    unsigned number =
        append(s, &(struct store_rec){.kind = STORE_WILL, .session = session, .msg = m, .expiry_s = delay_s});
    msg_drop(m);
    return number;
}

static void test_wills(void **state)
{
    struct suite *s = *state;
    will(s, 3, "gone", 60);
    about(s, STORE_SESSION, 0, 3, "dev", 60);
    about(s, STORE_SESSION, 0, 4, "other", 60);
    will(s, 4, "gone, too", 0);
    will(s, 3, "gone", UINT32_MAX); /* a change */
    s->now += 100000;
    s->clock += 100000; /* what it says of time is no point in time */
    expect(s, "2 SESSION 3 dev expiry=60\n3 SESSION 4 other expiry=60\n"
              "4 WILL of 4 delay=0 w=gone, too qos=1 flags=0 expires=5000\n"
              "5 WILL of 3 delay=4294967295 w=gone qos=1 flags=0 expires=5000\n");
    append(s, &(struct store_rec){.kind = STORE_WILL, .session = 3});
    append(s, &(struct store_rec){.kind = STORE_WILL, .session = 77});
    expect(s, "2 SESSION 3 dev expiry=60\n3 SESSION 4 other expiry=60\n"
              "4 WILL of 4 delay=0 w=gone, too qos=1 flags=0 expires=5000\n");
    about(s, STORE_SESSION_END, 0, 4, "", 0);
    will(s, 3, "", 1); /* says nothing, but is one */
    expect(s, "2 SESSION 3 dev expiry=60\n9 WILL of 3 delay=1 w= qos=1 flags=0 expires=5000\n");
}

/* ---- times ---------------------------------------------------------------------------------------------------- */

static enum err visit_at(const struct store_rec *rec, void *ctx)
{
    struct suite *s = ctx;
    buf_printf(&s->seen, "%u at %llu", number_of(s, rec->lsn), (unsigned long long)(rec->at - WALL_START));
    if (rec->msg != NULL && rec->msg->expires_at != 0)
        buf_printf(&s->seen, " expires %llu", (unsigned long long)rec->msg->expires_at);
    buf_put_str(&s->seen, "\n");
    return ERR_OK;
}

static void expect_times(struct suite *s, const char *lines)
{
    sync_all(s);
    end(s);
    open_store(s);
    assert_int_equal(s->store->ops->replay(s->store, visit_at, s), ERR_OK);
    buf_put_u8(&s->seen, 0);
    assert_string_equal(seen(s), lines);
}

/* Records say wall-clock times; messages have times of the life they are in. */
static void test_times(void **state)
{
    struct suite *s = *state;
    struct msgview v = {.topic = SLICE("t"), .payload = SLICE("x"), .expires_at = 9000};
    struct msg *m = msg_new(&s->msgs, &v);
    struct store_target seven = {.queue = 7};
    assert_non_null(m);
    s->store->now = s->now = 2000;
    append(s, &(struct store_rec){.kind = STORE_PUBLISH, .msg = m, .target = &seven, .target_n = 1});
    s->store->now = s->now = 2500;
    append(s, &(struct store_rec){.kind = STORE_RETAIN, .msg = m, .at = WALL_START + 1234});
    msg_drop(m);
    s->clock += 6000; /* this life began 6 seconds later */
    expect_times(s, "1 at 2000 expires 3000\n2 at 1234 expires 3000\n");
    s->clock += 100000; /* long ago, but not "never" */
    expect_times(s, "1 at 2000 expires 1\n2 at 1234 expires 1\n");
}

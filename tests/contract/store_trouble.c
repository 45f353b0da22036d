/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_trouble.c: the part of the contract of stores about what goes wrong: no room, a medium that fails, the power
 * failing, no memory. Included by store_suite.c, which has the suite and its short hands.
 */

static void test_reserve(void **state)
{
    struct suite *s = *state;
    assert_int_equal(s->store->ops->reserve(s->store, 0), ERR_OK);
    assert_int_equal(s->store->ops->reserve(s->store, 1000), ERR_OK);
    if (s->f->bytes_max != 0) {
        assert_int_equal(s->store->ops->reserve(s->store, s->f->bytes_max + 1), ERR_FULL);
        assert_int_equal(s->store->ops->reserve(s->store, UINT64_MAX), ERR_FULL);
        assert_int_equal(s->store->ops->reserve(s->store, 1000), ERR_OK); /* a refusal is no failure */
    }
    assert_int_equal(retain(s, "t", "x"), 1);
    expect(s, "1 RETAIN t=x qos=1 flags=1\n");
}

/* Full: no publish is promised room any more, but settling goes on, and makes room. */
static void test_full(void **state)
{
    struct suite *s = *state;
    if (s->f->fill_medium == NULL)
        return;
    publish(s, "t", "1", TO(7), 0, 0);
    publish(s, "t", "2", TO(7), 0, 0);
    sync_all(s);
    s->f->fill_medium(s->world, s->store);
    assert_int_equal(s->store->ops->reserve(s->store, 1000), ERR_FULL);
    assert_true(s->store->stats.is_full);
    settle(s, 7, 1);
    sync_all(s);
    s->f->make_room(s->world, s->store);
    wait(s);
    assert_int_equal(s->store->ops->reserve(s->store, 1000), ERR_OK);
    assert_false(s->store->stats.is_full);
    publish(s, "t", "3", TO(7), 0, 0);
    expect(s, "2 PUBLISH t=2 qos=1 flags=1 -> 7\n4 PUBLISH t=3 qos=1 flags=1 -> 7\n");
}

/* starts_with: what was said to be durable is there; what was not may have reached the medium or not. */
static bool starts_with(const struct suite *s, const char *lines)
{
    return strncmp(seen(s), lines, strlen(lines)) == 0;
}

static void test_failure(void **state)
{
    struct suite *s = *state;
    retain(s, "a", "1");
    sync_all(s);
    lsn_t durable = s->durable;
    s->f->break_medium(s->world, s->store);
    retain(s, "b", "2");
    submit(s);
    wait(s);
    assert_int_equal(s->failed_calls, 1);
    assert_int_equal(s->durable, durable);
    assert_int_equal(retain(s, "c", "3"), 0);
    assert_int_equal(settle(s, 7, 1), 0);
    assert_int_equal(s->store->ops->reserve(s->store, 1), ERR_STORE);
    submit(s);
    wait(s);
    end(s); /* on_durable and on_failed check that neither comes again */
    assert_int_equal(s->durable, durable);
    begin(s);
    assert_true(starts_with(s, "1 RETAIN a=1 qos=1 flags=1\n"));
    settle(s, 7, 1); /* and it goes on */
    sync_all(s);
}

static void test_failure_at_close(void **state)
{
    struct suite *s = *state;
    retain(s, "a", "1");
    sync_all(s);
    lsn_t durable = s->durable;
    retain(s, "b", "2");
    s->f->break_medium(s->world, s->store);
    submit(s);
    end(s);
    assert_int_equal(s->failed_calls, 1);
    assert_int_equal(s->durable, durable);
    begin(s);
    assert_true(starts_with(s, "1 RETAIN a=1 qos=1 flags=1\n"));
}

/* What is settled gives its room back, and what lives is not lost on the way. */
static void test_room_comes_back(void **state)
{
    struct suite *s = *state;
    char payload[2001];
    unsigned last = 0, kept[6] = {0};
    memset(payload, 'x', sizeof(payload) - 1);
    payload[sizeof(payload) - 1] = 0;
    for (unsigned round = 0; round < ARRAY_N(kept); round++) {
        kept[round] = publish(s, "kept", "x", TO(7, 8), 0, 0);
        for (unsigned i = 0; i < 700; i++) { /* 1.4 MB */
            unsigned now = publish(s, "passes", payload, TO(7), 0, 0);
            if (last != 0)
                settle(s, 7, last);
            last = now;
            if (i % 20 == 0)
                submit(s);
            if (i % 40 == 0)
                wait(s);
        }
        sync_all(s);
        if (round % 3 == 1)
            settle(s, 7, kept[round - 1]);
        if (round % 2 == 1)
            crash(s, 2); /* loses at most that settle */
        else
            end(s);
        begin(s);
        wait(s);
        assert_true(s->store->stats.disk_bytes < 4u << 20); /* stores that do not know say 0 */
    }
    char expected[64];
    for (unsigned round = 0; round < ARRAY_N(kept); round++) {
        snprintf(expected, sizeof(expected), "%u PUBLISH kept=x qos=1 flags=1 -> ", kept[round]);
        assert_non_null(strstr(seen(s), expected));
    }
    snprintf(expected, sizeof(expected), "%u PUBLISH passes=", last);
    assert_non_null(strstr(seen(s), expected));
    assert_ptr_equal(strstr(seen(s), "PUBLISH passes"), strstr(seen(s), expected) + strcspn(expected, "P"));
}

static void test_crash(void **state)
{
    struct suite *s = *state;
    for (uint64_t luck = 0; luck < 8; luck++) {
        char payload[8], kept[64];
        snprintf(payload, sizeof(payload), "%u", (unsigned)luck);
        retain(s, "kept", payload);
        sync_all(s);
        retain(s, "risked", payload);
        submit(s);
        retain(s, "lost", payload); /* never submitted */
        crash(s, luck);
        begin(s);
        snprintf(kept, sizeof(kept), " RETAIN kept=%s ", payload);
        assert_non_null(strstr(seen(s), kept));
        assert_null(strstr(seen(s), "RETAIN lost"));
    }
}

/* Crash upon crash: nothing that was durable goes when the store is opened again and again. */
static void test_crash_at_once(void **state)
{
    struct suite *s = *state;
    publish(s, "t", "x", TO(7), 0, 0);
    sync_all(s);
    for (uint64_t luck = 0; luck < 8; luck++) {
        retain(s, "risked", "x");
        submit(s);
        crash(s, luck);
        begin(s);
        assert_non_null(strstr(seen(s), "1 PUBLISH t=x"));
        crash(s, luck); /* nothing was written in this life */
        begin(s);
        assert_non_null(strstr(seen(s), "1 PUBLISH t=x"));
    }
}

/* Every allocation fails once: append then takes nothing and says so, or the store fails and says that; never a leak,
 * and what was said to be durable is there. */
static void test_out_of_memory(void **state)
{
    struct suite *s = *state;
    unsigned refused = 0, failed = 0;
    for (unsigned nth = 1; nth < 200; nth++) {
        s->heap.fail_at = s->heap.calls + nth;
        bool done[3];
        done[0] = about(s, STORE_QUEUE, nth, 0, "q", 0) != 0;
        done[1] = publish(s, "t", "a message", TO(1, 2), 0, 0) != 0;
        done[2] = bind_to(s, STORE_BIND, nth, "filter", 1) != 0;
        unsigned n = (unsigned)done[0] + done[1] + done[2];
        submit(s);
        wait(s);
        bool all_asked = s->heap.calls < s->heap.fail_at;
        s->heap.fail_at = 0;
        refused += 3 - n;
        failed += s->failed_calls;
        bool was_durable = s->failed_calls == 0;
        if (was_durable)
            assert_true(s->durable >= s->highest);
        end(s);
        begin(s);
        char queue[32];
        snprintf(queue, sizeof(queue), " QUEUE %u 'q'", nth);
        if (was_durable)
            assert_int_equal(strstr(seen(s), queue) != NULL, done[0]);
        if (all_asked) {
            assert_int_equal(n, 3);
            break;
        }
        assert_true(nth < 100);
    }
    assert_true(refused + failed > 0);
}

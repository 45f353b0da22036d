/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mailbox.c: four threads post 10,000 letters each while the receiver drains when the bell rings; every letter
 * arrives once and in its sender's order. Run it under ThreadSanitizer too: plain fields of the letters are written by
 * the sender and read by the receiver.
 */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/check.h"
#include "core/base/mailbox.h"
#include "core/base/mem.h"
#include "tests/support/guard.h"

#define SENDERS 4u
#define LETTERS 10000u

struct note {
    struct letter letter;
    uint32_t sender, number;
};

struct shard {
    struct mailbox box;
    sem_t bell;
    uint32_t next[SENDERS]; /* number expected from each sender */
    uint32_t n;
    struct note *echo; /* posted from within on_open */
    struct mem mem;
};

struct sender {
    struct shard *shard;
    uint32_t i;
    struct note note[LETTERS];
};

static void ring(void *ctx)
{
    struct shard *s = ctx;
    BUG_ON(sem_post(&s->bell) != 0);
}

static void shard_init(struct shard *s)
{
    *s = (struct shard){0};
    BUG_ON(sem_init(&s->bell, 0, 0) != 0);
    mailbox_init(&s->box, ring, s);
}

static void shard_fini(struct shard *s)
{
    mailbox_fini(&s->box);
    sem_destroy(&s->bell);
}

static void open_note(struct letter *l, void *shard)
{
    struct shard *s = shard;
    struct note *n = CONTAINER_OF(l, struct note, letter);
    assert_int_equal(n->number, s->next[n->sender]);
    s->next[n->sender]++;
    s->n++;
}

static void *send_all(void *arg)
{
    struct sender *me = arg;
    for (uint32_t i = 0; i < LETTERS; i++) {
        me->note[i] = (struct note){.letter = {.on_open = open_note}, .sender = me->i, .number = i};
        mailbox_post(&me->shard->box, &me->note[i].letter);
    }
    return NULL;
}

static void wait_for_bell(struct shard *s)
{
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 60;
    assert_int_equal(sem_timedwait(&s->bell, &deadline), 0); /* a lost wake-up ends here */
}

static void test_threads(void **state)
{
    (void)state;
    static struct sender sender[SENDERS];
    struct shard s;
    pthread_t thread[SENDERS];
    shard_init(&s);
    for (uint32_t i = 0; i < SENDERS; i++) {
        sender[i].shard = &s;
        sender[i].i = i;
        assert_int_equal(pthread_create(&thread[i], NULL, send_all, &sender[i]), 0);
    }
    uint32_t opened = 0;
    while (opened < SENDERS * LETTERS) {
        wait_for_bell(&s);
        opened += mailbox_drain(&s.box, &s);
    }
    for (uint32_t i = 0; i < SENDERS; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(s.next[i], LETTERS);
    }
    assert_int_equal(s.n, SENDERS * LETTERS);
    assert_int_equal(mailbox_drain(&s.box, &s), 0);
    shard_fini(&s);
}

static int bells(struct shard *s)
{
    int n = 0;
    while (sem_trywait(&s->bell) == 0)
        n++;
    return n;
}

static void test_rings_once_per_filling(void **state)
{
    (void)state;
    struct shard s;
    struct note n[5] = {0};
    shard_init(&s);
    for (uint32_t i = 0; i < 5; i++) {
        n[i] = (struct note){.letter = {.on_open = open_note}, .number = i};
        mailbox_post(&s.box, &n[i].letter);
        if (i == 2) {
            assert_int_equal(bells(&s), 1);
            assert_int_equal(mailbox_drain(&s.box, &s), 3);
        }
    }
    assert_int_equal(bells(&s), 1);
    assert_int_equal(mailbox_drain(&s.box, &s), 2);
    assert_int_equal(mailbox_drain(&s.box, &s), 0);
    assert_int_equal(bells(&s), 0);
    shard_fini(&s);
}

static void open_free_and_echo(struct letter *l, void *shard)
{
    struct shard *s = shard;
    mem_free(&s->mem, l); /* the letter is the receiver's now */
    s->n++;
    if (s->echo != NULL) {
        mailbox_post(&s->box, &s->echo->letter);
        s->echo = NULL;
    }
}

static void test_opening_may_free_and_post(void **state)
{
    (void)state;
    struct shard s;
    struct mem_heap heap;
    shard_init(&s);
    mem_heap_init(&heap);
    mem_init(&s.mem, &heap, "letters");
    struct note echo = {.letter = {.on_open = open_note}, .sender = 1};
    s.echo = &echo;
    for (int i = 0; i < 3; i++) {
        struct letter *l = mem_zalloc(&s.mem, sizeof(*l));
        assert_non_null(l);
        l->on_open = open_free_and_echo;
        mailbox_post(&s.box, l);
    }
    assert_int_equal(bells(&s), 1);
    assert_int_equal(mailbox_drain(&s.box, &s), 3); /* the echo waits for the next turn */
    assert_int_equal(s.next[1], 0);
    assert_int_equal(bells(&s), 1);
    assert_int_equal(mailbox_drain(&s.box, &s), 1);
    assert_int_equal(s.next[1], 1);
    assert_int_equal(heap.bytes, 0);
    shard_fini(&s);
}

static void fini_with_letters(void *ctx)
{
    struct shard *s = ctx;
    mailbox_fini(&s->box);
}

static void test_letters_left_are_caught(void **state)
{
    (void)state;
    struct shard s;
    shard_init(&s);
    struct note n = {.letter = {.on_open = open_note}};
    mailbox_post(&s.box, &n.letter);
    assert_true(guard_dies(fini_with_letters, &s));
    assert_int_equal(mailbox_drain(&s.box, &s), 1);
    shard_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_rings_once_per_filling),
        cmocka_unit_test(test_opening_may_free_and_post),
        cmocka_unit_test(test_letters_left_are_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

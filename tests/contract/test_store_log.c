/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store_log.c: the contract of stores, kept by the log in a directory of this machine: at once, with threads, and
 * with an interval. A crash is a disk that does nothing any more, from one call to the next; what a power cut does
 * beyond that is tried in test_store_log_sim.c.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/log.h"
#include "core/base/mailbox.h"
#include "persist/store_log.h"
#include "tests/contract/store_suite.c" /* a program of this folder is one file */
#include "tests/support/disk_fault.h"

#define SEGMENT_BYTES 65536u
#define BYTES_MAX     (4u << 20)

enum { SETTLED_MS = 400 }; /* a store that wants to be called again no sooner is at rest */

struct param {
    struct store_log_config config;
    bool has_threads;
};

struct real {
    struct mem_heap own_heap;
    struct mem mem, own;
    struct mailbox box;
    struct log log;
    struct disk_faults faults;
    struct param param;
    struct runner *runner;
    uint32_t junk_n;
    mono_ms now; /* the latest */
    char path[64];
};

static void wake_nobody(void *ctx)
{
    UNUSED(ctx);
}

static void write_nowhere(void *ctx, enum log_level level, const char *line)
{
    UNUSED(ctx);
    UNUSED(level);
    UNUSED(line);
}

static void *real_setup(struct mem_heap *heap, const void *param)
{
    struct real *w = test_calloc(1, sizeof(*w));
    mem_heap_init(&w->own_heap);
    mem_init(&w->own, &w->own_heap, "disk");
    mem_init(&w->mem, heap, "store");
    mailbox_init(&w->box, wake_nobody, NULL);
    log_init(&w->log);
    w->log.write = write_nowhere;
    w->param = *(const struct param *)param;
    w->param.config.log = &w->log;
    w->param.config.segment_bytes = SEGMENT_BYTES;
    w->param.config.bytes_max = BYTES_MAX;
    const char *dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(w->path, sizeof(w->path), "%s/weir-test-XXXXXX", dir);
    assert_non_null(mkdtemp(w->path));
    return w;
}

static void remove_all(const char *path)
{
    DIR *d = opendir(path);
    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char name[512];
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.')
            assert_int_equal(unlink(name), 0);
    }
    closedir(d);
    assert_int_equal(rmdir(path), 0);
}

static void real_teardown(void *world)
{
    struct real *w = world;
    mailbox_fini(&w->box);
    remove_all(w->path);
    assert_int_equal(w->own_heap.bytes, 0);
    test_free(w);
}

static struct store *real_make(void *world)
{
    struct real *w = world;
    w->faults = (struct disk_faults){0};
    w->runner = w->param.has_threads ? runner_threads_new(&w->own) : runner_now_new(&w->own);
    w->param.config.runner = w->runner;
    w->param.config.disk = disk_fault_new(&w->own, disk_posix_new(&w->own, w->path, false), &w->faults);
    struct store *s = store_log_new(&w->mem, &w->param.config);
    if (s != NULL)
        s->mailbox = &w->box;
    return s;
}

/* real_wait: until the store has wanted nothing for some turns. */
static void real_wait(void *world, struct store *s, mono_ms *now)
{
    struct real *w = world;
    unsigned quiet = 0;
    for (unsigned i = 0; quiet < 5; i++) {
        assert_true(i < 10000);
        s->now = w->now = *now = MAX(*now, w->now) + 1;
        mono_ms due = s->ops->submit(s, *now);
        w->runner->ops->wait(w->runner);
        mailbox_drain(&w->box, NULL);
        quiet = due > *now + SETTLED_MS ? quiet + 1 : 0;
    }
}

static void ignore_durable(void *ctx, lsn_t lsn)
{
    UNUSED(ctx);
    UNUSED(lsn);
}

static void ignore_failed(void *ctx)
{
    UNUSED(ctx);
}

static void real_crash(void *world, struct store *s, uint64_t luck)
{
    UNUSED(luck);
    struct real *w = world;
    s->on_durable = ignore_durable;
    s->on_failed = ignore_failed;
    w->faults.fail_with = ERR_IO;
    w->faults.fail_after = true;
    w->faults.fail_at = w->faults.calls + 1; /* what is under way may be there, what gathers is not */
    s->ops->close(s);
    mailbox_drain(&w->box, NULL);
}

static void real_break(void *world, struct store *s)
{
    struct real *w = world;
    UNUSED(s);
    w->faults.fail_with = ERR_IO;
    w->faults.only_writes = true;
    w->faults.fail_at = w->faults.calls + 1;
}

/* put_junk: something that lives, to fill the disk with; or its end. */
static void put_junk(struct store *s, uint32_t i, bool lives)
{
    char topic[32];
    snprintf(topic, sizeof(topic), "junk/%u", (unsigned)i);
    uint8_t payload[1000] = {1};
    struct store_rec rec = {.kind = STORE_RETAIN, .name = slice_from_str(topic)};
    struct msgview v = {.topic = rec.name, .payload = slice_make(payload, sizeof(payload)), .flags = MSG_RETAIN};
    const struct msg *m = lives ? msg_new(s->msgs, &v) : NULL;
    rec.msg = m;
    assert_true(s->ops->append(s, &rec) != 0);
    if (m != NULL)
        msg_drop(m);
}

static void real_fill(void *world, struct store *s)
{
    struct real *w = world;
    mono_ms now = s->now;
    while (s->ops->reserve(s, 1200) == ERR_OK) {
        put_junk(s, w->junk_n++, true);
        if (w->junk_n % 10 == 0)
            real_wait(w, s, &now);
    }
    real_wait(w, s, &now);
}

static void real_make_room(void *world, struct store *s)
{
    struct real *w = world;
    mono_ms now = s->now;
    while (w->junk_n > 0)
        put_junk(s, --w->junk_n, false);
    for (unsigned i = 0; i < 5; i++) {
        real_wait(w, s, &now);
        w->now += 1000; /* it looks for room every second */
    }
}

int main(void)
{
    static const struct param plain = {.config = {.sync = STORE_LOG_ALWAYS, .seed = 1}};
    static const struct param lingering = {.config = {.sync = STORE_LOG_ALWAYS, .linger_ms = 20, .seed = 2}};
    static const struct param interval = {.config = {.sync = STORE_LOG_INTERVAL, .interval_ms = 50, .seed = 3}};
    static const struct param threads = {.config = {.sync = STORE_LOG_ALWAYS, .linger_ms = 5, .seed = 4},
                                         .has_threads = true};
    static const struct {
        const char *name;
        const struct param *param;
    } all[] = {{"log", &plain},
               {"log, lingering", &lingering},
               {"log, with an interval", &interval},
               {"log, with threads", &threads}};
    int failed = 0;
    for (unsigned i = 0; i < ARRAY_N(all); i++) {
        const struct store_fixture log = {.name = all[i].name,
                                          .setup = real_setup,
                                          .teardown = real_teardown,
                                          .make = real_make,
                                          .wait = real_wait,
                                          .crash = real_crash,
                                          .break_medium = real_break,
                                          .fill_medium = real_fill,
                                          .make_room = real_make_room,
                                          .bytes_max = BYTES_MAX,
                                          .notes_last = true,
                                          .param = all[i].param};
        failed += store_suite_run(&log);
    }
    return failed;
}

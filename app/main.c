/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c: weir, the program.
 *
 *     args ─► help, version, --scram-user, check-log, --test-config, or: weir_configure ─► weir_open ─► weir_run ─►
 * weir_fini
 *
 * Exit codes: 0 after a stop that was asked for, and for what only prints; 2 when the start failed, with one line on
 * standard error that says where and what to do; 1 when check-log found damage.
 *
 * Cost    nothing that counts.
 * Thread  this one.
 */
#include <stdio.h>
#include <string.h>

#include "app/args.h"
#include "app/docs.h"
#include "app/scram_user.h"
#include "app/wiring.h"
#include "auth/scram_verifier.h"
#include "core/base/buf.h"
#include "persist/check_log.h"
#include "persist/disk.h"

enum { EXIT_DONE = 0, EXIT_DAMAGED = 1, EXIT_NO_START = 2 };

/* print: what `make` makes, on standard output. */
static int print(void (*make)(struct buf *out))
{
    struct mem_heap heap;
    struct mem mem;
    struct buf text;
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "text");
    buf_init(&text, &mem);
    make(&text);
    bool is_out = !buf_is_bad(&text) && fwrite(text.p, 1, text.len, stdout) == text.len && fflush(stdout) == 0;
    buf_fini(&text);
    return is_out ? EXIT_DONE : EXIT_NO_START;
}

static int print_docs(const char *page)
{
    if (strcmp(page, "configuration") == 0)
        return print(docs_configuration);
    if (strcmp(page, "limits") == 0)
        return print(docs_limits);
    weir_say_error("--print-docs: there is no page \"%s\"; allowed: configuration or limits", page);
    return EXIT_NO_START;
}

/* print_log: weir check-log [--json] DIR. */
static int print_log(const struct args *a)
{
    struct mem_heap heap;
    struct mem mem;
    struct buf text;
    bool is_damaged = false, is_out = false;
    enum err e = ERR_NOMEM;
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "log");
    buf_init(&text, &mem);
    struct disk *disk = disk_posix_new(&mem, a->check_log, true);
    if (disk != NULL) {
        e = check_log(disk, &mem, a->as_json ? CHECK_LOG_JSON : CHECK_LOG_TEXT, &text, &is_damaged);
        disk->ops->destroy(disk);
    }
    if (e != ERR_OK) {
        struct slice why = text.len != 0 ? buf_slice(&text) : slice_from_str(err_text(e));
        weir_say_error("check-log: %s: " SLICE_FMT, a->check_log, SLICE_ARG(why));
    } else {
        is_out = fwrite(text.p, 1, text.len, stdout) == text.len && fflush(stdout) == 0;
    }
    buf_fini(&text);
    if (!is_out)
        return EXIT_NO_START;
    return is_damaged ? EXIT_DAMAGED : EXIT_DONE;
}

static int serve(const struct args *a)
{
    struct weir w;
    weir_init(&w);
    enum err e = weir_configure(&w, a);
    if (e == ERR_OK && a->tests_config)
        puts("OK");
    if (e == ERR_OK && !a->tests_config)
        e = weir_open(&w, a);
    if (e == ERR_OK && !a->tests_config)
        weir_run(&w);
    weir_fini(&w);
    return e == ERR_OK ? EXIT_DONE : EXIT_NO_START;
}

int main(int argc, char **argv)
{
    struct args a;
    char why[256];
    if (args_parse(&a, argc, argv, why, sizeof(why)) != ERR_OK) {
        weir_say_error("%s", why);
        return EXIT_NO_START;
    }
    if (a.wants_help)
        return print(docs_help);
    if (a.wants_version)
        return puts("weir " WEIR_VERSION) >= 0 ? EXIT_DONE : EXIT_NO_START;
    if (a.print_docs != NULL)
        return print_docs(a.print_docs);
    if (a.scram_user != NULL)
        return scram_user_run(a.scram_user, a.iterations != 0 ? a.iterations : SCRAM_ITERATIONS_DEFAULT);
    if (a.check_log != NULL)
        return print_log(&a);
    return serve(&a);
}

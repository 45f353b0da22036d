/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_http_upgrade.c: any bytes to a door that has nothing but WebSockets, with a whole broker behind it.
 *
 * Input: one byte of switches (see house_open), one for where the stream is cut, then the stream. Inside the WebSocket
 * a protocol says everything back. Checked for every input:
 *   1. whole, cut in two and byte by byte, the HTTP answer is the same, and so is whether there is one;
 *   2. an answer has a head with one of our statuses, and the text that its length announces;
 *   3. behind a 101 there are whole frames only;
 *   4. every byte of memory comes back.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/outv.h"
#include "tests/support/rig.h"
#include "transport/http_upgrade.h"
#include "transport/ws.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STREAM_MAX 4096u
#define SHORT_MAX  700u

/* ---- the protocol inside ------------------------------------------------------------------------------------- */

static enum claim echo_claims(const uint8_t *first, size_t len)
{
    UNUSED(first), UNUSED(len);
    return CLAIM_NO;
}

static enum err echo_open(struct conn *c)
{
    UNUSED(c);
    return ERR_OK;
}

static size_t echo_on_bytes(struct conn *c, const uint8_t *in, size_t len)
{
    struct outv *out = conn_out(c);
    if (out != NULL)
        outv_put(out, in, len);
    return len;
}

static mono_ms echo_on_tick(struct conn *c, mono_ms now)
{
    UNUSED(c), UNUSED(now);
    return MONO_NEVER;
}

static void echo_on_close(struct conn *c, enum close_reason why)
{
    UNUSED(c), UNUSED(why);
}

static void echo_destroy(struct conn *c)
{
    UNUSED(c);
}

static const struct adapter_ops echo = {.name = "echo",
                                        .claims = echo_claims,
                                        .open = echo_open,
                                        .on_bytes = echo_on_bytes,
                                        .on_tick = echo_on_tick,
                                        .on_close = echo_on_close,
                                        .destroy = echo_destroy};

/* ---- the door ------------------------------------------------------------------------------------------------ */

struct house {
    struct rig *rig;
    struct mem_heap ws_heap;
    struct mem ws_mem;
    struct ws_home home;
    struct upgrade upgrade;
};

static void house_open(struct house *h, uint8_t switches)
{
    static const struct adapter_ops *const adapters[] = {&http_upgrade_adapter, NULL};
    static const struct upgrade_way ways[] = {{"mqtt", &echo, .must_be_named = true},
                                              {"mqttv3.1", &echo, .must_be_named = true},
                                              {"v12.stomp", &echo, .frames = WS_FRAMES_MIRROR, .must_be_named = true},
                                              {.subprotocol = NULL}};
    static const char *const paths[] = {"/", "/mqtt", NULL}, *const names[] = {"hub.example.com", NULL};
    static const char *const origins[] = {"https://app.example.com", NULL}, *const any[] = {"*", NULL};
    struct rig_config config;
    memset(h, 0, sizeof(*h));
    rig_config_init(&config);
    config.adapters = adapters;
    config.is_lenient = (switches & 1) != 0;
    config.limits.ws_head_bytes_max = (switches & 2) != 0 ? 1024 : 4000;
    h->rig = rig_new(&config);
    BUG_ON(h->rig == NULL);
    mem_heap_init(&h->ws_heap);
    mem_init(&h->ws_mem, &h->ws_heap, "ws");
    ws_home_init(&h->home, &h->ws_mem, 1000);
    h->upgrade = (struct upgrade){.home = &h->home,
                                  .way = ways,
                                  .path = (switches & 4) != 0 ? paths : NULL,
                                  .origin = (switches & 8) != 0    ? origins
                                            : (switches & 16) != 0 ? any
                                                                   : NULL,
                                  .host_name = (switches & 32) != 0 ? names : NULL};
    h->rig->door.upgrade = &h->upgrade;
}

static void house_close(struct house *h)
{
    BUG_ON(!rig_free(h->rig));
    ws_home_fini(&h->home);
    BUG_ON(h->ws_heap.bytes != 0);
}

/* play: in[n] to a new connection, cut at `first` and then every `step`. */
static struct rig_pipe *play(struct house *h, const uint8_t *in, size_t n, size_t first, size_t step)
{
    struct rig_pipe *p = rig_connect(h->rig);
    for (size_t at = 0, part; at < n; at += part) {
        part = MIN(at == 0 && first != 0 ? first : step, n - at);
        rig_send(p, in + at, part);
        rig_run(h->rig);
    }
    BUG_ON(h->rig->is_stuck);
    return p;
}

/* ---- looking at the answer ----------------------------------------------------------------------------------- */

static size_t head_len(const struct rig_pipe *p)
{
    const uint8_t *end = p->out.len != 0 ? memmem(p->out.p, p->out.len, "\r\n\r\n", 4) : NULL;
    return end != NULL ? (size_t)(end - p->out.p) + 4 : 0;
}

static void check_frames(const uint8_t *out, size_t n)
{
    for (size_t at = 0; at < n;) {
        BUG_ON(n - at < 2);
        size_t len = out[at + 1], head = 2;
        BUG_ON(len == 127 || (out[at] != 0x82 && out[at] != 0x81 && len > 125));
        if (len == 126) {
            BUG_ON(n - at < 4);
            len = (size_t)out[at + 2] << 8 | out[at + 3];
            head = 4;
        }
        BUG_ON(out[at] != 0x82 && out[at] != 0x81 && out[at] != 0x8a && out[at] != 0x88);
        BUG_ON(n - at - head < len);
        at += head + len;
        BUG_ON(out[at - head - len] == 0x88 && at != n); /* nothing behind a close frame */
    }
}

static void check_answer(const struct rig_pipe *p)
{
    static const char *const statuses[] = {"101", "400", "403", "404", "405", "426", "431", "505"};
    size_t head = head_len(p);
    bool is_known = false;
    if (p->out.len == 0)
        return;
    BUG_ON(head < 20 || memcmp(p->out.p, "HTTP/1.1 ", 9) != 0);
    for (size_t i = 0; i < ARRAY_N(statuses); i++)
        is_known |= memcmp(p->out.p + 9, statuses[i], 3) == 0;
    BUG_ON(!is_known);
    if (memcmp(p->out.p + 9, "101", 3) == 0) {
        check_frames(p->out.p + head, p->out.len - head);
        return;
    }
    const char *field = memmem(p->out.p, head, "Content-Length: ", 16);
    BUG_ON(field == NULL || !rig_is_closed(p));
    size_t announced = (size_t)strtoul(field + 16, NULL, 10), body = p->out.len - head;
    BUG_ON(body != announced && body != 0); /* 0: HEAD */
}

static void check_same(const struct rig_pipe *a, const struct rig_pipe *b)
{
    size_t head = head_len(a);
    BUG_ON(head_len(b) != head);
    BUG_ON(head != 0 && memcmp(a->out.p, b->out.p, head) != 0);
    BUG_ON(rig_is_closed(a) != rig_is_closed(b));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || size > STREAM_MAX)
        return 0;
    struct house h;
    house_open(&h, data[0]);
    size_t cut = data[1] * 8u;
    data += 2;
    size -= 2;
    struct rig_pipe *whole = play(&h, data, size, 0, size);
    check_answer(whole);
    struct rig_pipe *two = play(&h, data, size, MIN(cut, size), size);
    check_answer(two);
    check_same(whole, two);
    if (size <= SHORT_MAX) {
        struct rig_pipe *bytes = play(&h, data, size, 0, 1);
        check_answer(bytes);
        check_same(whole, bytes);
    }
    house_close(&h);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_upgrade.c: from a GET to a WebSocket.
 *
 *     bytes ─► llhttp ─► on_url, on_header ... : what matters is kept, the rest is forgotten at once
 *                └─ the head is whole ─► judge() ─┬─► refusal ─► one short HTTP answer, a line in the log, close
 *     bytes behind it ────────────┐               └─► struct upgrade_way
 *                                 ▼                        ▼
 *             transport_ws_new(the pipe, "101 ...", first bytes) ─► conn_restack(ws, way->adapter or ws_guess_adapter)
 *
 * Headers are of two kinds: lists (Connection, Upgrade, Sec-WebSocket-Protocol), of which there may be several and
 * whose words are looked at one by one as they come, and texts, which are kept whole and allowed once. A fault that is
 * found early is remembered, and answered when the head is whole, so that the peer has stopped writing.
 *
 * Invariants
 *   1. At most limits.ws_head_bytes_max bytes are parsed, and nothing behind the head is.
 *   2. Every byte given is eaten: the login limit of the connection counts none of them.
 *   3. Nothing of the request is in the answer but what was checked to be one of our own words.
 * Cost    about 1.2 KB from the first byte to the answer, one allocation; O(bytes).
 * Thread  own shard only.
 * Spec    RFC 6455 §4.2, §10.2; RFC 7230 §3, §5.4; MQTT 5 §6, 3.1.1 §6.
 */
#include "transport/http_upgrade.h"

#include <arpa/inet.h>
#include <llhttp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/outv.h"
#include "core/conn.h"
#include "core/limits.h"
#include "transport/ws.h"
#include "transport/ws_codec.h"
#include "transport/ws_guess.h"

/* ---- what is refused, and how -------------------------------------------------------------------------------- */

/*   X(name, status, "phrase", close reason, "text")   */
#define REFUSAL_LIST(X)                                                                                                \
    X(NONE, 101, "Switching Protocols", NONE, "")                                                                      \
    X(UNPARSED, 400, "Bad Request", MALFORMED, "the request cannot be parsed")                                         \
    X(BODY, 400, "Bad Request", PROTOCOL, "a request for a WebSocket has no body")                                     \
    X(REPEATED, 400, "Bad Request", PROTOCOL, "a header that may be there once is there twice")                        \
    X(NO_HOST, 400, "Bad Request", PROTOCOL, "the Host header is missing or too long")                                 \
    X(BAD_KEY, 400, "Bad Request", PROTOCOL, "Sec-WebSocket-Key is not 16 bytes in base64")                            \
    X(NO_SUBPROTOCOL, 400, "Bad Request", PROTOCOL, "no Sec-WebSocket-Protocol is offered; ask for mqtt")              \
    X(UNKNOWN_SUBPROTOCOL, 400, "Bad Request", PROTOCOL, "no Sec-WebSocket-Protocol offered is spoken here")           \
    X(ORIGIN, 403, "Forbidden", NOT_AUTHORIZED, "web pages of this origin may not connect here")                       \
    X(PATH, 404, "Not Found", NOT_AUTHORIZED, "there is nothing at this path")                                         \
    X(METHOD, 405, "Method Not Allowed", PROTOCOL, "a WebSocket is asked for with GET")                                \
    X(TIMEOUT, 408, "Request Timeout", LOGIN_TIMEOUT, "the request was not complete in time")                          \
    X(NO_UPGRADE, 426, "Upgrade Required", PROTOCOL, "this port speaks WebSocket; it has no pages")                    \
    X(WS_VERSION, 426, "Upgrade Required", BAD_VERSION, "only Sec-WebSocket-Version 13 is spoken here")                \
    X(HEAD_TOO_BIG, 431, "Request Header Fields Too Large", TOO_BIG, "the request is too large")                       \
    X(STOPPING, 503, "Service Unavailable", SHUTDOWN, "the broker is stopping")                                        \
    X(HTTP_VERSION, 505, "HTTP Version Not Supported", BAD_VERSION, "only HTTP/1.1 is spoken here")

enum refusal {
#define X(name, status, phrase, why, text) REFUSE_##name,
    REFUSAL_LIST(X)
#undef X
};

static const struct refusal_row {
    uint16_t status;
    uint8_t why; /* enum close_reason */
    const char *phrase, *text;
} refusal_table[] = {
#define X(name, status, phrase, why, text) {status, CLOSE_##why, phrase, text},
    REFUSAL_LIST(X)
#undef X
};

/* ---- state --------------------------------------------------------------------------------------------------- */

enum { PATH_MAX_BYTES = 256, HOST_MAX = 262, ORIGIN_MAX = 271, NAME_MAX_BYTES = 24, REQUEST_BYTES_MAX = 1400 };

/* The headers that matter. NAME is none of them. */
enum header { H_OTHER, H_CONNECTION, H_UPGRADE, H_PROTOCOL, H_HOST, H_ORIGIN, H_KEY, H_VERSION, H_LENGTH, H_CODING };

static const struct header_row {
    const char *name;
    enum header header;
} header_table[] = {
    {"connection", H_CONNECTION},
    {"upgrade", H_UPGRADE},
    {"sec-websocket-protocol", H_PROTOCOL},
    {"host", H_HOST},
    {"origin", H_ORIGIN},
    {"sec-websocket-key", H_KEY},
    {"sec-websocket-version", H_VERSION},
    {"content-length", H_LENGTH},
    {"transfer-encoding", H_CODING},
};

/* A text that comes in parts. len > cap: it was too long. */
struct part {
    uint16_t len, cap;
    char *p;
};

/* owner: the connection, until it is a WebSocket or gone */
struct request {
    llhttp_t parser;
    const struct conn *conn;
    uint64_t head_bytes;
    const struct upgrade_way *way; /* of the first subprotocol offered that is known; NULL: none yet */
    enum header header;            /* whose value comes */
    uint16_t seen;                 /* 1 << enum header */
    uint8_t fault;                 /* enum refusal: the first one found */
    bool is_whole, has_answered;
    bool asks_websocket, asks_upgrade, has_offer;
    struct part name, word, path, host, origin, key, version, length;
    char name_buf[NAME_MAX_BYTES], word_buf[UPGRADE_NAME_MAX + 1], path_buf[PATH_MAX_BYTES], host_buf[HOST_MAX];
    char origin_buf[ORIGIN_MAX], key_buf[28], version_buf[8], length_buf[8];
};

_Static_assert(sizeof(struct request) <= REQUEST_BYTES_MAX, "see Cost");

static struct request **slot_of(const struct conn *c)
{
    return conn_state(c);
}

static void part_add(struct part *t, const char *at, size_t n)
{
    size_t part = t->len < t->cap ? MIN(n, (size_t)(t->cap - t->len)) : 0;
    if (part != 0)
        memcpy(t->p + t->len, at, part);
    t->len = (uint16_t)MIN(t->len + n, (size_t)t->cap + 1);
}

/* part_get: without blanks around it; empty and *out_cut when it was too long. */
static struct slice part_get(const struct part *t, bool *out_cut)
{
    *out_cut = t->len > t->cap;
    struct slice s = slice_make(t->p, *out_cut ? 0 : t->len);
    while (s.len > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = slice_skip(s, 1);
    while (s.len > 0 && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static bool is_word(struct slice s, const char *word)
{
    return s.len == strlen(word) && strncasecmp((const char *)s.p, word, s.len) == 0;
}

static void fault(struct request *r, enum refusal why)
{
    if (r->fault == REFUSE_NONE)
        r->fault = (uint8_t)why;
}

/* ---- what llhttp reports ------------------------------------------------------------------------------------- */

static int on_url(llhttp_t *parser, const char *at, size_t n)
{
    struct request *r = parser->data;
    part_add(&r->path, at, n);
    return HPE_OK;
}

static int on_name(llhttp_t *parser, const char *at, size_t n)
{
    struct request *r = parser->data;
    part_add(&r->name, at, n);
    return HPE_OK;
}

/* text_of: where the value of this header is kept; NULL for lists, and for headers that do not matter. */
static struct part *text_of(struct request *r, enum header h)
{
    switch (h) {
    case H_HOST:
        return &r->host;
    case H_ORIGIN:
        return &r->origin;
    case H_KEY:
        return &r->key;
    case H_VERSION:
        return &r->version;
    case H_LENGTH:
        return &r->length;
    default:
        return NULL;
    }
}

static int on_name_end(llhttp_t *parser)
{
    struct request *r = parser->data;
    bool is_cut;
    struct slice name = part_get(&r->name, &is_cut);
    r->name.len = r->word.len = 0;
    r->header = H_OTHER;
    for (size_t i = 0; i < ARRAY_N(header_table); i++) {
        if (is_word(name, header_table[i].name))
            r->header = header_table[i].header;
    }
    unsigned bit = 1u << r->header;
    if (text_of(r, r->header) != NULL && (r->seen & bit) != 0) {
        fault(r, REFUSE_REPEATED);
        r->header = H_OTHER;
    } else if (r->header == H_CODING) {
        fault(r, REFUSE_BODY);
    }
    r->seen = (uint16_t)(r->seen | bit);
    return HPE_OK;
}

/* on_word: one element of a list is whole. */
static void on_word(struct request *r)
{
    bool is_cut;
    struct slice word = part_get(&r->word, &is_cut);
    r->word.len = 0;
    if (word.len == 0 && !is_cut)
        return; /* RFC 7230 §7: empty elements are nothing */
    if (r->header == H_CONNECTION)
        r->asks_upgrade |= is_word(word, "upgrade");
    else if (r->header == H_UPGRADE)
        r->asks_websocket |= is_word(word, "websocket");
    else if (r->header == H_PROTOCOL) {
        r->has_offer = true;
        const struct upgrade_way *w = r->conn->door->upgrade->way;
        for (; r->way == NULL && w->subprotocol != NULL; w++) {
            if (slice_eq_str(word, w->subprotocol))
                r->way = w;
        }
    }
}

static int on_value(llhttp_t *parser, const char *at, size_t n)
{
    struct request *r = parser->data;
    struct part *text = text_of(r, r->header);
    if (text != NULL)
        part_add(text, at, n);
    if (text != NULL || r->header == H_OTHER)
        return HPE_OK;
    for (const char *end = at + n; at < end;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma != NULL ? comma : end;
        part_add(&r->word, at, (size_t)(stop - at));
        if (comma != NULL)
            on_word(r);
        at = stop + (comma != NULL);
    }
    return HPE_OK;
}

static int on_value_end(llhttp_t *parser)
{
    struct request *r = parser->data;
    if (text_of(r, r->header) == NULL && r->header != H_OTHER)
        on_word(r);
    return HPE_OK;
}

/* on_head_end: 2 tells llhttp that what follows is not HTTP, whatever the headers say: it stops just there. */
static int on_head_end(llhttp_t *parser)
{
    struct request *r = parser->data;
    r->is_whole = true;
    return 2;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_name,
    .on_header_field_complete = on_name_end,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_end,
    .on_headers_complete = on_head_end,
};

/* ---- judging ------------------------------------------------------------------------------------------------- */

/* path_is_served: the target without its query is one of ours. */
static bool path_is_served(const struct upgrade *u, const struct request *r)
{
    if (u->path == NULL)
        return true;
    size_t len = MIN(r->path.len, r->path.cap);
    const char *query = memchr(r->path.p, '?', len);
    if (query == NULL && r->path.len > r->path.cap)
        return false;
    struct slice path = slice_make(r->path.p, query != NULL ? (size_t)(query - r->path.p) : len);
    for (const char *const *p = u->path; *p != NULL; p++) {
        if (slice_eq_str(path, *p))
            return true;
    }
    return false;
}

/* "name", "name:port", "[::1]:port" in its parts. */
struct authority {
    struct slice name; /* brackets included */
    uint32_t port;
};

/* authority_from_text: false when it is none. default_port: when it names none. */
static bool authority_from_text(struct slice s, uint32_t default_port, struct authority *out)
{
    size_t at = 0;
    if (s.len > 0 && s.p[0] == '[') {
        ptrdiff_t end = slice_find(s, ']');
        if (end < 0)
            return false;
        at = (size_t)end + 1;
    } else {
        ptrdiff_t colon = slice_find(s, ':');
        at = colon < 0 ? s.len : (size_t)colon;
    }
    *out = (struct authority){slice_make(s.p, at), default_port};
    s = slice_skip(s, at);
    if (s.len == 1 || s.len > 6 || (s.len > 0 && s.p[0] != ':'))
        return false;
    uint32_t port = 0;
    for (size_t i = 1; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        port = port * 10 + (uint32_t)(s.p[i] - '0');
    }
    if (s.len != 0)
        out->port = port;
    return out->name.len > 0 && out->port <= 65535;
}

static bool is_address(struct slice name)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t address[16];
    int family = AF_INET;
    if (name.p[0] == '[') { /* authority_from_text saw the other bracket */
        name = slice_make(name.p + 1, name.len - 2);
        family = AF_INET6;
    }
    if (name.len >= sizeof(text))
        return false;
    memcpy(text, name.p, name.len);
    text[name.len] = 0;
    return inet_pton(family, text, address) == 1;
}

static bool is_listed(struct slice s, const char *const *list)
{
    for (; list != NULL && *list != NULL; list++) {
        if (is_word(s, *list))
            return true;
    }
    return false;
}

/* is_own_page: the page comes from where it connects to, and that is known to be us. */
static bool is_own_page(const struct upgrade *u, struct slice origin, struct slice host)
{
    static const struct {
        const char *scheme;
        uint32_t port;
    } known[] = {{"http://", 80}, {"https://", 443}};
    for (size_t i = 0; i < ARRAY_N(known); i++) {
        size_t scheme = strlen(known[i].scheme);
        if (origin.len < scheme || !is_word(slice_make(origin.p, scheme), known[i].scheme))
            continue;
        struct authority page, here;
        if (!authority_from_text(slice_skip(origin, scheme), known[i].port, &page) ||
            !authority_from_text(host, known[i].port, &here))
            return false;
        bool is_same = page.port == here.port && page.name.len == here.name.len &&
                       strncasecmp((const char *)page.name.p, (const char *)here.name.p, here.name.len) == 0;
        return is_same &&
               (is_word(here.name, "localhost") || is_address(here.name) || is_listed(here.name, u->host_name));
    }
    return false;
}

static bool origin_is_allowed(const struct upgrade *u, const struct request *r, struct slice host)
{
    if ((r->seen & 1u << H_ORIGIN) == 0)
        return true;
    bool is_cut;
    struct slice origin = part_get(&r->origin, &is_cut);
    for (const char *const *o = u->origin; o != NULL && *o != NULL; o++) {
        if (strcmp(*o, "*") == 0 || (!is_cut && is_word(origin, *o)))
            return true;
    }
    return !is_cut && is_own_page(u, origin, host);
}

/* judge: a whole head. What is wrong with it, the most basic first. */
static enum refusal judge(const struct conn *c, const struct request *r, char accept[WS_ACCEPT_BYTES])
{
    const struct upgrade *u = c->door->upgrade;
    bool is_cut;
    if (r->parser.method != HTTP_GET)
        return REFUSE_METHOD;
    if (r->parser.http_major != 1 || r->parser.http_minor != 1)
        return REFUSE_HTTP_VERSION;
    if (!path_is_served(u, r))
        return REFUSE_PATH;
    if (r->fault != REFUSE_NONE)
        return (enum refusal)r->fault;
    if ((r->seen & 1u << H_LENGTH) != 0 && !is_word(part_get(&r->length, &is_cut), "0"))
        return REFUSE_BODY;
    struct slice host = part_get(&r->host, &is_cut);
    if (host.len == 0)
        return REFUSE_NO_HOST; /* RFC 7230 §5.4 */
    if (!r->asks_upgrade || !r->asks_websocket)
        return REFUSE_NO_UPGRADE;
    if (!is_word(part_get(&r->version, &is_cut), "13"))
        return REFUSE_WS_VERSION;
    struct slice key = part_get(&r->key, &is_cut);
    if (!ws_accept((const char *)key.p, key.len, accept))
        return REFUSE_BAD_KEY;
    if (!origin_is_allowed(u, r, host))
        return REFUSE_ORIGIN;
    if (r->has_offer)
        return r->way != NULL ? REFUSE_NONE : REFUSE_UNKNOWN_SUBPROTOCOL;
    return ws_guess_can(c->door) ? REFUSE_NONE : REFUSE_NO_SUBPROTOCOL; /* [MQTT-6.0.0-3] 3.1.1: [MQTT-6.0.0-3] */
}

/* ---- answering ----------------------------------------------------------------------------------------------- */

/* extra_lines: headers that this status must have. */
static const char *extra_lines(enum refusal why)
{
    switch (why) {
    case REFUSE_METHOD:
        return "Allow: GET\r\n";
    case REFUSE_NO_UPGRADE:
    case REFUSE_WS_VERSION: /* RFC 6455 §4.4 */
        return "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    default:
        return "";
    }
}

static void put_answer(struct conn *c, struct request *r, enum refusal why)
{
    const struct refusal_row *row = &refusal_table[why];
    char text[512];
    struct outv *out = conn_out(c);
    r->has_answered = true;
    if (out == NULL)
        return;
    size_t body = strlen("weir: \n") + strlen(row->text);
    int n = snprintf(text, sizeof(text),
                     "HTTP/1.1 %u %s\r\n"
                     "Content-Type: text/plain; charset=utf-8\r\n"
                     "Content-Length: %zu\r\n"
                     "Cache-Control: no-store\r\n"
                     "Connection: close%s\r\n"
                     "%s\r\n",
                     (unsigned)row->status, row->phrase, body, row->status == 426 ? ", Upgrade" : "", extra_lines(why));
    BUG_ON(n < 0 || (size_t)n >= sizeof(text));
    outv_put(out, text, (size_t)n);
    if (r->parser.method == HTTP_HEAD)
        return;
    n = snprintf(text, sizeof(text), "weir: %s\n", row->text);
    outv_put(out, text, (size_t)n);
}

/* log_refusal: with what a person needs to mend it: the parser's complaint, or who the page is. */
static void log_refusal(struct conn *c, const struct request *r, enum refusal why)
{
    const struct refusal_row *row = &refusal_table[why];
    bool is_cut;
    char peer[96];
    if (!log_is_on(conn_log(c), LOG_NOTICE))
        return;
    conn_peer(c, peer, sizeof(peer));
    struct slice detail = slice_make(NULL, 0), host = part_get(&r->host, &is_cut);
    const char *before = "";
    if (why == REFUSE_UNPARSED && llhttp_get_error_reason(&r->parser) != NULL) {
        before = ": ";
        detail = slice_from_str(llhttp_get_error_reason(&r->parser));
    } else if (why == REFUSE_ORIGIN) {
        before = ": Origin ";
        detail = part_get(&r->origin, &is_cut);
    } else if (why == REFUSE_PATH) {
        before = ": ";
        detail = slice_make(r->path.p, MIN(r->path.len, r->path.cap));
    }
    bool has_host = why == REFUSE_ORIGIN;
    log_line(conn_log(c), LOG_NOTICE, "%s WebSocket refused, %u: %s%s" SLICE_FMT "%s" SLICE_FMT, peer,
             (unsigned)row->status, row->text, before, SLICE_ARG(detail), has_host ? ", Host " : "",
             has_host ? (int)host.len : 0, (const char *)host.p);
}

static void refuse(struct conn *c, struct request *r, enum refusal why)
{
    log_refusal(c, r, why);
    put_answer(c, r, why);
    conn_close(c, (enum close_reason)refusal_table[why].why);
}

/* upgrade: the connection becomes a WebSocket. `first` came behind the request. r is gone afterwards. */
static void upgrade(struct conn *c, const struct request *r, const char accept[WS_ACCEPT_BYTES], struct slice first)
{
    char text[256];
    const struct upgrade *u = c->door->upgrade;
    const struct upgrade_way *way = r->way;
    int n = snprintf(text, sizeof(text),
                     "HTTP/1.1 101 Switching Protocols\r\n"
                     "Upgrade: websocket\r\n"
                     "Connection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: %.*s\r\n"
                     "%s%s%s\r\n",
                     (int)WS_ACCEPT_BYTES, accept, way != NULL ? "Sec-WebSocket-Protocol: " : "",
                     way != NULL ? way->subprotocol : "", way != NULL ? "\r\n" : ""); /* both: [MQTT-6.0.0-4] */
    BUG_ON(n < 0 || (size_t)n >= sizeof(text));
    struct transport *ws = transport_ws_new(u->home, c->transport, slice_make(text, (size_t)n), first);
    if (ws == NULL) {
        conn_close(c, CLOSE_NOMEM);
        return;
    }
    if (way != NULL) {
        transport_ws_cut(ws, way->unit);
        transport_ws_frames(ws, way->frames);
    } else {
        transport_ws_frames(ws, WS_FRAMES_MIRROR); /* until somebody claims it */
    }
    conn_restack(c, ws, way != NULL ? way->adapter : &ws_guess_adapter);
}

/* ---- the adapter --------------------------------------------------------------------------------------------- */

static enum claim http_claims(const uint8_t *first, size_t len)
{
    static const char *const methods[] = {"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH "};
    enum claim answer = CLAIM_NO;
    for (size_t i = 0; i < ARRAY_N(methods); i++) {
        size_t n = strlen(methods[i]);
        if (memcmp(first, methods[i], MIN(len, n)) == 0)
            answer = len >= n ? CLAIM_YES : MAX(answer, CLAIM_MORE);
    }
    return answer;
}

static enum err http_open(struct conn *c)
{
    BUG_ON(c->door->upgrade == NULL);
    struct request *r = mem_zalloc(conn_mem(c), sizeof(*r));
    if (r == NULL)
        return ERR_NOMEM;
    *slot_of(c) = r;
    r->conn = c;
    r->name = (struct part){0, sizeof(r->name_buf), r->name_buf};
    r->word = (struct part){0, sizeof(r->word_buf), r->word_buf};
    r->path = (struct part){0, sizeof(r->path_buf), r->path_buf};
    r->host = (struct part){0, sizeof(r->host_buf), r->host_buf};
    r->origin = (struct part){0, sizeof(r->origin_buf), r->origin_buf};
    r->key = (struct part){0, sizeof(r->key_buf), r->key_buf};
    r->version = (struct part){0, sizeof(r->version_buf), r->version_buf};
    r->length = (struct part){0, sizeof(r->length_buf), r->length_buf};
    llhttp_init(&r->parser, HTTP_REQUEST, &settings);
    r->parser.data = r;
    return ERR_OK;
}

static size_t http_on_bytes(struct conn *c, const uint8_t *in, size_t len)
{
    struct request *r = *slot_of(c);
    uint64_t room = conn_limits(c)->ws_head_bytes_max - r->head_bytes;
    size_t n = (size_t)MIN((uint64_t)len, room);
    llhttp_errno_t e = llhttp_execute(&r->parser, (const char *)in, n);
    if (r->is_whole && e == HPE_PAUSED_UPGRADE) {
        char accept[WS_ACCEPT_BYTES];
        size_t head = (size_t)(llhttp_get_error_pos(&r->parser) - (const char *)in);
        enum refusal why = judge(c, r, accept);
        if (why == REFUSE_NONE)
            upgrade(c, r, accept, slice_make(in + head, len - head));
        else
            refuse(c, r, why);
    } else if (e == HPE_INVALID_VERSION) {
        refuse(c, r, REFUSE_HTTP_VERSION);
    } else if (e != HPE_OK) {
        refuse(c, r, REFUSE_UNPARSED);
    } else if (n == room) {
        refuse(c, r, REFUSE_HEAD_TOO_BIG);
    } else {
        r->head_bytes += n;
    }
    return len;
}

static mono_ms http_on_tick(struct conn *c, mono_ms now)
{
    UNUSED(c), UNUSED(now);
    return MONO_NEVER; /* until the login, the connection watches the time itself */
}

static void http_on_close(struct conn *c, enum close_reason why)
{
    struct request *r = *slot_of(c);
    if (r == NULL || r->has_answered || !conn_can_say(c))
        return;
    if (why == CLOSE_LOGIN_TIMEOUT)
        put_answer(c, r, REFUSE_TIMEOUT);
    else if (why == CLOSE_SHUTDOWN)
        put_answer(c, r, REFUSE_STOPPING);
}

static void http_destroy(struct conn *c)
{
    mem_free(conn_mem(c), *slot_of(c));
}

const struct adapter_ops http_upgrade_adapter = {
    .name = "http",
    .claims = http_claims,
    .open = http_open,
    .on_bytes = http_on_bytes,
    .on_tick = http_on_tick,
    .on_close = http_on_close,
    .destroy = http_destroy,
};

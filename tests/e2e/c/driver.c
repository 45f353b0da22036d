/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.c: one client of paho's C library, steered line by line; the lines are described in ../drivers.py.
 *
 *     stdin   3 publish client=c topic=a/b payload=hi qos=1
 *     stdout  3 ok reason=0                                      written by main()
 *             - message client=c topic=a/b payload=hi ...        written by the library's thread
 *
 * Invariants
 *   1. A line is written by one fwrite, so that lines of the two threads never mix.
 *   2. Requests are carried out one after the other; a publish is answered when the library says that it is settled.
 *   3. There is no "drop": whoever wants the connection lost kills the process.
 * Cost    a line is kept whole, as text and once decoded: a payload of 1 MiB is 4 MiB here.
 * Thread  main() and the one that the library makes.
 */
#include <MQTTClient.h>
#include <ctype.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WORDS_MAX = 64, ANSWER_MS = 15000 };

struct word {
    char *key, *value; /* decoded, NUL behind it */
    size_t value_len;
    char *more; /* the second half of UserProperty */
    size_t more_len;
};

struct request {
    char *number, *verb;
    struct word words[WORDS_MAX];
    size_t words_n;
};

struct client {
    MQTTClient handle;
    char name[256]; /* what the lines call it */
    bool is_v5;
    pthread_mutex_t lock;
    pthread_cond_t is_settled;
    MQTTClient_deliveryToken settled; /* the publish that was settled last; under lock */
};

/* What a property is called in a line, and how it is kept. */
static const struct {
    const char *name;
    enum MQTTPropertyCodes code;
    enum MQTTPropertyTypes type;
} property_table[] = {
    {"PayloadFormatIndicator", MQTTPROPERTY_CODE_PAYLOAD_FORMAT_INDICATOR, MQTTPROPERTY_TYPE_BYTE},
    {"MessageExpiryInterval", MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL, MQTTPROPERTY_TYPE_FOUR_BYTE_INTEGER},
    {"ContentType", MQTTPROPERTY_CODE_CONTENT_TYPE, MQTTPROPERTY_TYPE_UTF_8_ENCODED_STRING},
    {"ResponseTopic", MQTTPROPERTY_CODE_RESPONSE_TOPIC, MQTTPROPERTY_TYPE_UTF_8_ENCODED_STRING},
    {"CorrelationData", MQTTPROPERTY_CODE_CORRELATION_DATA, MQTTPROPERTY_TYPE_BINARY_DATA},
    {"SubscriptionIdentifier", MQTTPROPERTY_CODE_SUBSCRIPTION_IDENTIFIER, MQTTPROPERTY_TYPE_VARIABLE_BYTE_INTEGER},
    {"SessionExpiryInterval", MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, MQTTPROPERTY_TYPE_FOUR_BYTE_INTEGER},
    {"AssignedClientIdentifier", MQTTPROPERTY_CODE_ASSIGNED_CLIENT_IDENTIFER, MQTTPROPERTY_TYPE_UTF_8_ENCODED_STRING},
    {"ServerKeepAlive", MQTTPROPERTY_CODE_SERVER_KEEP_ALIVE, MQTTPROPERTY_TYPE_TWO_BYTE_INTEGER},
    {"RequestProblemInformation", MQTTPROPERTY_CODE_REQUEST_PROBLEM_INFORMATION, MQTTPROPERTY_TYPE_BYTE},
    {"RequestResponseInformation", MQTTPROPERTY_CODE_REQUEST_RESPONSE_INFORMATION, MQTTPROPERTY_TYPE_BYTE},
    {"ResponseInformation", MQTTPROPERTY_CODE_RESPONSE_INFORMATION, MQTTPROPERTY_TYPE_UTF_8_ENCODED_STRING},
    {"ReasonString", MQTTPROPERTY_CODE_REASON_STRING, MQTTPROPERTY_TYPE_UTF_8_ENCODED_STRING},
    {"ReceiveMaximum", MQTTPROPERTY_CODE_RECEIVE_MAXIMUM, MQTTPROPERTY_TYPE_TWO_BYTE_INTEGER},
    {"TopicAliasMaximum", MQTTPROPERTY_CODE_TOPIC_ALIAS_MAXIMUM, MQTTPROPERTY_TYPE_TWO_BYTE_INTEGER},
    {"TopicAlias", MQTTPROPERTY_CODE_TOPIC_ALIAS, MQTTPROPERTY_TYPE_TWO_BYTE_INTEGER},
    {"UserProperty", MQTTPROPERTY_CODE_USER_PROPERTY, MQTTPROPERTY_TYPE_UTF_8_STRING_PAIR},
    {"MaximumPacketSize", MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE, MQTTPROPERTY_TYPE_FOUR_BYTE_INTEGER},
};
enum { PROPERTIES_N = sizeof property_table / sizeof *property_table };

/* ------------------------------------------------------------------------------------------------ words */

static int hex(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* Decodes %XX in place; the length of what is left. */
static size_t unquote(char *text)
{
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        if (*p == '%' && isxdigit((unsigned char)p[1]) && isxdigit((unsigned char)p[2])) {
            text[n++] = (char)(hex(p[1]) * 16 + hex(p[2]));
            p += 2;
        } else {
            text[n++] = *p;
        }
    }
    text[n] = 0;
    return n;
}

/* Decodes hex digits in place; the length of what is left. */
static size_t unhex(char *text)
{
    size_t n = 0;
    for (const char *p = text; isxdigit((unsigned char)p[0]) && isxdigit((unsigned char)p[1]); p += 2)
        text[n++] = (char)(hex(p[0]) * 16 + hex(p[1]));
    text[n] = 0;
    return n;
}

static void put_hex(FILE *to, const void *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    for (const unsigned char *p = data; len-- > 0; p++) {
        putc_unlocked(digits[*p >> 4], to);
        putc_unlocked(digits[*p & 15], to);
    }
}

static void quote(FILE *to, const void *data, size_t len)
{
    for (const unsigned char *p = data; len-- > 0; p++) {
        if (isalnum(*p) || strchr("-._~/", *p))
            putc(*p, to);
        else
            fprintf(to, "%%%02x", *p);
    }
}

static bool parse(char *line, struct request *out)
{
    char *rest = line;
    memset(out, 0, sizeof *out);
    line[strcspn(line, "\n")] = 0;
    out->number = strsep(&rest, " ");
    out->verb = strsep(&rest, " ");
    for (char *part = strsep(&rest, " "); part && out->words_n < WORDS_MAX; part = strsep(&rest, " ")) {
        struct word *w = &out->words[out->words_n];
        if (!*part)
            continue;
        w->key = strsep(&part, "=");
        w->value = strsep(&part, "=");
        w->more = part;
        if (!w->value)
            return false;
        w->value_len = strcmp(w->key, "payload") == 0 ? unhex(w->value) : unquote(w->value);
        w->more_len = w->more ? unquote(w->more) : 0;
        out->words_n++;
    }
    return out->verb != NULL;
}

static const struct word *find(const struct request *r, const char *key)
{
    for (size_t i = 0; i < r->words_n; i++)
        if (strcmp(r->words[i].key, key) == 0)
            return &r->words[i];
    return NULL;
}

static const char *text_of(const struct request *r, const char *key)
{
    const struct word *w = find(r, key);
    return w ? w->value : "";
}

static int number_of(const struct request *r, const char *key)
{
    return (int)strtol(text_of(r, key), NULL, 10);
}

/* ------------------------------------------------------------------------------------------------ properties */

static MQTTProperty property_from_word(size_t row, const struct word *w)
{
    MQTTProperty p = {.identifier = property_table[row].code};
    uint32_t number = (uint32_t)strtoul(w->value, NULL, 10);
    switch (property_table[row].type) {
    case MQTTPROPERTY_TYPE_BYTE:
        p.value.byte = (unsigned char)number;
        break;
    case MQTTPROPERTY_TYPE_TWO_BYTE_INTEGER:
        p.value.integer2 = (unsigned short)number;
        break;
    case MQTTPROPERTY_TYPE_FOUR_BYTE_INTEGER:
    case MQTTPROPERTY_TYPE_VARIABLE_BYTE_INTEGER:
        p.value.integer4 = number;
        break;
    default:
        p.value.data = (MQTTLenString){(int)w->value_len, w->value};
        p.value.value = (MQTTLenString){(int)w->more_len, w->more};
    }
    return p;
}

static MQTTProperties properties_from_words(const struct request *r)
{
    MQTTProperties made = MQTTProperties_initializer;
    for (size_t i = 0; i < r->words_n; i++)
        for (size_t row = 0; row < PROPERTIES_N; row++)
            if (strcmp(r->words[i].key, property_table[row].name) == 0) {
                MQTTProperty p = property_from_word(row, &r->words[i]);
                MQTTProperties_add(&made, &p);
            }
    return made;
}

static void write_property(FILE *to, size_t row, const MQTTProperty *p)
{
    fprintf(to, " %s=", property_table[row].name);
    switch (property_table[row].type) {
    case MQTTPROPERTY_TYPE_BYTE:
        fprintf(to, "%u", p->value.byte);
        break;
    case MQTTPROPERTY_TYPE_TWO_BYTE_INTEGER:
        fprintf(to, "%u", p->value.integer2);
        break;
    case MQTTPROPERTY_TYPE_FOUR_BYTE_INTEGER:
    case MQTTPROPERTY_TYPE_VARIABLE_BYTE_INTEGER:
        fprintf(to, "%u", p->value.integer4);
        break;
    default:
        quote(to, p->value.data.data, (size_t)p->value.data.len);
    }
    if (property_table[row].type == MQTTPROPERTY_TYPE_UTF_8_STRING_PAIR) {
        putc('=', to);
        quote(to, p->value.value.data, (size_t)p->value.value.len);
    }
}

static void write_properties(FILE *to, const MQTTProperties *list)
{
    for (int i = 0; list && i < list->count; i++)
        for (size_t row = 0; row < PROPERTIES_N; row++)
            if (property_table[row].code == list->array[i].identifier)
                write_property(to, row, &list->array[i]);
}

/* ------------------------------------------------------------------------------------------------ lines out */

struct line {
    char *text;
    size_t len;
    FILE *to;
};

static void line_begin(struct line *l)
{
    l->to = open_memstream(&l->text, &l->len);
    if (!l->to)
        abort();
}

static void line_end(struct line *l)
{
    putc('\n', l->to);
    fclose(l->to);
    fwrite(l->text, 1, l->len, stdout);
    fflush(stdout);
    free(l->text);
}

static void answer_no(const struct request *r, const char *why, int code)
{
    struct line l;
    line_begin(&l);
    fprintf(l.to, "%s no code=%d why=", r->number, code);
    quote(l.to, why, strlen(why));
    line_end(&l);
}

static void answer_ok(const struct request *r, const char *key, int value, const MQTTProperties *properties)
{
    struct line l;
    line_begin(&l);
    fprintf(l.to, "%s ok %s=%d", r->number, key, value);
    write_properties(l.to, properties);
    line_end(&l);
}

/* ------------------------------------------------------------------------------------------------ the library's thread
 */

static int on_message(void *ctx, char *topic, int topic_len, MQTTClient_message *m)
{
    const struct client *c = ctx;
    struct line l;
    line_begin(&l);
    fputs("- message client=", l.to);
    quote(l.to, c->name, strlen(c->name));
    fputs(" topic=", l.to);
    quote(l.to, topic, topic_len > 0 ? (size_t)topic_len : strlen(topic));
    fputs(" payload=", l.to);
    put_hex(l.to, m->payload, (size_t)m->payloadlen);
    fprintf(l.to, " qos=%d retain=%d dup=%d", m->qos, m->retained, m->dup);
    write_properties(l.to, &m->properties);
    line_end(&l);
    MQTTClient_freeMessage(&m);
    MQTTClient_free(topic);
    return 1;
}

static void on_settled(void *ctx, MQTTClient_deliveryToken token)
{
    struct client *c = ctx;
    pthread_mutex_lock(&c->lock);
    c->settled = token;
    pthread_cond_signal(&c->is_settled);
    pthread_mutex_unlock(&c->lock);
}

/* As MQTTClient_waitForCompletion does, but that looks only every 100 ms. */
static int wait_settled(struct client *c, MQTTClient_deliveryToken token)
{
    struct timespec end;
    int rc = 0;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += ANSWER_MS / 1000;
    pthread_mutex_lock(&c->lock);
    while (c->settled != token && rc == 0)
        rc = pthread_cond_timedwait(&c->is_settled, &c->lock, &end);
    pthread_mutex_unlock(&c->lock);
    return rc == 0 ? MQTTCLIENT_SUCCESS : MQTTCLIENT_FAILURE;
}

static void print_end(const struct client *c, int reason)
{
    struct line l;
    line_begin(&l);
    fputs("- end client=", l.to);
    quote(l.to, c->name, strlen(c->name));
    if (reason >= 0)
        fprintf(l.to, " reason=%d", reason);
    line_end(&l);
}

static void on_lost(void *ctx, char *cause)
{
    (void)cause;
    print_end(ctx, -1);
}

static void on_disconnected(void *ctx, MQTTProperties *properties, enum MQTTReasonCodes reason)
{
    (void)properties;
    print_end(ctx, (int)reason);
}

/* ------------------------------------------------------------------------------------------------ verbs */

static int create(struct client *c, const struct request *r)
{
    char uri[300];
    MQTTClient_createOptions options = MQTTClient_createOptions_initializer;
    int version = number_of(r, "version");
    snprintf(c->name, sizeof c->name, "%s", text_of(r, "client"));
    snprintf(uri, sizeof uri, "%s://%s:%d", text_of(r, "transport"), text_of(r, "host"), number_of(r, "port"));
    c->is_v5 = version == 5;
    options.MQTTVersion = version;
    int rc =
        MQTTClient_createWithOptions(&c->handle, uri, text_of(r, "id"), MQTTCLIENT_PERSISTENCE_NONE, NULL, &options);
    if (rc == MQTTCLIENT_SUCCESS)
        rc = MQTTClient_setCallbacks(c->handle, c, on_lost, on_message, on_settled);
    if (rc == MQTTCLIENT_SUCCESS && c->is_v5)
        rc = MQTTClient_setDisconnected(c->handle, c, on_disconnected);
    return rc;
}

static void do_connect(struct client *c, const struct request *r)
{
    bool is_v5 = number_of(r, "version") == 5, is_clean = number_of(r, "clean");
    MQTTClient_connectOptions v3 = MQTTClient_connectOptions_initializer, v5 = MQTTClient_connectOptions_initializer5;
    MQTTClient_connectOptions *o = is_v5 ? &v5 : &v3;
    MQTTClient_willOptions will = MQTTClient_willOptions_initializer;
    MQTTProperties properties = properties_from_words(r), will_properties = MQTTProperties_initializer;
    const struct word *payload = find(r, "will_payload");
    int rc = create(c, r);
    if (rc != MQTTCLIENT_SUCCESS) {
        answer_no(r, MQTTClient_strerror(rc), rc);
        MQTTProperties_free(&properties);
        return;
    }
    o->keepAliveInterval = number_of(r, "keepalive");
    o->connectTimeout = ANSWER_MS / 1000;
    o->MQTTVersion = number_of(r, "version");
    if (is_v5)
        o->cleanstart = is_clean;
    else
        o->cleansession = is_clean;
    if (find(r, "will_topic")) {
        will.topicName = text_of(r, "will_topic");
        will.payload.data = payload ? payload->value : "";
        will.payload.len = payload ? (int)payload->value_len : 0;
        will.qos = number_of(r, "will_qos");
        will.retained = number_of(r, "will_retain");
        o->will = &will;
    }
    if (is_v5) {
        MQTTResponse got = MQTTClient_connect5(c->handle, o, &properties, &will_properties);
        if (got.reasonCode == MQTTREASONCODE_SUCCESS)
            answer_ok(r, "present", -1, got.properties); /* 1.3.12 tells it in 3.1.1 only */
        else
            answer_no(r, "the CONNACK refuses", (int)got.reasonCode);
        MQTTResponse_free(got);
    } else {
        rc = MQTTClient_connect(c->handle, o);
        if (rc == MQTTCLIENT_SUCCESS)
            answer_ok(r, "present", o->returned.sessionPresent, NULL);
        else
            answer_no(r, "the CONNACK refuses", rc);
    }
    MQTTProperties_free(&properties);
}

static void do_subscribe(struct client *c, const struct request *r)
{
    const char *filter = text_of(r, "filter");
    int qos = number_of(r, "qos");
    if (!c->is_v5) {
        int rc = MQTTClient_subscribe(c->handle, filter, qos); /* it says only whether: the granted QoS is not told */
        if (rc == MQTTCLIENT_SUCCESS)
            answer_ok(r, "granted", qos, NULL);
        else
            answer_no(r, "SUBSCRIBE", rc);
        return;
    }
    MQTTSubscribe_options o = MQTTSubscribe_options_initializer;
    MQTTProperties properties = properties_from_words(r);
    o.noLocal = (unsigned char)number_of(r, "no_local");
    o.retainAsPublished = (unsigned char)number_of(r, "retain_as_published");
    o.retainHandling = (unsigned char)number_of(r, "retain_handling");
    MQTTResponse got = MQTTClient_subscribe5(c->handle, filter, qos, &o, &properties);
    answer_ok(r, "granted", (int)got.reasonCode, got.properties);
    MQTTResponse_free(got);
    MQTTProperties_free(&properties);
}

static void do_unsubscribe(struct client *c, const struct request *r)
{
    if (c->is_v5) {
        MQTTResponse got = MQTTClient_unsubscribe5(c->handle, text_of(r, "filter"), NULL);
        answer_ok(r, "reason", (int)got.reasonCode, got.properties);
        MQTTResponse_free(got);
        return;
    }
    int rc = MQTTClient_unsubscribe(c->handle, text_of(r, "filter"));
    if (rc == MQTTCLIENT_SUCCESS)
        answer_ok(r, "reason", 0, NULL);
    else
        answer_no(r, "UNSUBSCRIBE", rc);
}

static void do_publish(struct client *c, const struct request *r)
{
    MQTTClient_message m = MQTTClient_message_initializer;
    MQTTClient_deliveryToken token = 0;
    const struct word *payload = find(r, "payload");
    int rc;
    m.payload = payload ? payload->value : NULL;
    m.payloadlen = payload ? (int)payload->value_len : 0;
    m.qos = number_of(r, "qos");
    m.retained = number_of(r, "retain");
    if (c->is_v5) {
        m.properties = properties_from_words(r);
        MQTTResponse got = MQTTClient_publishMessage5(c->handle, text_of(r, "topic"), &m, &token);
        rc = (int)got.reasonCode;
        MQTTResponse_free(got);
        MQTTProperties_free(&m.properties);
    } else {
        rc = MQTTClient_publishMessage(c->handle, text_of(r, "topic"), &m, &token);
    }
    if (rc == MQTTCLIENT_SUCCESS && m.qos > 0)
        rc = wait_settled(c, token);
    if (rc == MQTTCLIENT_SUCCESS)
        answer_ok(r, "reason", 0, NULL);
    else
        answer_no(r, "PUBLISH", rc);
}

static void do_disconnect(struct client *c, const struct request *r)
{
    MQTTProperties properties = properties_from_words(r);
    int rc = c->is_v5 ? MQTTClient_disconnect5(c->handle, ANSWER_MS, MQTTREASONCODE_NORMAL_DISCONNECTION, &properties)
                      : MQTTClient_disconnect(c->handle, ANSWER_MS);
    MQTTProperties_free(&properties);
    if (rc == MQTTCLIENT_SUCCESS)
        answer_ok(r, "reason", 0, NULL);
    else
        answer_no(r, "DISCONNECT", rc);
}

int main(void)
{
    static const struct {
        const char *verb;
        void (*run)(struct client *, const struct request *);
    } verbs[] = {{"connect", do_connect},
                 {"subscribe", do_subscribe},
                 {"unsubscribe", do_unsubscribe},
                 {"publish", do_publish},
                 {"disconnect", do_disconnect}};
    struct client c = {.lock = PTHREAD_MUTEX_INITIALIZER, .is_settled = PTHREAD_COND_INITIALIZER};
    struct request r;
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, stdin) > 0) {
        bool is_known = false;
        if (!parse(line, &r))
            continue;
        for (size_t i = 0; i < sizeof verbs / sizeof *verbs && !is_known; i++) {
            is_known = strcmp(verbs[i].verb, r.verb) == 0;
            if (is_known)
                verbs[i].run(&c, &r);
        }
        if (!is_known)
            answer_no(&r, "no such verb", 0);
    }
    free(line);
    return 0;
}

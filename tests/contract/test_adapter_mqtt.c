/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_adapter_mqtt.c: the adapter contract, kept by MQTT in 3.1.1 and 5.0: plainly there, and with all that hangs off
 * a connection of 5.0 here: properties, a will with a delay, topic aliases both ways.
 */
#include "proto_mqtt/mqtt_adapter.h"
#include "tests/contract/adapter_suite.c" /* a program of this folder is one file */

static const struct slice first[] = {
    WORDS("\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x"), WORDS("\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01xy"),
    WORDS("\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01x"),
    WORDS("\x10\xff\xff\xff\x7f\x00\x06MQIsdp\x03\x02"), /* the longest length */
};

static const struct slice foreign[] = {
    WORDS("CONNECT\naccept-version:1.2\n"),
    WORDS("STOMP\naccept-version:1.2\n"),
    WORDS("GET /mqtt HTTP/1.1\r\n"),
    WORDS("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), /* TLS */
    WORDS("\x30\x05\x00\x01t hello"),                      /* MQTT, but no CONNECT */
    WORDS("\x10\x0d\x00\x04HTTP\x04\x02\x00\x3c\x00\x01x"),
    WORDS("\x10\xff\xff\xff\xff\x00\x04MQTT\x04\x02"), /* a length of five bytes */
    WORDS("\x11\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x"),
    WORDS("\x00\x00\x00\x00"),
};

static const struct adapter_fixture v311 = {
    .name = "mqtt 3.1.1",
    .ops = &mqtt_adapter,
    .first = first,
    .first_n = ARRAY_N(first),
    .foreign = foreign,
    .foreign_n = ARRAY_N(foreign),
    .login = WORDS("\x10\x19\x00\x04MQTT\x04\x04\x00\x0a\x00\x01"
                   "a\x00\x04will\x00\x04gone"),
    .login_b = WORDS("\x10\x0d\x00\x04MQTT\x04\x02\x00\x0a\x00\x01"
                     "b"),
    .subscribe = WORDS("\x82\x06\x00\x01\x00\x01t\x01"),
    .publish = WORDS("\x32\x0a\x00\x01t\x00\x07hello"),
    .goodbye = WORDS("\xe0\x00"),
    .unfinished = WORDS("\x34\x09\x00\x01t\x00\x09open"
                        "\x34\x09\x00\x01u\x00\x0aopen"
                        "\x82\x06\x00\x02\x00\x01u\x02"),
    .consume = WORDS("\x82\x10\x00\x03\x00\x0b$queue/gone\x01"),
    .produce = WORDS("\x32\x14\x00\x0b$queue/gone\x00\x0bhello"),
    .queue = "gone",
    .gone_ends = false,
    .bad = WORDS("\x36\x06\x00\x01t\x00\x07x"),
    .silence_ms = 15000,
    .lasts = true,
    .is_named = true,
    .greets = true,
};

static const struct adapter_fixture v5 = {
    .name = "mqtt 5.0",
    .ops = &mqtt_adapter,
    .first = first,
    .first_n = ARRAY_N(first),
    .foreign = foreign,
    .foreign_n = ARRAY_N(foreign),
    .login = WORDS("\x10\x2b\x00\x04MQTT\x05\x04\x00\x0a\x08\x11\x00\x00\x00\x64\x22\x00\x04\x00\x01"
                   "a\x08\x03\x00\x05"
                   "plain\x00\x04will\x00\x04gone"),
    .login_b = WORDS("\x10\x14\x00\x04MQTT\x05\x02\x00\x0a\x06\x22\x00\x05\x21\x00\x05\x00\x01"
                     "b"),
    .subscribe = WORDS("\x82\x12\x00\x01\x02\x0b\x05\x00\x0along/topic\x02"),
    .publish =
        WORDS("\x34\x23\x00\x0along/topic\x00\x07\x0f\x23\x00\x01\x26\x00\x01k\x00\x01v\x02\x00\x00\x00\x64hello"),
    .goodbye = WORDS("\xe0\x00"),
    .unfinished = WORDS("\x34\x0a\x00\x01t\x00\x09\x00open"
                        "\x34\x0a\x00\x01u\x00\x0a\x00open"
                        "\x82\x07\x00\x02\x00\x00\x01u\x02"),
    .consume = WORDS("\x82\x11\x00\x03\x00\x00\x0b$queue/gone\x01"),
    .produce = WORDS("\x32\x15\x00\x0b$queue/gone\x00\x0b\x00hello"),
    .queue = "gone",
    .gone_ends = false,
    .bad = WORDS("\x34\x08\x00\x01t\x00\x07\x01\x7fx"),
    .silence_ms = 15000,
    .lasts = true,
    .is_named = true,
    .greets = true,
};

int main(void)
{
    return adapter_suite_run(&v311) + adapter_suite_run(&v5);
}

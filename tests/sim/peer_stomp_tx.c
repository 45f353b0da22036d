/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_stomp_tx.c: a simulated STOMP peer's transactions.
 *
 *     BEGIN ─ SEND, SEND ... ─┬─ COMMIT ─ RECEIPT: all of them are there; ERROR: none
 *                             ├─ ABORT: none
 *                             └─ the connection ends, at any byte: none, or, when COMMIT had been sent, all or none
 *
 * All goes to named queues, which are emptied at the end of the run, so that the model can tell (model_check_txs).
 */
#include <stdio.h>
#include <string.h>

#include "tests/sim/peer_stomp.h"

static void command(struct peer_stomp *p, enum stomp_command c, const char *id, uint32_t tx)
{
    struct stomp_writer out;
    peer_stomp_begin(p, &out, c, 0);
    stomp_write_known(&out, STOMP_H_TRANSACTION, slice_from_str(id));
    if (c == STOMP_CMD_COMMIT)
        peer_stomp_ask(p, &out, OWED_COMMIT, tx);
    peer_stomp_end(p, &out, stomp_write_end(&out, STOMP_LENGTH_NONE), NULL, 0);
}

static void send_in(struct peer_stomp *p, const char *id, uint32_t tx)
{
    struct world *w = p->w;
    struct pub pub = {.from = p->number * 1000 + p->connections, .qos = 1, .tx = tx + 1};
    char dest[MODEL_NAME + 8];
    pub.queue = 1 + roll(w, world_queues_n);
    snprintf(pub.to, sizeof(pub.to), "%s", world_queues[pub.queue - 1]);
    snprintf(dest, sizeof(dest), "/queue/%s", pub.to);
    uint32_t number = world_pub(w, &pub);
    uint32_t bytes = w->model.pub[number].bytes;
    uint8_t *body = mem_alloc(&w->mem, bytes);
    BUG_ON(body == NULL);
    model_payload(&w->model, number, body);
    struct stomp_writer out;
    peer_stomp_begin(p, &out, STOMP_CMD_SEND, bytes);
    stomp_write_known(&out, STOMP_H_DESTINATION, slice_from_str(dest));
    stomp_write_known(&out, STOMP_H_TRANSACTION, slice_from_str(id));
    if (chance(w, 40))
        stomp_write_known(&out, STOMP_H_PERSISTENT, SLICE("true"));
    peer_stomp_end(p, &out, stomp_write_end(&out, bytes), body, bytes);
    mem_free(&w->mem, body);
    world_trace(w, "%s SEND #%u %s in transaction %s", p->name, number, dest, id);
}

void peer_stomp_transact(struct peer_stomp *p)
{
    struct world *w = p->w;
    if (p->link.out.len > 100000)
        return;
    peer_stomp_out(p);
    size_t before = p->link.out.len;
    uint32_t tx = model_tx_new(&w->model);
    char id[16];
    snprintf(id, sizeof(id), "t%u", tx);
    command(p, STOMP_CMD_BEGIN, id, tx);
    for (uint32_t n = 1 + roll(w, 5); n > 0; n--)
        send_in(p, id, tx);
    bool is_commit = chance(w, 80);
    command(p, is_commit ? STOMP_CMD_COMMIT : STOMP_CMD_ABORT, id, tx);
    world_trace(w, "%s %s %s", p->name, is_commit ? "COMMIT" : "ABORT", id);
    bool is_cut = chance(w, 25);
    if (is_cut) {
        uint32_t all = (uint32_t)(p->link.out.len - before), n = 1 + roll(w, all);
        if (chance(w, 30))
            n = all; /* right behind it */
        is_commit &= n == all;
        p->link.out.len = before + n;
        world_trace(w, "%s cut after %u of %u bytes", p->name, n, all);
    }
    if (!is_commit)
        model_tx_ended(&w->model, tx, TX_LEFT);
    peer_stomp_out(p);
    if (is_cut)
        peer_stomp_leave_badly(p);
}

/* SPDX-License-Identifier: Apache-2.0
 * Shared by loop.c and sockets.c only. */
#ifndef BLOX_TESTS_LOOP_INT_H
#define BLOX_TESTS_LOOP_INT_H

#include <uv.h>

#include "tests/sim/agents.h"

#define HANDLES_MAX 4096u
#define TURNS_US 20u /* between two turns of a busy loop */
#define TIMERS_A_TURN 10000u

enum kind { TIMER, IDLE, PREPARE, ASYNC, UDP, TCP };

struct handle {
    uv_handle_t *uv;
    struct loop *loop;
    enum kind kind;
    bool active, closing;
    uv_close_cb close_cb;
    union {
        uv_timer_cb timer;
        uv_idle_cb idle;
        uv_prepare_cb prepare;
        uv_async_cb async;
    } cb;
    uint64_t due_ms, repeat_ms, start_id;
    uint16_t port;
    uv_alloc_cb alloc_cb;
    uv_udp_recv_cb recv_cb;
    uv_read_cb read_cb;
    uv_connection_cb connection_cb;
    struct connection *connection;
    int side;
    struct connection *accept; /* waits for uv_accept */
    struct written *writes;    /* under way */
};

struct loop {
    uv_loop_t uv;
    struct node *node;
    struct handle *handles[HANDLES_MAX];
    size_t count;
    uint64_t now_ms, start_id, wake_us;
};

static inline struct handle *of(const void *uv)
{
    return ((const uv_handle_t *)uv)->u.reserved[0];
}

int handle_init(uv_loop_t *uv, void *handle, enum kind kind);
void connection_closed(struct handle *h); /* sockets.c: the handle is about to go */

#endif

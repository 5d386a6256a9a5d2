/* SPDX-License-Identifier: Apache-2.0
 * Between sync.c (sessions begun here), sync_serve.c (answers) and sync_sums.c (the tree). */
#ifndef BLOX_GOSSIP_SYNC_INT_H
#define BLOX_GOSSIP_SYNC_INT_H

#include "agent/base/buf.h"
#include "gossip/sync.h"

enum sync_message {
    SYNC_ROOT = 1,
    SYNC_SAME = 2,
    SYNC_SUMS = 3,
    SYNC_LEAVES_MSG = 4,
    SYNC_ROWS = 5,
    SYNC_WANT = 6,
    SYNC_DATA = 7,
    SYNC_NEXT = 8,
    SYNC_REFUSED = 9,
    SYNC_POKE = 10
};

#define SYNC_FLAG_LAST 1u
#define SYNC_REST 0xffffu /* in ROWS: from here on, leaves that did not fit */
#define SYNC_NONE UINT32_MAX

/* A sum as it travels: 64 to 24 bits, differently for each session. */
uint32_t sync_squeeze(uint64_t sum, uint32_t session);
void sync_put_sum(struct wbuf *w, uint32_t sum);
uint32_t sync_get_sum(struct rbuf *b);

/* A row as it travels, 32 bits: 12 name the key within its leaf, 6 hint at the order of versions
 * (their sum, to be compared modulo 64), 14 tell versions apart. Tag and last part are salted. */
uint32_t sync_print(uint64_t key_hash, struct record_version version, uint32_t session);
#define SYNC_TAG(print) ((print) >> 20)
#define SYNC_HINT(print) ((print) >> 14 & 63u)
uint64_t sync_leaf_first(uint32_t leaf);
uint64_t sync_leaf_last(uint32_t leaf);

static inline void sync_bit_set(uint64_t *bits, uint32_t i)
{
    bits[i / 64] |= UINT64_C(1) << (i % 64);
}
static inline void sync_bit_clear(uint64_t *bits, uint32_t i)
{
    bits[i / 64] &= ~(UINT64_C(1) << (i % 64));
}
static inline bool sync_bit(const uint64_t *bits, uint32_t i)
{
    return (bits[i / 64] >> (i % 64) & 1) != 0;
}

void sync_agreed(struct sync *s, uint64_t now_ms);
void sync_header(struct wbuf *w, enum sync_message type, uint32_t session);

/* One leaf's list of prints as ROWS and WANT carry it. */
struct sync_prints {
    uint32_t leaf;
    uint32_t count;
    const uint8_t *at; /* count u32 */
};
/* 0 with *ret, 1 at the end (of the data, or at SYNC_REST), ERR_MALFORMED. *last_leaf starts at
 * SYNC_NONE; leaves must ascend. */
int sync_next_prints(struct rbuf *b, uint32_t *last_leaf, struct sync_prints *ret);
/* Into s->scratch, ascending, found[] cleared. */
void sync_load_prints(struct sync *s, const struct sync_prints *prints);
/* Marks one occurrence found; false: not among them (or all of that value found already). */
bool sync_find_print(struct sync *s, uint32_t count, uint32_t print);
bool sync_has_print(const struct sync *s, uint32_t count, uint32_t print);
/* One not found yet with the same tag: probably another version of the key. SYNC_NONE if none. */
uint32_t sync_find_tag(const struct sync *s, uint32_t count, uint32_t print);

/* A list of rows to send; NULL: all lists are in use. */
struct sync_job *sync_job_take(struct sync *s, uint64_t to, uint32_t session, bool answer);
uint64_t *sync_job_keys(struct sync *s, const struct sync_job *job);

/* B's part: ROOT, LEAVES, WANT, NEXT. */
int sync_serve(struct sync *s, uint64_t now_ms, uint64_t from, uint8_t type, uint32_t session,
               struct rbuf *b, struct wbuf *reply);
/* A poke ends a session that its sender began, and counts once a period. */
bool sync_may_poke(struct sync *s, uint64_t now_ms, uint64_t from, uint32_t session);
size_t sync_poll_jobs(struct sync *s, uint64_t now_ms, uint8_t *out, size_t cap, uint64_t *ret_to);

#endif

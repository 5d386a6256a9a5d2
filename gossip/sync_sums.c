/* SPDX-License-Identifier: Apache-2.0
 * The summary tree of sync, and lists of prints. */
#include "agent/base/hash.h"
#include "gossip/sync_int.h"

uint32_t sync_squeeze(uint64_t sum, uint32_t session)
{
    return (uint32_t)(hash_mix(sum ^ ((uint64_t)session << 32 | session)) >> 40);
}

void sync_put_sum(struct wbuf *w, uint32_t sum)
{
    wbuf_u16(w, (uint16_t)sum);
    wbuf_u8(w, (uint8_t)(sum >> 16));
}

uint32_t sync_get_sum(struct rbuf *b)
{
    uint32_t low = rbuf_u16(b);
    return low | (uint32_t)rbuf_u8(b) << 16;
}

uint32_t sync_print(uint64_t key_hash, struct record_version version, uint32_t session)
{
    uint32_t tag = sync_squeeze(key_hash, session) >> 12;
    uint32_t hint = (uint32_t)(version.hi + version.lo) & 63u;
    uint32_t part = sync_squeeze(record_fingerprint(key_hash, version), session) >> 10;
    return tag << 20 | hint << 14 | part;
}

uint64_t sync_leaf_first(uint32_t leaf)
{
    return (uint64_t)leaf << (64 - SYNC_LEAF_BITS);
}

uint64_t sync_leaf_last(uint32_t leaf)
{
    return sync_leaf_first(leaf) | (UINT64_MAX >> SYNC_LEAF_BITS);
}

static void add(struct sync *s, uint64_t key_hash, uint64_t amount)
{
    uint32_t leaf = (uint32_t)(key_hash >> (64 - SYNC_LEAF_BITS));
    s->leaf[leaf] += amount;
    s->branch[leaf / SYNC_WIDTH] += amount;
    s->root += amount;
}

void sync_changed(struct sync *s, uint64_t key_hash, bool existed, struct record_version before,
                  struct record_version after)
{
    uint64_t amount = record_fingerprint(key_hash, after);
    if (existed)
        amount -= record_fingerprint(key_hash, before);
    else
        s->rows++;
    add(s, key_hash, amount);
}

void sync_removed(struct sync *s, uint64_t key_hash, struct record_version version)
{
    add(s, key_hash, 0 - record_fingerprint(key_hash, version));
    if (s->rows > 0)
        s->rows--;
}

int sync_next_prints(struct rbuf *b, uint32_t *last_leaf, struct sync_prints *ret)
{
    if (rbuf_left(b) == 0)
        return 1;
    uint32_t leaf = rbuf_u16(b);
    if (!b->bad && leaf == SYNC_REST)
        return 1;
    uint64_t count = rbuf_varint(b);
    bool ascends = *last_leaf == SYNC_NONE || leaf > *last_leaf;
    if (b->bad || leaf >= SYNC_LEAVES || !ascends || count > SYNC_LEAF_ROWS)
        return ERR_MALFORMED;
    *ret = (struct sync_prints){.leaf = leaf, .count = (uint32_t)count};
    ret->at = rbuf_bytes(b, (size_t)count * 4);
    *last_leaf = leaf;
    return b->bad ? ERR_MALFORMED : 0;
}

static void sift(uint32_t *a, uint32_t root, uint32_t count)
{
    for (;;) {
        uint32_t child = 2 * root + 1;
        if (child >= count)
            return;
        if (child + 1 < count && a[child + 1] > a[child])
            child++;
        if (a[root] >= a[child])
            return;
        uint32_t swap = a[root];
        a[root] = a[child];
        a[child] = swap;
        root = child;
    }
}

/* Heap sort: qsort() may allocate. */
static void sort(uint32_t *a, uint32_t count)
{
    for (uint32_t i = count / 2; i-- > 0;)
        sift(a, i, count);
    for (uint32_t end = count; end-- > 1;) {
        uint32_t swap = a[0];
        a[0] = a[end];
        a[end] = swap;
        sift(a, 0, end);
    }
}

void sync_load_prints(struct sync *s, const struct sync_prints *prints)
{
    struct rbuf b;
    rbuf_init(&b, prints->at, (size_t)prints->count * 4);
    for (uint32_t i = 0; i < prints->count; i++) {
        s->scratch->theirs[i] = rbuf_u32(&b);
        s->scratch->found[i] = 0;
    }
    sort(s->scratch->theirs, prints->count);
}

static uint32_t lower_bound(const uint32_t *a, uint32_t count, uint32_t print)
{
    uint32_t low = 0;
    uint32_t high = count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (a[mid] < print)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

bool sync_find_print(struct sync *s, uint32_t count, uint32_t print)
{
    const uint32_t *a = s->scratch->theirs;
    for (uint32_t i = lower_bound(a, count, print); i < count && a[i] == print; i++) {
        if (s->scratch->found[i] == 0) {
            s->scratch->found[i] = 1;
            return true;
        }
    }
    return false;
}

bool sync_has_print(const struct sync *s, uint32_t count, uint32_t print)
{
    uint32_t i = lower_bound(s->scratch->theirs, count, print);
    return i < count && s->scratch->theirs[i] == print;
}

uint32_t sync_find_tag(const struct sync *s, uint32_t count, uint32_t print)
{
    const uint32_t *a = s->scratch->theirs;
    uint32_t i = lower_bound(a, count, SYNC_TAG(print) << 20);
    for (; i < count && SYNC_TAG(a[i]) == SYNC_TAG(print); i++) {
        if (s->scratch->found[i] == 0)
            return i;
    }
    return SYNC_NONE;
}

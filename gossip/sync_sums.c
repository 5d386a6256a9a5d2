/* SPDX-License-Identifier: Apache-2.0
 * The summary tree of sync, and lists of prints. */
#include "agent/base/hash.h"
#include "gossip/sync_int.h"

uint32_t sync_squeeze(uint64_t sum, uint32_t session)
{
    return (uint32_t)(hash_mix(sum ^ ((uint64_t)session << 32 | session)) >> 32);
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

bool sync_find_print(struct sync *s, uint32_t count, uint32_t print)
{
    const uint32_t *a = s->scratch->theirs;
    uint32_t low = 0;
    uint32_t high = count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (a[mid] < print)
            low = mid + 1;
        else
            high = mid;
    }
    for (; low < count && a[low] == print; low++) {
        if (s->scratch->found[low] == 0) {
            s->scratch->found[low] = 1;
            return true;
        }
    }
    return false;
}

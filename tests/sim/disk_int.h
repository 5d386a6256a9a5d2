/* SPDX-License-Identifier: Apache-2.0
 * Shared by disk.c and disk_read.c only. */
#ifndef BLOX_TESTS_DISK_INT_H
#define BLOX_TESTS_DISK_INT_H

#include "store/store.h"
#include "tests/sim/agents.h"

#define FACTS_MAX 32u

struct kept {
    struct record rec; /* key and value are ours */
    uint64_t hash, index;
    int64_t stored_unix_ms;
};

struct fact {
    char name[65];
    size_t len;
    uint8_t data[4096];
};

struct op {
    struct op *next;
    enum { OP_APPLY, OP_PURGE, OP_POISON, OP_LOG } type;
    struct record *records;
    struct store_change *changes;
    size_t count;
    struct store_log_write log;
    store_apply_fn applied;
    void (*done)(void *arg, int err);
    void *arg;
    int err;
};

struct list_of_ops {
    struct op *first, **last;
    size_t count;
};

struct disk {
    struct node *node;
    struct store *store; /* open, or NULL */
    bool full, hangs, log_lost, state_lost;
    int health;
    struct kept **by_key, **by_hash;
    size_t rows, cap;
    uint64_t index[RECORD_KIND_END], epoch, purged;
    /* log/ */
    uint64_t term, vote, base_index, base_term, last_index, applied_index, applied_term;
    struct store_log_entry *entries; /* base_index + 1 .. last_index */
    size_t entry_cap;
    struct store_log_intent *intent;
    size_t intent_count, intent_cap;
    uint8_t config[4096];
    size_t config_len;
    struct fact facts[FACTS_MAX];
    size_t fact_count;
};

struct store {
    struct disk *disk;
    struct store_options options;
    struct list_of_ops log, state, done, flying;
    bool busy;
    uint64_t writes, commits;
};

/* Places among the rows: the first that is not less. */
int key_cmp(uint8_t kind, const char *key, size_t len, const struct record *b);
size_t key_at(const struct disk *d, uint8_t kind, const char *key, size_t len);
size_t hash_at(const struct disk *d, uint64_t hash);
struct kept *find(const struct disk *d, uint8_t kind, const char *key, size_t len);

#endif

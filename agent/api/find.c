/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/find.h"

#include <stdio.h>
#include <string.h>

struct search {
    struct store_txn *txn;
    uint8_t kind;
    const char *id;
    bool found;
    uint64_t rows; /* that the texts looked at account for */
    char key[RECORD_KEY_MAX + 1];
};

static int try_key(struct search *s, const char *prefix, size_t prefix_len, const char *name,
                   size_t name_len)
{
    struct store_row row;
    int n = snprintf(s->key, sizeof s->key, "%.*s%.*s%s%s", (int)prefix_len, prefix, (int)name_len,
                     name, name_len > 0 ? "/" : "", s->id);
    if (n < 0 || n > (int)RECORD_KEY_MAX)
        return 0;
    int err = store_get_ref(s->txn, s->kind, s->key, (size_t)n, &row);
    if (err != 0)
        return err == ERR_NOTFOUND ? 0 : err;
    s->found = !row.record.deleted;
    return s->found;
}

/* ARNs of a cluster's resources differ from the cluster's in the type, and have the cluster's name
 * before the id unless they are of the older, short form. */
static int on_cluster(void *arg, const char *text, size_t len, uint64_t rows)
{
    struct search *s = arg;
    char prefix[RECORD_KEY_MAX + 1];
    s->rows += rows;
    const char *type = memmem(text, len, ":cluster/", 9);
    if (type == NULL || len > RECORD_KEY_MAX)
        return 0;
    const char *name = type + 9;
    int n = snprintf(prefix, sizeof prefix, "%.*s:%s/", (int)(type - text), text,
                     s->kind == RECORD_TASK ? "task" : "container-instance");
    if (n < 0 || n > (int)RECORD_KEY_MAX)
        return 0;
    int ret = try_key(s, prefix, (size_t)n, name, (size_t)(text + len - name));
    return ret != 0 ? ret : try_key(s, prefix, (size_t)n, "", 0);
}

static int on_environment(void *arg, const char *text, size_t len, uint64_t rows)
{
    struct search *s = arg;
    s->rows += rows;
    return try_key(s, "", 0, text, len);
}

static int on_first(void *arg, const struct store_row *row)
{
    struct search *s = arg;
    if (row->record.key_len > RECORD_KEY_MAX)
        return 0;
    memcpy(s->key, row->record.key, row->record.key_len);
    s->key[row->record.key_len] = '\0';
    s->found = true;
    return 1;
}

static int on_row(void *arg, const struct store_row *row)
{
    struct search *s = arg;
    size_t len = row->record.key_len, id_len = strlen(s->id);
    const char *end = row->record.key + len - id_len;
    if (len <= id_len || memcmp(end, s->id, id_len) != 0 || end[-1] != '/')
        return 0;
    return on_first(s, row);
}

/* Rows that do not say what cluster or environment they are of are looked through one by one. */
static int find_among_all(struct search *s)
{
    uint64_t total;
    int err = store_count(s->txn, s->kind, 0, NULL, &total);
    if (err == 0 && total <= s->rows)
        return 0;
    return store_scan(s->txn, &(struct store_query){.kind = s->kind}, on_row, s);
}

int find_key(struct store_txn *txn, uint8_t kind, const char *id, char ret_key[RECORD_KEY_MAX + 1])
{
    struct search s = {.txn = txn, .kind = kind, .id = id};
    size_t len = strlen(id);
    int err;
    if (len == 0 || len > RECORD_KEY_MAX)
        return ERR_NOTFOUND;
    if (kind == RECORD_ENVIRONMENT || strncmp(id, "arn:", 4) == 0 || strchr(id, '/') != NULL) {
        memcpy(ret_key, id, len + 1);
        return 0;
    }
    if (kind == RECORD_INSTANCE && strncmp(id, "i-", 2) == 0) {
        struct store_query q = {.kind = kind, .field = ROW_EC2_INSTANCE, .value = id};
        err = store_scan(txn, &q, on_first, &s);
    } else {
        bool deployment = kind == RECORD_DEPLOYMENT;
        err = store_values(txn, kind, deployment ? ROW_ENVIRONMENT : ROW_CLUSTER,
                           deployment ? on_environment : on_cluster, &s);
        if (err == 0 && !s.found)
            err = find_among_all(&s);
    }
    if (err != 0 || !s.found)
        return err != 0 ? err : ERR_NOTFOUND;
    memcpy(ret_key, s.key, strlen(s.key) + 1);
    return 0;
}

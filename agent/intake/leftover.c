/* SPDX-License-Identifier: Apache-2.0
 * What only we have: rows that a comparison's lists did not show are looked at again one by one
 * (stopped meanwhile, or MISSING: a tombstone); those of clusters that are not kept go at once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/intake/intake_int.h"

#define LOOK_MAX 500 /* rows of one slice */
#define DROP_MAX 100 /* ... of which so many are dropped */

struct look {
    struct leftover *leftover;
    struct events_options options;
    size_t left; /* of this slice */
    struct record drop[DROP_MAX];
    char keys[DROP_MAX][RECORD_KEY_MAX];
    size_t drops;
};

void leftover_init(struct leftover *l, const struct clusters *clusters, struct map *seen,
                   void *mark)
{
    const struct store *store = clusters->intake->options.store;
    *l = (struct leftover){.clusters = clusters, .seen = seen, .mark = mark};
    l->started_unix_ms = clock_unix_ms();
    l->started_index[RECORD_TASK] = store_index(store, RECORD_TASK);
    l->started_index[RECORD_INSTANCE] = store_index(store, RECORD_INSTANCE);
}

/* It was there before the lists were asked for; of one that came later they need know nothing,
 * unless it is older than it looks (a peer's). The clock alone may lie: set back, it would call a
 * row new until it has caught up. */
static bool is_older(const struct leftover *l, const struct store_row *row)
{
    return row->index <= l->started_index[row->record.kind] ||
           row->record.observed_unix_ms < l->started_unix_ms;
}

/* Of a cluster that is not kept any more no event and no comparison would ever tell again. */
static void drop(struct look *look, const struct record *rec)
{
    struct record *gone = &look->drop[look->drops];
    *gone = *rec;
    gone->key = memcpy(look->keys[look->drops++], rec->key, rec->key_len);
    gone->value = NULL;
    gone->value_len = 0;
    gone->deleted = true;
    gone->version.lo |= 1; /* record.h: odd means gone */
    gone->source = SOURCE_RECONCILE;
    gone->term = look->leftover->clusters->intake->term;
    gone->observed_unix_ms = clock_unix_ms();
}

static void judge(struct look *look, const struct store_row *row, const char *cluster)
{
    struct leftover *l = look->leftover;
    char arn[RECORD_KEY_MAX + 1];
    memcpy(arn, row->record.key, row->record.key_len);
    arn[row->record.key_len] = '\0';
    if (!events_keeps_cluster(&look->options, cluster)) {
        drop(look, &row->record);
    } else if (!map_has(l->seen, arn) && !intake_is_over(&row->record) &&
               clusters_is_checked(l->clusters, cluster)) {
        intake_refresh_task(l->clusters->intake, cluster, arn); /* takes instances too */
        (void)!map_put(l->seen, arn, l->mark, NULL);            /* asked for once */
    }
}

static int see_row(void *arg, const struct store_row *row)
{
    struct look *look = arg;
    struct leftover *l = look->leftover;
    const struct row_text *of;
    struct row fields;
    char cluster[ARN_MAX];
    memcpy(l->after, row->record.key, row->record.key_len);
    l->after_len = row->record.key_len;
    look->left--;
    if (is_older(l, row) && row_decode(row->record.value, row->record.value_len, &fields) == 0 &&
        (of = &fields.field[ROW_CLUSTER])->data != NULL && of->len < sizeof cluster) {
        snprintf(cluster, sizeof cluster, "%.*s", (int)of->len, of->data);
        judge(look, row, cluster);
    }
    return look->left == 0 || look->drops == DROP_MAX;
}

static int scan(struct look *look, uint8_t kind)
{
    struct leftover *l = look->leftover;
    struct store_txn *txn = NULL;
    char after[RECORD_KEY_MAX]; /* the query's, because see_row moves the other */
    struct store_query query = {
        .kind = kind, .after_key = l->after_len == 0 ? NULL : after, .after_key_len = l->after_len};
    memcpy(after, l->after, l->after_len);
    int err = store_read_begin(l->clusters->intake->options.store, &txn);
    if (err == 0) {
        err = store_scan(txn, &query, see_row, look);
        store_read_end(txn);
    }
    return err;
}

int leftover_look(struct leftover *l, uint8_t kind, bool *ret_more)
{
    struct look *look = calloc(1, sizeof *look);
    if (look == NULL)
        return ERR_NOMEM;
    look->leftover = l;
    look->options = intake_events_options(l->clusters->intake);
    look->left = LOOK_MAX;
    int err = scan(look, kind);
    /* What the store refuses is met again by the next comparison. */
    if (err == 0 && look->drops > 0 &&
        rows_apply(l->clusters->intake->options.rows, look->drop, look->drops, NULL, NULL) == 0)
        LOG(LOG_INFO, "rows_dropped", "of clusters that are not kept (intake.clusters)",
            LU("count", look->drops));
    *ret_more = err == 0 && (look->left == 0 || look->drops == DROP_MAX);
    if (!*ret_more)
        l->after_len = 0;
    free(look);
    return err;
}

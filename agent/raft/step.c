/* SPDX-License-Identifier: Apache-2.0
 * One input through the core, and its effects in the order that makes a crash between any two
 * safe: persist, send (what waits for the disk is held), hand over reads and snapshots, apply. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/ensure.h"
#include "agent/base/log.h"
#include "agent/base/metrics.h"
#include "agent/raft/raft_uv_int.h"

static struct metric commit_time = METRIC_HISTOGRAM_INIT(
    "blox_raft_commit_seconds", NULL,
    "From the leader's taking of a write until it knows it on the disks of a majority.");
static struct metric persist_time = METRIC_HISTOGRAM_INIT(
    "blox_raft_persist_seconds", NULL, "Until this agent's disk had what raft must not forget.");

void step_metrics(void)
{
    metrics_register(&commit_time);
    metrics_register(&persist_time);
}

/* ---- sending ---------------------------------------------------------------------- */

/* A failure is a lost message: raft repairs. Whom no stream reaches is neither led nor asked for
 * its vote by datagrams: entries would not come to it, so another should lead. */
static void transmit(struct raft_uv *r, const struct held *h)
{
    if (h->stream)
        (void)gossip_send_stream(r->o.gossip, CHANNEL_RAFT, h->to, h->bytes, h->len);
    else if (h->answers || gossip_takes_streams(r->o.gossip, h->to))
        (void)gossip_send(r->o.gossip, CHANNEL_RAFT, h->to, h->bytes, h->len);
}

/* Entries and snapshots go in order on the stream, all else as datagrams: a stalled stream must not
 * cost a vote or the lease. */
static bool wants_stream(const struct raft_msg *m)
{
    return m->type == RAFT_SNAPSHOT || (m->type == RAFT_APPEND && m->count > 0);
}

static void send_msg(struct raft_uv *r, const struct raft_msg *m)
{
    size_t len = frame_size(r, m);
    bool now = m->gate <= r->core.saved.hard;
    if (!now && r->held_count >= HELD_MAX)
        return;
    struct held *h = malloc(sizeof(*h) + len);
    if (h == NULL)
        return;
    *h = (struct held){.gate = m->gate, .to = m->to, .stream = wants_stream(m), .len = len};
    h->answers = m->type == RAFT_VOTE_ANSWER || m->type == RAFT_APPEND_ANSWER;
    struct wbuf w;
    wbuf_init(&w, h->bytes, len);
    frame_put(r, m, &w);
    ENSURE(!w.bad && w.len == len);
    if (now) {
        transmit(r, h);
        free(h);
        return;
    }
    *r->held_last = h;
    r->held_last = &h->next;
    r->held_count++;
}

static void release(struct raft_uv *r)
{
    struct held **at = &r->held_first;
    while (*at != NULL) {
        struct held *h = *at;
        if (h->gate > r->core.saved.hard) {
            at = &h->next;
            continue;
        }
        transmit(r, h);
        *at = h->next;
        free(h);
        r->held_count--;
    }
    r->held_last = at;
}

/* ---- persisting the log ----------------------------------------------------------- */

static int log_write(struct raft_uv *r, const struct store_log_write *w,
                     void (*done)(void *arg, int err))
{
    int err = store_log_write(r->o.store, w, done, r);
    if (err == 0)
        r->store_ops++;
    return err;
}

static void on_persisted(void *arg, int err)
{
    struct raft_uv *r = arg;
    err = err < 0 ? err : r->part_err;
    r->part_err = 0;
    if (err < 0 && r->disk_err == 0) /* once, not with each attempt: the disk may be full */
        LOG(LOG_ERROR, "raft_disk", "the raft log could not be written; trying again",
            LS("error", err_text(err)));
    r->disk_err = err;
    if (err < 0) {
        raft_persist_failed(&r->core);
        r->retry_at = clock_mono_ms() + RETRY_MS;
    } else {
        r->cluster_unsaved = false;
        metric_observe_us(&persist_time, (clock_mono_ns() - r->write_ns) / 1000);
        step(r, &(struct raft_input){.type = RAFT_PERSISTED});
    }
    raft_uv_op_done(r);
}

static void on_written(void *arg, int err)
{
    struct raft_uv *r = arg;
    r->part_err = err; /* the write behind it is repeated with this one's content */
    raft_uv_op_done(r);
}

static int write_snapshot(struct raft_uv *r, const struct raft_persist *p, bool last)
{
    uint8_t config[RAFT_CONFIG_BYTES_MAX + 8];
    struct wbuf b;
    wbuf_init(&b, config, sizeof(config));
    wbuf_u64(&b, r->applied_config.index);
    raft_config_encode(&r->applied_config, &b);
    struct store_log_write w = {.set_hard_state = true,
                                .term = p->term,
                                .vote = p->vote,
                                .truncate_from = p->first,
                                .replace_intent = true,
                                .intent = r->snapshot_rows.rows,
                                .intent_count = r->snapshot_rows.count,
                                .applied_index = p->snapshot_index,
                                .applied_term = p->snapshot_term,
                                .compact_to = p->snapshot_index,
                                .base_term = p->snapshot_term,
                                .config = config,
                                .config_len = b.len,
                                .facts = raft_uv_first_facts(r, &r->cluster_id),
                                .fact_count = r->cluster_unsaved ? RAFT_UV_FIRST_FACTS : 0};
    return log_write(r, &w, last ? on_persisted : on_written);
}

static void persist(struct raft_uv *r)
{
    struct raft_persist p;
    static struct store_log_entry entries[RAFT_WINDOW]; /* each step would touch such a frame */
    size_t count = 0;
    int err = 0;
    if (r->closing || clock_mono_ms() < r->retry_at || !raft_persist_begin(&r->core, &p))
        return;
    for (uint64_t k = p.first; k <= p.last; k++) {
        struct raft_entry e;
        bool there = raft_entry_get(&r->core, k, &e);
        ENSURE(there);
        entries[count++] = (struct store_log_entry){
            .index = k, .term = e.term, .type = e.type, .len = e.len, .data = e.data};
    }
    r->write_ms = clock_mono_ms();
    r->write_ns = clock_mono_ns();
    /* A snapshot first, alone: entries follow its index, not what is on disk now. */
    if (p.snapshot)
        err = write_snapshot(r, &p, count == 0);
    struct store_log_write w = {.set_hard_state = true,
                                .term = p.term,
                                .vote = p.vote,
                                .truncate_from = p.first,
                                .entries = entries,
                                .entry_count = count,
                                .facts = raft_uv_first_facts(r, &r->cluster_id),
                                .fact_count = r->cluster_unsaved ? RAFT_UV_FIRST_FACTS : 0};
    if (err == 0 && (!p.snapshot || count > 0))
        err = log_write(r, &w, on_persisted);
    if (err < 0) { /* its queue is full */
        raft_persist_failed(&r->core);
        r->retry_at = clock_mono_ms() + RETRY_MS / 5;
    }
}

/* ---- applying ------------------------------------------------------------------------ */

static void batch_clear(struct rows_batch *b)
{
    buf_clear(&b->bytes);
    b->count = 0;
    b->index = 0;
    b->config_changed = false;
}

/* The log has what the rows say, so that they can wait for company: a write of their own would
 * stand before the next entry's on every voter's disk. The tick writes what is left. */
static bool rows_are_due(const struct raft_uv *r)
{
    return r->rewrite || r->batch.count >= PENDING_ROWS_MAX / 8 ||
           r->batch.bytes.len >= PENDING_BYTES_MAX / 8 ||
           r->applied - r->core.log.applied >= RAFT_WINDOW / 4;
}

static bool batch_is_full(const struct rows_batch *b)
{
    return b->count > PENDING_ROWS_MAX / 2 || b->bytes.len > PENDING_BYTES_MAX / 2;
}

/* Keeps the rows until they are written. False: no room; then all rows are written instead. */
static bool batch_add(struct rows_batch *b, const struct raft_rows *rows)
{
    for (size_t i = 0; i < rows->count; i++) {
        const struct store_log_intent *row = &rows->rows[i];
        if (b->count == PENDING_ROWS_MAX)
            return false;
        struct store_log_intent *to = &b->rows[b->count];
        *to = *row;
        to->key = NULL;
        to->value = NULL;
        if (buf_put(&b->bytes, row->key, row->key_len) < 0 ||
            (row->value_len > 0 && buf_put(&b->bytes, row->value, row->value_len) < 0))
            return false;
        b->count++;
    }
    return true;
}

static void compact(struct raft_uv *r);

static void on_rows(void *arg, int err)
{
    struct raft_uv *r = arg;
    r->batch.flying = false;
    r->disk_err = err;
    if (err < 0) {
        r->rewrite = true;
        r->retry_at = clock_mono_ms() + RETRY_MS;
    } else if (r->applied_disk > r->core.log.applied) {
        step(r, &(struct raft_input){.type = RAFT_APPLIED, .index = r->applied_disk});
        compact(r);
    }
    raft_uv_op_done(r);
}

/* The rows of the last failed write are gone: the state itself still has them all. */
static int all_rows(struct raft_uv *r, struct raft_rows *ret)
{
    struct buf b;
    buf_init(&b, GOSSIP_MESSAGE_MAX);
    int err = r->o.snapshot_save(r->o.arg, &b);
    if (err == 0)
        err = r->o.snapshot_load(r->o.arg, r->applied, r->applied_term, b.data, b.len, ret);
    buf_fini(&b);
    return err;
}

/* Rows and applied index in one transaction; one such write at a time, so that a failed one is
 * never followed by a later one that succeeds. */
static void write_rows(struct raft_uv *r)
{
    struct rows_batch *b = &r->batch;
    uint8_t config[RAFT_CONFIG_BYTES_MAX + 8];
    struct raft_rows all = {0};
    struct wbuf cb;
    if (b->flying || r->closing || clock_mono_ms() < r->retry_at || (b->index == 0 && !r->rewrite))
        return;
    if (raft_is_restoring(&r->core))
        return; /* its own write brings all rows */
    if (r->rewrite && all_rows(r, &all) < 0) {
        r->retry_at = clock_mono_ms() + RETRY_MS;
        return;
    }
    char *at = b->bytes.data;
    for (size_t i = 0; i < b->count; i++) {
        b->rows[i].key = at;
        at += b->rows[i].key_len;
        b->rows[i].value = b->rows[i].value_len > 0 ? at : NULL;
        at += b->rows[i].value_len;
    }
    wbuf_init(&cb, config, sizeof(config));
    wbuf_u64(&cb, r->applied_config.index);
    raft_config_encode(&r->applied_config, &cb);
    struct store_log_write w = {.replace_intent = r->rewrite,
                                .intent = r->rewrite ? all.rows : b->rows,
                                .intent_count = r->rewrite ? all.count : b->count,
                                .applied_index = r->applied,
                                .applied_term = r->applied_term,
                                .config = b->config_changed || r->rewrite ? config : NULL,
                                .config_len = cb.len};
    int err = log_write(r, &w, on_rows);
    if (err < 0) {
        r->retry_at = clock_mono_ms() + RETRY_MS / 5;
        return;
    }
    b->flying = true;
    r->rewrite = false;
    r->applied_disk = r->applied;
    batch_clear(b);
}

/* Up to here entries outlive all voters: a warm spare has them on its disk. Where none answers, or
 * none is near the end of the log, nothing is waited for. */
static uint64_t spread_index(const struct raft_uv *r)
{
    const struct raft *core = &r->core;
    uint64_t best = 0;
    bool any = false;
    for (uint32_t i = 0; i < core->config.count; i++) {
        const struct raft_peer *p = &core->peer[i];
        if (core->config.server[i].voter || p->stamp + VOTERS_SILENT_MS < core->now_ms ||
            p->match + RAFT_AHEAD < core->log.last_index)
            continue;
        any = true;
        best = p->match > best ? p->match : best;
    }
    return any ? best : UINT64_MAX;
}

/* Tells those who wait, in order. What another leader's entry took the place of is unknown. */
static void resolve(struct raft_uv *r)
{
    uint64_t spread = r->waiter_count > 0 ? spread_index(r) : 0;
    while (r->waiter_count > 0) {
        struct waiter w = r->waiter[r->waiter_first];
        if (w.index > r->applied || (w.applied && !w.read && w.index > spread))
            return;
        r->waiter_first = (r->waiter_first + 1) % WAITERS_MAX;
        r->waiter_count--;
        if (w.done != NULL)
            w.done(w.arg, w.applied ? 0 : ERR_TIMEOUT, w.index, w.term);
    }
}

static void note_applied(struct raft_uv *r, const struct raft_entry *e)
{
    for (size_t i = 0; i < r->waiter_count; i++) {
        struct waiter *w = &r->waiter[(r->waiter_first + i) % WAITERS_MAX];
        if (w->index >= e->index) {
            w->applied = w->index == e->index && w->term == e->term;
            if (w->applied)
                metric_observe_us(&commit_time, (r->commit_ns - w->start_ns) / 1000);
            return;
        }
    }
}

void step_fail_waiters(struct raft_uv *r, int err)
{
    while (r->waiter_count > 0) {
        struct waiter w = r->waiter[r->waiter_first];
        r->waiter_first = (r->waiter_first + 1) % WAITERS_MAX;
        r->waiter_count--;
        if (w.done != NULL)
            w.done(w.arg, err, w.index, w.term);
    }
}

static void apply(struct raft_uv *r)
{
    if (r->applying || r->closing || r->quiet != QUIET_NO || r->superseded != 0)
        return;
    r->applying = true;
    r->commit_ns = clock_mono_ns();
    while (r->applied < raft_apply_limit(&r->core) && !batch_is_full(&r->batch)) {
        struct raft_entry e;
        struct raft_rows rows = {0};
        bool there = raft_entry_get(&r->core, r->applied + 1, &e);
        ENSURE(there); /* what is not applied never leaves the window */
        if (e.type == RAFT_COMMAND)
            r->o.apply(r->o.arg, e.index, e.term, e.data, e.len, &rows);
        if (e.type == RAFT_CONFIG && raft_config_decode(e.data, e.len, &r->applied_config) == 0) {
            r->applied_config.index = e.index;
            r->batch.config_changed = true;
        }
        if (!batch_add(&r->batch, &rows))
            r->rewrite = true;
        r->applied = r->batch.index = e.index;
        r->applied_term = e.term;
        note_applied(r, &e);
    }
    resolve(r);
    r->applying = false;
    if (rows_are_due(r))
        write_rows(r);
}

/* ---- compaction ------------------------------------------------------------------------ */

static int take_term(void *arg, const struct store_log_entry *entry)
{
    *(uint64_t *)arg = entry->term;
    return 0;
}

static void on_compacted(void *arg, int err)
{
    struct raft_uv *r = arg;
    r->compacting = false;
    if (err == 0)
        r->base_index = r->compact_to;
    raft_uv_op_done(r);
}

static void compact(struct raft_uv *r)
{
    uint64_t applied = r->core.log.applied, term = 0;
    if (r->compacting || r->closing || applied < r->base_index + 2 * LOG_TRAIL)
        return;
    uint64_t to = applied - LOG_TRAIL;
    if (store_log_read(r->o.store, to, to, take_term, &term) < 0 || term == 0)
        return;
    struct store_log_write w = {.compact_to = to, .base_term = term};
    r->compact_to = to;
    r->compacting = log_write(r, &w, on_compacted) == 0;
}

/* ---- snapshots ---------------------------------------------------------------------------- */

/* A snapshot: index of the configuration u64, its length u16, its bytes, the state. */
static int make_snapshot(struct raft_uv *r)
{
    uint8_t head[10 + RAFT_CONFIG_BYTES_MAX];
    struct wbuf w;
    wbuf_init(&w, head + 10, sizeof(head) - 10);
    raft_config_encode(&r->applied_config, &w);
    size_t config_len = w.len;
    wbuf_init(&w, head, 10);
    wbuf_u64(&w, r->applied_config.index);
    wbuf_u16(&w, (uint16_t)config_len);
    buf_clear(&r->snapshot_out);
    int err = buf_put(&r->snapshot_out, head, 10 + config_len);
    if (err == 0)
        err = r->o.snapshot_save(r->o.arg, &r->snapshot_out);
    r->snapshot_index = err == 0 ? r->applied : 0;
    r->snapshot_term = r->applied_term;
    if (err < 0)
        LOG(LOG_ERROR, "raft_snapshot", "no snapshot could be made", LS("error", err_text(err)));
    return err;
}

/* Made anew unless the last one is still recent: servers that join together share it. */
static void serve_snapshot(struct raft_uv *r, uint64_t num)
{
    bool old = r->snapshot_index == 0 || r->snapshot_index + RAFT_AHEAD < r->core.log.applied ||
               r->snapshot_index < r->core.log.prev_index;
    if (old && make_snapshot(r) < 0)
        return;
    if (r->snapshot_index > r->core.log.applied) {
        write_rows(r);
        return; /* asked again with the next heartbeat */
    }
    r->snapshot_used_ms = clock_mono_ms();
    step(r, &(struct raft_input){.type = RAFT_SUPPLY,
                                 .num = num,
                                 .index = r->snapshot_index,
                                 .term = r->snapshot_term,
                                 .data = (const uint8_t *)r->snapshot_out.data,
                                 .count = (uint32_t)r->snapshot_out.len});
}

static int load_snapshot(struct raft_uv *r, const struct raft_snapshot *in,
                         struct raft_config *config)
{
    struct rbuf b;
    struct raft_rows rows = {0};
    rbuf_init(&b, in->data, in->len);
    uint64_t config_index = rbuf_u64(&b);
    uint16_t config_len = rbuf_u16(&b);
    const uint8_t *bytes = rbuf_bytes(&b, config_len);
    if (b.bad || raft_config_decode(bytes, config_len, config) < 0 || config_index > in->index)
        return ERR_MALFORMED;
    config->index = config_index;
    size_t len = rbuf_left(&b);
    const uint8_t *state = rbuf_bytes(&b, len);
    int err = r->o.snapshot_load(r->o.arg, in->index, in->term, state, len, &rows);
    if (err < 0)
        return err;
    r->snapshot_rows = rows;
    r->applied = in->index;
    r->applied_term = in->term;
    r->applied_config = *config;
    batch_clear(&r->batch); /* all of it is older than the snapshot */
    r->rewrite = false;
    return 0;
}

static void take_snapshot(struct raft_uv *r, const struct raft_snapshot *in)
{
    struct raft_config config = {0};
    int err = load_snapshot(r, in, &config);
    if (err < 0) {
        LOG(LOG_ERROR, "raft_snapshot", "the leader's snapshot could not be loaded",
            LS("error", err_text(err)));
        return;
    }
    LOG(LOG_INFO, "raft_snapshot", "loaded the leader's snapshot", LU("index", in->index));
    step(r, &(struct raft_input){
                .type = RAFT_RESTORE, .index = in->index, .term = in->term, .config = &config});
}

/* ---- the step ------------------------------------------------------------------------------ */

/* A disk that keeps up is heard of after its write, in a moment: one message less. */
static bool is_answered_soon(const struct raft_uv *r, const struct raft_msg *m)
{
    return m->type == RAFT_APPEND_ANSWER && m->ok && r->core.writing &&
           clock_mono_ms() - r->write_ms < ANSWER_SOON_MS;
}

/* What others are to write goes before our own write, for all disks to work at a time (10.2). */
static void perform(struct raft_uv *r, struct raft_out *out)
{
    for (uint32_t i = 0; i < out->msg_count; i++)
        if (wants_stream(&out->msg[i]))
            send_msg(r, &out->msg[i]);
    persist(r);
    for (uint32_t i = 0; i < out->msg_count; i++)
        if (!wants_stream(&out->msg[i]) && !is_answered_soon(r, &out->msg[i]))
            send_msg(r, &out->msg[i]);
    release(r);
    if (out->snapshot.index != 0)
        take_snapshot(r, &out->snapshot);
    for (uint32_t i = 0; i < r->core.config.count; i++)
        if ((out->snapshot_for >> i & 1) != 0)
            serve_snapshot(r, r->core.config.server[i].num);
}

/* On a follower nobody waits for it, but for its answers, and on a small machine for its processor,
 * others do: its timer applies a moment later, what came in between at once. */
static bool applies_later(struct raft_uv *r)
{
    uint64_t limit = raft_apply_limit(&r->core);
    if (r->core.role != RAFT_FOLLOWER || r->waiter_count > 0 || limit <= r->applied ||
        limit - r->applied >= RAFT_WINDOW / 4)
        return false;
    if (r->apply_at == 0)
        r->apply_at = clock_mono_ms() + APPLY_LATER_MS;
    return true;
}

/* Steps nest (a snapshot is supplied and loaded by a step): the first one has r->out, inner ones
 * their own. */
void step(struct raft_uv *r, const struct raft_input *in)
{
    bool outer = !r->stepping;
    struct raft_out *out = outer ? r->out : malloc(sizeof(*out));
    if (out == NULL || r->closing || r->quiet != QUIET_NO || r->superseded != 0) {
        if (!outer)
            free(out);
        return;
    }
    r->stepping = true;
    uint64_t now_ms = clock_mono_ms();
    raft_step(&r->core, now_ms > r->core.now_ms ? now_ms : r->core.now_ms, in, out);
    perform(r, out);
    if (!outer) {
        free(out);
        return;
    }
    r->stepping = false;
    if (!applies_later(r))
        apply(r);
    raft_uv_publish(r);
    raft_uv_arm(r);
}

void step_apply(struct raft_uv *r)
{
    r->apply_at = 0;
    apply(r);
}

void step_flush(struct raft_uv *r)
{
    if (clock_mono_ms() < r->retry_at || r->stepping || r->quiet != QUIET_NO || r->superseded != 0)
        return;
    persist(r);
    if (r->apply_at == 0) /* else the timer does, in a moment */
        apply(r);
    write_rows(r);
}

int step_propose(struct raft_uv *r, const void *data, size_t len, uint64_t *ret_index)
{
    struct raft_out *out = malloc(sizeof(*out));
    uint64_t now_ms = clock_mono_ms();
    if (out == NULL)
        return ERR_NOMEM;
    raft_step(&r->core, now_ms > r->core.now_ms ? now_ms : r->core.now_ms,
              &(struct raft_input){.type = RAFT_PROPOSE, .data = data, .count = (uint32_t)len},
              out);
    int err = out->err;
    *ret_index = out->index;
    perform(r, out);
    free(out);
    raft_uv_arm(r);
    return err;
}

bool step_is_ready(const struct raft_uv *r)
{
    return r->core.role == RAFT_LEADER && r->applied >= r->core.term_start &&
           r->quiet == QUIET_NO && r->superseded == 0;
}

bool step_is_server(const struct raft_uv *r)
{
    const struct raft_server *s = raft_find(&r->core.config, r->self.num);
    return s != NULL && s->disk == r->disk && !r->core.retired && r->superseded == 0 &&
           r->quiet == QUIET_NO;
}

uint64_t step_leader(const struct raft_uv *r)
{
    if (r->superseded != 0 || r->quiet != QUIET_NO)
        return 0;
    if (r->core.role == RAFT_LEADER)
        return step_is_ready(r) ? r->self.num : 0;
    if (r->core.leader != 0)
        return r->core.leader;
    return step_is_server(r) ? 0 : r->known_leader;
}

bool step_in_conflict(const struct raft_uv *r, uint64_t now_ms)
{
    return r->conflict_ms != 0 && now_ms < r->conflict_ms + CONFLICT_MS;
}

/* ---- the first configuration ------------------------------------------------------ */

void step_core_init(struct raft_uv *r, const struct store_log_state *disk,
                    const struct raft_config *config)
{
    struct raft_options o = {.self = r->self.num,
                             .disk = r->disk,
                             .election_ms = r->o.election_ms,
                             .heartbeat_ms = r->o.heartbeat_ms,
                             .seed = prng_next(&r->rng),
                             .arena = r->arena,
                             .arena_len = ARENA_BYTES,
                             .term = disk->term,
                             .vote = disk->vote,
                             .base_index = disk->base_index,
                             .base_term = disk->base_term,
                             .applied_index = disk->applied_index,
                             .config = config};
    raft_init(&r->core, clock_mono_ms(), &o);
    r->base_index = disk->base_index;
    r->applied = r->applied_disk = disk->applied_index;
    r->applied_term = disk->applied_term;
    if (config != NULL)
        r->applied_config = *config;
}

static void on_started(void *arg, int err)
{
    struct raft_uv *r = arg;
    struct store_log_state disk = {
        .term = 1, .base_index = 1, .base_term = 1, .applied_index = 1, .applied_term = 1};
    r->starting = false;
    if (err < 0) {
        LOG(LOG_ERROR, "raft_bootstrap", "the first configuration could not be written",
            LS("error", err_text(err)));
        r->boot.state = BOOT_BOUND; /* tried again by the next tick */
    } else if (!r->closing) {
        r->cluster_id = r->boot.cluster_id;
        step_core_init(r, &disk, &r->boot.config);
        LOG(LOG_INFO, "raft_bootstrap", "this cluster starts", LU("voters", r->boot.config.count));
        raft_uv_publish(r);
        raft_uv_arm(r);
    }
    raft_uv_op_done(r);
}

/* Index 1 of term 1 is this configuration on every chosen server; it lies before the log, as a
 * snapshot of nothing. */
void step_start_cluster(struct raft_uv *r)
{
    uint8_t config[RAFT_CONFIG_BYTES_MAX + 8];
    struct wbuf b;
    wbuf_init(&b, config, sizeof(config));
    wbuf_u64(&b, 1);
    raft_config_encode(&r->boot.config, &b);
    struct store_log_write w = {.set_hard_state = true,
                                .term = 1,
                                .replace_intent = true,
                                .applied_index = 1,
                                .applied_term = 1,
                                .compact_to = 1,
                                .base_term = 1,
                                .config = config,
                                .config_len = b.len,
                                .facts = raft_uv_first_facts(r, &r->boot.cluster_id),
                                .fact_count = RAFT_UV_FIRST_FACTS};
    int err = log_write(r, &w, on_started);
    r->starting = err == 0;
    if (err < 0)
        r->boot.state = BOOT_BOUND;
}

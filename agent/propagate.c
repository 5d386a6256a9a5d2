/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/propagate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/owed.h"
#include "agent/repair.h"
#include "agent/tally.h"

#define TIMEOUT_MS 10000
#define TIMEOUT_MAX_MS 30000
#define REPORT_US 200000u /* to the second report; each wait is twice the one before */
#define REPORTS_MAX 7u    /* in 13 s; a twentieth lost each time loses all once in 10^9 */
#define KEEP_MS 60000
#define PURGE_EVERY_US 10000000u
#define PURGE_MAX 1000u  /* in one round */
#define LOOKS_MAX 32768u /* records that a member looks for in its store in a second, if asked */

/* Datagrams on the channel of calls; 1 and 2 are requests and answers, on streams only; repair.h
 * has two more. */
#define NOTE_HAVE_ALL 3u
#define NOTE_LEN 13u /* u8 kind, u64 run, u32 microseconds since the sender had all */

struct target {
    uint64_t num;
    char id[AGENT_ID_MAX];
    uint64_t us; /* since the start; 0: not heard of */
};

struct measurement {
    propagate_done_fn done; /* NULL: none under way */
    void *arg;
    uint64_t run;
    uint32_t count, bytes;
    uint64_t start_us, due_us;
    struct target *targets;
    size_t target_count, heard;
};

struct propagate {
    struct agent *agent;
    struct tally tally;
    struct measurement m;
    struct owed owed;
    uint64_t looks_us; /* the second of looks_left ends */
    uint32_t looks_left;
    uint64_t purge_us; /* when old test records are looked for again */
    uint32_t purging;  /* on their way out */
    uint32_t writing;  /* runs that the store has not answered yet, in their order */
    bool more;         /* than one round takes */
    uint64_t last_run;
};

static uint64_t now_us(void)
{
    return clock_mono_ns() / 1000;
}

/* ---- the answer ------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static json_t *ms_of(uint64_t us)
{
    return json_real((double)us / 1000.0);
}

static json_t *answer_json(const struct measurement *m)
{
    char text[CLOCK_TEXT_MAX];
    uint64_t *times = calloc(m->target_count + 1, sizeof *times);
    json_t *j = json_object();
    json_t *members = json_array();
    json_t *missing = json_array();
    size_t n = 0;
    for (size_t i = 0; i < m->target_count; i++) {
        const struct target *t = &m->targets[i];
        json_t *row = json_object();
        json_set_str(row, "id", t->id);
        json_object_set_new(row, "ms", t->us == 0 ? json_null() : ms_of(t->us));
        json_array_append_new(members, row);
        if (t->us == 0)
            json_array_append_new(missing, json_string(t->id));
        else if (times != NULL)
            times[n++] = t->us;
    }
    json_set_int(j, "count", m->count);
    json_set_int(j, "bytes", m->bytes);
    json_set_str(j, "started_at", clock_format_unix_ms((int64_t)m->run, text));
    json_set_bool(j, "all", m->heard == m->target_count);
    if (n > 0) {
        qsort(times, n, sizeof *times, by_value);
        json_object_set_new(j, "p50_ms", ms_of(tally_percentile(times, n, 0.5)));
        json_object_set_new(j, "p99_ms", ms_of(tally_percentile(times, n, 0.99)));
        json_object_set_new(j, "last_ms", ms_of(times[n - 1]));
    }
    json_object_set_new(j, "members", members);
    json_object_set_new(j, "missing", missing);
    free(times);
    return j;
}

static void refuse(propagate_done_fn done, void *arg, int err, const char *field,
                   const char *detail)
{
    struct intent_result r = {.err = err};
    snprintf(r.detail, sizeof r.detail, "%s", detail);
    snprintf(r.field, sizeof r.field, "%s", field);
    done(arg, &r);
}

static void end(struct propagate *p, int err, const char *detail)
{
    struct measurement m = p->m;
    p->m = (struct measurement){0};
    if (err != 0) {
        refuse(m.done, m.arg, err, "", detail);
    } else {
        json_t *body = answer_json(&m);
        m.done(m.arg, &(struct intent_result){.body = body});
        json_decref(body);
    }
    free(m.targets);
}

static void heard_from(struct propagate *p, uint64_t num, uint64_t run, uint64_t at_us)
{
    struct measurement *m = &p->m;
    owed_settled(&p->owed, num, run);
    if (m->done == NULL || m->run != run)
        return;
    for (size_t i = 0; i < m->target_count; i++) {
        struct target *t = &m->targets[i];
        if (t->num != num || t->us != 0)
            continue;
        t->us = at_us > m->start_us ? at_us - m->start_us : 1;
        m->heard++;
        break;
    }
    if (m->heard == m->target_count)
        end(p, 0, NULL);
}

/* ---- reports ---------------------------------------------------------------------------- */

static int send_report(struct propagate *p, const struct tally_run *r, uint64_t now)
{
    uint64_t age_us = now - r->done_us;
    uint8_t bytes[NOTE_LEN];
    struct wbuf w;
    wbuf_init(&w, bytes, sizeof bytes);
    wbuf_u8(&w, NOTE_HAVE_ALL);
    wbuf_u64(&w, r->run);
    wbuf_u32(&w, age_us > UINT32_MAX ? UINT32_MAX : (uint32_t)age_us);
    return gossip_send(p->agent->gossip, CHANNEL_CALL, r->origin, bytes, w.len);
}

/* Repeated instead of acknowledged: to answer all would be the origin's greatest expense, and show
 * in what is measured. */
static void report(struct propagate *p, struct tally_run *r)
{
    uint64_t now = now_us();
    if (r->origin == gossip_self(p->agent->gossip)) {
        r->reports = REPORTS_MAX;
        heard_from(p, r->origin, r->run, r->done_us);
        return;
    }
    r->due_us = now + (REPORT_US << r->reports++);
    agent_busy(p->agent);
    if (send_report(p, r, now) != 0)
        return; /* not a live member just now: the next one may be heard */
}

/* The origin has not heard that we have all of its run, or we lack some. */
static void on_asked(struct propagate *p, uint64_t origin, uint64_t run, uint32_t count)
{
    uint64_t now = now_us();
    if (now >= p->looks_us) {
        p->looks_us = now + 1000000;
        p->looks_left = LOOKS_MAX;
    }
    if (count > p->looks_left)
        return; /* it asks again */
    p->looks_left -= count;
    const struct tally_run *r = repair_tell(p->agent, &p->tally, origin, run, count, now);
    if (r != NULL)
        (void)send_report(p, r, now);
}

static void on_note(void *arg, uint64_t from, const uint8_t *data, size_t len)
{
    struct propagate *p = arg;
    struct rbuf b;
    rbuf_init(&b, data, len);
    uint8_t kind = rbuf_u8(&b);
    uint64_t run = rbuf_u64(&b);
    if (kind == NOTE_HAVE_ALL) {
        uint64_t age_us = rbuf_u32(&b);
        uint64_t now = now_us();
        if (!b.bad)
            heard_from(p, from, run, now > age_us ? now - age_us : 0);
    } else if (kind == NOTE_ASK) {
        uint16_t count = rbuf_u16(&b);
        if (!b.bad && !p->agent->stopping)
            on_asked(p, from, run, count);
    } else if (kind == NOTE_HAS && !b.bad && !p->agent->stopping) {
        repair_serve(p->agent, &p->owed, from, run, &b);
    }
}

static void on_rows(void *arg, const struct record *records, const struct store_change *changes,
                    size_t count, bool from_peers)
{
    struct agent *a = arg;
    (void)from_peers;
    struct tally_id id;
    for (size_t i = 0; i < count; i++) {
        if (records[i].kind != RECORD_TEST || !changes[i].applied || records[i].deleted)
            continue;
        if (a->propagate == NULL || a->gossip == NULL || a->stopping)
            return;
        if (tally_parse(records[i].key, records[i].key_len, &id) != 0)
            continue;
        struct tally_run *r = tally_note(&a->propagate->tally, &id, now_us());
        if (r != NULL)
            report(a->propagate, r);
    }
}

/* ---- a run --------------------------------------------------------------------------------- */

static int list_targets(struct propagate *p, uint64_t timeout_us)
{
    struct agent *a = p->agent;
    struct measurement *m = &p->m;
    size_t count = gossip_count(a->gossip);
    m->targets = calloc(count == 0 ? 1 : count, sizeof *m->targets);
    if (m->targets == NULL)
        return ERR_NOMEM;
    owed_begin(&p->owed, m->run, m->count, m->bytes, now_us(), now_us() + timeout_us);
    for (size_t i = 0; i < count; i++) {
        const struct gossip_member *g = gossip_at(a->gossip, i);
        if (g->state == MEMBER_FAILED || g->state == MEMBER_LEFT)
            continue;
        struct target *t = &m->targets[m->target_count++];
        t->num = g->num;
        if (!g->self)
            owed_target(&p->owed, g->num);
        memcpy(t->id, g->id, sizeof t->id);
    }
    return 0;
}

/* Who has no room for its own records has nothing to measure with, and nobody else gets them. */
static void on_written(void *arg, int err, const struct record *records,
                       const struct store_change *changes, size_t count)
{
    struct agent *a = arg;
    struct propagate *p = a->propagate;
    (void)records;
    (void)changes;
    (void)count;
    /* A run whose time was up before the disk answered is not the one that is under way. */
    if (p == NULL || --p->writing > 0 || err == 0 || p->m.done == NULL)
        return;
    if (err == ERR_FULL)
        end(p, err, "the disk of this agent's agent.data_dir is full: it takes no test records");
    else
        end(p, ERR_READONLY, "the disk of this agent's agent.data_dir refuses test records");
}

static int make_records(struct propagate *p)
{
    struct agent *a = p->agent;
    struct measurement *m = &p->m;
    struct record *list = calloc(m->count, sizeof *list);
    char(*keys)[TALLY_KEY_MAX] = calloc(m->count, sizeof *keys);
    uint8_t *value = malloc(m->bytes + 8);
    int err = list == NULL || keys == NULL || value == NULL ? ERR_NOMEM : 0;
    if (err == 0) {
        for (size_t i = 0; i < m->bytes; i++)
            value[i] = (uint8_t)(prng_next(&a->prng) >> 56);
        for (uint32_t i = 0; i < m->count; i++) {
            struct tally_id id = {gossip_self(a->gossip), m->run, m->count, i};
            list[i] = (struct record){.kind = RECORD_TEST,
                                      .source = SOURCE_OPERATOR,
                                      .key = keys[i],
                                      .key_len = (uint16_t)tally_key(&id, keys[i]),
                                      .value = value,
                                      .value_len = m->bytes,
                                      .version = {.hi = m->run, .lo = i},
                                      .observed_unix_ms = (int64_t)m->run};
        }
        m->start_us = now_us();
        err = rows_apply(a->rows, list, m->count, on_written, a);
        p->writing += err == 0;
    }
    free(value);
    free(keys);
    free(list);
    return err;
}

/* Reads a whole number within bounds; false: refused. */
static bool take(const json_t *command, const char *name, int64_t other, int64_t min, int64_t max,
                 int64_t *ret, propagate_done_fn done, void *arg)
{
    char detail[160];
    const json_t *j = json_object_get(command, name);
    *ret = j == NULL ? other : json_is_integer(j) ? json_integer_value(j) : -1;
    if (*ret >= min && *ret <= max)
        return true;
    snprintf(detail, sizeof detail, "\"%s\" must be a whole number from %lld to %lld", name,
             (long long)min, (long long)max);
    refuse(done, arg, ERR_BADBODY, name, detail);
    return false;
}

void propagate_run(struct propagate *p, const json_t *command, propagate_done_fn done, void *arg)
{
    int64_t count, bytes, timeout_ms;
    if (p == NULL || p->agent->gossip == NULL) {
        refuse(done, arg, ERR_NOTREADY, "", "this agent has not joined a cluster yet");
        return;
    }
    if (!take(command, "count", 1, 1, TALLY_COUNT_MAX, &count, done, arg) ||
        !take(command, "bytes", 200, 0, TALLY_BYTES_MAX, &bytes, done, arg) ||
        !take(command, "timeout_ms", TIMEOUT_MS, 100, TIMEOUT_MAX_MS, &timeout_ms, done, arg))
        return;
    if (count * bytes > (int64_t)TALLY_TOTAL_MAX) {
        refuse(done, arg, ERR_BADBODY, "bytes", "count times bytes may be at most 4194304");
        return;
    }
    if (p->m.done != NULL) {
        refuse(done, arg, ERR_BUSY, "", "a measurement is under way on this agent; wait for it");
        return;
    }
    /* Two in a millisecond are two: records of the same keys would be none at all. */
    uint64_t run = (uint64_t)clock_unix_ms();
    p->last_run = run = run > p->last_run ? run : p->last_run + 1;
    p->m = (struct measurement){
        .done = done, .arg = arg, .run = run, .count = (uint32_t)count, .bytes = (uint32_t)bytes};
    int err = list_targets(p, (uint64_t)timeout_ms * 1000);
    if (err == 0)
        err = make_records(p);
    agent_busy(p->agent);
    p->m.due_us = p->m.start_us + (uint64_t)timeout_ms * 1000;
    if (err == 0)
        return;
    owed_end(&p->owed, run);
    end(p, err, "the store takes no test records now; try again");
}

void propagate_member(struct propagate *p, const struct gossip_member *m, enum gossip_state before)
{
    bool was_live = before >= MEMBER_ALIVE && before <= MEMBER_SUSPECT;
    bool live = m->state >= MEMBER_ALIVE && m->state <= MEMBER_SUSPECT;
    if (p == NULL || m->self || was_live || !live)
        return;
    owed_returned(&p->owed, m->num, now_us());
    if (owed_is_busy(&p->owed))
        agent_busy(p->agent);
}

/* ---- time ---------------------------------------------------------------------------------- */

struct purging {
    struct agent *agent;
    int64_t now_unix_ms;
    unsigned count;
};

/* Test records are in no fingerprint, so nobody needs to know that they go. */
static void purged(void *arg, int err)
{
    struct agent *a = arg;
    struct propagate *p = a->propagate;
    (void)err;
    if (p == NULL || --p->purging > 0 || !p->more)
        return;
    p->purge_us = 0;
    agent_busy(a);
}

static int purge_row(void *arg, const struct store_row *row)
{
    struct purging *g = arg;
    struct propagate *p = g->agent->propagate;
    const struct record *rec = &row->record;
    /* Either way: the origin's clock may be ahead of ours. */
    int64_t age = g->now_unix_ms - rec->observed_unix_ms;
    if (age > -KEEP_MS && age < KEEP_MS)
        return 0;
    p->purging++;
    if (store_purge(g->agent->store, rec, purged, g->agent) != 0) {
        p->purging--;
        return 1; /* the rest in the next round */
    }
    p->more = ++g->count == PURGE_MAX;
    return p->more;
}

static void purge_old(struct agent *a)
{
    struct store_txn *txn = NULL;
    struct store_query query = {.kind = RECORD_TEST, .with_deleted = true};
    struct purging g = {.agent = a, .now_unix_ms = clock_unix_ms()};
    a->propagate->more = false;
    if (store_read_begin(a->store, &txn) != 0)
        return;
    if (store_scan(txn, &query, purge_row, &g) == 0 && g.count > 0)
        LOG(LOG_DEBUG, "test_records_purged", "", LU("count", g.count));
    store_read_end(txn);
}

static bool has_more_to_report(const struct tally_run *r)
{
    return r->origin != 0 && r->have == r->count && r->reports < REPORTS_MAX;
}

bool propagate_is_busy(const struct propagate *p)
{
    bool busy = p != NULL && (p->m.done != NULL || owed_is_busy(&p->owed));
    for (size_t i = 0; p != NULL && i < TALLY_RUNS_MAX; i++)
        busy = busy || has_more_to_report(&p->tally.run[i]);
    return busy;
}

void propagate_tick(struct propagate *p)
{
    if (p == NULL || p->agent->gossip == NULL)
        return;
    if (p->m.done != NULL && now_us() >= p->m.due_us)
        end(p, 0, NULL); /* the answer names those that are missing */
    if (owed_is_busy(&p->owed))
        repair_tick(p->agent, &p->owed, now_us());
    for (size_t i = 0; i < TALLY_RUNS_MAX; i++) {
        struct tally_run *r = &p->tally.run[i];
        if (has_more_to_report(r) && now_us() >= r->due_us)
            report(p, r);
    }
    if (now_us() >= p->purge_us && p->purging == 0) {
        p->purge_us = now_us() + PURGE_EVERY_US;
        purge_old(p->agent);
    }
}

void propagate_stop(struct propagate *p)
{
    if (p != NULL && p->m.done != NULL)
        end(p, ERR_CLOSED, "this agent is stopping; ask another");
}

int propagate_create(struct propagate **ret, struct agent *a)
{
    struct propagate *p = calloc(1, sizeof *p);
    if (p == NULL)
        return ERR_NOMEM;
    p->agent = a;
    gossip_on(a->gossip, CHANNEL_CALL, on_note, p);
    rows_listen(a->rows, on_rows, a);
    *ret = p;
    return 0;
}

void propagate_destroy(struct propagate *p)
{
    if (p == NULL)
        return;
    free(p->m.targets);
    free(p);
}

/* SPDX-License-Identifier: Apache-2.0
 * Answers of sync to a peer that began a session, and the sending of rows. */
#include "agent/base/ensure.h"
#include "gossip/sync_int.h"

#define PAUSE_MS 10u

/* ---- who began a session ------------------------------------------------------------- */

/* One place for each member, and that of the one heard last longest ago for a further one: its
 * session times out, and it begins another. */
static void open_session(struct sync *s, uint64_t now_ms, uint64_t from, uint32_t session)
{
    struct sync_guest *guest = &s->guests[0];
    for (uint32_t i = 0; i < SYNC_GUESTS; i++) {
        struct sync_guest *at = &s->guests[i];
        if (at->from == from) {
            guest = at;
            break;
        }
        if (at->heard_ms < guest->heard_ms)
            guest = at;
    }
    if (guest->from != from)
        *guest = (struct sync_guest){.from = from};
    guest->session = session;
    guest->heard_ms = now_ms;
}

static struct sync_guest *find_session(struct sync *s, uint64_t now_ms, uint64_t from,
                                       uint32_t session)
{
    for (uint32_t i = 0; i < SYNC_GUESTS; i++) {
        struct sync_guest *guest = &s->guests[i];
        if (guest->from != from || guest->session != session)
            continue;
        guest->heard_ms = now_ms;
        return guest;
    }
    return NULL;
}

/* NULL: of no rows, at present. */
static struct sync_guest *may_be_told(struct sync_guest *guest, uint64_t now_ms)
{
    if (guest != NULL && now_ms - guest->since_ms >= SYNC_PERIOD_MS) {
        guest->since_ms = now_ms;
        guest->prints = 0;
    }
    return guest != NULL && guest->prints < SYNC_PRINTS ? guest : NULL;
}

bool sync_may_poke(struct sync *s, uint64_t now_ms, uint64_t from, uint32_t session)
{
    struct sync_guest *guest = find_session(s, now_ms, from, session);
    if (guest == NULL || (guest->poked_ms != 0 && now_ms - guest->poked_ms < SYNC_PERIOD_MS))
        return false;
    guest->poked_ms = now_ms;
    return true;
}

/* ---- ROWS --------------------------------------------------------------------------- */

struct printer {
    struct wbuf *w;
    uint32_t session;
    uint32_t count;
};

static int print_row(void *arg, uint64_t key_hash, struct record_version version)
{
    struct printer *p = arg;
    if (p->count == SYNC_LEAF_ROWS)
        return 1;
    p->count++;
    wbuf_u32(p->w, sync_print(key_hash, version, p->session));
    return p->w->bad;
}

/* A count as varint of fixed length, so that it can be set after the rows were written. */
static void set_count(uint8_t *at, uint32_t count)
{
    at[0] = (uint8_t)(0x80 | (count & 0x7f));
    at[1] = (uint8_t)(0x80 | (count >> 7 & 0x7f));
    at[2] = (uint8_t)(count >> 14 & 0x7f);
}

_Static_assert(SYNC_LEAF_ROWS < 1u << 21, "three bytes of varint hold a leaf's count");

static int write_leaf(struct sync *s, uint32_t session, uint32_t leaf, struct wbuf *w,
                      uint32_t *rows)
{
    struct printer p = {.w = w, .session = session};
    wbuf_u16(w, (uint16_t)leaf);
    size_t count_at = w->len;
    wbuf_bytes(w, "\0\0\0", 3);
    int err =
        s->options.scan(s->options.arg, sync_leaf_first(leaf), sync_leaf_last(leaf), print_row, &p);
    if (err < 0)
        return err;
    if (w->bad)
        return ERR_TOOBIG;
    set_count(w->data + count_at, p.count);
    *rows += p.count;
    return 0;
}

/* Prints of the leaves in bits, as many as one go allows, and the numbers of the others. */
static int write_rows(struct sync *s, struct sync_guest *guest, uint64_t bits[SYNC_LEAVES / 64],
                      struct wbuf *w)
{
    uint32_t rows = 0;
    uint32_t leaves = 0;
    sync_header(w, SYNC_ROWS, guest->session);
    for (uint32_t i = 0; i < SYNC_LEAVES; i++) {
        if (!sync_bit(bits, i))
            continue;
        if (rows >= SYNC_LEAF_ROWS / 2 || leaves >= SYNC_STEP_LEAVES)
            break;
        int err = write_leaf(s, guest->session, i, w, &rows);
        if (err != 0)
            return err;
        sync_bit_clear(bits, i);
        leaves++;
    }
    guest->prints += rows + leaves;
    wbuf_u16(w, SYNC_REST);
    for (uint32_t i = 0; i < SYNC_LEAVES; i++) {
        if (sync_bit(bits, i))
            wbuf_u16(w, (uint16_t)i);
    }
    return w->bad ? ERR_TOOBIG : 0;
}

/* ---- requests ------------------------------------------------------------------------ */

static int serve_root(struct sync *s, uint64_t now_ms, uint64_t from, uint32_t session,
                      struct rbuf *b, struct wbuf *reply)
{
    uint64_t root = rbuf_u64(b);
    if (b->bad || rbuf_left(b) > 0)
        return ERR_MALFORMED;
    if (root == s->root) {
        sync_agreed(s, now_ms);
        sync_header(reply, SYNC_SAME, session);
        return 0;
    }
    open_session(s, now_ms, from, session);
    sync_header(reply, SYNC_SUMS, session);
    for (uint32_t i = 0; i < SYNC_WIDTH; i++)
        sync_put_sum(reply, sync_squeeze(s->branch[i], session));
    return 0;
}

static int serve_leaves(struct sync *s, struct sync_guest *guest, uint32_t session, struct rbuf *b,
                        struct wbuf *reply)
{
    uint64_t differ[SYNC_LEAVES / 64] = {0};
    uint32_t next = 0;
    while (rbuf_left(b) > 0) {
        uint32_t branch = rbuf_u8(b);
        if (branch < next || branch >= SYNC_WIDTH)
            return ERR_MALFORMED;
        next = branch + 1;
        for (uint32_t i = 0; i < SYNC_WIDTH; i++) {
            uint32_t leaf = branch * SYNC_WIDTH + i;
            if (sync_get_sum(b) != sync_squeeze(s->leaf[leaf], session))
                sync_bit_set(differ, leaf);
        }
    }
    if (b->bad)
        return ERR_MALFORMED;
    return guest != NULL ? write_rows(s, guest, differ, reply) : 0;
}

static int serve_next(struct sync *s, struct sync_guest *guest, struct rbuf *b, struct wbuf *reply)
{
    uint64_t bits[SYNC_LEAVES / 64] = {0};
    while (rbuf_left(b) > 0) {
        uint32_t leaf = rbuf_u16(b);
        if (b->bad || leaf >= SYNC_LEAVES)
            return ERR_MALFORMED;
        sync_bit_set(bits, leaf);
    }
    if (b->bad)
        return ERR_MALFORMED;
    return guest != NULL ? write_rows(s, guest, bits, reply) : 0;
}

struct picker {
    struct sync *s;
    struct sync_job *job;
    uint64_t *keys;
    uint32_t count; /* of prints in scratch */
    uint32_t session;
};

static int pick_row(void *arg, uint64_t key_hash, struct record_version version)
{
    struct picker *p = arg;
    if (p->job->count == p->s->options.job_rows)
        return 1;
    uint32_t print = sync_print(key_hash, version, p->session);
    if (sync_find_print(p->s, p->count, print))
        p->keys[p->job->count++] = key_hash;
    return 0;
}

static int serve_want(struct sync *s, uint64_t from, uint32_t session, struct rbuf *b,
                      struct wbuf *reply)
{
    struct rbuf first = *b;
    struct sync_prints prints;
    uint32_t last = SYNC_NONE;
    int more;
    while ((more = sync_next_prints(&first, &last, &prints)) == 0) {
    }
    if (more < 0 || rbuf_left(&first) > 0)
        return ERR_MALFORMED;
    struct sync_job *job = sync_job_take(s, from, session, true);
    if (job == NULL) {
        s->stats.refused++;
        sync_header(reply, SYNC_REFUSED, session);
        return 0;
    }
    struct picker p = {.s = s, .job = job, .keys = sync_job_keys(s, job), .session = session};
    last = SYNC_NONE;
    while (sync_next_prints(b, &last, &prints) == 0) {
        sync_load_prints(s, &prints);
        p.count = prints.count;
        s->options.scan(s->options.arg, sync_leaf_first(prints.leaf), sync_leaf_last(prints.leaf),
                        pick_row, &p);
    }
    return 0;
}

int sync_serve(struct sync *s, uint64_t now_ms, uint64_t from, uint8_t type, uint32_t session,
               struct rbuf *b, struct wbuf *reply)
{
    if (type == SYNC_ROOT)
        return serve_root(s, now_ms, from, session, b, reply);
    struct sync_guest *guest = may_be_told(find_session(s, now_ms, from, session), now_ms);
    if (type == SYNC_LEAVES_MSG)
        return serve_leaves(s, guest, session, b, reply);
    if (type == SYNC_NEXT)
        return serve_next(s, guest, b, reply);
    ENSURE(type == SYNC_WANT);
    return serve_want(s, from, session, b, reply);
}

/* ---- lists of rows being sent ---------------------------------------------------------- */

uint64_t *sync_job_keys(struct sync *s, const struct sync_job *job)
{
    return s->job_keys + (size_t)(job - s->jobs) * s->options.job_rows;
}

/* One list of a kind to each: who asks again has given up the one before, and who only asks does
 * not keep others from theirs. */
struct sync_job *sync_job_take(struct sync *s, uint64_t to, uint32_t session, bool answer)
{
    struct sync_job *job = NULL;
    for (uint32_t i = 0; i < SYNC_JOBS; i++) {
        struct sync_job *at = &s->jobs[i];
        if (at->to == to && at->answer == answer) {
            job = at;
            break;
        }
        if (at->to == 0 && job == NULL)
            job = at;
    }
    if (job != NULL)
        *job = (struct sync_job){.to = to, .session = session, .answer = answer};
    return job;
}

struct sender {
    struct wbuf *w;
    bool full;
};

static void send_row(void *arg, const struct record *rec)
{
    struct sender *sender = arg;
    size_t before = sender->w->len;
    if (record_encode_fixed(rec, sender->w) != 0) {
        sender->w->len = before;
        sender->w->bad = 0;
        sender->full = true;
    }
}

static size_t fill_data(struct sync *s, struct sync_job *job, uint8_t *out, size_t cap)
{
    const uint64_t *keys = sync_job_keys(s, job);
    struct wbuf w;
    wbuf_init(&w, out, cap);
    sync_header(&w, SYNC_DATA, job->session);
    size_t flags_at = w.len;
    wbuf_u8(&w, 0);
    struct sender sender = {.w = &w};
    while (job->next < job->count && w.len < SYNC_BATCH) {
        s->options.load(s->options.arg, keys[job->next], send_row, &sender);
        if (sender.full) /* cannot be in an empty message: cap holds the largest record */
            break;
        job->next++;
    }
    bool last = job->next == job->count || job->bytes + w.len > SYNC_JOB_BYTES;
    if (last && job->answer)
        out[flags_at] = SYNC_FLAG_LAST;
    return w.len;
}

size_t sync_poll_jobs(struct sync *s, uint64_t now_ms, uint8_t *out, size_t cap, uint64_t *ret_to)
{
    for (uint32_t i = 1; i <= SYNC_JOBS; i++) {
        uint32_t index = (s->last_job + i) % SYNC_JOBS;
        struct sync_job *job = &s->jobs[index];
        if (job->to == 0 || job->paused_until_ms > now_ms)
            continue;
        s->last_job = index;
        s->last_next = job->next;
        s->last_open = true;
        s->last_len = fill_data(s, job, out, cap);
        *ret_to = job->to;
        return s->last_len;
    }
    return 0;
}

void sync_sent(struct sync *s, uint64_t now_ms, int err)
{
    if (!s->last_open)
        return; /* a request: lost ones time out */
    s->last_open = false;
    struct sync_job *job = &s->jobs[s->last_job];
    if (err == ERR_BUSY || err == ERR_NOMEM) {
        job->next = s->last_next;
        job->paused_until_ms = now_ms + PAUSE_MS;
        if (++job->refusals > SYNC_TIMEOUT_MS / PAUSE_MS)
            job->to = 0;
        return;
    }
    s->stats.rows_sent += job->next - s->last_next;
    job->refusals = 0;
    job->bytes += s->last_len;
    if (err != 0 || job->next == job->count || job->bytes > SYNC_JOB_BYTES)
        job->to = 0;
}

/* SPDX-License-Identifier: Apache-2.0
 * Sessions of sync that this node began. */
#include "gossip/sync.h"

#include <string.h>

#include "agent/base/ensure.h"
#include "gossip/sync_int.h"

#define AGAIN_MAX 3u /* small sessions in a row with one peer, before waiting for the period */
#define AFTER_FAILURE_MS 200u

size_t sync_memory(const struct sync_options *options)
{
    return (size_t)SYNC_JOBS * options->job_rows * sizeof(uint64_t);
}

static uint64_t period(struct sync *s)
{
    return SYNC_PERIOD_MS - SYNC_PERIOD_MS / 8 + prng_below(&s->prng, SYNC_PERIOD_MS / 4);
}

void sync_init(struct sync *s, const struct sync_options *options, const struct peers *peers,
               struct sync_scratch *scratch, void *memory, uint64_t now_ms)
{
    ENSURE(options->job_rows >= SYNC_PUSH_ROWS);
    *s = (struct sync){.options = *options, .peers = peers, .scratch = scratch};
    s->job_keys = memory;
    prng_seed(&s->prng, options->seed);
    s->due_ms = now_ms + prng_below(&s->prng, SYNC_PERIOD_MS);
    s->settle_ms = UINT64_MAX;
}

void sync_header(struct wbuf *w, enum sync_message type, uint32_t session)
{
    wbuf_u8(w, (uint8_t)type);
    wbuf_u32(w, session);
}

/* ---- beginning and ending --------------------------------------------------------- */

void sync_soon(struct sync *s, uint64_t now_ms, uint64_t peer, uint64_t delay_ms)
{
    uint64_t due = now_ms + prng_below(&s->prng, delay_ms + 1);
    if (s->phase != SYNC_IDLE) {
        s->soon = peer; /* after the running one */
        return;
    }
    if (due < s->due_ms) {
        s->due_ms = due;
        s->soon = peer;
    }
}

void sync_waiting(struct sync *s, uint64_t now_ms, uint64_t records)
{
    (void)now_ms;
    s->waiting = records;
}

void sync_touched(struct sync *s, uint64_t now_ms)
{
    s->settle_ms = now_ms + SYNC_SETTLE_MS + prng_below(&s->prng, SYNC_SETTLE_MS);
}

bool sync_is_bulk(const struct sync *s)
{
    return s->phase != SYNC_IDLE && s->moved > SYNC_BULK_ROWS;
}

/* Whoever began it: both sides compared, so neither has to begin before the next period. Two who
 * lack the same agree, and so does one that lies: who heard anybody differ compares in its time. */
void sync_agreed(struct sync *s, uint64_t now_ms)
{
    s->stats.in_sync_ms = now_ms;
    if (s->phase == SYNC_IDLE && s->soon == 0 && !s->differs)
        s->due_ms = now_ms + period(s);
}

void sync_heard(struct sync *s, uint64_t now_ms, uint64_t from, bool same)
{
    s->differs = s->differs || !same;
    if (!same && (s->differing == 0 || !peers_is_far(s->peers, from)))
        s->differing = from;
    if (!s->differs && s->settle_ms == UINT64_MAX)
        sync_agreed(s, now_ms);
}

static void enter(struct sync *s, uint64_t now_ms, enum sync_phase phase)
{
    uint64_t end_ms = s->began_ms + SYNC_SESSION_MS;
    s->phase = phase;
    s->due_ms = now_ms + SYNC_TIMEOUT_MS < end_ms ? now_ms + SYNC_TIMEOUT_MS : end_ms;
}

static void finish_in(struct sync *s, uint64_t now_ms, uint64_t delay_ms)
{
    s->phase = SYNC_IDLE;
    if (s->is_named)
        s->named += s->moved > 0 ? 1 + (now_ms - s->began_ms) / 1000 : SYNC_NAMED_MAX;
    if (s->soon != 0 && delay_ms > AFTER_FAILURE_MS)
        delay_ms = prng_below(&s->prng, AFTER_FAILURE_MS);
    s->due_ms = now_ms + delay_ms;
}

/* Went through all that differed. Rows on their way make the next comparison differ again, so
 * little ones are given up after a few rounds; a large one goes on until little is left. */
static void finish(struct sync *s, uint64_t now_ms)
{
    s->stats.finished++;
    bool calm = s->moved <= SYNC_CALM_ROWS && !s->poke;
    if (calm)
        s->stats.in_sync_ms = now_ms;
    if (s->poke) { /* the peer pulls now; another session from here would only repeat this one */
        s->again = 0;
        finish_in(s, now_ms, period(s));
        return;
    }
    s->again++;
    if (s->moved > 0 && (!calm || s->again < AGAIN_MAX)) {
        if (s->soon == 0)
            s->soon = s->peer;
        finish_in(s, now_ms, SYNC_AGAIN_MS + prng_below(&s->prng, SYNC_AGAIN_MS));
        return;
    }
    s->again = 0;
    finish_in(s, now_ms, period(s));
}

#define FAR_SHARE 8u
#define NEAR_TRIES 8u /* with few members of the own zone among many the last one drawn will do */

/* Who is to be compared with: chance would mostly choose one of the own zone, which may lack what
 * we do. One that lies could be named each time: now and then it has to wait for the next time. */
static uint64_t named_peer(struct sync *s)
{
    uint64_t peer = s->soon != 0 && peers_has(s->peers, s->soon) ? s->soon
                    : peers_has(s->peers, s->differing)          ? s->differing
                                                                 : 0;
    peer = peer == s->options.self ? 0 : peer;
    bool wait = s->named >= SYNC_NAMED_MAX;
    s->soon = wait ? peer : 0;
    s->is_named = !wait && peer != 0;
    s->named = s->is_named ? s->named : 0;
    return wait ? 0 : peer;
}

static size_t begin(struct sync *s, uint64_t now_ms, uint8_t *out, size_t cap, uint64_t *ret_to)
{
    uint64_t peer = named_peer(s);
    s->began_ms = now_ms;
    s->settle_ms = UINT64_MAX;
    s->differs = false;
    s->differing = 0;
    if (peer == 0) {
        size_t others = s->peers->count > 0 ? s->peers->count - 1 : 0;
        /* Bytes between zones cost money: one comparison in FAR_SHARE goes there on purpose. */
        bool near = prng_below(&s->prng, FAR_SHARE) != 0;
        for (unsigned i = 0; others > 0 && i < NEAR_TRIES; i++) {
            peer = peers_at_step(s->peers, 1 + prng_below(&s->prng, others));
            if (!near || !peers_is_far(s->peers, peer))
                break;
        }
    }
    if (peer == 0) {
        finish_in(s, now_ms, period(s));
        return 0;
    }
    s->peer = peer;
    s->session = (uint32_t)prng_next(&s->prng);
    s->moved = 0;
    s->pushed = 0;
    s->poke = false;
    memset(s->left, 0, sizeof s->left);
    s->stats.sessions++;
    enter(s, now_ms, SYNC_SENT_ROOT);
    struct wbuf w;
    wbuf_init(&w, out, cap);
    sync_header(&w, SYNC_ROOT, s->session);
    wbuf_u64(&w, s->root);
    *ret_to = peer;
    return w.len;
}

/* ---- answers to this node's session ---------------------------------------------------- */

static int take_sums(struct sync *s, uint64_t now_ms, struct rbuf *b, struct wbuf *reply)
{
    if (rbuf_left(b) != SYNC_WIDTH * 3)
        return ERR_MALFORMED;
    if (s->phase != SYNC_SENT_ROOT)
        return 0;
    bool any = false;
    sync_header(reply, SYNC_LEAVES_MSG, s->session);
    for (uint32_t i = 0; i < SYNC_WIDTH; i++) {
        if (sync_get_sum(b) == sync_squeeze(s->branch[i], s->session))
            continue;
        any = true;
        wbuf_u8(reply, (uint8_t)i);
        for (uint32_t j = 0; j < SYNC_WIDTH; j++)
            sync_put_sum(reply, sync_squeeze(s->leaf[i * SYNC_WIDTH + j], s->session));
    }
    if (any) {
        enter(s, now_ms, SYNC_SENT_LEAVES);
        return 0;
    }
    reply->len = 0; /* rows came meanwhile, or a collision of sums */
    finish(s, now_ms);
    return 0;
}

/* One leaf of ROWS compared with the own rows. */
struct compare {
    struct sync *s;
    struct sync_job *push; /* NULL: nothing is sent to B */
    uint64_t *push_keys;
    uint32_t count;
    uint32_t own;
};

/* Which of two versions of a key travels: the hint decides, and where it says nothing, or was
 * wrong a moment ago, both do. A match by tag is settled here: found[] 1 keeps it out of WANT. */
static bool is_ours_newer(struct sync *s, uint32_t ours, uint32_t theirs_at)
{
    if (theirs_at == SYNC_NONE || s->again > 0)
        return true;
    uint32_t ahead = (SYNC_HINT(ours) - SYNC_HINT(s->scratch->theirs[theirs_at])) & 63u;
    if (ahead > 32)
        return false;
    if (ahead > 0 && ahead < 32)
        s->scratch->found[theirs_at] = 1;
    return true;
}

/* First all equal rows are set aside, so that a tag is only compared with rows that differ. */
static int match_row(void *arg, uint64_t key_hash, struct record_version version)
{
    struct compare *c = arg;
    c->own++;
    sync_find_print(c->s, c->count, sync_print(key_hash, version, c->s->session));
    return 0;
}

static int compare_row(void *arg, uint64_t key_hash, struct record_version version)
{
    struct compare *c = arg;
    struct sync *s = c->s;
    uint32_t print = sync_print(key_hash, version, s->session);
    if (sync_has_print(s, c->count, print))
        return 0;
    if (c->push == NULL || s->pushed >= SYNC_PUSH_ROWS) {
        s->poke = true;
        return 0;
    }
    if (!is_ours_newer(s, print, sync_find_tag(s, c->count, print)))
        return 0;
    c->push_keys[c->push->count++] = key_hash;
    s->pushed++;
    s->moved++;
    return 0;
}

/* Returns how many rows of the leaf A lacks. */
static uint32_t put_want(const struct sync *s, const struct sync_prints *prints, struct wbuf *want)
{
    uint32_t missing = 0;
    for (uint32_t i = 0; i < prints->count; i++)
        missing += s->scratch->found[i] == 0;
    if (missing == 0)
        return 0;
    wbuf_u16(want, (uint16_t)prints->leaf);
    wbuf_varint(want, missing);
    for (uint32_t i = 0; i < prints->count; i++) {
        if (s->scratch->found[i] == 0)
            wbuf_u32(want, s->scratch->theirs[i]);
    }
    return missing;
}

static int check_rows(struct rbuf b)
{
    struct sync_prints prints;
    uint32_t last = SYNC_NONE;
    int more;
    while ((more = sync_next_prints(&b, &last, &prints)) == 0) {
    }
    if (more < 0 || rbuf_left(&b) % 2 != 0)
        return ERR_MALFORMED;
    while (rbuf_left(&b) > 0) {
        if (rbuf_u16(&b) >= SYNC_LEAVES)
            return ERR_MALFORMED;
    }
    return 0;
}

static int take_rows(struct sync *s, uint64_t now_ms, struct rbuf *b, struct wbuf *reply)
{
    if (check_rows(*b) != 0)
        return ERR_MALFORMED;
    if (s->phase != SYNC_SENT_LEAVES && s->phase != SYNC_SENT_NEXT)
        return 0;
    struct compare c = {.s = s, .push = sync_job_take(s, s->peer, s->session, false)};
    if (c.push != NULL)
        c.push_keys = sync_job_keys(s, c.push);
    struct sync_prints prints;
    uint32_t last = SYNC_NONE;
    uint32_t wanted = 0;
    sync_header(reply, SYNC_WANT, s->session);
    size_t empty = reply->len;
    while (sync_next_prints(b, &last, &prints) == 0) {
        bool enough = c.own > SYNC_LEAF_ROWS || wanted >= s->options.job_rows;
        if (enough) { /* for one go: again with NEXT */
            sync_bit_set(s->left, prints.leaf);
            continue;
        }
        sync_load_prints(s, &prints);
        c.count = prints.count;
        uint64_t first = sync_leaf_first(prints.leaf);
        uint64_t end = sync_leaf_last(prints.leaf);
        int err = s->options.scan(s->options.arg, first, end, match_row, &c);
        if (err == 0)
            err = s->options.scan(s->options.arg, first, end, compare_row, &c);
        if (err == 0)
            wanted += put_want(s, &prints, reply);
    }
    while (rbuf_left(b) > 0)
        sync_bit_set(s->left, rbuf_u16(b));
    if (c.push != NULL && c.push->count == 0)
        c.push->to = 0;
    if (reply->bad || reply->len == empty) {
        reply->len = 0;
        reply->bad = 0;
        enter(s, now_ms, SYNC_READY);
        return 0;
    }
    enter(s, now_ms, SYNC_SENT_WANT);
    return 0;
}

/* DATA is taken from anyone: the rows that B sends to A, and those that A pushes to B. */
static int take_data(struct sync *s, uint64_t now_ms, uint64_t from, uint32_t session,
                     struct rbuf *b, size_t *pos, struct sync_in *in)
{
    struct rbuf all = *b;
    uint8_t flags = rbuf_u8(b);
    if (b->bad || (flags & ~SYNC_FLAG_LAST) != 0)
        return ERR_MALFORMED;
    bool first = *pos == 0;
    if (first) {
        struct record rec;
        rbuf_u8(&all);
        while (rbuf_left(&all) > 0) {
            if (record_decode(&all, &rec) != 0)
                return ERR_MALFORMED;
        }
    } else {
        b->pos = *pos;
    }
    while (rbuf_left(b) > 0 && in->apply_count < SYNC_IN_MAX) {
        int err = record_decode(b, &in->apply[in->apply_count++]);
        ENSURE(err == 0);
    }
    *pos = b->pos;
    s->stats.rows_received += in->apply_count;
    if (from != s->peer || session != s->session || s->phase != SYNC_SENT_WANT)
        return 0;
    s->moved += in->apply_count;
    if (in->apply_count > 0)
        enter(s, now_ms, SYNC_SENT_WANT);
    if (*pos == b->len && (flags & SYNC_FLAG_LAST) != 0)
        enter(s, now_ms, SYNC_READY);
    return 0;
}

static int take_word(struct sync *s, uint64_t now_ms, uint8_t type, struct rbuf *b)
{
    if (rbuf_left(b) > 0)
        return ERR_MALFORMED;
    if (type == SYNC_SAME && s->phase == SYNC_SENT_ROOT) {
        s->stats.same++;
        s->stats.in_sync_ms = now_ms;
        s->again = 0;
        finish_in(s, now_ms, period(s));
    }
    if (type == SYNC_REFUSED && s->phase == SYNC_SENT_WANT) /* somebody else may have time */
        finish_in(s, now_ms, AFTER_FAILURE_MS + prng_below(&s->prng, AFTER_FAILURE_MS));
    return 0;
}

bool sync_is_data(const uint8_t *data, size_t len)
{
    return len > 0 && data[0] == SYNC_DATA;
}

int sync_recv(struct sync *s, uint64_t now_ms, uint64_t from, const uint8_t *data, size_t len,
              size_t *pos, uint8_t *reply, size_t cap, struct sync_in *in)
{
    struct rbuf b;
    struct wbuf w;
    rbuf_init(&b, data, len);
    wbuf_init(&w, reply, cap);
    in->apply_count = 0;
    in->reply_len = 0;
    uint8_t type = rbuf_u8(&b);
    uint32_t session = rbuf_u32(&b);
    bool mine = s->phase != SYNC_IDLE && from == s->peer && session == s->session;
    int err = b.bad ? ERR_MALFORMED : 0;
    if (err == 0) {
        switch (type) {
        case SYNC_ROOT:
        case SYNC_LEAVES_MSG:
        case SYNC_WANT:
        case SYNC_NEXT:
            err = sync_serve(s, now_ms, from, type, session, &b, &w);
            break;
        case SYNC_DATA:
            err = take_data(s, now_ms, from, session, &b, pos, in);
            break;
        case SYNC_SUMS:
            err = mine ? take_sums(s, now_ms, &b, &w) : 0;
            break;
        case SYNC_ROWS:
            err = mine ? take_rows(s, now_ms, &b, &w) : 0;
            break;
        case SYNC_SAME:
        case SYNC_REFUSED:
            err = mine ? take_word(s, now_ms, type, &b) : 0;
            break;
        case SYNC_POKE:
            err = rbuf_left(&b) > 0 ? ERR_MALFORMED : 0;
            if (err == 0 && sync_may_poke(s, now_ms, from, session))
                sync_soon(s, now_ms, from, SYNC_AGAIN_MS);
            break;
        default:
            err = ERR_MALFORMED;
        }
    }
    if (type != SYNC_DATA || err != 0)
        *pos = len;
    s->stats.malformed += err == ERR_MALFORMED;
    in->reply_len = err == 0 ? w.len : 0;
    s->stats.bytes += in->reply_len;
    return err == ERR_MALFORMED ? err : 0; /* a failed scan: the session times out */
}

/* ---- sending --------------------------------------------------------------------------- */

static bool pushing(const struct sync *s)
{
    for (uint32_t i = 0; i < SYNC_JOBS; i++) {
        if (s->jobs[i].to == s->peer && s->jobs[i].session == s->session && !s->jobs[i].answer)
            return true;
    }
    return false;
}

static uint64_t due_at(const struct sync *s)
{
    bool settle = s->phase == SYNC_IDLE && s->settle_ms < s->due_ms;
    return settle ? s->settle_ms : s->due_ms;
}

/* May the session go on? Not before the store has taken in most of what came. */
static bool is_due_next(const struct sync *s)
{
    return s->phase == SYNC_READY && s->waiting <= s->options.job_rows && !pushing(s);
}

/* The next leaves, or the end. */
static size_t go_on(struct sync *s, uint64_t now_ms, uint8_t *out, size_t cap, uint64_t *ret_to)
{
    struct wbuf w;
    wbuf_init(&w, out, cap);
    sync_header(&w, SYNC_NEXT, s->session);
    size_t empty = w.len;
    uint32_t leaves = 0;
    for (uint32_t i = 0; i < SYNC_LEAVES && leaves < SYNC_STEP_LEAVES; i++) {
        if (!sync_bit(s->left, i))
            continue;
        sync_bit_clear(s->left, i);
        wbuf_u16(&w, (uint16_t)i);
        leaves++;
    }
    *ret_to = s->peer;
    if (w.len > empty) {
        enter(s, now_ms, SYNC_SENT_NEXT);
        return w.len;
    }
    bool poke = s->poke;
    finish(s, now_ms);
    if (!poke)
        return 0;
    w.len = 0;
    sync_header(&w, SYNC_POKE, s->session);
    return w.len;
}

size_t sync_poll(struct sync *s, uint64_t now_ms, uint8_t *out, size_t cap, uint64_t *ret_to)
{
    ENSURE(cap >= SYNC_MESSAGE_MAX);
    ENSURE(!s->last_open);
    size_t len = 0;
    bool over = s->phase != SYNC_IDLE && now_ms >= s->began_ms + SYNC_SESSION_MS;
    if (is_due_next(s) && !over)
        len = go_on(s, now_ms, out, cap, ret_to);
    else if (s->phase == SYNC_IDLE && due_at(s) <= now_ms)
        len = begin(s, now_ms, out, cap, ret_to);
    else if (s->phase != SYNC_IDLE && s->due_ms <= now_ms) {
        if (s->phase == SYNC_READY && s->waiting > 0 && !over) {
            enter(s, now_ms, SYNC_READY); /* the own store is slow, the peer is not at fault */
        } else {
            s->stats.timeouts++;
            finish_in(s, now_ms, AFTER_FAILURE_MS + prng_below(&s->prng, AFTER_FAILURE_MS));
        }
    }
    if (len == 0)
        len = sync_poll_jobs(s, now_ms, out, cap, ret_to);
    s->stats.bytes += len;
    return len;
}

uint64_t sync_deadline(const struct sync *s, uint64_t now_ms)
{
    uint64_t due = is_due_next(s) ? now_ms : due_at(s);
    for (uint32_t i = 0; i < SYNC_JOBS; i++) {
        if (s->jobs[i].to != 0 && s->jobs[i].paused_until_ms < due)
            due = s->jobs[i].paused_until_ms;
    }
    return due < now_ms ? now_ms : due;
}

/* SPDX-License-Identifier: Apache-2.0
 * Shell of rumor and sync: carries their messages over the gossip node and their records to
 * the store's owner. What is to be sent goes out once per turn of the loop, just before it would
 * wait (uv_prepare), so that records stored together travel together without any tick. */
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "agent/base/clock.h"
#include "agent/base/ensure.h"
#include "agent/base/log.h"
#include "agent/base/prng.h"
#include "gossip/records.h"
#include "gossip/rumor.h"
#include "gossip/sync.h"

#define RECENT_MAX 4096u /* told of to others for a quarter of a second: 16,000 rows a second */
#define PENDING_MAX 2048u
#define NODE_MAX 8192u /* two queues full of recent records */
#define ANSWER_MAX 1024u
#define ARENA_BYTES (1u << 20) /* of what is to be sent; what it has no room for is read again */
#define JOB_ROWS 2048u
#define TURN_BYTES (2u << 20) /* sent in one turn of the loop; the rest in the next */
#define TURN_MESSAGES 512u
#define STALLED_MAX 8u /* sync messages kept while the store is full */
#define STALLED_RETRY_MS 20u
#define LOST_MS 5000u     /* the store answers within that, or its answer was lost */
#define NEWCOMER_SYNCS 8u /* members that compare roots with one who appeared */
#define NEWCOMER_DELAY_MS 500u
#define FIRST_DELAY_MS 20u
#define SOON_MS 2000u /* pings come more often */

/* A DATA message of which the store did not take all. */
struct stalled {
    uint64_t from;
    uint8_t *data;
    size_t len, pos;
};

struct records {
    struct records_options options;
    struct rumor rumor;
    struct sync sync;
    struct peers peers;
    uint64_t *nums;
    uint8_t *shaky;
    uint32_t *zones, *by_zone;
    size_t peers_cap;
    struct prng prng;
    void *rumor_memory, *sync_memory;
    struct sync_scratch *scratch;
    uint8_t *out;
    struct rumor_in *rumor_in;
    struct sync_in *sync_in;
    struct stalled stalled[STALLED_MAX];
    size_t stalled_count;
    uint64_t waiting;   /* records with the store */
    uint64_t stored_ms; /* when it last answered, or was first given something */
    uint64_t bytes_sent;

    uv_prepare_t prepare;
    uv_idle_t idle; /* active while there is more to do at once */
    uv_timer_t timer;
    unsigned open_handles;
    bool closing;
    void (*done)(void *arg);
    void *done_arg;
};

static void on_prepare(uv_prepare_t *handle);

static void on_idle(uv_idle_t *handle)
{
    (void)handle; /* its presence keeps the loop from waiting */
}

/* Something may be due: look before the loop waits. */
static void wake(struct records *r)
{
    if (!r->closing)
        uv_prepare_start(&r->prepare, on_prepare);
}

static void on_timer(uv_timer_t *handle)
{
    wake(handle->data);
}

/* ---- records in --------------------------------------------------------------------- */

static int hand_over(struct records *r, uint64_t now_ms, const struct record *records, size_t count)
{
    if (count == 0)
        return 0;
    int err = r->options.apply(r->options.arg, records, count);
    if (err != 0)
        return err;
    if (r->waiting == 0)
        r->stored_ms = now_ms;
    r->waiting += count;
    sync_waiting(&r->sync, now_ms, r->waiting);
    return 0;
}

static void on_rumor(void *arg, uint64_t from, const uint8_t *data, size_t len)
{
    struct records *r = arg;
    uint64_t now_ms = clock_mono_ms();
    struct rumor_in *in = r->rumor_in;
    struct rumor_place at = {0};
    do {
        if (rumor_recv(&r->rumor, now_ms, from, data, len, &at, in) != 0)
            break; /* counted; a member of the cluster with another version or a fault */
        if (hand_over(r, now_ms, in->apply, in->apply_count) == 0)
            continue;
        for (size_t i = 0; i < in->apply_count; i++)
            rumor_refused(&r->rumor, now_ms, in->key_hash[i]);
    } while (at.pos < len);
    wake(r);
}

/* From *pos on; ERR_BUSY: the store refused, *pos is where to go on later. */
static int take_sync(struct records *r, uint64_t from, const uint8_t *data, size_t len, size_t *pos)
{
    uint64_t now_ms = clock_mono_ms();
    struct sync_in *in = r->sync_in;
    do {
        size_t before = *pos;
        if (sync_recv(&r->sync, now_ms, from, data, len, pos, r->out, SYNC_MESSAGE_MAX, in) != 0)
            return 0;
        if (in->reply_len > 0) {
            r->bytes_sent += in->reply_len;
            gossip_send_again(r->options.gossip, CHANNEL_SYNC, from, r->out, in->reply_len);
        }
        if (hand_over(r, now_ms, in->apply, in->apply_count) != 0) {
            *pos = before;
            return ERR_BUSY;
        }
    } while (*pos < len);
    return 0;
}

/* Rows that the store has no room for wait here, and with them the session. */
static void stall(struct records *r, uint64_t from, const uint8_t *data, size_t len, size_t pos)
{
    if (r->stalled_count == STALLED_MAX)
        return; /* the next session finds them missing */
    uint8_t *copy = malloc(len);
    if (copy == NULL)
        return;
    memcpy(copy, data, len);
    r->stalled[r->stalled_count++] =
        (struct stalled){.from = from, .data = copy, .len = len, .pos = pos};
}

static void retry_stalled(struct records *r)
{
    size_t done = 0;
    while (done < r->stalled_count) {
        struct stalled *m = &r->stalled[done];
        if (take_sync(r, m->from, m->data, m->len, &m->pos) == ERR_BUSY)
            break;
        free(m->data);
        done++;
    }
    r->stalled_count -= done;
    memmove(r->stalled, r->stalled + done, r->stalled_count * sizeof r->stalled[0]);
}

static void on_sync(void *arg, uint64_t from, const uint8_t *data, size_t len)
{
    struct records *r = arg;
    size_t pos = 0;
    bool behind = r->stalled_count > 0 && sync_is_data(data, len);
    if (behind || take_sync(r, from, data, len, &pos) == ERR_BUSY)
        stall(r, from, data, len, pos);
    wake(r);
}

/* ---- records stored -------------------------------------------------------------------- */

static void log_test(const struct record *rec)
{
    char key[RECORD_KEY_MAX + 1];
    if (!log_enabled(LOG_INFO))
        return;
    memcpy(key, rec->key, rec->key_len);
    key[rec->key_len] = '\0';
    LOG(LOG_INFO, "record_applied", "a test record arrived", LS("key", key));
}

static void note_change(struct records *r, uint64_t now_ms, const struct records_change *c,
                        bool from_peers)
{
    const struct record *rec = c->record;
    if (!c->applied) {
        rumor_unchanged(&r->rumor, c->key_hash, rec->version);
        return;
    }
    if (rec->kind == RECORD_TEST)
        log_test(rec); /* not in the fingerprints: its origin repairs what a member lacks */
    else
        sync_changed(&r->sync, c->key_hash, c->existed, c->before, rec->version);
    enum rumor_from from = RUMOR_LOCAL;
    if (from_peers)
        from = sync_is_bulk(&r->sync) ? RUMOR_BULK : RUMOR_PEER;
    rumor_stored(&r->rumor, now_ms, rec, c->key_hash, from);
}

void records_stored(struct records *r, const struct records_change *changes, size_t count,
                    bool from_peers)
{
    uint64_t now_ms = clock_mono_ms();
    bool any = false;
    rumor_coming(&r->rumor, count);
    for (size_t i = 0; i < count; i++) {
        note_change(r, now_ms, &changes[i], from_peers);
        any = any || (changes[i].applied && changes[i].record->kind != RECORD_TEST);
    }
    rumor_coming(&r->rumor, 0);
    if (any)
        sync_touched(&r->sync, now_ms);
    gossip_rows(r->options.gossip, r->sync.root);
    if (from_peers) {
        r->waiting -= count < r->waiting ? count : r->waiting;
        r->stored_ms = now_ms;
        sync_waiting(&r->sync, now_ms, r->waiting);
    }
    wake(r);
}

void records_purged(struct records *r, uint64_t key_hash, struct record_version version)
{
    sync_removed(&r->sync, key_hash, version);
    gossip_rows(r->options.gossip, r->sync.root);
}

bool records_hand(struct records *r, uint64_t to, uint64_t key_hash)
{
    wake(r);
    return rumor_hand(&r->rumor, to, key_hash);
}

/* ---- records out ------------------------------------------------------------------------- */

/* False: there is more to send at once. */
static bool send_rumors(struct records *r, uint64_t now_ms)
{
    struct gossip_node *g = r->options.gossip;
    size_t bytes = 0;
    for (unsigned i = 0; i < TURN_MESSAGES && bytes < TURN_BYTES; i++) {
        uint64_t to = 0;
        size_t len = rumor_poll(&r->rumor, now_ms, GOSSIP_ROOM, r->out, SYNC_MESSAGE_MAX, &to);
        if (len == 0)
            return true;
        int err = rumor_is_repair(r->out, len)
                      ? gossip_send_again(g, CHANNEL_RUMOR, to, r->out, len)
                      : gossip_send(g, CHANNEL_RUMOR, to, r->out, len);
        rumor_sent(&r->rumor, now_ms, err);
        if (err == 0)
            r->bytes_sent += len;
        bytes += len;
    }
    return false;
}

static bool send_sync(struct records *r, uint64_t now_ms)
{
    uint64_t to = 0;
    size_t len = sync_poll(&r->sync, now_ms, r->out, SYNC_MESSAGE_MAX, &to);
    if (len == 0)
        return true;
    int err = gossip_send_again(r->options.gossip, CHANNEL_SYNC, to, r->out, len);
    sync_sent(&r->sync, now_ms, err);
    if (err == 0)
        r->bytes_sent += len;
    return false;
}

static void arm_timer(struct records *r, uint64_t now_ms)
{
    uint64_t due = rumor_deadline(&r->rumor, now_ms);
    uint64_t sync_due = sync_deadline(&r->sync, now_ms);
    if (sync_due < due)
        due = sync_due;
    if (r->stalled_count > 0 && now_ms + STALLED_RETRY_MS < due)
        due = now_ms + STALLED_RETRY_MS;
    uv_update_time(r->timer.loop);
    uv_timer_start(&r->timer, on_timer, due > now_ms ? due - now_ms : 1, 0);
}

/* Puts off what would only find that nothing is due any more. */
static void on_rows(void *arg, uint64_t from, bool same)
{
    struct records *r = arg;
    uint64_t now_ms = clock_mono_ms();
    sync_heard(&r->sync, now_ms, from, same);
    if (!uv_is_active((uv_handle_t *)&r->prepare) && uv_timer_get_due_in(&r->timer) < SOON_MS)
        arm_timer(r, now_ms);
}

static void on_prepare(uv_prepare_t *handle)
{
    struct records *r = handle->data;
    uint64_t now_ms = clock_mono_ms();
    if (r->stalled_count > 0)
        retry_stalled(r);
    /* What was stalled may have been given to the store after now_ms. */
    if (r->waiting > 0 && now_ms > r->stored_ms + LOST_MS) {
        r->waiting = 0;
        sync_waiting(&r->sync, now_ms, 0);
    }
    bool rumors_done = send_rumors(r, now_ms);
    bool sync_done = send_sync(r, now_ms);
    if (!rumors_done || !sync_done) {
        uv_idle_start(&r->idle, on_idle);
        return;
    }
    uv_idle_stop(&r->idle);
    uv_prepare_stop(&r->prepare);
    arm_timer(r, now_ms);
}

/* ---- members ------------------------------------------------------------------------------ */

static int grow_peers(struct records *r)
{
    size_t cap = r->peers_cap == 0 ? 64 : r->peers_cap * 2;
    uint64_t *nums = realloc(r->nums, cap * sizeof *nums);
    if (nums == NULL)
        return ERR_NOMEM;
    r->nums = nums;
    uint8_t *shaky = realloc(r->shaky, cap * sizeof *shaky);
    if (shaky == NULL)
        return ERR_NOMEM;
    r->shaky = shaky;
    uint32_t *zones = realloc(r->zones, cap * sizeof *zones);
    if (zones == NULL)
        return ERR_NOMEM;
    r->zones = zones;
    uint32_t *by_zone = realloc(r->by_zone, cap * sizeof *by_zone);
    if (by_zone == NULL)
        return ERR_NOMEM;
    r->by_zone = by_zone;
    r->peers_cap = cap;
    return 0;
}

static void peer_remove(struct records *r, size_t at)
{
    size_t behind = r->peers.count - at - 1;
    memmove(r->nums + at, r->nums + at + 1, behind * sizeof *r->nums);
    memmove(r->shaky + at, r->shaky + at + 1, behind * sizeof *r->shaky);
    memmove(r->zones + at, r->zones + at + 1, behind * sizeof *r->zones);
    r->peers.count--;
}

static int peer_add(struct records *r, size_t at, uint64_t num)
{
    if (r->peers.count == r->peers_cap && grow_peers(r) != 0)
        return ERR_NOMEM;
    size_t behind = r->peers.count - at;
    memmove(r->nums + at + 1, r->nums + at, behind * sizeof *r->nums);
    memmove(r->shaky + at + 1, r->shaky + at, behind * sizeof *r->shaky);
    memmove(r->zones + at + 1, r->zones + at, behind * sizeof *r->zones);
    r->nums[at] = num;
    r->shaky[at] = 0;
    r->zones[at] = 0;
    r->peers.count++;
    return 0;
}

/* Returns whether the member is new to the list. */
static bool set_peer(struct records *r, uint64_t num, bool live, bool shaky, uint32_t zone)
{
    size_t at = peers_lower_bound(&r->peers, num);
    bool present = at < r->peers.count && r->peers.nums[at] == num;
    if (present && !live)
        peer_remove(r, at);
    else if (!present && live && peer_add(r, at, num) != 0)
        return false;
    bool moved = live != present || (live && r->zones[at] != zone);
    if (live) {
        r->shaky[at] = shaky;
        r->zones[at] = zone;
    }
    r->peers.nums = r->nums;
    r->peers.shaky = r->shaky;
    r->peers.zones = r->zones;
    r->peers.self = peers_lower_bound(&r->peers, r->rumor.options.self);
    if (moved)
        peers_group(&r->peers, r->by_zone);
    return live && !present;
}

static bool note_member(struct records *r, const struct gossip_member *m)
{
    bool live =
        m->state == MEMBER_ALIVE || m->state == MEMBER_DEGRADED || m->state == MEMBER_SUSPECT;
    return set_peer(r, m->num, live, m->state == MEMBER_SUSPECT, peers_zone(m->meta->zone));
}

void records_member(struct records *r, const struct gossip_member *m)
{
    if (m->num == r->rumor.options.self)
        return;
    uint64_t now_ms = clock_mono_ms();
    bool appeared = note_member(r, m);
    rumor_peers_changed(&r->rumor);
    if (appeared && r->sync.stats.in_sync_ms == 0)
        sync_soon(&r->sync, now_ms, m->num, FIRST_DELAY_MS);
    else if (appeared && prng_below(&r->prng, r->peers.count) < NEWCOMER_SYNCS)
        sync_soon(&r->sync, now_ms, m->num, NEWCOMER_DELAY_MS);
    wake(r);
}

/* ---- beginning and end ---------------------------------------------------------------------- */

struct version_check {
    struct record_version version;
    bool found;
};

static void check_version(void *arg, const struct record *rec)
{
    struct version_check *c = arg;
    c->found = record_version_cmp(rec->version, c->version) >= 0;
}

static bool have(void *arg, uint64_t key_hash, struct record_version version)
{
    struct records *r = arg;
    struct version_check c = {.version = version};
    return r->options.get(r->options.arg, key_hash, check_version, &c) == 0 && c.found;
}

static size_t room(void *arg, uint64_t to)
{
    const struct records *r = arg;
    return gossip_room(r->options.gossip, to);
}

static int load(void *arg, uint64_t key_hash, void (*fn)(void *fn_arg, const struct record *rec),
                void *fn_arg)
{
    struct records *r = arg;
    return r->options.get(r->options.arg, key_hash, fn, fn_arg);
}

static int scan(void *arg, uint64_t first, uint64_t last,
                int (*fn)(void *fn_arg, uint64_t key_hash, struct record_version version),
                void *fn_arg)
{
    struct records *r = arg;
    return r->options.fingerprints(r->options.arg, first, last, fn, fn_arg);
}

static int add_row(void *arg, uint64_t key_hash, struct record_version version)
{
    sync_changed(arg, key_hash, false, version, version);
    return 0;
}

static void free_all(struct records *r)
{
    for (size_t i = 0; i < r->stalled_count; i++)
        free(r->stalled[i].data);
    free(r->nums);
    free(r->shaky);
    free(r->zones);
    free(r->by_zone);
    free(r->rumor_memory);
    free(r->sync_memory);
    free(r->scratch);
    free(r->out);
    free(r->rumor_in);
    free(r->sync_in);
    free(r);
}

static int init_cores(struct records *r)
{
    uint64_t now_ms = clock_mono_ms();
    struct rumor_options ro = {.self = gossip_self(r->options.gossip),
                               .seed = prng_next(&r->prng),
                               .recent_max = RECENT_MAX,
                               .pending_max = PENDING_MAX,
                               .node_max = NODE_MAX,
                               .answer_max = ANSWER_MAX,
                               .arena_bytes = ARENA_BYTES,
                               .arg = r,
                               .room = room,
                               .have = have,
                               .load = load};
    struct sync_options so = {.self = ro.self,
                              .seed = prng_next(&r->prng),
                              .job_rows = JOB_ROWS,
                              .arg = r,
                              .scan = scan,
                              .load = load};
    r->rumor_memory = malloc(rumor_memory(&ro));
    r->sync_memory = malloc(sync_memory(&so));
    r->scratch = malloc(sizeof *r->scratch);
    r->out = malloc(SYNC_MESSAGE_MAX);
    r->rumor_in = malloc(sizeof *r->rumor_in);
    r->sync_in = malloc(sizeof *r->sync_in);
    if (r->rumor_memory == NULL || r->sync_memory == NULL || r->scratch == NULL || r->out == NULL ||
        r->rumor_in == NULL || r->sync_in == NULL)
        return ERR_NOMEM;
    rumor_init(&r->rumor, &ro, &r->peers, r->rumor_memory, now_ms);
    sync_init(&r->sync, &so, &r->peers, r->scratch, r->sync_memory, now_ms);
    const struct gossip_member *self = gossip_find(r->options.gossip, ro.self);
    set_peer(r, ro.self, true, false, peers_zone(self->meta->zone));
    for (size_t i = 0; i < gossip_count(r->options.gossip); i++) {
        const struct gossip_member *m = gossip_at(r->options.gossip, i);
        if (m->num != ro.self && note_member(r, m))
            sync_soon(&r->sync, now_ms, m->num, FIRST_DELAY_MS);
    }
    if (r->peers.count == 0)
        return ERR_NOMEM;
    return scan(r, 0, UINT64_MAX, add_row, &r->sync);
}

_Static_assert(SYNC_MESSAGE_MAX >= RUMOR_MESSAGE_MAX, "one buffer serves both");
_Static_assert(SYNC_MESSAGE_MAX <= GOSSIP_MESSAGE_MAX, "what is filled can be sent");

int records_create(struct records **ret, const struct records_options *options)
{
    struct records *r = calloc(1, sizeof *r);
    if (r == NULL)
        return ERR_NOMEM;
    r->options = *options;
    prng_seed(&r->prng, options->seed);
    int err = init_cores(r);
    if (err != 0) {
        free_all(r);
        return err;
    }
    uv_prepare_init(options->loop, &r->prepare);
    uv_idle_init(options->loop, &r->idle);
    uv_timer_init(options->loop, &r->timer);
    r->prepare.data = r->idle.data = r->timer.data = r;
    r->open_handles = 3;
    gossip_on(options->gossip, CHANNEL_RUMOR, on_rumor, r);
    gossip_on(options->gossip, CHANNEL_SYNC, on_sync, r);
    gossip_on_rows(options->gossip, on_rows, r);
    gossip_rows(options->gossip, r->sync.root);
    wake(r);
    *ret = r;
    return 0;
}

static void on_close(uv_handle_t *handle)
{
    struct records *r = handle->data;
    if (--r->open_handles > 0)
        return;
    void (*done)(void *) = r->done;
    void *arg = r->done_arg;
    free_all(r);
    if (done != NULL)
        done(arg);
}

void records_destroy(struct records *r, void (*done)(void *arg), void *arg)
{
    ENSURE(!r->closing);
    r->closing = true;
    r->done = done;
    r->done_arg = arg;
    gossip_on(r->options.gossip, CHANNEL_RUMOR, NULL, NULL);
    gossip_on(r->options.gossip, CHANNEL_SYNC, NULL, NULL);
    gossip_on_rows(r->options.gossip, NULL, NULL);
    uv_close((uv_handle_t *)&r->prepare, on_close);
    uv_close((uv_handle_t *)&r->idle, on_close);
    uv_close((uv_handle_t *)&r->timer, on_close);
}

void records_stats(const struct records *r, struct records_stats *ret)
{
    const struct rumor_stats *rs = &r->rumor.stats;
    const struct sync_stats *ss = &r->sync.stats;
    *ret = (struct records_stats){.pushed = rs->pushed,
                                  .received = rs->received,
                                  .duplicates = rs->duplicates,
                                  .repaired = rs->repaired,
                                  .digests = rs->digests,
                                  .syncs = ss->sessions,
                                  .sync_rows = ss->rows_sent + ss->rows_received,
                                  .bytes_sent = r->bytes_sent,
                                  .queue_depth = rumor_queued(&r->rumor),
                                  .coalesced = rs->coalesced,
                                  .overflow = rs->overflow,
                                  .gave_up = rs->gave_up,
                                  .last_in_sync_mono_ms = ss->in_sync_ms,
                                  .root = r->sync.root};
}

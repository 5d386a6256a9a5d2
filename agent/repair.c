/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/repair.h"

#include <string.h>

#include "agent/agent_int.h"

#define BITS_MAX ((TALLY_COUNT_MAX + 7) / 8)
#define HEAD 9u /* of a note */

static uint64_t hash_of(const struct tally_id *id)
{
    char key[TALLY_KEY_MAX];
    return record_key_hash(RECORD_TEST, key, tally_key(id, key));
}

static bool has_bit(const uint8_t *bits, uint32_t i)
{
    return (bits[i / 8] >> (i % 8) & 1) != 0;
}

/* ---- the origin ------------------------------------------------------------------------ */

void repair_tick(struct agent *a, struct owed *o, uint64_t now_us)
{
    const struct owed_run *r;
    uint64_t num = 0;
    owed_tick(o, now_us);
    while ((r = owed_next(o, now_us, &num)) != NULL) {
        uint8_t bytes[HEAD + 2];
        struct wbuf w;
        wbuf_init(&w, bytes, sizeof bytes);
        wbuf_u8(&w, NOTE_ASK);
        wbuf_u64(&w, r->run);
        wbuf_u16(&w, (uint16_t)r->count);
        /* Not a live member just now, or no room: the next round asks again. */
        (void)gossip_send(a->gossip, CHANNEL_CALL, num, bytes, w.len);
    }
}

void repair_serve(struct agent *a, struct owed *o, uint64_t from, uint64_t run, struct rbuf *b)
{
    const struct owed_run *r = owed_serve(o, from, run);
    const uint8_t *bits = r == NULL ? NULL : rbuf_bytes(b, (r->count + 7) / 8);
    if (bits == NULL)
        return;
    struct tally_id id = {.origin = gossip_self(a->gossip), .run = run, .count = r->count};
    for (; id.index < id.count; id.index++) {
        if (has_bit(bits, id.index))
            continue;
        if (!owed_spend(o, r->bytes + TALLY_KEY_MAX) ||
            !records_hand(a->records, from, hash_of(&id)))
            return; /* the rest in the next round */
    }
}

/* ---- the member ------------------------------------------------------------------------- */

static void stored(void *arg, const struct record *rec)
{
    (void)rec;
    *(bool *)arg = true;
}

/* Counts what is stored and was not counted: by an earlier life of this process, or of a run that
 * made room for others meanwhile. */
static void count_stored(struct agent *a, struct tally *t, struct tally_id *id, uint64_t now_us)
{
    for (id->index = 0; id->index < id->count; id->index++) {
        const struct tally_run *r = tally_find(t, id->origin, id->run);
        bool found = false;
        if (r != NULL && (r->count != id->count || has_bit(r->seen, id->index)))
            continue;
        if (flow_get_record(a, hash_of(id), stored, &found) == 0 && found)
            (void)tally_note(t, id, now_us);
    }
}

struct tally_run *repair_tell(struct agent *a, struct tally *t, uint64_t origin, uint64_t run,
                              uint32_t count, uint64_t now_us)
{
    struct tally_id id = {.origin = origin, .run = run, .count = count};
    struct tally_run *r = tally_find(t, origin, run);
    if (count == 0 || count > TALLY_COUNT_MAX)
        return NULL;
    if (r == NULL || r->have < r->count) {
        count_stored(a, t, &id, now_us);
        r = tally_find(t, origin, run);
    }
    if (r != NULL && (r->count != count || r->have == r->count))
        return r->count == count ? r : NULL;
    static const uint8_t none[BITS_MAX];
    uint8_t bytes[HEAD + BITS_MAX];
    struct wbuf w;
    wbuf_init(&w, bytes, sizeof bytes);
    wbuf_u8(&w, NOTE_HAS);
    wbuf_u64(&w, run);
    wbuf_bytes(&w, r == NULL ? none : r->seen, (count + 7) / 8);
    (void)gossip_send(a->gossip, CHANNEL_CALL, origin, bytes, w.len);
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/record_run.h"

#include <string.h>

enum {
    RUN_DELETED = 1,
    RUN_KIND = 2,
    RUN_LENGTH = 4,
    RUN_HI = 8,
    RUN_OBSERVED = 16,
    RUN_TERM = 32,
    RUN_RECORD = 128
};
#define RUN_FLAGS (RUN_DELETED | RUN_KIND | RUN_LENGTH | RUN_HI | RUN_OBSERVED | RUN_TERM)

static uint16_t shared_with(const struct record_run *run, const struct record *rec)
{
    uint16_t max = run->last.key_len < rec->key_len ? run->last.key_len : rec->key_len;
    uint16_t n = 0;
    while (n < max && run->key[n] == rec->key[n])
        n++;
    return n;
}

/* All but the rest of the key, which stands `*ret_rest` bytes into it, and the value. */
static size_t put_header(const struct record_run *run, const struct record *rec,
                         uint8_t out[RECORD_RUN_HEADER_MAX], size_t *ret_rest)
{
    const struct record *last = &run->last;
    uint16_t shared = shared_with(run, rec);
    uint8_t head = RUN_RECORD;
    head |= rec->deleted ? RUN_DELETED : 0;
    head |= rec->kind != last->kind || rec->source != last->source ? RUN_KIND : 0;
    head |= rec->value_len != last->value_len ? RUN_LENGTH : 0;
    head |= rec->version.hi != last->version.hi ? RUN_HI : 0;
    head |= rec->observed_unix_ms != last->observed_unix_ms ? RUN_OBSERVED : 0;
    head |= rec->term != last->term ? RUN_TERM : 0;
    struct wbuf w;
    wbuf_init(&w, out, RECORD_RUN_HEADER_MAX);
    wbuf_u8(&w, head);
    if (head & RUN_KIND) {
        wbuf_u8(&w, rec->kind);
        wbuf_u8(&w, rec->source);
    }
    wbuf_varint(&w, shared);
    wbuf_varint(&w, rec->key_len - shared);
    *ret_rest = w.len;
    if (head & RUN_LENGTH)
        wbuf_varint(&w, rec->value_len);
    if (head & RUN_HI)
        wbuf_delta(&w, rec->version.hi, last->version.hi);
    wbuf_delta(&w, rec->version.lo, last->version.lo);
    if (head & RUN_OBSERVED)
        wbuf_delta(&w, (uint64_t)rec->observed_unix_ms, (uint64_t)last->observed_unix_ms);
    if (head & RUN_TERM)
        wbuf_delta(&w, rec->term, last->term);
    return w.bad ? 0 : w.len;
}

void record_run_note(struct record_run *run, const struct record *rec)
{
    memmove(run->key, rec->key, rec->key_len);
    run->last = *rec;
    run->last.key = run->key;
    run->last.value = NULL;
}

size_t record_run_size(const struct record_run *run, const struct record *rec)
{
    uint8_t header[RECORD_RUN_HEADER_MAX];
    size_t rest;
    return put_header(run, rec, header, &rest) + rec->key_len - shared_with(run, rec) +
           rec->value_len;
}

int record_run_put(struct record_run *run, const struct record *rec, struct wbuf *out)
{
    uint8_t header[RECORD_RUN_HEADER_MAX];
    size_t rest, before = out->len;
    size_t len = put_header(run, rec, header, &rest);
    uint16_t shared = shared_with(run, rec);
    wbuf_bytes(out, header, rest);
    wbuf_bytes(out, rec->key + shared, (size_t)(rec->key_len - shared));
    wbuf_bytes(out, header + rest, len - rest);
    wbuf_bytes(out, rec->value, rec->value_len);
    if (out->bad) {
        out->len = before;
        out->bad = 0;
        return ERR_TOOBIG;
    }
    record_run_note(run, rec);
    return 0;
}

int record_run_get(struct record_run *run, struct rbuf *r, struct record *ret)
{
    struct record rec = run->last;
    uint8_t head = rbuf_u8(r);
    if ((head & ~RUN_FLAGS) != RUN_RECORD)
        return ERR_MALFORMED;
    rec.deleted = (head & RUN_DELETED) != 0;
    if (head & RUN_KIND) {
        rec.kind = rbuf_u8(r);
        rec.source = rbuf_u8(r);
    }
    uint64_t shared = rbuf_varint(r);
    uint64_t rest = rbuf_varint(r);
    if (r->bad || rec.kind == 0 || rec.kind >= RECORD_KIND_END || shared > rec.key_len ||
        rest > RECORD_KEY_MAX - shared || shared + rest == 0)
        return ERR_MALFORMED;
    const uint8_t *at = rbuf_bytes(r, rest);
    uint64_t value_len = head & RUN_LENGTH ? rbuf_varint(r) : rec.value_len;
    if (head & RUN_HI)
        rec.version.hi = rbuf_delta(r, rec.version.hi);
    rec.version.lo = rbuf_delta(r, rec.version.lo);
    if (head & RUN_OBSERVED)
        rec.observed_unix_ms = (int64_t)rbuf_delta(r, (uint64_t)rec.observed_unix_ms);
    if (head & RUN_TERM)
        rec.term = rbuf_delta(r, rec.term);
    if (r->bad || value_len > RECORD_VALUE_MAX)
        return ERR_MALFORMED;
    rec.value_len = (uint32_t)value_len;
    rec.value = rbuf_bytes(r, rec.value_len);
    if (r->bad)
        return ERR_MALFORMED;
    memcpy(run->key + shared, at, rest);
    rec.key = run->key;
    rec.key_len = (uint16_t)(shared + rest);
    run->last = rec;
    run->last.value = NULL;
    *ret = rec;
    return 0;
}

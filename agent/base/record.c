/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/record.h"

#include <string.h>

#include "agent/base/err.h"
#include "agent/base/hash.h"

const char *record_kind_str(uint8_t kind)
{
    static const char *const names[RECORD_KIND_END] = {
#define X(name, number, text) [number] = text,
        RECORD_KIND_LIST(X)
#undef X
    };
    return kind < RECORD_KIND_END && names[kind] != NULL ? names[kind] : "unknown";
}

uint8_t record_kind_parse(const char *text)
{
    for (uint8_t kind = 1; kind < RECORD_KIND_END; kind++) {
        const char *name = record_kind_str(kind);
        size_t n = strlen(name);
        if (strncmp(text, name, n) == 0 && (text[n] == '\0' || strcmp(text + n, "s") == 0))
            return kind;
    }
    return 0;
}

const char *record_source_str(uint8_t source)
{
    static const char *const names[] = {"unknown", "event",  "reconcile",
                                        "local",   "intent", "operator"};
    return source < sizeof names / sizeof names[0] ? names[source] : names[0];
}

int record_version_cmp(struct record_version a, struct record_version b)
{
    if (a.hi != b.hi)
        return a.hi < b.hi ? -1 : 1;
    if (a.lo != b.lo)
        return a.lo < b.lo ? -1 : 1;
    return 0;
}

bool record_is_newer(struct record_version candidate, struct record_version stored)
{
    return record_version_cmp(candidate, stored) > 0;
}

uint64_t record_key_hash(uint8_t kind, const char *key, size_t key_len)
{
    return hash_bytes(key, key_len, kind);
}

uint64_t record_fingerprint(uint64_t key_hash, struct record_version version)
{
    return hash_mix(hash_mix(key_hash ^ version.hi) ^ (version.lo + 0x51ed270b0a1f39c1u));
}

#define FLAG_DELETED 1u

/* kind u8, source u8, flags u8, then varints: key_len, value_len, hi, lo, observed, term. */
static size_t encode_header(const struct record *rec, uint8_t out[RECORD_HEADER_MAX])
{
    struct wbuf w;
    wbuf_init(&w, out, RECORD_HEADER_MAX);
    wbuf_u8(&w, rec->kind);
    wbuf_u8(&w, rec->source);
    wbuf_u8(&w, rec->deleted ? FLAG_DELETED : 0);
    wbuf_varint(&w, rec->key_len);
    wbuf_varint(&w, rec->value_len);
    wbuf_varint(&w, rec->version.hi);
    wbuf_varint(&w, rec->version.lo);
    wbuf_varint(&w, (uint64_t)rec->observed_unix_ms);
    wbuf_varint(&w, rec->term);
    return w.bad ? 0 : w.len;
}

size_t record_encoded_size(const struct record *rec)
{
    uint8_t header[RECORD_HEADER_MAX];
    return encode_header(rec, header) + rec->key_len + rec->value_len;
}

int record_encode(const struct record *rec, struct buf *out)
{
    uint8_t header[RECORD_HEADER_MAX];
    buf_put(out, header, encode_header(rec, header));
    buf_put(out, rec->key, rec->key_len);
    buf_put(out, rec->value, rec->value_len);
    return out->err;
}

int record_encode_fixed(const struct record *rec, struct wbuf *out)
{
    uint8_t header[RECORD_HEADER_MAX];
    wbuf_bytes(out, header, encode_header(rec, header));
    wbuf_bytes(out, rec->key, rec->key_len);
    wbuf_bytes(out, rec->value, rec->value_len);
    return out->bad ? ERR_TOOBIG : 0;
}

int record_decode(struct rbuf *r, struct record *ret)
{
    struct record rec = {0};
    rec.kind = rbuf_u8(r);
    rec.source = rbuf_u8(r);
    uint8_t flags = rbuf_u8(r);
    uint64_t key_len = rbuf_varint(r);
    uint64_t value_len = rbuf_varint(r);
    rec.version.hi = rbuf_varint(r);
    rec.version.lo = rbuf_varint(r);
    rec.observed_unix_ms = (int64_t)rbuf_varint(r);
    rec.term = rbuf_varint(r);
    if (r->bad || rec.kind == 0 || rec.kind >= RECORD_KIND_END || (flags & ~FLAG_DELETED) != 0)
        return ERR_MALFORMED;
    if (key_len == 0 || key_len > RECORD_KEY_MAX || value_len > RECORD_VALUE_MAX)
        return ERR_MALFORMED;
    rec.deleted = (flags & FLAG_DELETED) != 0;
    rec.key_len = (uint16_t)key_len;
    rec.value_len = (uint32_t)value_len;
    rec.key = (const char *)rbuf_bytes(r, rec.key_len);
    rec.value = rbuf_bytes(r, rec.value_len);
    if (r->bad)
        return ERR_MALFORMED;
    *ret = rec;
    return 0;
}

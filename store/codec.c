/* SPDX-License-Identifier: Apache-2.0
 * Bytes of the store's own records. Numbers are little-endian in values and big-endian in
 * keys, so that memcmp order is number order. */
#include "store/store_int.h"

#include <endian.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"

void put_be64(uint8_t *out, uint64_t v)
{
    v = htobe64(v);
    memcpy(out, &v, sizeof v);
}

uint64_t get_be64(const uint8_t *in)
{
    uint64_t v;
    memcpy(&v, in, sizeof v);
    return be64toh(v);
}

static void put64(uint8_t *out, uint64_t v)
{
    v = htole64(v);
    memcpy(out, &v, sizeof v);
}

static uint64_t get64(const uint8_t *in)
{
    uint64_t v;
    memcpy(&v, in, sizeof v);
    return le64toh(v);
}

uint64_t checksum(const MDB_val *key, const void *data, size_t len)
{
    return hash_bytes(data, len, hash_bytes(key->mv_data, key->mv_size, CHECKSUM_SEED));
}

/* Heads are arrays of numbers behind a checksum. */
static const MDB_val head_key = {4, (void *)(uintptr_t) "head"};

static void numbers_encode(const uint64_t *numbers, size_t count, uint8_t *out)
{
    for (size_t i = 0; i < count; i++)
        put64(out + 8 * (i + 1), numbers[i]);
    put64(out, checksum(&head_key, out + 8, 8 * count));
}

static int numbers_decode(const MDB_val *val, uint64_t *out, size_t count)
{
    const uint8_t *p = val->mv_data;
    if (val->mv_size != 8 * (count + 1) || get64(p) != checksum(&head_key, p + 8, 8 * count))
        return ERR_CORRUPT;
    for (size_t i = 0; i < count; i++)
        out[i] = get64(p + 8 * (i + 1));
    return 0;
}

_Static_assert(sizeof(struct head) + 8 == HEAD_BYTES, "struct head is all numbers");
_Static_assert(sizeof(struct log_head) + 8 == LOG_HEAD_BYTES, "struct log_head is all numbers");

void head_encode(const struct head *h, uint8_t *out)
{
    uint64_t n[sizeof *h / 8];
    memcpy(n, h, sizeof *h);
    numbers_encode(n, sizeof *h / 8, out);
}

int head_decode(const MDB_val *val, struct head *ret)
{
    uint64_t n[sizeof *ret / 8];
    int err = numbers_decode(val, n, sizeof *ret / 8);
    if (err == 0)
        memcpy(ret, n, sizeof *ret);
    return err;
}

void log_head_encode(const struct log_head *h, uint8_t *out)
{
    uint64_t n[sizeof *h / 8];
    memcpy(n, h, sizeof *h);
    numbers_encode(n, sizeof *h / 8, out);
}

int log_head_decode(const MDB_val *val, struct log_head *ret)
{
    uint64_t n[sizeof *ret / 8];
    int err = numbers_decode(val, n, sizeof *ret / 8);
    if (err == 0)
        memcpy(ret, n, sizeof *ret);
    return err;
}

size_t plain_key(uint8_t kind, const char *key, size_t key_len, uint8_t out[PLAIN_KEY_MAX])
{
    out[0] = kind;
    memcpy(out + 1, key, key_len);
    return key_len + 1;
}

/* 32 lower-case hexadecimal digits to 16 bytes; false: it is something else. */
static bool unhex(const char *text, size_t len, uint8_t out[16])
{
    if (len != 32)
        return false;
    for (size_t i = 0; i < 32; i++) {
        unsigned c = (uint8_t)text[i], digit = c - '0';
        if (digit > 9 && (digit = c - 'a' + 10) - 10 > 5)
            return false;
        out[i / 2] = (uint8_t)(i % 2 == 0 ? digit << 4 : out[i / 2] | digit);
    }
    return true;
}

size_t row_key(uint8_t kind, const char *key, size_t key_len, uint8_t out[ROW_KEY_MAX])
{
    size_t at = key_len;
    while (at > 0 && key[at - 1] != '/')
        at--;
    out[0] = kind;
    put_be64(out + 1, at == 0 ? 0 : hash_bytes(key, at, CHECKSUM_SEED));
    out[9] = unhex(key + at, key_len - at, out + ROW_KEY_MIN);
    if (out[9])
        return ROW_KEY_MIN + 16;
    memcpy(out + ROW_KEY_MIN, key + at, key_len - at);
    return ROW_KEY_MIN + key_len - at;
}

size_t row_size(const struct record *rec, uint32_t *ret_key_at)
{
    const uint8_t *at = NULL;
    if (rec->value_len > 0)
        at = memmem(rec->value, rec->value_len, rec->key, rec->key_len);
    *ret_key_at = at == NULL ? rec->value_len : (uint32_t)(at - rec->value);
    return ROW_HEADER + (size_t)rec->value_len + (at == NULL ? rec->key_len : 0u);
}

/* checksum, change index, stored ms, version hi, lo, observed ms, term, source u8, deleted u8,
 * key length u16, value length u32, key position u32; the value; the key, if it is not in there. */
void row_write(const struct record *rec, uint64_t index, int64_t stored_ms, uint32_t key_at,
               const MDB_val *key, MDB_val *val)
{
    uint8_t *out = val->mv_data;
    uint32_t len = htole32(rec->value_len);
    uint32_t at = htole32(key_at);
    uint16_t key_len = htole16(rec->key_len);
    put64(out + 8, index);
    put64(out + 16, (uint64_t)stored_ms);
    put64(out + 24, rec->version.hi);
    put64(out + 32, rec->version.lo);
    put64(out + 40, (uint64_t)rec->observed_unix_ms);
    put64(out + 48, rec->term);
    out[56] = rec->source;
    out[57] = rec->deleted;
    memcpy(out + 58, &key_len, sizeof key_len);
    memcpy(out + 60, &len, sizeof len);
    memcpy(out + 64, &at, sizeof at);
    if (rec->value_len > 0)
        memcpy(out + ROW_HEADER, rec->value, rec->value_len);
    if (key_at == rec->value_len)
        memcpy(out + ROW_HEADER + key_at, rec->key, rec->key_len);
    put64(out, checksum(key, out + 8, val->mv_size - 8));
}

uint64_t row_index(const MDB_val *val)
{
    return val->mv_size < ROW_HEADER ? 0 : get64((const uint8_t *)val->mv_data + 8);
}

int row_read(const MDB_val *key, const MDB_val *val, struct store_row *ret)
{
    const uint8_t *k = key->mv_data;
    const uint8_t *p = val->mv_data;
    uint32_t len, at;
    uint16_t key_len;
    if (key->mv_size < ROW_KEY_MIN || key->mv_size > ROW_KEY_MAX || val->mv_size < ROW_HEADER)
        return ERR_CORRUPT;
    memcpy(&key_len, p + 58, sizeof key_len);
    memcpy(&len, p + 60, sizeof len);
    memcpy(&at, p + 64, sizeof at);
    key_len = le16toh(key_len);
    len = le32toh(len);
    at = le32toh(at);
    size_t room = val->mv_size - ROW_HEADER;
    if (len > room || at > room || key_len == 0 || key_len > room - at ||
        get64(p) != checksum(key, p + 8, val->mv_size - 8))
        return ERR_CORRUPT;
    *ret = (struct store_row){
        .record = {.kind = k[0],
                   .source = p[56],
                   .deleted = p[57] != 0,
                   .key_len = key_len,
                   .value_len = len,
                   .version = {get64(p + 24), get64(p + 32)},
                   .observed_unix_ms = (int64_t)get64(p + 40),
                   .term = get64(p + 48),
                   .key = (const char *)p + ROW_HEADER + at,
                   .value = p + ROW_HEADER},
        .index = get64(p + 8),
        .stored_unix_ms = (int64_t)get64(p + 16),
    };
    return 0;
}

bool row_fields(const struct record *rec, struct row *ret)
{
    if (rec->kind == RECORD_TEST || rec->kind == RECORD_SETTING)
        return false;
    return row_decode(rec->value, rec->value_len, ret) == 0;
}

/* Of these almost all rows have one and the same text, which is not indexed: its entries would be
 * as many as the rows, and a list of all rows finds them as fast. */
static const char *usual_text(unsigned field)
{
    return field == ROW_DESIRED ? "RUNNING" : field == ROW_CONNECTED ? "true" : NULL;
}

bool field_is_partial(unsigned field)
{
    return usual_text(field) != NULL;
}

bool field_finds(unsigned field, const char *value)
{
    const char *usual = usual_text(field);
    return field_is_indexed(field) && value != NULL && (usual == NULL || strcmp(value, usual) != 0);
}

bool field_is_indexed(unsigned field)
{
    switch (field) {
    case ROW_CLUSTER:
    case ROW_STATUS:
    case ROW_INSTANCE:
    case ROW_FAMILY:
    case ROW_STARTED_BY:
    case ROW_GROUP:
    case ROW_ENVIRONMENT:
    case ROW_EC2_INSTANCE:
    case ROW_ZONE:
    case ROW_REVISION:
        return true;
    default:
        return field_is_partial(field);
    }
}

struct row_text field_text(const struct row *row, unsigned field, char out[FIELD_TEXT_MAX])
{
    struct row_text family = row->field[ROW_FAMILY], revision = row->field[ROW_REVISION];
    if (field_is_partial(field) && row_field_is(row, field, usual_text(field)))
        return (struct row_text){0};
    if (field != ROW_REVISION)
        return row->field[field];
    if (family.data == NULL || revision.data == NULL || family.len + revision.len >= FIELD_TEXT_MAX)
        return (struct row_text){0};
    memcpy(out, family.data, family.len);
    out[family.len] = ':';
    memcpy(out + family.len + 1, revision.data, revision.len);
    return (struct row_text){out, family.len + 1 + revision.len};
}

bool row_has(const struct row *row, unsigned field, const char *value)
{
    char out[FIELD_TEXT_MAX];
    struct row_text text = field_text(row, field, out);
    return text.data != NULL && text.len == strlen(value) &&
           memcmp(text.data, value, text.len) == 0;
}

static const MDB_val format_key = {6, (void *)(uintptr_t) "format"};

/* Format numbers outlive every layout below them: u64 checksum, u64 number, for ever. */
int format_read(MDB_txn *txn, MDB_dbi meta, uint64_t ours, uint64_t *ret, struct errmsg *e)
{
    MDB_val key = format_key;
    MDB_val val;
    int rc = mdb_get(txn, meta, &key, &val);
    if (rc != 0)
        return env_lookup_err(rc, "the format record is missing", e);
    const uint8_t *p = val.mv_data;
    if (val.mv_size != 16 || get64(p) != hash_bytes(p + 8, 8, 0))
        return errmsg_set(e, ERR_CORRUPT, "the format record is damaged");
    *ret = get64(p + 8);
    if (*ret > ours || *ret == 0)
        return errmsg_set(e, ERR_VERSION,
                          "format %llu, made by a newer version; this one reads up to %llu",
                          (unsigned long long)*ret, (unsigned long long)ours);
    return 0;
}

int format_write(MDB_txn *txn, MDB_dbi meta, uint64_t format)
{
    uint8_t bytes[16];
    MDB_val key = format_key;
    MDB_val val = {sizeof bytes, bytes};
    put64(bytes + 8, format);
    put64(bytes, hash_bytes(bytes + 8, 8, 0));
    return mdb_put(txn, meta, &key, &val, 0);
}

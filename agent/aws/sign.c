/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/aws/sign.h"

#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define HASH_BYTES crypto_hash_sha256_BYTES
#define HEX_MAX (2 * HASH_BYTES + 1)
#define CANONICAL_MAX (64u * 1024) /* a session token has a few KB */

void sign_date(int64_t unix_ms, char out[SIGN_DATE_MAX])
{
    time_t t = (time_t)(unix_ms / 1000);
    struct tm tm;
    out[0] = '\0';
    if (gmtime_r(&t, &tm) != NULL)
        (void)strftime(out, SIGN_DATE_MAX, "%Y%m%dT%H%M%SZ", &tm);
}

static void put_hash(struct buf *out, const void *data, size_t len)
{
    unsigned char hash[HASH_BYTES];
    char hex[HEX_MAX];
    (void)crypto_hash_sha256(hash, data, len);
    buf_puts(out, sodium_bin2hex(hex, sizeof hex, hash, sizeof hash));
}

static void hmac(const void *key, size_t key_len, const char *text, uint8_t out[HASH_BYTES])
{
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, key, key_len);
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)text, strlen(text));
    crypto_auth_hmacsha256_final(&state, out);
}

/* ---- headers -------------------------------------------------------------------------- */

struct header {
    const char *name;
    size_t len;
    const char *value;
};

static int order(const struct header *a, const struct header *b)
{
    int c = strncasecmp(a->name, b->name, a->len < b->len ? a->len : b->len);
    return c != 0 ? c : (a->len > b->len) - (a->len < b->len);
}

/* By name; those of one name keep their order. */
static int sort_headers(const char *const *lines, struct header out[SIGN_HEADERS_MAX],
                        size_t *ret_count)
{
    size_t count = 0;
    for (; lines[count] != NULL; count++) {
        const char *line = lines[count];
        size_t len = strcspn(line, ":");
        struct header h = {line, len, line + len + (line[len] == ':')};
        size_t at = count;
        if (count == SIGN_HEADERS_MAX)
            return ERR_TOOBIG;
        for (; at > 0 && order(&out[at - 1], &h) > 0; at--)
            out[at] = out[at - 1];
        out[at] = h;
    }
    *ret_count = count;
    return 0;
}

static void put_name(struct buf *out, const struct header *h)
{
    for (size_t i = 0; i < h->len; i++) {
        char c = h->name[i];
        buf_putc(out, (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c));
    }
}

/* Without blanks at the ends, and one where there are more. */
static void put_value(struct buf *out, const char *value)
{
    for (const char *sep = ""; *(value += strspn(value, " \t")) != '\0'; sep = " ") {
        size_t len = strcspn(value, " \t");
        buf_puts(out, sep);
        buf_put(out, value, len);
        value += len;
    }
}

static void put_headers(struct buf *out, const struct header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool again = i > 0 && order(&headers[i - 1], &headers[i]) == 0;
        if (i > 0 && !again)
            buf_putc(out, '\n');
        if (!again)
            put_name(out, &headers[i]);
        buf_putc(out, again ? ',' : ':');
        put_value(out, headers[i].value);
    }
    buf_putc(out, '\n');
}

static void put_names(struct buf *out, const struct header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && order(&headers[i - 1], &headers[i]) == 0)
            continue;
        if (i > 0)
            buf_putc(out, ';');
        put_name(out, &headers[i]);
    }
}

/* ---- the signature ------------------------------------------------------------------------ */

/* Each byte of the path as it is sent that is not unreserved is escaped (once more). */
static void put_path(struct buf *out, const char *path)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    if (path[0] == '\0')
        buf_putc(out, '/');
    while (*path != '\0') {
        size_t len = strspn(path, plain);
        buf_put(out, path, len);
        path += len;
        if (*path != '\0')
            buf_printf(out, "%%%02X", (unsigned char)*path++);
    }
}

static int put_canonical(struct buf *out, const struct sign_request *r,
                         const struct header *headers, size_t count)
{
    buf_printf(out, "%s\n", r->method);
    put_path(out, r->path);
    buf_printf(out, "\n%s\n", r->query);
    put_headers(out, headers, count);
    buf_putc(out, '\n');
    put_names(out, headers, count);
    buf_putc(out, '\n');
    put_hash(out, r->body, r->body_len);
    return out->err;
}

static const uint8_t *key_for(struct sign_key *kept, const char *scope,
                              const struct sign_request *r)
{
    char secret[SIGN_SECRET_MAX + 4];
    char day[9];
    if (strcmp(kept->scope, scope) == 0 && strcmp(kept->secret, r->secret) == 0)
        return kept->key;
    snprintf(secret, sizeof secret, "AWS4%s", r->secret);
    snprintf(day, sizeof day, "%.8s", r->date);
    hmac(secret, strlen(secret), day, kept->key);
    hmac(kept->key, sizeof kept->key, r->region, kept->key);
    hmac(kept->key, sizeof kept->key, r->service, kept->key);
    hmac(kept->key, sizeof kept->key, "aws4_request", kept->key);
    snprintf(kept->scope, sizeof kept->scope, "%s", scope);
    snprintf(kept->secret, sizeof kept->secret, "%s", r->secret);
    explicit_bzero(secret, sizeof secret);
    return kept->key;
}

int sign_request(const struct sign_request *r, struct sign_key *kept, struct buf *out)
{
    struct header headers[SIGN_HEADERS_MAX];
    struct buf canonical, text;
    char scope[SIGN_SCOPE_MAX], hex[HEX_MAX];
    uint8_t signature[HASH_BYTES];
    size_t count = 0;
    int len =
        snprintf(scope, sizeof scope, "%.8s/%s/%s/aws4_request", r->date, r->region, r->service);
    int err = sort_headers(r->headers, headers, &count);
    if (err != 0 || (size_t)len >= sizeof scope || strlen(r->secret) >= SIGN_SECRET_MAX)
        return ERR_TOOBIG;
    buf_init(&canonical, CANONICAL_MAX);
    buf_init(&text, CANONICAL_MAX);
    err = put_canonical(&canonical, r, headers, count);
    if (err == 0) {
        buf_printf(&text, "AWS4-HMAC-SHA256\n%s\n%s\n", r->date, scope);
        put_hash(&text, canonical.data, canonical.len);
        err = text.err;
    }
    if (err == 0) {
        hmac(key_for(kept, scope, r), sizeof kept->key, text.data, signature);
        buf_printf(out, "Authorization: AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=",
                   r->access_key, scope);
        put_names(out, headers, count);
        buf_printf(out, ", Signature=%s",
                   sodium_bin2hex(hex, sizeof hex, signature, sizeof signature));
        err = out->err;
    }
    if (canonical.data != NULL)
        explicit_bzero(canonical.data, canonical.cap); /* the session token is in there */
    buf_fini(&canonical);
    buf_fini(&text);
    return err;
}

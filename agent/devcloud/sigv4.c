/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/devcloud/sigv4.h"

#include <ctype.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/base/err.h"

#define CANONICAL_MAX (256u * 1024)
#define PARAMS_MAX 256

const char *sigv4_header_value(const struct sigv4_request *req, const char *name)
{
    for (size_t i = 0; i < req->header_count; i++)
        if (strcasecmp(req->headers[i].name, name) == 0)
            return req->headers[i].value;
    return NULL;
}

/* Copies what lies between two marks; false if it is missing, empty or too long. */
static bool cut(const char **at, const char *end, char *out, size_t cap)
{
    size_t len = strcspn(*at, end);

    if (len == 0 || len >= cap)
        return false;
    memcpy(out, *at, len);
    out[len] = '\0';
    *at += len;
    if (**at != '\0')
        ++*at;
    return true;
}

int sigv4_parse(const char *authorization, struct sigv4_auth *ret)
{
    static const char ALGORITHM[] = "AWS4-HMAC-SHA256";
    bool credential = false, headers = false, signature = false;
    const char *at = authorization;

    if (strncmp(at, ALGORITHM, sizeof(ALGORITHM) - 1) != 0)
        return ERR_MALFORMED;
    at += sizeof(ALGORITHM) - 1;
    while (*at != '\0') {
        at += strspn(at, " ,\t");
        if (strncmp(at, "Credential=", 11) == 0) {
            char end[16];
            at += 11;
            credential = cut(&at, "/", ret->access_key, sizeof(ret->access_key)) &&
                         cut(&at, "/", ret->date, sizeof(ret->date)) &&
                         cut(&at, "/", ret->region, sizeof(ret->region)) &&
                         cut(&at, "/", ret->service, sizeof(ret->service)) &&
                         cut(&at, ", ", end, sizeof(end)) && strcmp(end, "aws4_request") == 0;
            if (!credential)
                return ERR_MALFORMED;
        } else if (strncmp(at, "SignedHeaders=", 14) == 0) {
            at += 14;
            headers = cut(&at, ", ", ret->signed_headers, sizeof(ret->signed_headers));
        } else if (strncmp(at, "Signature=", 10) == 0) {
            at += 10;
            signature = cut(&at, ", ", ret->signature, sizeof(ret->signature));
        } else if (*at != '\0') {
            return ERR_MALFORMED;
        }
    }
    return credential && headers && signature ? 0 : ERR_MALFORMED;
}

bool sigv4_is_signed(const struct sigv4_auth *auth, const char *header)
{
    size_t len = strlen(header);

    for (const char *at = auth->signed_headers; *at != '\0';) {
        size_t n = strcspn(at, ";");
        if (n == len && strncasecmp(at, header, n) == 0)
            return true;
        at += n + (at[n] == ';');
    }
    return false;
}

static bool is_unreserved(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes what is encoded and encodes again by the rule of SigV4, so that both spellings of a
 * request give one canonical form. */
static void put_encoded(struct buf *out, const char *text, size_t len, bool keep_slash)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '%' && i + 2 < len && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
            c = (unsigned char)(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
            i += 2;
        }
        if (is_unreserved(c) || (keep_slash && c == '/'))
            buf_putc(out, (char)c);
        else
            buf_printf(out, "%%%02X", c);
    }
}

/* RFC 3986 section 5.2.4, and empty segments are dropped, as every service but S3 does. */
static void put_path(struct buf *out, const char *path, size_t len)
{
    struct buf made;

    buf_init(&made, CANONICAL_MAX);
    for (size_t i = 0; i < len;) {
        size_t n = 0;
        while (i + n < len && path[i + n] != '/')
            n++;
        bool last = i + n >= len;
        if (n == 2 && path[i] == '.' && path[i + 1] == '.') {
            while (made.len > 0 && made.data[made.len - 1] != '/')
                made.data[--made.len] = '\0';
            if (made.len > 0)
                made.data[--made.len] = '\0';
        } else if (n > 0 && !(n == 1 && path[i] == '.')) {
            buf_putc(&made, '/');
            put_encoded(&made, path + i, n, true);
        }
        if (last)
            break;
        i += n + 1;
    }
    bool slash = len > 0 && path[len - 1] == '/';
    if (made.len > 0)
        buf_put(out, made.data, made.len);
    if (made.len == 0 || slash)
        buf_putc(out, '/');
    buf_fini(&made);
}

static int text_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Each parameter becomes "name\1value" (\1 sorts before every character that may follow a name
 * and is never part of an encoded one), is sorted, and written with "=". */
static int put_query(struct buf *out, const char *query)
{
    char *params[PARAMS_MAX];
    size_t count = 0;
    int err = 0;

    for (const char *at = query; *at != '\0' && err == 0;) {
        size_t len = strcspn(at, "&");
        if (len > 0) {
            struct buf one;
            const char *equals = memchr(at, '=', len);
            size_t name = equals == NULL ? len : (size_t)(equals - at);
            buf_init(&one, CANONICAL_MAX);
            put_encoded(&one, at, name, false);
            buf_putc(&one, '\1');
            if (equals != NULL)
                put_encoded(&one, equals + 1, len - name - 1, false);
            if (one.err != 0 || count == PARAMS_MAX) {
                err = one.err != 0 ? one.err : ERR_TOOBIG;
                buf_fini(&one);
                break;
            }
            params[count++] = buf_steal(&one, NULL);
        }
        at += len + (at[len] == '&');
    }
    if (count > 1)
        qsort(params, count, sizeof(params[0]), text_order);
    for (size_t i = 0; i < count; i++) {
        char *mark = strchr(params[i], '\1');
        *mark = '=';
        buf_printf(out, "%s%s", i > 0 ? "&" : "", params[i]);
        free(params[i]);
    }
    return err;
}

/* Trimmed, runs of blanks become one. */
static void put_value(struct buf *out, const char *value)
{
    bool blank = false, any = false;

    for (; *value != '\0'; value++) {
        if (isspace((unsigned char)*value)) {
            blank = true;
            continue;
        }
        if (blank && any)
            buf_putc(out, ' ');
        blank = false;
        any = true;
        buf_putc(out, *value);
    }
}

static void put_headers(struct buf *out, const struct sigv4_request *req, const char *names)
{
    for (const char *at = names; *at != '\0';) {
        size_t len = strcspn(at, ";");
        bool any = false;
        buf_put(out, at, len);
        buf_putc(out, ':');
        for (size_t i = 0; i < req->header_count; i++) {
            if (strlen(req->headers[i].name) != len ||
                strncasecmp(req->headers[i].name, at, len) != 0)
                continue;
            if (any)
                buf_putc(out, ',');
            put_value(out, req->headers[i].value);
            any = true;
        }
        buf_putc(out, '\n');
        at += len + (at[len] == ';');
    }
}

static void sha256_hex(const void *data, size_t len, char out[SIGV4_HEX])
{
    unsigned char hash[crypto_hash_sha256_BYTES];

    crypto_hash_sha256(hash, data, len);
    sodium_bin2hex(out, SIGV4_HEX, hash, sizeof(hash));
}

int sigv4_canonical(const struct sigv4_request *req, const char *signed_headers, struct buf *out)
{
    const char *query = strchr(req->target, '?');
    size_t path = query == NULL ? strlen(req->target) : (size_t)(query - req->target);
    char hash[SIGV4_HEX];

    buf_printf(out, "%s\n", req->method);
    put_path(out, req->target, path);
    buf_putc(out, '\n');
    int err = query == NULL ? 0 : put_query(out, query + 1);
    buf_putc(out, '\n');
    put_headers(out, req, signed_headers);
    sha256_hex(req->body == NULL ? "" : req->body, req->body_len, hash);
    buf_printf(out, "\n%s\n%s", signed_headers, hash);
    return err != 0 ? err : out->err;
}

int sigv4_string_to_sign(const struct sigv4_auth *auth, const char *amz_date, const char *canonical,
                         struct buf *out)
{
    char hash[SIGV4_HEX];

    sha256_hex(canonical, strlen(canonical), hash);
    buf_printf(out, "AWS4-HMAC-SHA256\n%s\n%s/%s/%s/aws4_request\n%s", amz_date, auth->date,
               auth->region, auth->service, hash);
    return out->err;
}

static void hmac(const unsigned char *key, size_t key_len, const char *text,
                 unsigned char out[crypto_auth_hmacsha256_BYTES])
{
    crypto_auth_hmacsha256_state state;

    crypto_auth_hmacsha256_init(&state, key, key_len);
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)text, strlen(text));
    crypto_auth_hmacsha256_final(&state, out);
}

void sigv4_sign(const struct sigv4_auth *auth, const char *secret, struct sigv4_key *kept,
                const char *string_to_sign, char ret_hex[SIGV4_HEX])
{
    unsigned char signature[crypto_auth_hmacsha256_BYTES];
    char scope[sizeof(kept->scope)], first[256];

    snprintf(scope, sizeof(scope), "%s/%s/%s", auth->date, auth->region, auth->service);
    if (strcmp(scope, kept->scope) != 0) {
        snprintf(first, sizeof(first), "AWS4%s", secret);
        hmac((const unsigned char *)first, strlen(first), auth->date, kept->key);
        hmac(kept->key, sizeof(kept->key), auth->region, kept->key);
        hmac(kept->key, sizeof(kept->key), auth->service, kept->key);
        hmac(kept->key, sizeof(kept->key), "aws4_request", kept->key);
        memcpy(kept->scope, scope, sizeof(scope));
    }
    hmac(kept->key, sizeof(kept->key), string_to_sign, signature);
    sodium_bin2hex(ret_hex, SIGV4_HEX, signature, sizeof(signature));
}

int sigv4_expected(const struct sigv4_request *req, const struct sigv4_auth *auth,
                   const char *amz_date, const char *secret, struct sigv4_key *kept,
                   char ret_hex[SIGV4_HEX])
{
    struct buf canonical, text;

    buf_init(&canonical, CANONICAL_MAX);
    buf_init(&text, CANONICAL_MAX);
    int err = sigv4_canonical(req, auth->signed_headers, &canonical);
    if (err == 0)
        err = sigv4_string_to_sign(auth, amz_date, canonical.data, &text);
    if (err == 0)
        sigv4_sign(auth, secret, kept, text.data, ret_hex);
    buf_fini(&canonical);
    buf_fini(&text);
    return err;
}

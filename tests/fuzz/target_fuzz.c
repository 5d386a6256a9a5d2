/* SPDX-License-Identifier: Apache-2.0
 * What HTTP clients write and the API takes apart itself: the request target, next_token, and
 * JSON walked in place. First byte: which. */
#include <stdlib.h>
#include <string.h>

#include "agent/api/server.h"
#include "agent/api/token.h"
#include "agent/base/clock.h"
#include "agent/base/ensure.h"
#include "agent/base/span.h"
#include "tests/fuzz/fuzz.h"

static void check_target(const char *text, size_t len)
{
    /* As server.c makes room: the target, then path and query, each with its NUL; longer ones are
     * refused there. */
    if (len > API_URI_MAX)
        return;
    struct request *r = calloc(1, sizeof *r);
    r->raw = calloc(1, len + 1);
    r->path = calloc(1, len + 3);
    ENSURE(r->raw != NULL && r->path != NULL);
    memcpy(r->raw, text, len);
    request_parse_target(r);
    ENSURE(r->param_count <= API_PARAMS_MAX);
    if (!r->uri_bad) {
        ENSURE(strlen(r->path) <= len);
        for (size_t i = 0; i < r->param_count; i++)
            ENSURE(request_param(r, r->params[i].name) != NULL);
    }
    free(r->raw);
    free(r->path);
    free(r);
}

static void check_token(const char *text)
{
    struct token token, again;
    int64_t when;
    (void)clock_parse_rfc3339(text, &when);
    if (token_decode(text, &token) != 0)
        return;
    struct buf out;
    buf_init(&out, 4096);
    ENSURE(token_encode(&token, &out) == 0);
    ENSURE(token_decode(out.data, &again) == 0);
    ENSURE(token.snapshot == again.snapshot && token.query == again.query);
    ENSURE(token.last.key_len == again.last.key_len);
    ENSURE(memcmp(token.last.key, again.last.key, token.last.key_len) == 0);
    ENSURE(token.last.rank == again.last.rank && token.last.number == again.last.number);
    ENSURE(token.last.text_len == again.last.text_len);
    ENSURE(memcmp(token.last.text, again.last.text, token.last.text_len) == 0);
    buf_fini(&out);
}

static size_t walk(struct span s, int depth)
{
    struct span name, value;
    size_t n = 1;
    if (depth > 20)
        return n;
    for (size_t at = 0; span_member(s, &at, &name, &value);) {
        ENSURE(value.data >= s.data && value.data + value.len <= s.data + s.len);
        n += walk(value, depth + 1);
    }
    for (size_t at = 0; span_element(s, &at, &value);) {
        ENSURE(value.data >= s.data && value.data + value.len <= s.data + s.len);
        n += walk(value, depth + 1);
    }
    (void)span_int_or(s, 0);
    (void)span_double_or(s, 0);
    if (span_is_text(s))
        (void)span_inside(s);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 8192)
        return 0;
    /* Exactly as long as it is, so that a read past the end is seen. */
    char *text = malloc(size);
    ENSURE(text != NULL);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    switch (data[0] % 3) {
    case 0:
        check_target(text, strlen(text));
        break;
    case 1:
        check_token(text);
        break;
    default: {
        static const struct span_name names[] = {SPAN_NAME("a"), SPAN_NAME("status")};
        char *bytes = malloc(size);
        ENSURE(bytes != NULL);
        memcpy(bytes, text, size - 1);
        bytes = realloc(bytes, size > 1 ? size - 1 : 1);
        ENSURE(bytes != NULL);
        struct span picked[2], s = {bytes, size - 1};
        (void)walk(s, 0);
        span_pick(s, names, 2, picked);
        (void)span_get(s, "status");
        free(bytes);
        break;
    }
    }
    free(text);
    return 0;
}

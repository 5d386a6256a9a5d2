/* SPDX-License-Identifier: Apache-2.0
 * GETs whose answers must be JSON, for tests. */
#ifndef BLOX_TESTS_API_ASK_H
#define BLOX_TESTS_API_ASK_H

#include <criterion/criterion.h>

#include "agent/base/json.h"
#include "tests/unit/api/fixture.h"

static inline json_t *get_json(struct fixture *f, const char *path, long status)
{
    struct errmsg e = {""};
    struct http h = http_get(f, path);
    cr_assert_eq(h.status, status, "%s: %ld %s", path, h.status, h.body);
    json_t *doc = json_parse(h.body, h.len, &e);
    cr_assert_not_null(doc, "%s: %s: %s", path, e.text, h.body);
    http_free(&h);
    return doc;
}

static inline size_t count_items(struct fixture *f, const char *path)
{
    json_t *doc = get_json(f, path, 200);
    size_t n = json_array_size(json_arr(doc, "items"));
    json_decref(doc);
    return n;
}

#endif

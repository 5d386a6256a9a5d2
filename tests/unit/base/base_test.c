/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/json.h"
#include "agent/base/log.h"
#include "agent/base/map.h"
#include "agent/base/metrics.h"
#include "agent/base/prng.h"

Test(err, every_code_has_all_its_columns)
{
#define X(name, number, text, http, slug, code)                                                    \
    cr_assert_str_eq(err_name(name), #name);                                                       \
    cr_assert_str_eq(err_text(name), text);                                                        \
    cr_assert(err_http_status(name) >= 400);                                                       \
    cr_assert(err_exit_code(name) > 0);                                                            \
    cr_assert_eq(err_http_status(err_from_slug(slug)) / 100, (http) / 100);
    ERR_LIST(X)
#undef X
    cr_assert_str_eq(err_text(-999), "unknown error");
    cr_assert_eq(err_exit_code(0), 0);
    cr_assert_eq(err_from_slug("no such"), ERR_INTERNAL);
}

Test(err, messages_wrap_and_never_overflow)
{
    struct errmsg e;
    cr_assert_eq(errmsg_set(&e, ERR_IO, "disk %d", 3), ERR_IO);
    errmsg_wrap(&e, "reading %s", "x");
    cr_assert_str_eq(e.text, "reading x: disk 3");
    for (int i = 0; i < 100; i++)
        errmsg_wrap(&e, "again and again");
    cr_assert(strlen(e.text) < sizeof e.text);
    cr_assert_eq(errmsg_set(NULL, ERR_IO, "nobody listens"), ERR_IO);
}

Test(clock, rfc3339)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-22T14:00:00Z", 1795356000000},
        {"2026-11-22T14:00:00.5Z", 1795356000500},
        {"2026-11-22T14:00:00.123456789Z", 1795356000123},
        {"2026-11-22T15:00:00+01:00", 1795356000000},
        {"2026-11-22T09:30:00.98-0430", 1795356000980},
        {"2024-02-29T00:00:00Z", 1709164800000},
    };
    static const char *const bad[] = {"",
                                      "2026",
                                      "2026-11-22",
                                      "2026-11-22T14:00:00",
                                      "2026-11-22T14:00:00.Z",
                                      "2026-13-22T14:00:00Z",
                                      "2026-11-22T24:00:00Z",
                                      "2026-02-29T00:00:00Z",
                                      "2100-02-29T00:00:00Z",
                                      "2026-04-31T00:00:00Z",
                                      "2026-11-22T14:00:00+24:00",
                                      "2026-11-22T14:00:00-01:60",
                                      "2026-11-22T14:00:00.1234567890Z",
                                      "2026-11-22T14:00:00Zx",
                                      "x026-11-22T14:00:00Z"};
    char text[CLOCK_TEXT_MAX];
    int64_t ms = 0;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        cr_assert_eq(clock_parse_rfc3339(good[i].text, &ms), 0, "%s", good[i].text);
        cr_assert_eq(ms, good[i].ms, "%s gives %lld", good[i].text, (long long)ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_eq(clock_parse_rfc3339(bad[i], &ms), ERR_MALFORMED, "%s", bad[i]);
    cr_assert_str_eq(clock_format_unix_ms(1795356000007, text), "2026-11-22T14:00:00.007Z");
    cr_assert_str_eq(clock_format_unix_ms(-1, text), "1969-12-31T23:59:59.999Z");
    cr_assert_str_eq(clock_format_unix_ms(INT64_MAX, text), "");
}

/* The map against an array of the same size, through growth and deletion. */
Test(map, agrees_with_a_plain_array)
{
    enum { KEYS = 500 };
    static int there[KEYS];
    static int values[KEYS];
    struct map m;
    struct prng p;
    char key[16];
    size_t count = 0;
    map_init(&m);
    prng_seed(&p, 7);
    for (int step = 0; step < 50000; step++) {
        size_t k = (size_t)prng_below(&p, KEYS);
        void *old = NULL;
        snprintf(key, sizeof key, "k%zu", k);
        if (prng_below(&p, 2) == 0) {
            cr_assert_eq(map_put(&m, key, &values[k], &old), 0);
            cr_assert_eq(old, there[k] ? &values[k] : NULL);
            count += there[k] == 0;
            there[k] = 1;
        } else {
            cr_assert_eq(map_del(&m, key), there[k] ? &values[k] : NULL);
            count -= there[k] != 0;
            there[k] = 0;
        }
        cr_assert_eq(m.count, count);
    }
    size_t seen = 0;
    const char *found = NULL;
    void *value = NULL;
    for (size_t at = 0; map_next(&m, &at, &found, &value);) {
        cr_assert(there[(int *)value - values]);
        seen++;
    }
    cr_assert_eq(seen, count);
    map_fini(&m);
    cr_assert_null(map_get(&m, "k1"));
    cr_assert_null(map_del(&m, "k1"));
}

Test(prng, same_seed_same_numbers_and_bounds_hold)
{
    struct prng a;
    struct prng b;
    prng_seed(&a, 42);
    prng_seed(&b, 42);
    for (int i = 0; i < 10000; i++) {
        uint64_t bound = (uint64_t)i * 7919 + 1;
        uint64_t x = prng_below(&a, bound);
        cr_assert_eq(x, prng_below(&b, bound));
        cr_assert_lt(x, bound);
    }
    cr_assert_eq(prng_below(&a, 0), 0u);
    double u = prng_unit(&a);
    cr_assert(u >= 0 && u < 1);
}

Test(json, strings_are_escaped_and_bad_utf8_replaced)
{
    struct buf b;
    buf_init(&b, 1000);
    json_write_string(&b, "a\"\\\n\xc3\xa4\xff\xed\xa0\x80", 10);
    cr_assert_str_eq(b.data, "\"a\\\"\\\\\\u000a\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                             "\xef\xbf\xbd\"");
    buf_fini(&b);
}

Test(json, decimals_look_so)
{
    struct buf b;
    json_t *j = json_pack("[f,f,f]", 21862 / 1000.0, 0.1, 1e21);
    buf_init(&b, 1000);
    cr_assert_eq(json_write(j, &b), 0);
    cr_assert_str_eq(b.data, "[21.862,0.1,1e21]");
    buf_fini(&b);
    json_decref(j);
}

Test(json, parse_says_where)
{
    struct errmsg e;
    cr_assert_null(json_parse("{\"a\":1,}", 8, &e));
    cr_assert_not_null(strstr(e.text, "line 1"));
    cr_assert_null(json_parse("{\"a\":1,\"a\":2}", 13, &e), "duplicate keys are refused");
    json_t *j = json_parse_lenient("{\"a\":1,\"a\":2}", 13, &e);
    cr_assert_eq(json_int_or(j, "a", 0), 2);
    json_decref(j);
}

static void logged(enum log_format format, char *out, size_t size)
{
    int fds[2];
    cr_assert_eq(pipe(fds), 0);
    log_set_fd(fds[1]);
    log_configure(LOG_INFO, format);
    LOG(LOG_INFO, "member_failed", "say \"why\"", LS("member", "i-1\n\x1b[2J"), LI("n", -3));
    LOG(LOG_DEBUG, "hidden", "", LI("n", 1));
    log_set_fd(1);
    close(fds[1]);
    ssize_t n = read(fds[0], out, size - 1);
    out[n < 0 ? 0 : n] = '\0';
    close(fds[0]);
}

Test(log, one_line_an_event_in_both_forms)
{
    char line[1024];
    logged(LOG_JSON, line, sizeof line);
    cr_assert_eq(strchr(line, '\n'), line + strlen(line) - 1, "exactly one line");
    json_t *j = json_parse(line, strlen(line), NULL);
    cr_assert_not_null(j, "%s", line);
    cr_assert_str_eq(json_str(j, "event"), "member_failed");
    cr_assert_str_eq(json_str(j, "member"), "i-1\n\x1b[2J");
    cr_assert_eq(json_int_or(j, "n", 0), -3);
    json_decref(j);
    logged(LOG_TEXT, line, sizeof line);
    cr_assert_not_null(strstr(line, "info  member_failed say \\\"why\\\" member=\"i-1\\u000a"));
    cr_assert_null(strchr(line, '\x1b'), "no control character reaches a terminal");
}

Test(metrics, prometheus_text)
{
    static struct metric a = METRIC_COUNTER_INIT("blox_a_total", "kind=\"x\"", "How many.");
    static struct metric a2 = METRIC_COUNTER_INIT("blox_a_total", "kind=\"y\"", "");
    static struct metric h = METRIC_HISTOGRAM_INIT("blox_h_seconds", NULL, "How long.");
    struct buf b;
    metrics_register(&a);
    metrics_register(&a);
    metrics_register(&a2);
    metrics_register(&h);
    metric_add(&a, 2);
    metric_observe_us(&h, 700);
    metric_observe_us(&h, 99000000);
    buf_init(&b, 10000);
    cr_assert_eq(metrics_render(&b), 0);
    cr_assert_not_null(strstr(b.data, "# HELP blox_a_total How many.\n# TYPE blox_a_total counter\n"
                                      "blox_a_total{kind=\"x\"} 2\nblox_a_total{kind=\"y\"} 0\n"));
    cr_assert_not_null(strstr(b.data, "blox_h_seconds_bucket{le=\"0.0005\"} 0\n"));
    cr_assert_not_null(strstr(b.data, "blox_h_seconds_bucket{le=\"0.001\"} 1\n"));
    cr_assert_not_null(strstr(b.data, "blox_h_seconds_bucket{le=\"+Inf\"} 2\n"));
    cr_assert_not_null(strstr(b.data, "blox_h_seconds_count 2\nblox_h_seconds_sum 99.000700\n"));
    buf_fini(&b);
}

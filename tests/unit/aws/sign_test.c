/* SPDX-License-Identifier: Apache-2.0
 * Our signatures against AWS's test suite (tests/data/sigv4), as far as it has requests such as
 * ours. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "agent/aws/sign.h"

static const char secret[] = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

static char *read_case(const char *name, const char *extension, char out[4096])
{
    char path[256], text[4096];
    snprintf(path, sizeof path, "tests/data/sigv4/%s/%s.%s", name, name, extension);
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    size_t n = fread(text, 1, sizeof text - 1, file), len = 0;
    fclose(file);
    for (size_t i = 0; i < n; i++) /* the suite has both line ends */
        if (text[i] != '\r')
            out[len++] = text[i];
    out[len] = '\0';
    return out;
}

/* Cuts text in place. */
static struct sign_request parse(char *text, const char *lines[SIGN_HEADERS_MAX + 1])
{
    char *end = strchr(text, '\n'), *body = strstr(text, "\n\n");
    char *path = strchr(text, ' ') + 1, *query, *at = end + 1;
    size_t count = 0;
    *end = '\0';
    *strstr(path, " HTTP/1.1") = '\0';
    path[-1] = '\0';
    if ((query = strchr(path, '?')) != NULL)
        *query++ = '\0';
    if (body != NULL)
        *body = '\0';
    while (at != NULL && *at != '\0') {
        lines[count++] = at;
        if ((at = strchr(at, '\n')) != NULL)
            *at++ = '\0';
    }
    lines[count] = NULL;
    return (struct sign_request){.method = text,
                                 .path = path,
                                 .query = query == NULL ? "" : query,
                                 .headers = lines,
                                 .body = body == NULL ? "" : body + 2,
                                 .body_len = body == NULL ? 0 : strlen(body + 2),
                                 .date = "20150830T123600Z",
                                 .access_key = "AKIDEXAMPLE",
                                 .secret = secret,
                                 .region = "us-east-1",
                                 .service = "service"};
}

Test(sign, signs_as_aws_does)
{
    static const char *const names[] = {"post-vanilla",
                                        "post-vanilla-query",
                                        "post-header-key-case",
                                        "post-header-key-sort",
                                        "post-header-value-case",
                                        "post-x-www-form-urlencoded",
                                        "post-x-www-form-urlencoded-parameters",
                                        "get-header-key-duplicate",
                                        "get-header-value-order",
                                        "get-header-value-trim",
                                        "get-unreserved",
                                        "get-utf8"};
    struct sign_key kept = {.scope = ""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char text[4096], want[4096];
        const char *lines[SIGN_HEADERS_MAX + 1];
        struct buf out;
        struct sign_request r = parse(read_case(names[i], "req", text), lines);
        buf_init(&out, 4096);
        cr_assert_eq(sign_request(&r, &kept, &out), 0);
        cr_assert_str_eq(out.data + strlen("Authorization: "), read_case(names[i], "authz", want),
                         "%s", names[i]);
        buf_fini(&out);
    }
}

/* The key that is kept is not used for what it was not made of. */
Test(sign, a_key_is_kept_for_its_day_region_service_and_secret)
{
    static const char *const lines[] = {"Host: example.com", NULL};
    struct sign_request of[] = {{.date = "20150830T123600Z", .region = "r", .service = "s"},
                                {.date = "20150831T123600Z", .region = "r", .service = "s"},
                                {.date = "20150830T123600Z", .region = "q", .service = "s"},
                                {.date = "20150830T123600Z", .region = "r", .service = "t"},
                                {.date = "20150830T123600Z", .region = "r", .service = "s"}};
    struct sign_key kept = {.scope = ""};
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        struct sign_key fresh = {.scope = ""};
        struct buf a, b;
        of[i].method = "POST";
        of[i].path = of[i].query = of[i].body = "";
        of[i].headers = lines;
        of[i].access_key = "A";
        of[i].secret = i == 4 ? "another" : "secret";
        buf_init(&a, 4096);
        buf_init(&b, 4096);
        cr_assert_eq(sign_request(&of[i], &kept, &a), 0);
        cr_assert_eq(sign_request(&of[i], &fresh, &b), 0);
        cr_assert_str_eq(a.data, b.data, "%zu", i);
        buf_fini(&a);
        buf_fini(&b);
    }
}

Test(sign, what_does_not_fit_is_not_signed)
{
    const char *lines[SIGN_HEADERS_MAX + 2];
    char long_name[SIGN_SCOPE_MAX + 1];
    struct sign_key kept = {.scope = ""};
    struct buf out;
    struct sign_request r = {"POST", "/", "", lines, "", 0, "20150830T123600Z", "A", "S", "r", "s"};
    for (size_t i = 0; i <= SIGN_HEADERS_MAX; i++)
        lines[i] = "Host: example.com";
    lines[SIGN_HEADERS_MAX + 1] = NULL;
    memset(long_name, 'r', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    buf_init(&out, 4096);
    cr_assert_eq(sign_request(&r, &kept, &out), ERR_TOOBIG);
    lines[SIGN_HEADERS_MAX] = NULL;
    cr_assert_eq(sign_request(&r, &kept, &out), 0);
    r.region = long_name;
    cr_assert_eq(sign_request(&r, &kept, &out), ERR_TOOBIG);
    buf_fini(&out);
}

Test(sign, dates_are_of_utc)
{
    char date[SIGN_DATE_MAX];
    sign_date(1440938160999, date);
    cr_assert_str_eq(date, "20150830T123600Z");
}

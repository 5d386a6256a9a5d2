/* SPDX-License-Identifier: Apache-2.0
 * The verifier against AWS's test suite (tests/data/sigv4). */
#include "agent/devcloud/sigv4.h"

#include <criterion/criterion.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char SECRET[] = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

static char *read_case(const char *req_path, const char *extension)
{
    char path[512];
    size_t stem = strlen(req_path) - strlen("req");
    snprintf(path, sizeof(path), "%.*s%s", (int)stem, req_path, extension);
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    char *text = calloc(1, 16384);
    size_t n = fread(text, 1, 16383, file);
    fclose(file);
    /* The suite has both line ends. */
    size_t out = 0;
    for (size_t i = 0; i < n; i++)
        if (text[i] != '\r')
            text[out++] = text[i];
    text[out] = '\0';
    return text;
}

/* Cuts text in place. A line that starts with a blank goes on with the header before. */
static void parse_req(char *text, struct sigv4_request *req, struct sigv4_header *headers)
{
    char *line_end = strchr(text, '\n');
    char *body = strstr(text, "\n\n");
    *req = (struct sigv4_request){.headers = headers};
    if (body != NULL) {
        *body = '\0';
        req->body = body + 2;
        req->body_len = strlen(body + 2);
    }
    char *at = line_end + 1;
    *line_end = '\0';
    char *target = strchr(text, ' ');
    *target++ = '\0';
    char *http = strstr(target, " HTTP/1.1");
    cr_assert_not_null(http);
    *http = '\0';
    req->method = text;
    req->target = target;
    while (at != NULL && *at != '\0') {
        char *end = at;
        do {
            end = strchr(end, '\n');
            if (end != NULL)
                end++;
        } while (end != NULL && (*end == ' ' || *end == '\t'));
        if (end != NULL)
            end[-1] = '\0';
        char *colon = strchr(at, ':');
        cr_assert_not_null(colon, "%s", at);
        *colon = '\0';
        headers[req->header_count++] = (struct sigv4_header){at, colon + 1};
        at = end;
    }
}

static void check_case(const char *path)
{
    struct sigv4_header headers[32];
    struct sigv4_request req;
    struct sigv4_auth auth = {0};
    struct buf creq, sts;
    char hex[SIGV4_HEX];
    /* The signed request: the plain one leaves out a session token that is to be added. */
    char *text = read_case(path, "sreq"), *authz = read_case(path, "authz");
    char *want_creq = read_case(path, "creq"), *want_sts = read_case(path, "sts");

    parse_req(text, &req, headers);
    cr_assert_eq(sigv4_parse(authz, &auth), 0, "%s", path);
    buf_init(&creq, 65536);
    buf_init(&sts, 65536);
    cr_assert_eq(sigv4_canonical(&req, auth.signed_headers, &creq), 0);
    cr_expect_str_eq(creq.data, want_creq, "%s", path);
    const char *date = sigv4_header_value(&req, "x-amz-date");
    cr_assert_eq(sigv4_string_to_sign(&auth, date, creq.data, &sts), 0);
    cr_expect_str_eq(sts.data, want_sts, "%s", path);
    static struct sigv4_key kept;
    for (int i = 0; i < 2; i++) { /* with the key of the last case, then with its own */
        sigv4_sign(&auth, SECRET, &kept, sts.data, hex);
        cr_expect_str_eq(hex, auth.signature, "%s", path);
        if (i == 0)
            snprintf(kept.scope, sizeof(kept.scope), "20150830/eu-west-1/service");
    }
    buf_fini(&creq);
    buf_fini(&sts);
    free(text);
    free(authz);
    free(want_creq);
    free(want_sts);
}

Test(sigv4, agrees_with_every_case_of_the_test_suite)
{
    glob_t found;

    cr_assert_eq(glob("tests/data/sigv4/*/*.req", 0, NULL, &found), 0);
    cr_assert_eq(glob("tests/data/sigv4/*/*/*.req", GLOB_APPEND, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++)
        check_case(found.gl_pathv[i]);
    cr_expect_geq(found.gl_pathc, 31);
    globfree(&found);
}

Test(sigv4, malformed_authorization_is_refused)
{
    static const char *const BAD[] = {
        "",
        "Bearer x",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=00",
        "AWS4-HMAC-SHA256 Credential=a/20150830/r/s/aws4_bad, SignedHeaders=host, Signature=00",
        "AWS4-HMAC-SHA256 Credential=a/20150830/r/s/aws4_request, Signature=00",
        "AWS4-HMAC-SHA256 Credential=a/20150830/r/s/aws4_request, SignedHeaders=host",
        "AWS4-HMAC-SHA256 Credential=a/201508301/r/s/aws4_request, SignedHeaders=h, Signature=0",
        "AWS4-HMAC-SHA256 Nonsense=1",
    };

    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        struct sigv4_auth auth = {0};
        cr_expect_neq(sigv4_parse(BAD[i], &auth), 0, "%s", BAD[i]);
    }
}

Test(sigv4, signed_headers_are_whole_names)
{
    struct sigv4_auth auth = {.signed_headers = "content-type;host;x-amz-date"};

    cr_expect(sigv4_is_signed(&auth, "host"));
    cr_expect(sigv4_is_signed(&auth, "X-Amz-Date"));
    cr_expect_not(sigv4_is_signed(&auth, "x-amz"));
    cr_expect_not(sigv4_is_signed(&auth, "x-amz-date-2"));
}

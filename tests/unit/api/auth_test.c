/* SPDX-License-Identifier: Apache-2.0
 * Who may read and write, over which way, and what browsers are refused. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/api/listen.h"
#include "agent/base/sha256.h"
#include "tests/unit/api/fixture.h"

static struct fixture f;

static void accept_write(struct fixture *fx, struct api_write *w)
{
    (void)fx;
    api_write_done(w, 0, NULL, NULL, NULL, NULL);
}

/* anonymous x token -> status of a read, of a write. */
Test(auth, tokens_and_anonymous)
{
    static const struct {
        enum api_anonymous anonymous;
        const char *header;
        long read, write;
    } cases[] = {
        {API_ANONYMOUS_NONE, NULL, 401, 401},
        {API_ANONYMOUS_NONE, "Authorization: Bearer read-token", 200, 403},
        {API_ANONYMOUS_NONE, "Authorization: Bearer write-token", 200, 200},
        {API_ANONYMOUS_NONE, "Authorization: bearer write-token", 200, 200},
        {API_ANONYMOUS_NONE, "Authorization: Bearer old-token", 401, 401},
        {API_ANONYMOUS_NONE, "Authorization: Bearer write-tokem", 401, 401},
        {API_ANONYMOUS_NONE, "Authorization: Bearer ", 401, 401},
        {API_ANONYMOUS_NONE, "Authorization: Basic d3JpdGUtdG9rZW4=", 401, 401},
        {API_ANONYMOUS_READ, NULL, 200, 403},
        {API_ANONYMOUS_READ, "Authorization: Bearer write-token", 200, 200},
        /* Whoever shows a wrong token is told so, not let in as nobody. */
        {API_ANONYMOUS_WRITE, "Authorization: Bearer nonsense", 401, 401},
        {API_ANONYMOUS_WRITE, NULL, 200, 200},
    };
    static const char *const reads[] = {"/v1/tasks", "/v2/tasks", "/metrics"};
    static const char *const writes[] = {"/v1/environments/x", "/v2/environments/x"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fixture_start(&f, &(struct api_options){.anonymous = cases[i].anonymous});
        fixture_set_answer(&f, accept_write);
        for (size_t j = 0; j < 3; j++) {
            struct http h = http_do(&f, "GET", reads[j], cases[i].header, NULL);
            cr_assert_eq(h.status, cases[i].read, "case %zu %s: %ld", i, reads[j], h.status);
            http_free(&h);
        }
        for (size_t j = 0; j < 2; j++) {
            struct http h = http_do(&f, "DELETE", writes[j], cases[i].header, NULL);
            cr_assert_eq(h.status, cases[i].write, "case %zu %s: %ld", i, writes[j], h.status);
            http_free(&h);
        }
        /* The page and the probes are for everybody. */
        static const char *const open[] = {"/", "/health/live", "/v2/problems/forbidden"};
        for (size_t j = 0; j < 3; j++) {
            struct http h = http_do(&f, "GET", open[j], cases[i].header, NULL);
            cr_assert_eq(h.status, 200, "case %zu %s: %ld", i, open[j], h.status);
            http_free(&h);
        }
        fixture_stop(&f);
    }
}

Test(auth, unix_socket_knows_its_peer)
{
    struct stat st;
    fixture_start(&f, &(struct api_options){.anonymous = API_ANONYMOUS_NONE});
    fixture_set_answer(&f, accept_write);
    cr_assert_eq(stat(f.socket, &st), 0);
    cr_assert_eq(st.st_mode & 07, 0, "nobody else may connect");
    struct http h = http_unix(&f, "GET", "/v2/tasks", "Host: whatever", NULL);
    cr_assert_eq(h.status, 200);
    http_free(&h);
    h = http_unix(&f, "DELETE", "/v2/environments/x", NULL, NULL);
    cr_assert_eq(h.status, 200);
    http_free(&h);
    fixture_stop(&f);
}

Test(auth, browsers_are_kept_out)
{
    static const struct {
        const char *headers;
        long status;
    } cases[] = {
        {"Host: localhost", 200},
        {"Host: localhost:1234", 200},
        {"Host: LOCALHOST", 200},
        {"Host: 127.0.0.1:80", 200},
        {"Host: [::1]:80", 200},
        {"Host: blox.example", 200},
        {"Host: evil.example", 421},
        {"Host: localhost.evil.example", 421},
        {"Host: localhost:80:80", 421},
        {"Host: localhost:x", 421},
        {"Host: 127.0.0.1.evil.example", 421},
        {"Host: localhost:7380\nOrigin: http://localhost:7380", 200},
        {"Host: localhost:7380\nOrigin: http://evil.example", 403},
        {"Host: localhost:7380\nOrigin: http://localhost:9999", 403},
        {"Host: localhost:7380\nOrigin: null", 403},
        {"Host: localhost\nSec-Fetch-Site: same-origin", 200},
        {"Host: localhost\nSec-Fetch-Site: none", 200},
        {"Host: localhost\nSec-Fetch-Site: cross-site", 403},
        {"Host: localhost\nSec-Fetch-Site: same-site", 403},
        {"Host: localhost\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate", 403},
    };
    fixture_start(&f, &(struct api_options){.anonymous = API_ANONYMOUS_WRITE,
                                            .allowed_hosts = "a.example, Blox.Example:443"});
    fixture_set_answer(&f, accept_write);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char value[256];
        struct http h = http_do(&f, "GET", "/v2/tasks", cases[i].headers, NULL);
        cr_assert_eq(h.status, cases[i].status, "%s: %ld", cases[i].headers, h.status);
        cr_assert_str_eq(http_header(&h, "Access-Control-Allow-Origin", value), "");
        http_free(&h);
        h = http_do(&f, "DELETE", "/v1/environments/x", cases[i].headers, NULL);
        cr_assert_eq(h.status, cases[i].status, "%s: %ld", cases[i].headers, h.status);
        http_free(&h);
    }
    /* A link to the page may be followed from anywhere. */
    struct http h =
        http_do(&f, "GET", "/",
                "Host: localhost\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate", NULL);
    cr_assert_eq(h.status, 200);
    http_free(&h);
    fixture_stop(&f);
}

Test(auth, token_file_is_read_again)
{
    fixture_start(&f, &(struct api_options){.anonymous = API_ANONYMOUS_NONE});
    uint8_t digest[SHA256_SIZE];
    sha256("fresh", 5, digest);
    FILE *file = fopen(f.token_file, "w");
    fprintf(file, "read ");
    for (size_t i = 0; i < SHA256_SIZE; i++)
        fprintf(file, "%02X", digest[i]);
    fprintf(file, "\n");
    fclose(file);
    long status = 0;
    for (int i = 0; i < 600 && status != 200; i++) {
        struct http h = http_do(&f, "GET", "/v2/tasks", "Authorization: Bearer fresh", NULL);
        status = h.status;
        http_free(&h);
        usleep(100000);
    }
    cr_assert_eq(status, 200);
    struct http h = http_do(&f, "GET", "/v2/tasks", "Authorization: Bearer read-token", NULL);
    cr_assert_eq(h.status, 401, "a token that is gone is void");
    http_free(&h);
    fixture_stop(&f);
}

/* /run is empty after each start of the machine. */
Test(auth, the_directory_of_the_socket_is_made)
{
    char dir[128], path[160];
    struct errmsg e = {""};
    struct stat st;
    fixture_start(&f, NULL);
    snprintf(dir, sizeof dir, "%s/run", f.dir);
    snprintf(path, sizeof path, "%s/blox.sock", dir);
    mode_t before = umask(077);
    int fd = listen_unix(path, false, 0, &e);
    umask(before);
    cr_assert_geq(fd, 0, "%s", e.text);
    close(fd);
    cr_assert_eq(stat(dir, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0755);
    snprintf(path, sizeof path, "%s/no/such/blox.sock", f.dir);
    cr_assert_eq(listen_unix(path, false, 0, &e), ERR_IO);
    fixture_stop(&f);
}

Test(auth, wrong_options_are_refused_with_a_reason)
{
    static const struct {
        const char *tokens; /* content of the token file, NULL: no file */
        struct api_options options;
        const char *words;
    } cases[] = {
        {"", {.bind = "nonsense"}, "not an address"},
        {"", {.bind = "127.0.0.1:99999"}, "port"},
        {"", {.bind = "name.example:80"}, "numbers"},
        {"", {.bind = "127.0.0.1:0", .extra_binds = "127.0.0.1:0,::1"}, "::1"},
        {"", {.bind = "127.0.0.1:0", .socket_group = "no-such-group"}, "no-such-group"},
        {NULL, {.bind = "127.0.0.1:0", .token_file = "/nonexistent/tokens"}, "/nonexistent"},
        {"owner 00\n", {.bind = "127.0.0.1:0"}, "line 1: the scope"},
        {"\nread 00\n", {.bind = "127.0.0.1:0"}, "line 2: the second word"},
    };
    fixture_start(&f, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct api_options o = cases[i].options;
        struct errmsg e = {""};
        struct api *api = NULL;
        o.store = f.store;
        if (cases[i].tokens != NULL) {
            FILE *file = fopen(f.token_file, "w");
            fputs(cases[i].tokens, file);
            fclose(file);
            o.token_file = f.token_file;
        }
        cr_assert(api_start(&api, &o, &e) < 0, "case %zu", i);
        cr_assert_not_null(strstr(e.text, cases[i].words), "case %zu: %s", i, e.text);
    }
    /* A second agent on the same socket is refused; a stale file is not. */
    struct api *second = NULL;
    struct errmsg e = {""};
    struct api_options o = {.store = f.store, .socket_path = f.socket};
    cr_assert_eq(api_start(&second, &o, &e), ERR_EXISTS);
    cr_assert_not_null(strstr(e.text, "another process listens"));
    fixture_stop(&f);
}

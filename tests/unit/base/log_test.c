/* SPDX-License-Identifier: Apache-2.0
 * Lines that keep their form whatever is in them, and a reader who is late. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/json.h"
#include "agent/base/log.h"
#include "agent/base/log_out.h"

static int fds[2];
static char input[8192];
static size_t input_len, input_at;

static void open_pipe(enum log_format format)
{
    cr_assert_eq(pipe(fds), 0);
    log_set_fd(fds[1]);
    log_configure(LOG_INFO, format);
    input_len = input_at = 0;
}

static void close_pipe(void)
{
    log_set_fd(1);
    close(fds[0]);
    close(fds[1]);
}

/* The next line, which may not be longer than a pipe takes at once. */
static const char *next_line(void)
{
    for (;;) {
        char *line = input + input_at;
        char *end = memchr(line, '\n', input_len - input_at);
        if (end != NULL) {
            *end = '\0';
            input_at = (size_t)(end - input) + 1;
            cr_assert(end - line < 4096);
            return line;
        }
        memmove(input, line, input_len -= input_at);
        input_at = 0;
        ssize_t n = read(fds[0], input + input_len, sizeof input - input_len);
        cr_assert(n > 0);
        input_len += (size_t)n;
    }
}

static json_t *next_json(void)
{
    const char *line = next_line();
    json_t *j = json_parse(line, strlen(line), NULL);
    cr_assert_not_null(j, "not whole: %s", line);
    return j;
}

static void expect_number(json_int_t n)
{
    json_t *j = next_json();
    cr_assert_str_eq(json_str(j, "event"), "e");
    cr_assert_eq(json_int_or(j, "n", -1), n);
    json_decref(j);
}

/* Whatever a message or a peer's key is made of, programs can read the line and the fields. */
Test(log, long_and_odd_text_keeps_its_form)
{
    static const char *const units[] = {"\"", "\xc3\xa4\xe2\x82\xac", "\xff\xc3", "\n"};
    static char text[6000];
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        for (size_t n = 2800; n < 3100; n++) {
            for (size_t i = 0; i < n; i++)
                text[i] = units[u][i % strlen(units[u])];
            text[n] = '\0';
            open_pipe(LOG_JSON);
            LOG(LOG_INFO, "e", text, LS("member", "i-1"), LI("n", 7), LS("long", text), LI("m", 1));
            json_t *j = next_json();
            cr_assert_str_eq(json_str(j, "member"), "i-1");
            cr_assert_eq(json_int_or(j, "n", 0), 7);
            json_decref(j);
            log_configure(LOG_INFO, LOG_TEXT);
            LOG(LOG_INFO, "e", text, LS("member", "i-1"), LS("long", text), LI("m", 1));
            cr_assert_not_null(strstr(next_line(), " member=i-1 "));
            close_pipe();
        }
    }
}

/* Nobody reads for a while: who logs does not wait, and the reader has all lines in the end. */
Test(log, a_late_reader_holds_up_nobody)
{
    open_pipe(LOG_JSON);
    for (int i = 0; i < 3000; i++)
        LOG(LOG_INFO, "e", "", LI("n", i));
    cr_assert(!log_flush(10), "more than the pipe takes");
    for (int i = 0; i < 3000; i++)
        expect_number(i);
    cr_assert(log_flush(10000));
    close_pipe();
}

/* Nor when it was away for long: then it has the older ones, and is told how many are missing. */
Test(log, what_is_kept_for_a_reader_is_bounded)
{
    json_int_t lost = 0;
    open_pipe(LOG_JSON);
    for (int i = 0; i < 30000; i++)
        LOG(LOG_INFO, "e", "", LI("n", i));
    int kept = 0;
    while (lost == 0) {
        json_t *j = next_json();
        if (strcmp(json_str(j, "event"), "log_lines_lost") == 0)
            lost = json_int_or(j, "count", 0);
        else
            cr_assert_eq(json_int_or(j, "n", -1), kept++);
        json_decref(j);
    }
    cr_assert(kept > 10000);
    cr_assert_eq(kept + lost, 30000);
    cr_assert(log_flush(10000));
    LOG(LOG_INFO, "e", "", LI("n", 1));
    expect_number(1);
    close_pipe();
}

Test(log, a_reader_that_is_gone_is_waited_for_by_nobody)
{
    signal(SIGPIPE, SIG_IGN);
    open_pipe(LOG_JSON);
    for (int i = 0; i < 3000; i++)
        LOG(LOG_INFO, "e", "", LI("n", i));
    close(fds[0]);
    cr_assert(log_flush(10000));
    LOG(LOG_INFO, "e", "", LI("n", 1));
    log_set_fd(1);
    close(fds[1]);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"

/* Milliseconds as "3m12s"; "-" if absent. */
static const char *age_of(const json_t *obj, const char *member, char out[24])
{
    long long ms = json_int_or(obj, member, -1);
    if (ms < 0)
        snprintf(out, 24, "-");
    else if (ms < 10000)
        snprintf(out, 24, "%lld.%llds", ms / 1000, ms % 1000 / 100);
    else if (ms < 3600000)
        snprintf(out, 24, "%lldm%llds", ms / 60000, ms / 1000 % 60);
    else
        snprintf(out, 24, "%lldh%lldm", ms / 3600000, ms / 60000 % 60);
    return out;
}

/* The addresses that are not in use. */
static const char *others_of(const json_t *m, char out[256])
{
    const json_t *list = json_arr(m, "addresses");
    const char *in_use = json_str(m, "address");
    size_t i, len = 0;
    json_t *address;
    out[0] = '\0';
    json_array_foreach(list, i, address)
    {
        const char *text = json_string_value(address);
        if (text == NULL || in_use == NULL || strcmp(text, in_use) == 0 || len >= 250)
            continue;
        int n = snprintf(out + len, 256 - len, "%s%s", len == 0 ? "" : ",", text);
        len += n > 0 ? (size_t)n : 0;
    }
    return out[0] == '\0' ? NULL : out;
}

static void add_member(struct cli_table *t, const json_t *m, bool wide)
{
    char rtt[24] = "-";
    char text[24], others[256];
    int64_t us = json_int_or(m, "rtt_us", 0);
    if (us > 0)
        snprintf(rtt, sizeof rtt, "%.1fms", (double)us / 1000.0);
    cli_table_add(t, json_str(m, "id"));
    cli_table_add(t, json_str(m, "address"));
    cli_table_add(t, json_str(m, "state"));
    cli_table_add(t, json_bool_or(m, "leader", false) ? "leader" : json_str(m, "role"));
    cli_table_add(t, json_str(m, "zone"));
    cli_table_add(t, rtt);
    cli_table_add(t, json_str(m, "version"));
    if (!wide)
        return;
    const json_t *why = json_obj(m, "why");
    cli_table_add(t, age_of(m, "changed_ms_ago", text));
    cli_table_add(t, age_of(why, "heard_age_ms", text));
    snprintf(text, sizeof text, "%lld", (long long)json_int_or(m, "incarnation", 0));
    cli_table_add(t, text);
    cli_table_add(t, json_str(why, "suspected_by"));
    cli_table_add(t, others_of(m, others));
}

static void print_names(const char *title, const json_t *names)
{
    size_t i;
    json_t *name;
    if (json_array_size(names) == 0)
        return;
    printf("%s", title);
    json_array_foreach(names, i, name)
        printf("%s%s", i == 0 ? "" : ", ", json_is_string(name) ? json_string_value(name) : "?");
    putchar('\n');
}

static void print_probes(const char *by, const json_t *p)
{
    printf("%s saw: ", by);
    if (json_str(p, "no_answer") != NULL) {
        printf("not known, %s\n", json_str(p, "no_answer"));
        return;
    }
    printf("%lld unanswered, %lld helpers asked (%lld got no answer either), time-out %lld ms, "
           "tcp: %s\n",
           (long long)json_int_or(p, "direct_unanswered", 0),
           (long long)json_int_or(p, "helpers_asked", 0),
           (long long)json_int_or(p, "helpers_could_not_either", 0),
           (long long)json_int_or(p, "timeout_ms", 0), json_str_or(p, "tcp_check", "-"));
}

static void print_why(const json_t *w)
{
    char text[24];
    const char *state = json_str_or(w, "state", "?");
    printf("%s is %s since %s: %s\n", json_str_or(w, "member", "?"), state,
           age_of(w, "state_age_ms", text), json_str_or(w, "because", "?"));
    bool heard = json_int_or(w, "heard_age_ms", -1) >= 0;
    if (json_bool_or(w, "self", false))
        printf("this agent   ");
    else
        printf("last heard   %s%s, ", heard ? age_of(w, "heard_age_ms", text) : "never",
               heard ? " ago" : "");
    printf("incarnation %lld, at %s\n", (long long)json_int_or(w, "incarnation", 0),
           json_str_or(w, "address", "?"));
    if (json_str(w, "suspected_by") == NULL)
        return;
    if (strcmp(state, "alive") == 0 || strcmp(state, "left") == 0)
        printf("before that, it was\n");
    printf("suspected    %s ago by %s\n", age_of(w, "suspected_age_ms", text),
           json_str(w, "suspected_by"));
    print_names("confirmed by ", json_arr(w, "confirmed_by"));
    if (json_str(w, "failed_by") != NULL)
        printf("failed       %s ago, said by %s\n", age_of(w, "failed_age_ms", text),
               json_str(w, "failed_by"));
    size_t i;
    json_t *p;
    json_array_foreach(json_arr(w, "probes"), i, p) print_probes(json_str_or(p, "by", "?"), p);
    if (json_obj(w, "own_probes") != NULL)
        print_probes("this agent", json_obj(w, "own_probes"));
}

/* What an id may hold in a path without escapes; ids with more go escaped. */
static void put_escaped(struct buf *b, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     strchr("-._~", c) != NULL;
        if (plain)
            buf_putc(b, (char)c);
        else
            buf_printf(b, "%%%02X", c);
    }
}

static int why(struct cli *cli, const char *id)
{
    struct cli_answer a;
    struct buf path;
    buf_init(&path, 4096);
    buf_puts(&path, "/v2/members/");
    put_escaped(&path, id);
    buf_puts(&path, "/why");
    if (path.err != 0) {
        buf_fini(&path);
        fprintf(stderr, "blox: that is no member's id\n");
        return 2;
    }
    cli_request(cli, "GET", path.data, NULL, &a);
    buf_fini(&path);
    int code = cli_failed(cli, &a);
    if (code == 0 && cli->output == CLI_JSON)
        cli_print_json(a.body);
    else if (code == 0)
        print_why(a.body);
    cli_answer_fini(&a);
    return code;
}

int cli_members(struct cli *cli, int argc, char **argv)
{
    static const char usage[] = "members [why ID] [-o table|wide|json]";
    static const struct cli_option none[] = {{0}};
    static const char *const titles[] = {"ID",    "ADDRESS",     "STATE",     "ROLE",
                                         "ZONE",  "RTT",         "VERSION",   "SINCE",
                                         "HEARD", "INCARNATION", "SUSPECTED", "ALSO AT"};
    const char *words[2];
    struct cli_answer a;
    int n = cli_parse(cli, argc, argv, none, words, 2, usage);
    if (n < 0)
        return n == -1000 ? 0 : -n;
    if (n == 2 && strcmp(words[0], "why") == 0)
        return why(cli, words[1]);
    if (n != 0) {
        fprintf(stderr, "usage: blox %s\n", usage);
        return 2;
    }
    cli_request(cli, "GET", "/v2/members", NULL, &a);
    int code = cli_failed(cli, &a);
    if (code == 0 && cli->output == CLI_JSON) {
        cli_print_json(a.body);
    } else if (code == 0) {
        struct cli_table t;
        size_t i;
        json_t *m;
        bool wide = cli->output == CLI_WIDE;
        cli_table_init(&t, titles, wide ? 12 : 7);
        json_array_foreach(json_arr(a.body, "items"), i, m) add_member(&t, m, wide);
        cli_table_print(&t);
        cli_table_fini(&t);
    }
    cli_answer_fini(&a);
    return code;
}

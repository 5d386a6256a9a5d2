/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/config.h"
#include "agent/keys.h"

static char dir[] = "/tmp/blox-config-XXXXXX";

static void make_dir(void)
{
    memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
    cr_assert_not_null(mkdtemp(dir));
}

static const char *write_file(const char *name, const char *text)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
    chmod(path, 0600);
    return path;
}

Test(config, later_sources_win, .init = make_dir)
{
    struct config c;
    struct errmsg e = {{0}};
    char path[256];
    char drop_in[300];
    cr_assert_eq(config_init(&c), 0);
    cr_assert_str_eq(c.api_bind, "127.0.0.1:7380");
    snprintf(path, sizeof path, "%s",
             write_file("bloxd.conf", "# note\n[agent]\nid = one\ncluster = \"a b\"\n"
                                      "[intake]\nreconcile_interval = 5m\n[store]\nhistory = 0\n"));
    snprintf(drop_in, sizeof drop_in, "%s.d", path);
    mkdir(drop_in, 0700);
    write_file("bloxd.conf.d/10.conf", "[agent]\nid = two\n");
    write_file("bloxd.conf.d/20.conf", "[agent]\nid = three\n");
    write_file("bloxd.conf.d/note.txt", "not read");
    cr_assert_eq(config_read_file(&c, path, true, &e), 0, "%s", e.text);
    cr_assert_str_eq(c.id, "three");
    cr_assert_str_eq(c.cluster, "a b");
    cr_assert_eq(c.reconcile_ms, 300000u);
    cr_assert_eq(c.history_ms, 0u);
    char *environment[] = {"PATH=/bin", "BLOX_AGENT_ID=four", "BLOX_ADDR=for the cli",
                           "BLOX_RAFT_EXPECT=3", NULL};
    cr_assert_eq(config_read_environment(&c, environment, &e), 0, "%s", e.text);
    cr_assert_str_eq(c.id, "four");
    cr_assert_eq(c.raft_expect, 3);
    cr_assert_eq(config_set(&c, "agent.id", "five", "--agent.id", &e), 0);
    cr_assert_str_eq(c.id, "five");
    config_fini(&c);
}

Test(config, a_note_may_follow_a_value, .init = make_dir)
{
    static const struct {
        const char *text, *queue;
    } rows[] = {
        {"queue = blox-events      # an SQS queue\n", "blox-events"},
        {"queue = blox-events\t#note\n", "blox-events"},
        {"queue = blox-events ; note\n", "blox-events"},
        {"queue = \"a # b\" # note\n", "a # b"},
        {"queue = https://sqs/1/a#b\n", "https://sqs/1/a#b"},
        {"queue = # none\n", ""},
        {"queue = \"a # b\n", "\"a"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config c;
        struct errmsg e = {{0}};
        char text[200];
        snprintf(text, sizeof text, "[intake]\n%s", rows[i].text);
        cr_assert_eq(config_init(&c), 0);
        cr_assert_eq(config_read_file(&c, write_file("n.conf", text), true, &e), 0, "%s", e.text);
        cr_assert_str_eq(c.queue, rows[i].queue);
        config_fini(&c);
    }
}

/* As people write them: notes and values of any length, indented keys, a file of Windows. */
Test(config, lines_are_taken_as_they_stand, .init = make_dir)
{
    struct config c;
    struct errmsg e = {{0}};
    char text[2000];
    snprintf(text, sizeof text,
             "\xef\xbb\xbf# %0300d = 5\r\n"
             " [ agent ] # note = 1\r\n"
             "   cluster = arn:aws:ecs:us-east-1:111122223333:cluster/%0255d\r\n"
             "\trole: member ; note\r\n"
             "\r\n"
             "[gossip] ; note\n"
             "  key_file =\n"
             "  join = a:1, b:2",
             7, 7);
    cr_assert_eq(config_init(&c), 0);
    cr_assert_eq(config_read_file(&c, write_file("l.conf", text), true, &e), 0, "%s", e.text);
    cr_expect_eq(strlen(c.cluster), 298u, "%s", c.cluster);
    cr_expect_str_eq(c.role, "member");
    cr_expect_str_eq(c.gossip_join, "a:1, b:2");
    config_fini(&c);
}

Test(config, refusals_say_where_and_what, .init = make_dir)
{
    static const struct {
        const char *text;
        const char *says;
    } rows[] = {
        {"[agent]\nclustr = x\n", "did you mean cluster in section [agent]"},
        {"[agent]\nreconcile_intervall = x\n", "did you mean reconcile_interval"},
        {"[nosuch]\nzzz = x\n", "unknown key nosuch.zzz"},
        {"[agent]\nrole = boss\n", "must be one of candidate|member"},
        {"[raft]\nexpect = three\n", "whole number"},
        {"[raft]\nexpect = -1\n", "from 0 to 5000"},
        {"[raft]\nheartbeat = 5\n", "duration such as"},
        {"[gossip]\njoin_ecs = maybe\n", "true or false"},
        {"[agent]\nid = a\nwhat is this\n", "line 3"},
        {"[agent]\nid = a\nrole = x\n", "line 3"},
        {"[gossip]\njoin = a,\n  b\n", "line 3"},
        {"[agent\nid = a\n", "line 1"},
        {"[agent] id = a\n", "line 1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config c;
        struct errmsg e = {{0}};
        cr_assert_eq(config_init(&c), 0);
        cr_assert_eq(config_read_file(&c, write_file("x.conf", rows[i].text), true, &e), ERR_CONFIG,
                     "%s", rows[i].text);
        cr_assert_not_null(strstr(e.text, rows[i].says), "\"%s\" lacks \"%s\"", e.text,
                           rows[i].says);
        config_fini(&c);
    }
}

Test(config, unknown_variables_and_files)
{
    struct config c;
    struct errmsg e = {{0}};
    char *environment[] = {"BLOX_AGENT_CLUSTR=x", NULL};
    cr_assert_eq(config_init(&c), 0);
    cr_assert_eq(config_read_environment(&c, environment, &e), ERR_CONFIG);
    cr_assert_not_null(strstr(e.text, "BLOX_AGENT_CLUSTR"), "%s", e.text);
    cr_assert_eq(config_read_file(&c, "/nonexistent/x", true, &e), ERR_CONFIG);
    cr_assert_eq(config_read_file(&c, "/nonexistent/x", false, &e), 0);
    cr_assert_eq(config_set(&c, "bind", "x", "--bind", &e), ERR_CONFIG, "two sections have it");
    cr_assert_eq(config_set(&c, "raft.election_timeout", "150ms", "x", &e), 0);
    cr_assert_eq(config_check(&c, &e), ERR_CONFIG);
    cr_assert_eq(config_set(&c, "raft.election_timeout", "1s", "x", &e), 0);
    cr_assert_eq(config_check(&c, &e), 0, "%s", e.text);
    cr_assert_eq(config_set(&c, "agent.id", "a b", "x", &e), 0);
    cr_assert_eq(config_check(&c, &e), ERR_CONFIG);
    config_fini(&c);
}

/* What would keep an agent out of its cluster for good is refused before it starts. */
Test(config, mistakes_in_addresses_and_names)
{
    static const struct {
        const char *key, *value, *says; /* NULL: nothing against it */
    } rows[] = {
        {"gossip.bind", "127.0.0.1", "host:port"},
        {"gossip.bind", "", "host:port"},
        {"gossip.bind", "127.0.0.1:1,127.0.0.1:2", "host:port"},
        {"gossip.bind", "[]:7381", "host:port"},
        {"gossip.bind", "127.0.0.1:70000", "0 to 65535"},
        {"gossip.bind", "224.0.0.1:7381", "multicast"},
        {"gossip.bind", "nohost.invalid:1", NULL},
        {"gossip.bind", "[fd00::1]:0", NULL},
        {"gossip.advertise", "10.0.0.1:1 nonsense", "'nonsense'"},
        {"gossip.advertise", "0.0.0.0:7381", "peers can reach"},
        {"gossip.advertise", "[::]:7381", "peers can reach"},
        {"gossip.advertise", "239.1.2.3:7381", "multicast"},
        {"gossip.advertise", "10.0.0.1:7381, [ff02::1]:7381", "multicast"},
        {"gossip.advertise", "[::ffff:224.0.0.1]:7381", "multicast"},
        {"gossip.advertise", "255.255.255.255:7381", "broadcast"},
        {"gossip.advertise", "a:1,a:1", "twice"},
        {"gossip.advertise", "a:1,b:1,c:1,d:1", "at most 3"},
        {"gossip.advertise", "10.0.0.1:7381, [fd00::1]:0, host-1.example:7381", NULL},
        {"gossip.join", "a:1, b:65536", "'b:65536': a port is 1 to 65535"},
        {"gossip.join", "a:0", "1 to 65535"},
        {"gossip.join", "a", "host:port"},
        {"gossip.join", "a:99999999999999999999", "1 to 65535"},
        {"gossip.join", "255.255.255.255:1", "broadcast"},
        {"gossip.join", ", a:1 ,[::1]:2", NULL},
        {"agent.zone", "eu west", "agent.zone may hold"},
        {"agent.zone", "z\xc3\xbcrich", "agent.zone may hold"},
        {"agent.zone", "eu-west-1-abcdefghijklmnopqrstuv", "shorter than 32"},
        {"agent.zone", "eu-west-1-abcdefghijklmnopqrstu", NULL},
        {"agent.id", "a b", "agent.id may hold"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config c;
        struct errmsg e = {{0}};
        cr_assert_eq(config_init(&c), 0);
        cr_assert_eq(config_set(&c, rows[i].key, rows[i].value, "x", &e), 0);
        int err = config_check(&c, &e);
        cr_expect_eq(err, rows[i].says == NULL ? 0 : ERR_CONFIG, "%s = %s: %s", rows[i].key,
                     rows[i].value, e.text);
        cr_expect(rows[i].says == NULL || strstr(e.text, rows[i].says) != NULL,
                  "%s = %s: \"%s\" lacks \"%s\"", rows[i].key, rows[i].value, e.text, rows[i].says);
        config_fini(&c);
    }
}

Test(keys, both_forms_and_refusals, .init = make_dir)
{
    struct keys k;
    struct errmsg e = {{0}};
    const char *good = "# first seals\n"
                       "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
                       "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F # old\n";
    cr_assert_eq(keys_read(&k, write_file("key", good), &e), 0, "%s", e.text);
    cr_assert_eq(k.count, 2u);
    cr_assert_eq(memcmp(k.key[0], k.key[1], KEY_BYTES), 0);
    cr_assert_eq(k.key[0][31], 31);
    static const char *const bad[] = {"", "# none\n", "short\n",
                                      "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=\n",
                                      "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_eq(keys_read(&k, write_file("key", bad[i]), &e), ERR_CONFIG, "%s", bad[i]);
    const char *path = write_file("key", good);
    chmod(path, 0644);
    cr_assert_eq(keys_read(&k, path, &e), ERR_CONFIG);
    cr_assert_not_null(strstr(e.text, "chmod 600"));
    cr_assert_eq(keys_read(&k, "/nonexistent/key", &e), ERR_CONFIG);
    cr_assert_not_null(strstr(e.text, "blox keygen"), "%s", e.text);
    cr_assert_eq(keys_read(&k, "/dev/null/key", &e), ERR_CONFIG, "there, but not to be read");
    cr_assert_null(strstr(e.text, "blox keygen"), "%s", e.text);
}

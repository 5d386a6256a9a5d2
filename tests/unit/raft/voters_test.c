/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "gossip/voters.h"

/* One agent per letter group: "a" alive on-demand, "s" alive spot, "f" failed, "l" left,
 * "k" failed and "q" left a moment ago, "g" is to go (a notice), "m" role member, "n" alive but
 * new, "w" another disk. Its zone is a digit. Its place in raft: V voter, U voter that is behind, L
 * learner, B learner that is behind,
 * - none. */
struct row {
    const char *agents; /* "aV1 aV2 fV3 aL1" */
    const char *want;   /* "promote 4", "remove 3", "transfer 2", "nothing" */
};

static const struct row rows[] = {
    {"aV1", "nothing"},
    {"aV1 a-2", "add 2"},
    {"aV1 aL2", "promote 2"},
    {"aV1 aB2", "nothing"},
    {"aV1 nL2", "nothing"},
    {"aV1 aV2 a-3", "add 3"},
    {"aV1 aV2 aL3", "promote 3"},
    {"aV1 aV2 m-3", "nothing"},
    {"aV1 aV2 aV3", "nothing"},
    {"aV1 aV2 aV3 a-1", "add 4"},
    {"aV1 aV2 aV3 aL1 aL2 a-3", "nothing"},
    /* left for good, or without its log: if a majority of the rest lives */
    {"aV1 lV2", "remove 2"},
    {"aV1 aV2 lV3", "remove 3"},
    {"aV1 aV2 wV3 aL3", "remove 3"},
    {"aV1 aV2 wV3", "remove 3"},
    /* left a moment ago: perhaps a restart */
    {"aV1 aV2 qV3", "nothing"},
    {"aV1 aV2 qV3 nL3", "promote 4"},
    {"aV1 aV2 qV3 aV3", "remove 3"},
    {"aV1 qV2", "remove 2"},
    {"aV1 qV2 qV3", "nothing"},
    {"aV1 gV2 qV3", "remove 3"},
    {"aV1 aV2 aV3 qV1 qV2", "remove 4"},
    {"aV1 aV2 aV3 qL1", "remove 4"},
    {"aV1 fV2 lV3", "nothing"},
    /* failed: replaced when there is another, else it may come back */
    {"aV1 aV2 fV3", "nothing"},
    {"aV1 aV2 fV3 aL3", "promote 4"},
    {"aV1 aV2 fV3 a-3", "add 4"},
    {"aV1 aV2 fV3 aV3", "remove 3"},
    {"aV1 fV2 fV3 aL3", "nothing"},
    {"aV1 fV2", "nothing"},
    {"aV1 aV2 kV3", "nothing"},
    {"aV1 aV2 kV3 aL3", "nothing"}, /* for 10 s */
    {"aV1 kV2 aV3 aV4", "demote 2"},
    /* ... but not where it costs a vote of each majority */
    {"aV1 aV2 aV3 fV1 fV2", "remove 4"},
    {"aV1 aV2 aV3 fV1 fV2 aB1", "remove 4"},
    {"aV1 aV2 aV3 fV1", "remove 4"},
    {"aV1 gV2 fV3", "remove 3"},
    /* one more voter makes no majority of an even number larger */
    {"aV1 aV2 nL3", "promote 3"},
    {"aV1 aV2 nB3", "nothing"},
    {"aV1 aV2 fV3 nL3", "nothing"},
    /* notices and roles */
    {"gV1 aV2 aV3", "transfer 2"},
    {"gV1 aU2 aV3", "transfer 3"},
    {"gV1 gV2 aV3", "transfer 3"}, /* one that is to go as well would hand it back */
    {"gV1 gV2 aU3", "transfer 3"},
    {"gV1 mV2 fV3 aV2", "transfer 4"},
    {"gV1 gV2 nL3", "promote 3"},
    {"aV1 gV2 aV3 nL2", "promote 4"},
    {"aV1 gV2 aV3 aV2", "remove 2"},
    {"aV1 mV2 aV3 aV2", "remove 2"},
    {"gV1", "nothing"},
    {"aV1 gV2", "remove 2"},
    {"aV1 aV2 gV3", "nothing"}, /* it votes until it goes */
    {"aV1 aV2 gV3 a-1", "add 4"},
    {"aV1 gV2 gV3", "remove 2"},
    {"aV1 gV2 gV3 a-1", "add 4"},
    {"aV1 aV2 mV3", "remove 3"},
    /* spares */
    {"aV1 aV2 aV3 fL1", "remove 4"},
    {"aV1 aV2 aV3 gL1", "remove 4"},
    {"aV1 aV2 aV3 f-1", "nothing"},
    /* zones, on-demand before spot */
    {"aV1 aV2 s-3 a-1", "add 3"},
    {"aV1 aV2 s-1 a-1", "add 4"},
    {"aV1 aV2 sL3 aL1", "promote 3"},
    {"aV1 aV1 aV2 aL3", "promote 4"},
    {"aV1 aV2 sV3 aL3", "promote 4"},
    {"aV1 aV1 aV2 aV3 aL1", "demote 2"},
    {"aV1 aV2 aV3 sL1", "nothing"},
    {"aV1 aV2 aV3 aV1", "demote 4"},
};

static void decide(const char *text, char *out, size_t cap)
{
    static struct voters_agent agents[32];
    static char ids[32][8], zones[32][2];
    struct raft_config config = {.index = 5};
    struct voters_input in = {.self = 1, .config = &config, .agent = agents};
    struct voters_action action;
    memset(agents, 0, sizeof(agents));
    for (size_t i = 0; text[0] != '\0'; i++, text += text[3] == ' ' ? 4 : 3) {
        char kind = text[0], place = text[1];
        struct voters_agent *a = &agents[in.agent_count++];
        snprintf(ids[i], sizeof(ids[i]), "i-%02u", (unsigned)(i + 1) % 100);
        zones[i][0] = text[2];
        bool now = kind == 'n' || kind == 'k' || kind == 'q', left = kind == 'l' || kind == 'q';
        bool dead = kind == 'f' || kind == 'k' || left;
        *a = (struct voters_agent){.num = i + 1,
                                   .disk = kind == 'w' ? 99 : i + 11,
                                   .id = ids[i],
                                   .zone = zones[i],
                                   .lifecycle = kind == 's',
                                   .candidate = kind != 'm',
                                   .alive = !dead,
                                   .left = left,
                                   .leaving = kind == 'g',
                                   .steady_ms = now ? 500 : 20000};
        in.alive_count += !dead;
        if (place == '-')
            continue;
        in.server[config.count] =
            (struct voters_server){.lag = place == 'B' || place == 'U' ? 500 : 3,
                                   .silent_ms = kind == 'k'           ? 2500
                                                : dead || kind == 'w' ? 20000
                                                                      : 50};
        struct raft_server *s = &config.server[config.count++];
        *s = (struct raft_server){
            .num = i + 1, .disk = i + 11, .voter = place == 'V' || place == 'U'};
        memcpy(s->id, ids[i], sizeof(ids[i]));
    }
    voters_decide(&in, &action);
    static const char *const names[] = {"", "add", "promote", "demote", "remove"};
    if (action.verb == VOTERS_CHANGE)
        snprintf(out, cap, "%s %lu", names[action.change], action.server.num);
    else if (action.verb == VOTERS_TRANSFER)
        snprintf(out, cap, "transfer %lu", action.server.num);
    else
        snprintf(out, cap, "nothing");
}

Test(voters, table)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char got[32];
        decide(rows[i].agents, got, sizeof(got));
        cr_expect_str_eq(got, rows[i].want, "%s: %s, wanted %s", rows[i].agents, got, rows[i].want);
    }
}

Test(voters, target)
{
    cr_assert_eq(voters_target(1, 1, 1), 1);
    cr_assert_eq(voters_target(2, 2, 1), 2);
    cr_assert_eq(voters_target(19, 19, 3), 3);
    cr_assert_eq(voters_target(20, 20, 3), 5);
    cr_assert_eq(voters_target(20, 4, 3), 3);
    cr_assert_eq(voters_target(16, 16, 5), 5);
    cr_assert_eq(voters_target(14, 14, 5), 3);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "agent/raft/raft_uv_int.h"

enum { LEADER = 1, FOLLOWER = 2, CLUSTER = 99 };

/* A server of a cluster of two, and what it knows of the other. */
static struct raft_uv *make(uint64_t self)
{
    struct raft_uv *r = calloc(1, sizeof(*r));
    r->cluster_id = CLUSTER;
    r->disk = self + 100;
    r->self.num = self;
    r->core.self = self;
    r->core.disk = r->disk;
    r->core.config =
        (struct raft_config){.index = 5,
                             .count = 2,
                             .server = {{.num = LEADER, .disk = 101, .voter = true},
                                        {.num = FOLLOWER, .disk = 102, .voter = true}}};
    r->core.commit = 5;
    r->core.leader = LEADER;
    r->core.leader_disk = 101;
    r->core.peer[1] = (struct raft_peer){.match = 7, .stamp = 1};
    return r;
}

static struct raft_msg heartbeat(void)
{
    return (struct raft_msg){.type = RAFT_APPEND,
                             .from = LEADER,
                             .from_disk = 101,
                             .to = FOLLOWER,
                             .to_disk = 102,
                             .term = 3,
                             .index = 7,
                             .log_term = 3,
                             .commit = 7,
                             .stamp = 123456};
}

static size_t frame_of(const struct raft_uv *r, const struct raft_msg *m, uint8_t *out, size_t cap)
{
    struct wbuf w;
    wbuf_init(&w, out, cap);
    frame_put(r, m, &w);
    cr_assert(!w.bad);
    cr_assert_eq(w.len, frame_size(r, m));
    return w.len;
}

static int get(const struct raft_uv *r, uint64_t from, const uint8_t *data, size_t len,
               struct raft_msg *ret)
{
    static struct raft_entry entries[RAFT_BATCH];
    uint64_t cluster = 0;
    int err = frame_get(r, from, data, len, &cluster, ret, entries);
    cr_assert(err != 0 || cluster == CLUSTER);
    return err;
}

Test(frame, a_heartbeat_and_its_answer_name_no_ids)
{
    struct raft_uv *leader = make(LEADER), *follower = make(FOLLOWER);
    struct raft_msg m = heartbeat(), got;
    uint8_t bytes[200];
    size_t len = frame_of(leader, &m, bytes, sizeof(bytes));
    cr_assert_leq(len, 14);
    cr_assert_eq(get(follower, LEADER, bytes, len, &got), 0);
    cr_assert(got.type == m.type && got.from_disk == 101 && got.to_disk == 102 && got.term == 3 &&
              got.index == 7 && got.log_term == 3 && got.commit == 7 && got.stamp == 123456 &&
              got.count == 0);
    m = (struct raft_msg){.type = RAFT_APPEND_ANSWER,
                          .from_disk = 102,
                          .to = LEADER,
                          .to_disk = 101,
                          .term = 3,
                          .ok = true,
                          .index = 7,
                          .stamp = 123456};
    len = frame_of(follower, &m, bytes, sizeof(bytes));
    cr_assert_leq(len, 13);
    cr_assert_eq(get(leader, FOLLOWER, bytes, len, &got), 0);
    cr_assert(got.type == m.type && got.ok && got.from_disk == 102 && got.to_disk == 101 &&
              got.index == 7 && got.stamp == 123456);
    free(leader);
    free(follower);
}

/* Until the other has shown that it knows us, and for all that must be whole, ids go along. */
Test(frame, who_may_not_know_the_ids_is_told)
{
    struct raft_uv *leader = make(LEADER);
    struct raft_msg m = heartbeat(), got;
    struct raft_entry entry = {.index = 8, .term = 3, .type = RAFT_NOOP};
    uint8_t bytes[200];
    leader->core.peer[1].stamp = 0; /* no answer in this term */
    size_t len = frame_of(leader, &m, bytes, sizeof(bytes));
    cr_assert_eq(bytes[0], FRAME_RAFT);
    struct raft_uv *stranger = calloc(1, sizeof(*stranger));
    stranger->cluster_id = CLUSTER;
    cr_assert_eq(get(stranger, LEADER, bytes, len, &got), 0);
    leader->core.peer[1] = (struct raft_peer){.match = 4, .stamp = 1}; /* lacks the configuration */
    (void)frame_of(leader, &m, bytes, sizeof(bytes));
    cr_assert_eq(bytes[0], FRAME_RAFT);
    leader->core.peer[1].match = 7;
    m.entries = &entry;
    m.count = 1;
    (void)frame_of(leader, &m, bytes, sizeof(bytes));
    cr_assert_eq(bytes[0], FRAME_RAFT);
    m = (struct raft_msg){.type = RAFT_VOTE, .to = FOLLOWER, .to_disk = 102, .term = 3};
    (void)frame_of(leader, &m, bytes, sizeof(bytes));
    cr_assert_eq(bytes[0], FRAME_RAFT);
    free(leader);
    free(stranger);
}

Test(frame, a_mark_of_other_ids_is_refused)
{
    struct raft_uv *leader = make(LEADER), *follower = make(FOLLOWER);
    struct raft_msg m = heartbeat(), got;
    uint8_t bytes[200];
    size_t len = frame_of(leader, &m, bytes, sizeof(bytes));
    cr_assert_eq(get(follower, 3, bytes, len, &got), ERR_MALFORMED);
    follower->disk = 103; /* it lost its own */
    cr_assert_eq(get(follower, LEADER, bytes, len, &got), ERR_MALFORMED);
    follower->disk = 102;
    follower->cluster_id = 98;
    cr_assert_eq(get(follower, LEADER, bytes, len, &got), ERR_MALFORMED);
    follower->cluster_id = CLUSTER;
    follower->core.config.server[0].disk = 77; /* knows the leader's as its leader's only */
    cr_assert_eq(get(follower, LEADER, bytes, len, &got), 0);
    follower->core.leader_disk = 78;
    cr_assert_eq(get(follower, LEADER, bytes, len, &got), ERR_MALFORMED);
    free(leader);
    free(follower);
}

Test(frame, cut_and_changed_ones_are_survived)
{
    struct raft_uv *leader = make(LEADER), *follower = make(FOLLOWER);
    struct raft_msg m = heartbeat(), got;
    uint8_t bytes[300] = {0};
    size_t len = frame_of(leader, &m, bytes, sizeof(bytes));
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *exact = malloc(cut + 1);
        memcpy(exact, bytes, cut);
        cr_assert_lt(get(follower, LEADER, exact, cut, &got), 0);
        free(exact);
    }
    for (size_t longer = len + 1; longer < sizeof(bytes); longer++)
        cr_assert_lt(get(follower, LEADER, bytes, longer, &got), 0);
    bytes[5] = (uint8_t)(RAFT_SNAPSHOT); /* none comes this way */
    cr_assert_lt(get(follower, LEADER, bytes, len, &got), 0);
    free(leader);
    free(follower);
}

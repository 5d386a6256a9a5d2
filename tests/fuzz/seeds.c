/* SPDX-License-Identifier: Apache-2.0
 * Writes the seeds that are not text, by the encoders themselves: fuzz_seeds DIRECTORY */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/ensure.h"
#include "agent/base/record.h"
#include "agent/base/record_run.h"
#include "agent/base/row.h"
#include "gossip/path.h"
#include "gossip/raft.h"
#include "gossip/wire.h"

static const char *directory;

static void put(const char *target, const char *name, const void *data, size_t len)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, target);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", directory, target, name);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(data, 1, len, f) != len || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

/* A task's record as it lies in the store. */
static void make_record(struct buf *out)
{
    struct row row = {0};
    struct buf value;
    buf_init(out, 4096);
    buf_init(&value, 4096);
    row_set(&row, ROW_CLUSTER, "arn:aws:ecs:us-east-1:123456789012:cluster/c");
    row_set(&row, ROW_STATUS, "RUNNING");
    row_set(&row, ROW_GROUP, "daemon:web");
    row.json = (struct row_text){"{\"lastStatus\":\"RUNNING\"}", 24};
    ENSURE(row_encode(&row, &value) == 0);
    static const char key[] = "arn:aws:ecs:us-east-1:123456789012:task/c/0123";
    struct record rec = {.kind = RECORD_TASK,
                         .source = SOURCE_EVENT,
                         .key = key,
                         .key_len = sizeof key - 1,
                         .version = {.hi = 3},
                         .observed_unix_ms = 1700000000000,
                         .term = 2,
                         .value = (const uint8_t *)value.data,
                         .value_len = (uint32_t)value.len};
    ENSURE(record_encode(&rec, out) == 0);
    put("record", "task", out->data, out->len);
    put("record", "row", value.data, value.len);
    rec.deleted = true;
    rec.value_len = 0;
    struct buf dead;
    buf_init(&dead, 4096);
    ENSURE(record_encode(&rec, &dead) == 0);
    put("record", "tombstone", dead.data, dead.len);
    buf_fini(&dead);
    buf_fini(&value);
}

static struct wire_update make_update(void)
{
    struct wire_update u = {.state = MEMBER_ALIVE,
                            .num = 2,
                            .incarnation = 7,
                            .has_body = true,
                            .epoch = 1,
                            .id = "i-0123456789abcdef0",
                            .meta = {.zone = "us-east-1a", .version = "1.0.0", .api_port = 7380}};
    u.addrs.at[u.addrs.count++] =
        (struct gossip_addr){.family = 4, .port = 7381, .host = {10, 0, 0, 2}};
    return u;
}

/* What follows a head of that type. */
static void put_rest(struct wbuf *w, enum wire_type type)
{
    struct wire_update u = make_update();
    static const enum gossip_state states[] = {MEMBER_ALIVE, MEMBER_FAILED, MEMBER_LEFT};
    for (uint64_t i = 0; i < 3 && type == WIRE_SYNC_NAMES; i++)
        wire_put_name(w, &(struct wire_name){.num = i + 2, .incarnation = i, .state = states[i]});
    for (uint64_t i = 0; i < 3 && type == WIRE_SYNC_WANT; i++)
        wbuf_u64(w, i + 2);
    if (type == WIRE_SYNC_NAMES || type == WIRE_SYNC_WANT)
        return;
    wire_put_update(w, &u);
    u.state = MEMBER_SUSPECT;
    u.num = 3;
    u.vote_count = 1;
    u.vote[0].num = 4;
    wire_put_update(w, &u);
}

/* One packet of each type, for wire (with its selector) and for swim (with its step header). */
static void make_packets(void)
{
    for (int type = WIRE_PING; type < WIRE_TYPE_END; type++) {
        uint8_t bytes[1024];
        char name[16];
        struct wbuf w;
        struct wire_head h = {.type = (enum wire_type)type,
                              .seq = 1,
                              .digest = 5,
                              .ring = 1,
                              .beats = 2,
                              .target = 3};
        snprintf(name, sizeof name, "type-%d", type);
        wbuf_init(&w, bytes + 3, sizeof bytes - 3);
        wire_put_head(&w, &h);
        put_rest(&w, h.type);
        ENSURE(!w.bad);
        bytes[2] = 0;
        put("wire", name, bytes + 2, w.len + 1);
        bytes[0] = (uint8_t)((w.len + 3) / 4);
        bytes[1] = 0;
        bytes[2] = 20;
        put("swim", name, bytes, w.len + 3);
    }
    uint8_t bytes[1 + WIRE_JOIN_LEN] = {1};
    struct wire_join j = {.type = WIRE_JOIN, .self = make_update()};
    put("wire", "join", bytes, 1 + wire_put_join(&j, bytes + 1));
    j.self.addrs.at[j.self.addrs.count++] =
        (struct gossip_addr){.family = 6, .port = 7381, .host = {0xfd, [15] = 2}};
    put("wire", "join-two", bytes, 1 + wire_put_join(&j, bytes + 1));
    j.type = WIRE_WELCOME;
    j.seen = j.taken = j.self.addrs.at[0];
    j.refusal = WIRE_ID_TAKEN;
    put("wire", "welcome", bytes, 1 + wire_put_join(&j, bytes + 1));
}

/* Messages, and a life: much is sent, asked, answered, refused. */
static void make_paths(void)
{
    uint8_t bytes[64];
    struct path_message question = {PATH_QUESTION, 7, 0, bytes, 5};
    struct path_message answer = {PATH_ANSWER, 7, 8952, NULL, 0};
    memset(bytes, 2, sizeof bytes);
    put("path", "question", bytes, path_put(&question, bytes, sizeof bytes));
    put("path", "answer", bytes, path_put(&answer, bytes, sizeof bytes));
    static const uint8_t step[] = {2, 3, 38, 1}; /* a large datagram, an answer */
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = i == 0 ? 255 : step[i % 4];
    put("path", "life", bytes, sizeof bytes);
}

static void make_raft(void)
{
    uint8_t bytes[2048];
    struct wbuf w;
    struct raft_config c = {.count = 2,
                            .server = {{.num = 1, .disk = 5, .voter = true, .id = "i-1"},
                                       {.num = 2, .disk = 6, .voter = false, .id = "i-2"}}};
    wbuf_init(&w, bytes, sizeof bytes);
    raft_config_encode(&c, &w);
    put("raft", "config", bytes, w.len);
    uint8_t config[512];
    size_t config_len = w.len;
    memcpy(config, bytes, config_len);
    struct raft_entry entries[] = {
        {.index = 8, .term = 2, .type = RAFT_NOOP},
        {.index = 9, .term = 3, .type = RAFT_COMMAND, .len = 2, .data = (const uint8_t *)"{}"},
        {.index = 10, .term = 3, .type = RAFT_CONFIG, .len = (uint32_t)config_len, .data = config}};
    for (uint8_t type = RAFT_VOTE; type < RAFT_MSG_END; type++) {
        struct raft_msg m = {.type = type,
                             .from = 1,
                             .to = 2,
                             .from_disk = 5,
                             .to_disk = 6,
                             .term = 3,
                             .index = 7,
                             .log_term = 2,
                             .commit = 7,
                             .stamp = 99};
        if (type == RAFT_APPEND) {
            m.count = 3;
            m.entries = entries;
        } else if (type == RAFT_SNAPSHOT) {
            m.count = 4;
            m.data = (const uint8_t *)"part";
        }
        wbuf_init(&w, bytes, sizeof bytes);
        raft_msg_encode(&m, &w);
        ENSURE(!w.bad);
        put("raft", raft_msg_str(type), bytes, w.len);
    }
}

/* A step of rumor's and sync's inputs: length, sender, time, message. */
static void put_step(const char *target, const char *name, uint8_t from, const void *message,
                     size_t len)
{
    uint8_t bytes[4096];
    ENSURE(len + 4 <= sizeof bytes);
    bytes[0] = (uint8_t)len;
    bytes[1] = (uint8_t)(len >> 8);
    bytes[2] = from;
    bytes[3] = 50;
    memcpy(bytes + 4, message, len);
    put(target, name, bytes, len + 4);
}

static void make_records(const struct buf *record)
{
    uint8_t bytes[2048];
    struct wbuf w;
    struct rbuf r;
    struct record_run run = {0}, repair = {0};
    struct record one, next;
    rbuf_init(&r, record->data, record->len);
    ENSURE(record_decode(&r, &one) == 0);
    next = one;
    next.version.lo++;
    wbuf_init(&w, bytes, sizeof bytes);
    wbuf_u8(&w, 1); /* PUSH: tree, record */
    wbuf_u8(&w, 0);
    wbuf_u64(&w, 1);
    wbuf_u16(&w, 0);
    wbuf_u8(&w, 8);
    wbuf_u8(&w, 8);
    ENSURE(record_run_put(&run, &one, &w) == 0 && record_run_put(&run, &next, &w) == 0);
    put("record", "run", bytes + 14, w.len - 14);
    put_step("rumor", "push", 1, bytes, w.len);
    wbuf_init(&w, bytes, sizeof bytes);
    wbuf_u8(&w, 2);
    ENSURE(record_run_put(&repair, &one, &w) == 0);
    put_step("rumor", "repair", 1, bytes, w.len);
    wbuf_init(&w, bytes, sizeof bytes);
    wbuf_u8(&w, 3);
    wbuf_u64(&w, 12345);
    wbuf_varint(&w, 3);
    wbuf_varint(&w, 0);
    put_step("rumor", "digest", 2, bytes, w.len);
    bytes[0] = 4;
    put_step("rumor", "ask", 2, bytes, 9);

    for (uint8_t type = 1; type <= 10; type++) {
        char name[16];
        wbuf_init(&w, bytes, sizeof bytes);
        wbuf_u8(&w, type);
        wbuf_u32(&w, 1);
        if (type == 1) {
            wbuf_u64(&w, 77);
        } else if (type == 3) {
            for (int i = 0; i < 64 * 3; i++)
                wbuf_u8(&w, (uint8_t)i);
        } else if (type == 4) {
            for (int i = 0; i < 1 + 64 * 3; i++)
                wbuf_u8(&w, (uint8_t)i);
        } else if (type == 5 || type == 6) {
            wbuf_u16(&w, 9);
            wbuf_varint(&w, 1);
            wbuf_u32(&w, 4711);
            if (type == 5)
                wbuf_u16(&w, 0xffff);
        } else if (type == 7) {
            wbuf_u8(&w, 1);
            wbuf_bytes(&w, record->data, record->len);
        } else if (type == 8) {
            wbuf_u16(&w, 9);
        }
        snprintf(name, sizeof name, "type-%u", type);
        /* Answers are aimed at the session that the node itself began. */
        bool is_answer = type == 2 || type == 3 || type == 5 || type == 7 || type == 9;
        put_step("sync", name, is_answer ? 128 : 0, bytes, w.len);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: fuzz_seeds DIRECTORY\n");
        return 2;
    }
    directory = argv[1];
    struct buf record;
    make_record(&record);
    make_packets();
    make_paths();
    make_raft();
    make_records(&record);
    buf_fini(&record);
    put("seal", "garbage", "\x00 not a packet at all, only some text that is long enough", 57);
    put("seal", "changed", "\x01\x01\x00\x09\x01plain text", 15);
    put("seal", "window", "\x02\x00\x00\x01\x00\x00\x00\x02\x00\x01\x00\x01\x01", 13);
    return 0;
}

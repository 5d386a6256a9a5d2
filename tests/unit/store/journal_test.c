/* SPDX-License-Identifier: Apache-2.0
 * The journal's file: cut and flipped at every byte, read again, full. */
#include <fcntl.h>

#include "store/store_int.h"
#include "tests/unit/store/fixture.h"

struct file {
    char dir[64], path[80];
    uint64_t id;
    struct journal j;
    uint8_t bytes[JOURNAL_BYTES], before[JOURNAL_BYTES];
    size_t begin[8], end[8], count; /* of each record, without what fills its last block */
};
static struct file file;

static void read_file(uint8_t *out)
{
    int fd = open(file.path, O_RDONLY);
    cr_assert_eq(read(fd, out, JOURNAL_BYTES), JOURNAL_BYTES);
    close(fd);
}

static void write_file(const uint8_t *bytes, size_t from, size_t to)
{
    int fd = open(file.path, O_WRONLY);
    cr_assert_eq(pwrite(fd, bytes + from, to - from, (off_t)from), (ssize_t)(to - from));
    close(fd);
}

static void file_open(uint64_t seq, int want)
{
    struct errmsg e = {""};
    journal_close(&file.j);
    cr_assert_eq(journal_open(&file.j, file.dir, file.id, seq, &e), want, "%s", e.text);
}

static void file_make(void)
{
    struct errmsg e = {""};
    snprintf(file.dir, sizeof file.dir, "/dev/shm/blox-journal-XXXXXX");
    cr_assert_not_null(mkdtemp(file.dir));
    snprintf(file.path, sizeof file.path, "%s/journal", file.dir);
    cr_assert_eq(journal_make(&file.j, file.dir, &e), 0, "%s", e.text);
    file.id = file.j.id;
}

static void file_fini(void)
{
    journal_close(&file.j);
    fix_remove(file.dir);
}

/* A record of two writes; the data says which one it is, so that a mix of two would be seen. */
static void record(uint64_t index, uint32_t len)
{
    static char data[JOURNAL_BYTES];
    struct store_fact fact = {"name", &index, sizeof index};
    struct store_log_write hard = {.set_hard_state = true, .term = index, .vote = index + 1};
    struct store_log_entry entry = {index, 3, 1, len, data};
    struct store_log_write w = {.truncate_from = index,
                                .entries = &entry,
                                .entry_count = 1,
                                .facts = &fact,
                                .fact_count = 1};
    memset(data, (int)index, len);
    size_t size = journal_size(&hard) + journal_size(&w);
    cr_assert(journal_has_room(&file.j, size));
    journal_add(&file.j, &hard);
    journal_add(&file.j, &w);
    cr_assert_eq(file.j.added, size);
    file.begin[file.count] = file.j.used;
    file.end[file.count++] = file.j.used + 32 + size;
    cr_assert_eq(journal_commit(&file.j), 0);
}

struct seen {
    uint64_t next, writes;
};

static int see(void *arg, const struct store_log_write *w)
{
    struct seen *seen = arg;
    if (seen->writes++ % 2 == 0) {
        cr_assert(w->set_hard_state && w->entry_count == 0 && w->fact_count == 0);
        cr_assert(w->term == seen->next && w->vote == seen->next + 1);
        return 0;
    }
    const char *data = w->entries[0].data;
    cr_assert(!w->set_hard_state && w->truncate_from == seen->next);
    cr_assert(w->entry_count == 1 && w->entries[0].index == seen->next && w->entries[0].term == 3);
    for (size_t i = 0; i < w->entries[0].len; i++)
        cr_assert_eq(data[i], (char)seen->next);
    cr_assert(w->fact_count == 1 && w->facts[0].len == 8 && strcmp(w->facts[0].name, "name") == 0);
    cr_assert_eq(memcmp(w->facts[0].data, &seen->next, 8), 0);
    seen->next++;
    return 0;
}

static void expect_records(uint64_t from, uint64_t count)
{
    struct seen seen = {.next = from};
    cr_assert_eq(journal_each(&file.j, see, &seen), 0);
    cr_assert_eq(seen.writes, 2 * count, "%llu writes of %llu records",
                 (unsigned long long)seen.writes, (unsigned long long)count);
}

static void records_of_some_sizes(uint64_t from)
{
    file.count = 0;
    record(from, 10);
    record(from + 1, 4300);
    record(from + 2, 0);
    record(from + 3, 4200);
}

Test(journal, records_are_found_again_however_often)
{
    file_make();
    records_of_some_sizes(1);
    cr_assert((fcntl(file.j.fd, F_GETFL) & O_DSYNC) != 0, "a write returns before it is durable");
    for (int round = 0; round < 3; round++) {
        file_open(0, 0);
        expect_records(1, 4);
        cr_assert_eq(file.j.seq, 4u);
    }
    file_open(4, 0);
    expect_records(1, 0);
    record(5, 100); /* over the first one: LMDB has them all */
    file_open(4, 0);
    expect_records(5, 1);
    file_open(5, 0);
    expect_records(1, 0);
    file.id++;
    file_open(0, 0);
    expect_records(1, 0);
    file_fini();
}

/* The last record was cut off in mid-write: what was there before it is behind the cut. */
static void cut_everywhere(uint64_t first)
{
    size_t last = file.count - 1;
    for (size_t cut = file.begin[last]; cut <= file.end[last]; cut++) {
        size_t from = file.begin[last], to = file.end[last];
        write_file(file.before, cut, to);
        write_file(file.bytes, from, cut);
        bool whole = memcmp(file.before + cut, file.bytes + cut, to - cut) == 0;
        file_open(first - 1, 0);
        expect_records(first, whole ? file.count : last);
    }
}

Test(journal, a_record_cut_at_any_byte_was_not_written)
{
    file_make();
    records_of_some_sizes(1);
    read_file(file.bytes);
    cut_everywhere(1);
    /* Again where records of an earlier round lie below and behind. */
    file_open(4, 0);
    read_file(file.before);
    records_of_some_sizes(5);
    read_file(file.bytes);
    cut_everywhere(5);
    file_fini();
}

/* One flipped bit: in the last record it is as if that was being written; in one before it the disk
 * is damaged. Behind a record's end nothing is looked at. */
Test(journal, a_flipped_bit_is_noticed_wherever_it_is)
{
    file_make();
    records_of_some_sizes(1);
    read_file(file.bytes);
    for (size_t r = 0; r < file.count; r++) {
        size_t filled = (file.end[r] + 4095) / 4096 * 4096;
        for (size_t at = file.begin[r]; at < filled; at += at < file.end[r] ? 1 : 61) {
            bool inside = at < file.end[r], last = r == file.count - 1;
            file.bytes[at] ^= (uint8_t)(1u << (at % 8));
            write_file(file.bytes, at, at + 1);
            file_open(0, inside && !last ? ERR_CORRUPT : 0);
            if (!inside || last)
                expect_records(1, inside ? 3 : 4);
            file.bytes[at] ^= (uint8_t)(1u << (at % 8));
            write_file(file.bytes, at, at + 1);
        }
    }
    file_fini();
}

Test(journal, a_file_that_is_gone_or_short_is_damage)
{
    file_make();
    record(1, 10);
    cr_assert_eq(truncate(file.path, JOURNAL_BYTES - 1), 0);
    file_open(0, ERR_CORRUPT);
    cr_assert_eq(unlink(file.path), 0);
    file_open(0, ERR_CORRUPT);
    file_fini();
}

Test(journal, it_takes_what_fits_and_nothing_of_the_rows)
{
    char config[1] = "";
    struct store_log_write w = {.config = config};
    cr_assert_eq(journal_size(&w), 0u);
    cr_assert_eq(journal_size(&(struct store_log_write){.applied_index = 1}), 0u);
    cr_assert_eq(journal_size(&(struct store_log_write){.compact_to = 1}), 0u);
    cr_assert_eq(journal_size(&(struct store_log_write){.replace_intent = true}), 0u);
    cr_assert_eq(journal_size(&(struct store_log_write){.intent_count = 1}), 0u);
    file_make();
    cr_assert(!journal_has_room(&file.j, JOURNAL_RECORD_MAX));
    uint64_t n = 0;
    for (; journal_has_room(&file.j, 100 * 1024); n++) {
        file.count = 0;
        record(n + 1, 99 * 1024);
    }
    cr_assert_geq(n, 4u);
    file_open(0, 0);
    expect_records(1, n);
    file_fini();
}

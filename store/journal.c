/* SPDX-License-Identifier: Apache-2.0
 * A journal in front of log/: what raft must not forget is durable after one write in place, where
 * a commit of LMDB takes two waits for the disk. LMDB takes it over later, many writes at once.
 *
 * The file log/journal has a fixed size and was filled with zeros, so that a write in it changes
 * nothing but its bytes: neither a full disk nor the file system's own log can hold it up. Records
 * begin at multiples of 4 KiB, from the file's begin on, each behind the one before:
 *
 *   u64 checksum of all that follows, u64 the journal's id, u64 sequence, u32 length, u32 zero
 *   then writes, one behind the other: u8 flags, u64 term, u64 vote, u64 truncate_from,
 *   u32 entries, u16 facts; each entry: u64 index, u64 term, u8 type, u32 length, bytes;
 *   each fact: u8 length of its name with the NUL, name, u16 length, bytes.
 *
 * log/'s head says which journal is its own and up to which sequence it contains it. Whenever it
 * contains all, the next record is written at the file's begin again. So at a start the records
 * from that sequence on are those that LMDB lacks, and taking them over twice does no harm. The
 * first that is not there ends them: it was being written, and nobody was told. But a later one
 * behind it was written after it was durable: then the disk is damaged. */
#include "store/store_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"

#define BLOCK 4096u
#define HEADER 32u
#define WRITE_HEAD 31u
#define ENTRY_HEAD 21u
#define FACT_HEAD 4u /* with the NUL of its name */
#define HAS_HARD_STATE 1u

static int path_err(struct errmsg *e, const char *path)
{
    int err = errno == ENOSPC || errno == EDQUOT ? ERR_FULL : ERR_IO;
    return errmsg_set(e, err, "%s: %s", path, strerror(errno));
}

static bool image_map(struct journal *j)
{
    void *p = mmap(NULL, JOURNAL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    j->image = p == MAP_FAILED ? NULL : p;
    return j->image != NULL;
}

/* Every write waits for the disk. Past the page cache, where the file system can do that: it saves
 * the disk a flush, where it has a write that needs none. */
static int open_file(const char *path)
{
    int flags = O_RDWR | O_DSYNC | O_CLOEXEC;
    int fd = open(path, flags | O_DIRECT);
    return fd < 0 && errno == EINVAL ? open(path, flags) : fd;
}

static bool write_all(int fd, const uint8_t *bytes, size_t len, size_t at)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(fd, bytes + done, len - done, (off_t)(at + done));
        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            errno = n == 0 ? ENOSPC : errno;
            return false;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static bool sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

int journal_make(struct journal *j, const char *dir, struct errmsg *e)
{
    char path[STORE_PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/journal", dir);
    *j = (struct journal){.fd = -1};
    if (!image_map(j) || getrandom(&j->id, sizeof j->id, 0) != sizeof j->id)
        return errmsg_set(e, ERR_NOMEM, "%s: no memory", path);
    j->id |= 1;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool made =
        fd >= 0 && write_all(fd, j->image, JOURNAL_BYTES, 0) && fsync(fd) == 0 && sync_dir(dir);
    int err = made ? 0 : path_err(e, path);
    if (fd >= 0)
        close(fd);
    if (made && (j->fd = open_file(path)) < 0)
        err = path_err(e, path);
    if (err != 0)
        (void)unlink(path);
    return err;
}

/* ---- records ---- */

static size_t blocks(size_t len)
{
    return (len + BLOCK - 1) / BLOCK * BLOCK;
}

/* The bytes of the record at that place with that sequence or a later one; 0: there is none. */
static size_t record_at(const struct journal *j, size_t at, uint64_t seq, bool or_later)
{
    struct rbuf r;
    rbuf_init(&r, j->image + at, HEADER);
    uint64_t sum = rbuf_u64(&r), id = rbuf_u64(&r), its_seq = rbuf_u64(&r);
    size_t len = HEADER + (size_t)rbuf_u32(&r);
    if (id != j->id || (or_later ? its_seq < seq : its_seq != seq) || len > JOURNAL_BYTES - at ||
        sum != hash_bytes(j->image + at + 8, len - 8, CHECKSUM_SEED))
        return 0;
    return len;
}

int journal_open(struct journal *j, const char *dir, uint64_t id, uint64_t seq, struct errmsg *e)
{
    char path[STORE_PATH_MAX + 64];
    struct stat st;
    size_t got = 0;
    snprintf(path, sizeof path, "%s/journal", dir);
    *j = (struct journal){.fd = open_file(path), .id = id, .seq = seq};
    if (j->fd < 0 && errno != ENOENT)
        return path_err(e, path);
    if (j->fd < 0 || (fstat(j->fd, &st) == 0 && st.st_size != JOURNAL_BYTES))
        return errmsg_set(e, ERR_CORRUPT, "the journal is missing or cut short");
    if (!image_map(j))
        return errmsg_set(e, ERR_NOMEM, "%s: no memory", path);
    for (ssize_t n; got < JOURNAL_BYTES; got += (size_t)n)
        if ((n = pread(j->fd, j->image + got, JOURNAL_BYTES - got, (off_t)got)) <= 0)
            return errmsg_set(e, ERR_IO, "%s: %s", path, n < 0 ? strerror(errno) : "cut short");
    for (size_t len;
         j->used < JOURNAL_BYTES && (len = record_at(j, j->used, j->seq + 1, false)) != 0;
         j->used += blocks(len))
        j->seq++;
    for (size_t at = j->used; at < JOURNAL_BYTES; at += BLOCK)
        if (record_at(j, at, j->seq + 1, true) != 0)
            return errmsg_set(e, ERR_CORRUPT, "the journal is damaged before its end");
    return 0;
}

void journal_close(struct journal *j)
{
    if (j->image != NULL)
        munmap(j->image, JOURNAL_BYTES);
    if (j->fd >= 0)
        close(j->fd);
    *j = (struct journal){.fd = -1};
}

/* ---- writing ---- */

size_t journal_size(const struct store_log_write *w)
{
    size_t size = WRITE_HEAD;
    if (w->replace_intent || w->intent_count > 0 || w->applied_index != 0 || w->compact_to != 0 ||
        w->config != NULL)
        return 0;
    for (size_t i = 0; i < w->entry_count; i++)
        size += ENTRY_HEAD + (size_t)w->entries[i].len;
    for (size_t i = 0; i < w->fact_count; i++)
        size += FACT_HEAD + strlen(w->facts[i].name) + w->facts[i].len;
    return size;
}

bool journal_has_room(const struct journal *j, size_t size)
{
    return j->fd >= 0 && !j->broken && HEADER + size <= JOURNAL_RECORD_MAX &&
           HEADER + size <= JOURNAL_BYTES - j->used;
}

static void put_write(struct wbuf *b, const struct store_log_write *w)
{
    wbuf_u8(b, w->set_hard_state ? HAS_HARD_STATE : 0);
    wbuf_u64(b, w->term);
    wbuf_u64(b, w->vote);
    wbuf_u64(b, w->truncate_from);
    wbuf_u32(b, (uint32_t)w->entry_count);
    wbuf_u16(b, (uint16_t)w->fact_count);
    for (size_t i = 0; i < w->entry_count; i++) {
        const struct store_log_entry *entry = &w->entries[i];
        wbuf_u64(b, entry->index);
        wbuf_u64(b, entry->term);
        wbuf_u8(b, entry->type);
        wbuf_u32(b, entry->len);
        wbuf_bytes(b, entry->data, entry->len);
    }
    for (size_t i = 0; i < w->fact_count; i++) {
        size_t name = strlen(w->facts[i].name) + 1;
        wbuf_u8(b, (uint8_t)name);
        wbuf_bytes(b, w->facts[i].name, name);
        wbuf_u16(b, (uint16_t)w->facts[i].len);
        wbuf_bytes(b, w->facts[i].data, w->facts[i].len);
    }
}

void journal_add(struct journal *j, const struct store_log_write *w)
{
    struct wbuf b;
    size_t at = j->used + HEADER + j->added;
    wbuf_init(&b, j->image + at, JOURNAL_BYTES - at);
    put_write(&b, w);
    ENSURE(!b.bad);
    j->added += b.len;
}

int journal_commit(struct journal *j)
{
    struct wbuf b;
    uint8_t *record = j->image + j->used;
    size_t len = HEADER + j->added;
    j->seq++;
    wbuf_init(&b, record + 8, HEADER - 8);
    wbuf_u64(&b, j->id);
    wbuf_u64(&b, j->seq);
    wbuf_u32(&b, (uint32_t)j->added);
    wbuf_u32(&b, 0);
    wbuf_init(&b, record, 8);
    wbuf_u64(&b, hash_bytes(record + 8, len - 8, CHECKSUM_SEED));
    memset(record + len, 0, blocks(len) - len);
    j->added = 0;
    if (!write_all(j->fd, record, blocks(len), j->used)) {
        j->broken = true;
        return errno == ENOSPC || errno == EDQUOT ? ERR_FULL : ERR_IO;
    }
    j->used += blocks(len);
    return 0;
}

void journal_contained(struct journal *j)
{
    j->used = 0;
}

/* ---- reading ---- */

static void get_entry(struct rbuf *r, struct store_log_entry *ret)
{
    ret->index = rbuf_u64(r);
    ret->term = rbuf_u64(r);
    ret->type = rbuf_u8(r);
    ret->len = rbuf_u32(r);
    ret->data = rbuf_bytes(r, ret->len);
}

static void get_fact(struct rbuf *r, struct store_fact *ret)
{
    size_t name = rbuf_u8(r);
    ret->name = (const char *)rbuf_bytes(r, name);
    ret->len = rbuf_u16(r);
    ret->data = rbuf_bytes(r, ret->len);
    if (ret->name == NULL || name == 0 || ret->name[name - 1] != '\0')
        r->bad = 1;
}

/* Points into the image; ret->entries and, behind them, ret->facts are to be freed as one. */
static int get_write(struct rbuf *r, struct store_log_write *ret)
{
    *ret = (struct store_log_write){.set_hard_state = (rbuf_u8(r) & HAS_HARD_STATE) != 0};
    ret->term = rbuf_u64(r);
    ret->vote = rbuf_u64(r);
    ret->truncate_from = rbuf_u64(r);
    ret->entry_count = rbuf_u32(r);
    ret->fact_count = rbuf_u16(r);
    size_t left = rbuf_left(r);
    if (r->bad || ret->entry_count > left / ENTRY_HEAD || ret->fact_count > left / FACT_HEAD)
        return ERR_CORRUPT;
    size_t entry_bytes = ret->entry_count * sizeof *ret->entries;
    char *memory = calloc(1, entry_bytes + ret->fact_count * sizeof *ret->facts + 1);
    if (memory == NULL)
        return ERR_NOMEM;
    struct store_log_entry *entries = (void *)memory;
    struct store_fact *facts = (void *)(memory + entry_bytes);
    ret->entries = entries;
    ret->facts = facts;
    for (size_t i = 0; i < ret->entry_count; i++)
        get_entry(r, &entries[i]);
    for (size_t i = 0; i < ret->fact_count; i++)
        get_fact(r, &facts[i]);
    return r->bad ? ERR_CORRUPT : 0;
}

int journal_each(const struct journal *j, int (*fn)(void *arg, const struct store_log_write *w),
                 void *arg)
{
    int err = 0;
    for (size_t at = 0; at < j->used && err == 0;) {
        struct rbuf r;
        rbuf_init(&r, j->image + at + HEADER - 8, 4);
        size_t len = rbuf_u32(&r);
        rbuf_init(&r, j->image + at + HEADER, len);
        while (rbuf_left(&r) > 0 && err == 0) {
            struct store_log_write w;
            err = get_write(&r, &w);
            err = err == 0 ? fn(arg, &w) : err;
            free((void *)(uintptr_t)w.entries);
        }
        at += blocks(HEADER + len);
    }
    return err;
}

/* SPDX-License-Identifier: Apache-2.0
 * Structure check of an LMDB 0.9 file before LMDB maps it. LMDB trusts its pages: a wrong
 * page number ends in SIGSEGV, a truncated file in SIGBUS, a wrong free list in live pages
 * being overwritten. So the file is read with pread() and every reference is checked:
 * meta pages, page headers, node offsets, key order, page numbers within the file, no page
 * used twice or both used and free. The branch pages come first, since they are few and
 * matter most; then the leaves, as far as the budget goes.
 *
 * Layout (mdb.c of 0.9.x, data version 1, 64-bit little-endian):
 *   page  pgno u64, pad u16, flags u16, lower u16, upper u16 (overflow: pages u32)
 *   meta  page header, magic u32, version u32, address u64, mapsize u64, two db records
 *         (free list, main), last page u64, transaction u64
 *   db    pad u32, flags u16, depth u16, branch, leaf, overflow pages u64, entries u64, root u64
 *   node  lo u16, hi u16, flags u16, key size u16, key, data; a branch's child page is
 *         lo | hi << 16 | flags << 32 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "store/store_int.h"

#define PAGE_HEADER 16u
#define NODE_HEADER 8u
#define PAGE_BRANCH 0x01u
#define PAGE_LEAF 0x02u
#define PAGE_OVERFLOW 0x04u
#define PAGE_META 0x08u
#define NODE_BIG 0x01u
#define NODE_SUBDB 0x02u
#define DB_INTEGER_KEY 0x08u
#define NO_PAGE UINT64_MAX
#define META_MAGIC 0xBEEFC0DEu
#define META_VERSION 1u
#define DEPTH_MAX 24u
#define PAGE_SIZE_MAX 32768u /* LMDB's own limit */
#define TABLES_MAX 16u

struct db {
    char name[32];
    uint16_t flags, depth;
    uint64_t entries, root;
};

struct check {
    int fd;
    uint64_t psize, last_page, file_bytes, txn;
    uint8_t *seen;  /* one bit a page */
    uint8_t *pages; /* one page for each level */
    uint64_t deadline_ms;
    bool out_of_time, leaves;
    uint64_t entries;
    struct db free_list, main, table[TABLES_MAX];
    unsigned tables;
    struct errmsg *e;
};

static uint16_t le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)le16(p) | (uint32_t)le16(p + 2) << 16;
}

static uint64_t le64(const uint8_t *p)
{
    return (uint64_t)le32(p) | (uint64_t)le32(p + 4) << 32;
}

static int bad(struct check *c, const char *what, uint64_t page)
{
    return errmsg_set(c->e, ERR_CORRUPT, "%s (page %llu)", what, (unsigned long long)page);
}

static int read_at(struct check *c, uint64_t at, void *out, size_t len)
{
    if (at > c->file_bytes || len > c->file_bytes - at)
        return bad(c, "the file is truncated", at / (c->psize == 0 ? 1 : c->psize));
    size_t got = 0;
    while (got < len) {
        ssize_t n = pread(c->fd, (uint8_t *)out + got, len - got, (off_t)(at + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return errmsg_set(c->e, n < 0 && errno != EIO ? ERR_IO : ERR_CORRUPT,
                              "reading at %llu: %s", (unsigned long long)at,
                              n < 0 ? strerror(errno) : "the file is truncated");
        got += (size_t)n;
    }
    return 0;
}

static void read_db(const uint8_t *p, struct db *ret)
{
    ret->flags = le16(p + 4);
    ret->depth = le16(p + 6);
    ret->entries = le64(p + 32);
    ret->root = le64(p + 40);
}

static int mark(struct check *c, uint64_t page)
{
    if (page < 2 || page > c->last_page)
        return bad(c, "a page number is out of range", page);
    uint8_t bit = (uint8_t)(1u << (page & 7));
    if (c->seen[page >> 3] & bit)
        return bad(c, "a page is used twice", page);
    c->seen[page >> 3] |= bit;
    return 0;
}

static int check_db(struct check *c, const struct db *db, uint16_t flags)
{
    if (db->flags != flags || db->depth > DEPTH_MAX)
        return bad(c, "a table's record is damaged", db->root);
    if ((db->root == NO_PAGE) != (db->depth == 0) || (db->depth == 0 && db->entries != 0))
        return bad(c, "a table's root is damaged", db->root);
    return 0;
}

/* Meta page `slot`; the newer one of the two is the database. */
static int read_meta(struct check *c, unsigned slot, uint64_t *ret_txn)
{
    uint8_t page[PAGE_HEADER + 136];
    int err = read_at(c, slot * c->psize, page, sizeof page);
    if (err != 0)
        return err;
    const uint8_t *m = page + PAGE_HEADER;
    if (le16(page + 10) != PAGE_META || le64(page) != slot || le32(m) != META_MAGIC)
        return bad(c, "a meta page is damaged", slot);
    if (le32(m + 4) != META_VERSION)
        return errmsg_set(c->e, ERR_CORRUPT, "database format %u of LMDB is not known",
                          (unsigned)le32(m + 4));
    uint64_t txn = le64(m + 128);
    uint32_t psize = le32(m + 24);
    if (psize < 512 || psize > PAGE_SIZE_MAX || (psize & (psize - 1)) != 0)
        return bad(c, "a meta page has an impossible page size", slot);
    /* Transaction n writes meta page n & 1. */
    if (txn != 0 && (txn & 1) != slot)
        return bad(c, "a meta page has an impossible transaction", slot);
    *ret_txn = txn;
    if (slot == 0)
        c->psize = psize;
    else if (psize != c->psize)
        return bad(c, "the meta pages disagree", slot);
    if (slot == 1 && txn < c->txn)
        return 0;
    c->txn = txn;
    read_db(m + 24, &c->free_list);
    read_db(m + 72, &c->main);
    c->last_page = le64(m + 120);
    return 0;
}

static int read_metas(struct check *c)
{
    uint64_t first = 0;
    uint64_t second = 0;
    int err = read_meta(c, 0, &first);
    if (err == 0)
        err = read_meta(c, 1, &second);
    if (err != 0)
        return err;
    uint64_t apart = first > second ? first - second : second - first;
    if (apart > 1 || (apart == 0 && first != 0))
        return bad(c, "the meta pages are too far apart", 0);
    /* Free pages at the end may never have been written, so the file may be shorter than its last
     * page; but not by much, and the bitmap must not be made to fit a flipped bit. */
    if (c->last_page < 1 || c->last_page > (c->file_bytes / c->psize) * 2 + 4096)
        return bad(c, "the file is truncated or its size is damaged", c->last_page);
    err = check_db(c, &c->free_list, DB_INTEGER_KEY);
    return err != 0 ? err : check_db(c, &c->main, 0);
}

static int compare_keys(bool integer, const uint8_t *a, size_t an, const uint8_t *b, size_t bn)
{
    if (integer)
        return le64(a) < le64(b) ? -1 : le64(a) > le64(b);
    int d = memcmp(a, b, an < bn ? an : bn);
    return d != 0 ? d : an < bn ? -1 : an > bn;
}

/* A page of free-list data: a count, then page numbers from high to low. */
static int check_free(struct check *c, const uint8_t *data, size_t len, uint64_t page)
{
    if (len < 8 || le64(data) != len / 8 - 1) {
        /* LMDB may reserve more room than it fills. */
        if (len < 8 || le64(data) > len / 8 - 1)
            return bad(c, "the free list is damaged", page);
    }
    uint64_t count = le64(data);
    uint64_t before = NO_PAGE;
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t free_page = le64(data + 8 * i);
        if (free_page >= before)
            return bad(c, "the free list is out of order", page);
        before = free_page;
        int err = mark(c, free_page);
        if (err != 0)
            return err;
    }
    return 0;
}

/* Data that has pages of its own. */
static int check_overflow(struct check *c, const struct db *db, uint64_t page, uint64_t size)
{
    uint8_t head[PAGE_HEADER];
    uint64_t count = (PAGE_HEADER - 1 + size) / c->psize + 1;
    if (page < 2 || page > c->last_page || count > c->last_page + 1 - page)
        return bad(c, "a large value is out of range", page);
    int err = read_at(c, page * c->psize, head, sizeof head);
    if (err != 0)
        return err;
    if (le64(head) != page || le16(head + 10) != PAGE_OVERFLOW || le32(head + 12) != count)
        return bad(c, "a large value's page is damaged", page);
    if ((page + count) * c->psize > c->file_bytes)
        return bad(c, "the file is truncated", page);
    for (uint64_t i = 0; i < count; i++)
        if ((err = mark(c, page + i)) != 0)
            return err;
    if (db != &c->free_list)
        return 0;
    uint8_t *data = malloc((size_t)size);
    if (data == NULL)
        return ERR_NOMEM;
    err = read_at(c, page * c->psize + PAGE_HEADER, data, (size_t)size);
    if (err == 0)
        err = check_free(c, data, (size_t)size, page);
    free(data);
    return err;
}

static int check_leaf_node(struct check *c, const struct db *db, const uint8_t *node, size_t room,
                           uint64_t page)
{
    uint64_t size = le16(node) | (uint64_t)le16(node + 2) << 16;
    uint16_t flags = le16(node + 4);
    size_t key_len = le16(node + 6);
    const uint8_t *data = node + NODE_HEADER + key_len;
    size_t left = room - NODE_HEADER - key_len;
    if ((flags & NODE_BIG ? 8 : size) > left)
        return bad(c, "a value leaves its page", page);
    if (flags == NODE_SUBDB && db == &c->main) {
        struct db *sub = &c->table[c->tables];
        if (size != 48 || key_len >= sizeof sub->name || c->tables == TABLES_MAX)
            return bad(c, "the list of tables is damaged", page);
        memcpy(sub->name, node + NODE_HEADER, key_len);
        read_db(data, sub);
        c->tables++;
        return check_db(c, sub, 0);
    }
    if (flags == NODE_BIG)
        return check_overflow(c, db, le64(data), size);
    if (flags != 0 || db == &c->main)
        return bad(c, "a node is damaged", page);
    return db == &c->free_list ? check_free(c, data, (size_t)size, page) : 0;
}

static size_t node_size(const uint8_t *node, bool leaf)
{
    size_t size = le16(node) | (size_t)le16(node + 2) << 16;
    size_t data = !leaf ? 0 : (le16(node + 4) & NODE_BIG) != 0 ? 8 : size;
    return (NODE_HEADER + le16(node + 6) + data + 1) & ~(size_t)1;
}

/* Nodes fill the page from `upper` to its end without a gap or an overlap: LMDB moves them by
 * their sizes when it deletes one, so a wrong size would make it write behind the page. */
static int check_tiling(struct check *c, const uint8_t *p, bool leaf, uint64_t page)
{
    uint8_t starts[PAGE_SIZE_MAX / 16];
    unsigned count = (unsigned)(le16(p + 12) - PAGE_HEADER) / 2;
    memset(starts, 0, (size_t)c->psize / 16);
    for (unsigned i = 0; i < count; i++) {
        size_t at = le16(p + PAGE_HEADER + 2 * (size_t)i);
        if (at < le16(p + 14) || at + NODE_HEADER > c->psize || (at & 1) != 0)
            return bad(c, "a node is out of range", page);
        starts[at / 16] |= (uint8_t)(1u << (at / 2 % 8));
    }
    size_t at = le16(p + 14);
    for (unsigned i = 0; i < count; i++) {
        if (at + NODE_HEADER > c->psize || (starts[at / 16] & 1u << (at / 2 % 8)) == 0)
            return bad(c, "nodes do not fill their page", page);
        at += node_size(p + at, leaf);
    }
    return at == c->psize ? 0 : bad(c, "nodes do not fill their page", page);
}

static int walk(struct check *c, const struct db *db, uint64_t page, unsigned level);

static int check_nodes(struct check *c, const struct db *db, const uint8_t *p, uint64_t page,
                       unsigned level)
{
    bool leaf = level == db->depth;
    bool integer = db == &c->free_list;
    unsigned count = (unsigned)(le16(p + 12) - PAGE_HEADER) / 2;
    const uint8_t *last = NULL;
    size_t last_len = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t at = le16(p + PAGE_HEADER + 2 * (size_t)i);
        const uint8_t *node = p + at;
        size_t key_len = le16(node + 6);
        if (key_len > 511 || at + NODE_HEADER + key_len > c->psize)
            return bad(c, "a key leaves its page", page);
        if ((leaf || i > 0) && (key_len == 0 || (integer && key_len != 8)))
            return bad(c, "a key is damaged", page);
        const uint8_t *key = node + NODE_HEADER;
        if (last != NULL && compare_keys(integer, last, last_len, key, key_len) >= 0)
            return bad(c, "keys are out of order", page);
        if (leaf || i > 0) {
            last = key;
            last_len = key_len;
        }
        int err;
        if (leaf)
            err = check_leaf_node(c, db, node, c->psize - at, page);
        else
            err = walk(c, db,
                       le16(node) | (uint64_t)le16(node + 2) << 16 | (uint64_t)le16(node + 4) << 32,
                       level + 1);
        if (err != 0 || c->out_of_time)
            return err;
        c->entries += leaf;
    }
    return 0;
}

/* First pass: branches, and that leaves exist; second pass (c->leaves): the leaves themselves. */
static int walk(struct check *c, const struct db *db, uint64_t page, unsigned level)
{
    bool leaf = level == db->depth;
    int err = c->leaves ? 0 : mark(c, page);
    if (err != 0)
        return err;
    if ((page + 1) * c->psize > c->file_bytes)
        return bad(c, "the file is truncated", page);
    if (leaf && !c->leaves)
        return 0;
    if (c->deadline_ms != 0 && clock_mono_ms() > c->deadline_ms) {
        c->out_of_time = true;
        return 0;
    }
    uint8_t *p = c->pages + (size_t)level * c->psize;
    err = read_at(c, page * c->psize, p, c->psize);
    if (err != 0)
        return err;
    uint16_t lower = le16(p + 12);
    uint16_t upper = le16(p + 14);
    if (le64(p) != page || le16(p + 10) != (leaf ? PAGE_LEAF : PAGE_BRANCH))
        return bad(c, "a page header is damaged", page);
    if (lower <= PAGE_HEADER || (lower & 1) != 0 || lower > upper || upper > c->psize)
        return bad(c, "a page's bounds are damaged", page);
    if ((upper & 1) != 0 || (err = check_tiling(c, p, leaf, page)) != 0)
        return err != 0 ? err : bad(c, "a page's bounds are damaged", page);
    return check_nodes(c, db, p, page, level);
}

static int walk_db(struct check *c, const struct db *db, bool leaves)
{
    c->leaves = leaves;
    c->entries = 0;
    if (db->root == NO_PAGE || c->out_of_time)
        return 0;
    int err = walk(c, db, db->root, 1);
    if (err == 0 && leaves && !c->out_of_time && c->entries != db->entries)
        return bad(c, "a table has lost or gained entries", db->root);
    return err;
}

static int walk_all(struct check *c)
{
    int err = walk_db(c, &c->main, false);
    if (err == 0)
        err = walk_db(c, &c->main, true);
    for (int leaves = 0; leaves < 2; leaves++) {
        if (err == 0)
            err = walk_db(c, &c->free_list, leaves);
        for (unsigned i = 0; i < c->tables && err == 0; i++)
            err = walk_db(c, &c->table[i], leaves);
    }
    return err;
}

int pagecheck(const char *path, uint64_t budget_ms, struct pagecheck *ret, struct errmsg *e)
{
    struct check *c = calloc(1, sizeof *c);
    struct stat st;
    int err = ERR_NOMEM;
    *ret = (struct pagecheck){.complete = true};
    if (c == NULL)
        return ERR_NOMEM;
    c->e = e;
    c->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (c->fd < 0 || fstat(c->fd, &st) != 0) {
        err = errmsg_set(e, ERR_IO, "%s: %s", path, strerror(errno));
        goto out;
    }
    c->file_bytes = (uint64_t)st.st_size;
    err = read_metas(c);
    if (err != 0)
        goto out;
    ret->used_bytes = (c->last_page + 1) * c->psize;
    c->seen = calloc(1, (size_t)(c->last_page >> 3) + 1);
    c->pages = malloc((size_t)c->psize * (DEPTH_MAX + 1));
    err = ERR_NOMEM;
    if (c->seen == NULL || c->pages == NULL)
        goto out;
    /* A file shorter than its last page is looked at to the end: see read_metas. */
    if (budget_ms != 0 && c->file_bytes >= ret->used_bytes)
        c->deadline_ms = clock_mono_ms() + budget_ms;
    err = walk_all(c);
    ret->complete = !c->out_of_time;
out:
    if (c->fd >= 0)
        close(c->fd);
    free(c->seen);
    free(c->pages);
    free(c);
    return err;
}

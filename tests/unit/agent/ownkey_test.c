/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/ownkey.h"

static char dir[64], path[128];

static unsigned synced_dirs;
int fsync(int fd)
{
    struct stat st;
    synced_dirs += fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    return (int)syscall(SYS_fsync, fd);
}

static void set_up(void)
{
    snprintf(dir, sizeof dir, "/tmp/ownkey-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/%s", dir, OWNKEY_FILE);
}

static void tear_down(void)
{
    unlink(path);
    cr_assert_eq(rmdir(dir), 0, "nothing else is left");
}

static void read_as(const char *id, uint8_t key[OWNKEY_BYTES])
{
    struct errmsg e = {""};
    cr_assert_eq(ownkey_read(key, dir, id, &e), 0, "%s", e.text);
}

Test(ownkey, it_is_kept_and_nobody_else_may_read_it, .init = set_up, .fini = tear_down)
{
    uint8_t first[OWNKEY_BYTES], again[OWNKEY_BYTES], other[OWNKEY_BYTES];
    struct stat st;
    read_as("i-1", first);
    read_as("i-1", again);
    cr_assert_eq(memcmp(first, again, sizeof first), 0);
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0600);
    /* Copied to another instance with the whole disk. */
    read_as("i-2", other);
    cr_assert_neq(memcmp(first, other, sizeof first), 0);
    read_as("i-2", again);
    cr_assert_eq(memcmp(other, again, sizeof first), 0);
}

Test(ownkey, what_is_odd_is_replaced, .init = set_up, .fini = tear_down)
{
    static const char *const texts[] = {"", "i-1", "i-1 \n", "i-1 00\n", "\n", "i-1 zz\n"};
    uint8_t first[OWNKEY_BYTES], next[OWNKEY_BYTES];
    read_as("i-1", first);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        FILE *f = fopen(path, "w");
        fputs(texts[i], f);
        fclose(f);
        read_as("i-1", next);
        cr_assert_neq(memcmp(first, next, sizeof first), 0);
        memcpy(first, next, sizeof first);
        read_as("i-1", next);
        cr_assert_eq(memcmp(first, next, sizeof first), 0);
    }
    cr_assert_eq(chmod(path, 0644), 0);
    read_as("i-1", next);
    cr_assert_neq(memcmp(first, next, sizeof first), 0, "others may have read it");
    struct errmsg e = {""};
    cr_assert_eq(ownkey_read(next, "/tmp/no/such/directory", "i-1", &e), ERR_IO);
}

/* With a new key the id has to be won from the old one: no trouble of the moment may cause that. */
Test(ownkey, what_cannot_be_read_is_not_replaced, .init = set_up, .fini = tear_down)
{
    uint8_t key[OWNKEY_BYTES];
    struct errmsg e = {""};
    struct stat st;
    read_as("i-1", key);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(symlink(OWNKEY_FILE, path), 0); /* to itself: does not open */
    cr_assert_eq(ownkey_read(key, dir, "i-1", &e), ERR_IO);
    cr_assert_not_null(strstr(e.text, "cannot read"), "%s", e.text);
    cr_assert_eq(lstat(path, &st), 0);
    cr_assert(S_ISLNK(st.st_mode), "it was replaced");
    /* Opens, but does not read. */
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(mkdir(path, 0700), 0);
    cr_assert_eq(ownkey_read(key, dir, "i-1", &e), ERR_IO);
    cr_assert_not_null(strstr(e.text, "cannot read"), "%s", e.text);
    cr_assert_eq(rmdir(path), 0);
}

Test(ownkey, the_name_of_a_new_one_outlives_a_power_cut, .init = set_up, .fini = tear_down)
{
    uint8_t key[OWNKEY_BYTES];
    read_as("i-1", key);
    cr_assert_eq(synced_dirs, 1);
    read_as("i-1", key);
    cr_assert_eq(synced_dirs, 1);
}

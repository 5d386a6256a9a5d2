/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/keys.h"

Test(keys, a_link_stays_and_only_files_are_read)
{
    char dir[] = "/tmp/blox-keys-XXXXXX";
    char path[64], file[64], pipe[64];
    struct errmsg e;
    struct stat st;
    struct keys k = {.count = 1}, back;
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/link", dir);
    snprintf(file, sizeof file, "%s/key", dir);
    snprintf(pipe, sizeof pipe, "%s/pipe", dir);
    memset(k.key[0], 0xa0, KEY_BYTES);
    cr_assert_eq(keys_write(&k, file, &e), 0, "%s", e.text);
    cr_assert_eq(symlink("key", path), 0);
    memset(k.key[0], 0xa1, KEY_BYTES);
    cr_assert_eq(keys_write(&k, path, &e), 0, "%s", e.text);
    cr_assert(lstat(path, &st) == 0 && S_ISLNK(st.st_mode), "the link is replaced");
    cr_assert_eq(keys_read(&back, file, &e), 0, "%s", e.text);
    cr_assert_eq(back.key[0][0], 0xa1);
    cr_assert_eq(mkfifo(pipe, 0600), 0);
    cr_assert_eq(keys_read(&back, pipe, &e), ERR_CONFIG);
    cr_assert_not_null(strstr(e.text, "not a regular file"), "%s", e.text);
    memset(k.key[0], 0, KEY_BYTES);
    cr_assert_eq(keys_write(&k, file, &e), 0, "%s", e.text);
    cr_assert_eq(keys_read(&back, file, &e), ERR_CONFIG);
    cr_assert_not_null(strstr(e.text, "all zeros"), "%s", e.text);
    unlink(pipe);
    unlink(path);
    unlink(file);
    cr_assert_eq(rmdir(dir), 0, "no other file is left");
}

Test(keys, a_written_file_is_read_back)
{
    char dir[] = "/tmp/blox-keys-XXXXXX";
    char path[64], other[64];
    struct errmsg e;
    struct stat st;
    struct keys k = {.count = 3}, back;
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/key", dir);
    for (size_t i = 0; i < k.count; i++)
        memset(k.key[i], (int)(0xa0 + i), KEY_BYTES);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    fputs("what was there\n", f);
    fclose(f);
    chmod(path, 0640);
    for (int round = 0; round < 2; round++) {
        cr_assert_eq(keys_write(&k, path, &e), 0, "%s", e.text);
        cr_assert_eq(stat(path, &st), 0);
        cr_assert_eq(st.st_mode & 0777, 0600);
        cr_assert_eq(keys_read(&back, path, &e), 0, "%s", e.text);
        cr_assert_eq(back.count, 3);
        cr_assert_eq(memcmp(back.key, k.key, (size_t)3 * KEY_BYTES), 0, "order is kept");
    }
    snprintf(other, sizeof other, "%s/none/key", dir);
    cr_assert_eq(keys_write(&k, other, &e), ERR_IO);
    cr_assert(strstr(e.text, "cannot write") != NULL, "%s", e.text);
    cr_assert_eq(keys_read(&back, path, &e), 0, "a failed write touches nothing");
    unlink(path);
    cr_assert_eq(rmdir(dir), 0, "no other file is left");
}

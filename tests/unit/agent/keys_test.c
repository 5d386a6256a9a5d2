/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/keys.h"

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

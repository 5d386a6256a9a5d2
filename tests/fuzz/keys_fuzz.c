/* SPDX-License-Identifier: Apache-2.0
 * The gossip key file, in memory. */
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/ensure.h"
#include "agent/keys.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t key[KEY_BYTES];
    char path[32];
    struct errmsg e;
    struct keys k;
    ENSURE(keys_parse((const char *)data, size, key) != 0 || size >= 2 * KEY_BYTES);
    int fd = memfd_create("keys", MFD_CLOEXEC);
    ENSURE(fd >= 0 && fchmod(fd, 0600) == 0);
    ENSURE(write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (keys_read(&k, path, &e) == 0)
        ENSURE(k.count >= 1 && k.count <= KEYS_MAX);
    keys_wipe(&k);
    close(fd);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 * bloxd.conf, in memory. What was read must also pass through the check and the printout. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/base/ensure.h"
#include "agent/config.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static FILE *sink;
    char path[32];
    struct errmsg e;
    struct config c;
    if (sink == NULL)
        sink = fopen("/dev/null", "w");
    int fd = memfd_create("conf", MFD_CLOEXEC);
    ENSURE(sink != NULL && fd >= 0);
    ENSURE(write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ENSURE(config_init(&c) == 0);
    if (config_read_file(&c, path, true, &e) == 0) {
        e.text[0] = '\0';
        ENSURE(config_check(&c, &e) == 0 || e.text[0] != '\0');
        config_print(&c, sink);
    }
    config_fini(&c);
    close(fd);
    return 0;
}

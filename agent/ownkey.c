/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/ownkey.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/log.h"
#include "agent/keys.h"

/* "ID HEX\n" */
#define LINE_MAX_BYTES 256

/* ERR_NOTFOUND: a new one takes its place (ret_why: that of what was there; NULL: nothing). ERR_IO:
 * errno says why; what cannot be read now may be as good as ever. */
static int read_file(uint8_t ret[OWNKEY_BYTES], const char *path, const char *id,
                     const char **ret_why)
{
    char line[LINE_MAX_BYTES];
    struct stat st;
    size_t id_len = strlen(id);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *ret_why = NULL;
    if (fd < 0)
        return errno == ENOENT ? ERR_NOTFOUND : ERR_IO;
    ssize_t n = read(fd, line, sizeof line);
    bool ok = n >= 0 && fstat(fd, &st) == 0;
    int why = errno;
    close(fd);
    errno = why;
    if (!ok)
        return ERR_IO;
    *ret_why = "others may have read it";
    ok = (st.st_mode & 077) == 0;
    if (ok && n == (ssize_t)id_len + 2 + 2 * OWNKEY_BYTES && strncmp(line, id, id_len) == 0 &&
        line[id_len] == ' ')
        ok = keys_parse(line + id_len + 1, (size_t)2 * OWNKEY_BYTES, ret) == 0;
    else if (ok) {
        *ret_why = "it is not whole, or another agent's";
        ok = false;
    }
    explicit_bzero(line, sizeof line);
    return ok ? 0 : ERR_NOTFOUND;
}

static int write_file(const uint8_t key[OWNKEY_BYTES], const char *path, const char *id)
{
    char fresh[PATH_MAX], line[LINE_MAX_BYTES];
    int n = snprintf(line, sizeof line, "%s ", id);
    for (size_t i = 0; i < OWNKEY_BYTES; i++)
        n += snprintf(line + n, sizeof line - (size_t)n, "%02x", key[i]);
    n += snprintf(line + n, sizeof line - (size_t)n, "\n");
    snprintf(fresh, sizeof fresh, "%s.new", path);
    unlink(fresh); /* of an earlier life that was killed here */
    int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write(fd, line, (size_t)n) == n && fsync(fd) == 0;
    int why = errno;
    explicit_bzero(line, sizeof line);
    if (fd >= 0)
        close(fd);
    ok = ok && rename(fresh, path) == 0;
    if (!ok && fd >= 0)
        unlink(fresh);
    errno = fd < 0 ? why : errno;
    return ok ? 0 : ERR_IO;
}

int ownkey_read(uint8_t ret[OWNKEY_BYTES], const char *dir, const char *id, struct errmsg *e)
{
    char path[PATH_MAX - 8];
    const char *why;
    snprintf(path, sizeof path, "%s/%s", dir, OWNKEY_FILE);
    int err = read_file(ret, path, id, &why);
    if (err == ERR_IO)
        return errmsg_set(e, err,
                          "cannot read this agent's own key, %s: %s (without it a new one is made)",
                          path, strerror(errno));
    if (err == 0)
        return 0;
    if (why != NULL)
        LOG(LOG_WARN, "own_key_replaced", why, LS("file", path));
    if (getrandom(ret, OWNKEY_BYTES, 0) != OWNKEY_BYTES)
        return errmsg_set(e, ERR_IO, "no randomness: %s", strerror(errno));
    if (write_file(ret, path, id) != 0 || keys_sync_name(path) != 0)
        return errmsg_set(e, ERR_IO, "cannot write %s: %s", path, strerror(errno));
    return 0;
}

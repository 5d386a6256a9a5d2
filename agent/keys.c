/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int parse_hex(const char *text, uint8_t out[KEY_BYTES])
{
    for (size_t i = 0; i < KEY_BYTES; i++) {
        int high = hex_digit(text[2 * i]);
        int low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return ERR_MALFORMED;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c == '\0' ? NULL : strchr(digits, c);
    return at == NULL ? -1 : (int)(at - digits);
}

/* 43 digits and one '=' are 32 bytes and two bits that must be zero. */
static int parse_base64(const char *text, uint8_t out[KEY_BYTES])
{
    uint32_t bits = 0;
    unsigned have = 0;
    size_t n = 0;
    for (size_t i = 0; i < 43; i++) {
        int digit = base64_digit(text[i]);
        if (digit < 0)
            return ERR_MALFORMED;
        bits = bits << 6 | (uint32_t)digit;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (uint8_t)(bits >> have);
            bits &= (1u << have) - 1;
        }
    }
    return text[43] == '=' && bits == 0 && n == KEY_BYTES ? 0 : ERR_MALFORMED;
}

int keys_parse(const char *text, size_t len, uint8_t out[KEY_BYTES])
{
    static const uint8_t zeros[KEY_BYTES];
    int err = len == (size_t)2 * KEY_BYTES ? parse_hex(text, out)
              : len == 44                  ? parse_base64(text, out)
                                           : ERR_MALFORMED;
    return err == 0 && memcmp(out, zeros, sizeof zeros) == 0 ? ERR_BADPARAM : err;
}

static int read_lines(struct keys *ret, FILE *f, const char *path, struct errmsg *e)
{
    char line[256];
    for (unsigned number = 1; fgets(line, sizeof line, f) != NULL; number++) {
        char *text = line + strspn(line, " \t");
        size_t len = strcspn(text, " \t\r\n#");
        if (len == 0)
            continue;
        if (ret->count == KEYS_MAX)
            return errmsg_set(e, ERR_CONFIG, "%s has more than %d keys", path, KEYS_MAX);
        int err = keys_parse(text, len, ret->key[ret->count]);
        if (err == ERR_BADPARAM)
            return errmsg_set(e, ERR_CONFIG,
                              "line %u of %s: all zeros is no secret; make a key with: blox keygen",
                              number, path);
        if (err != 0)
            return errmsg_set(e, ERR_CONFIG,
                              "line %u of %s is not a key: 32 bytes as 44 base64 or 64 hex digits",
                              number, path);
        ret->count++;
    }
    explicit_bzero(line, sizeof line);
    if (ret->count == 0)
        return errmsg_set(e, ERR_CONFIG, "%s holds no key; make one with: blox keygen", path);
    return 0;
}

int keys_read(struct keys *ret, const char *path, struct errmsg *e)
{
    struct stat st;
    *ret = (struct keys){0};
    /* Whoever opens a pipe that nobody writes to waits for ever, in silence. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
    if (f == NULL && errno != ENOENT)
        return errmsg_set(e, ERR_CONFIG,
                          "no gossip key: cannot read %s: %s. Who runs bloxd must be able to", path,
                          strerror(errno));
    if (f == NULL)
        return errmsg_set(
            e, ERR_CONFIG,
            "no gossip key: cannot read %s: %s. Make one with `blox keygen`, give the "
            "same file to every agent",
            path, strerror(errno));
    int err = 0;
    if (fstat(fileno(f), &st) != 0)
        err = errmsg_set(e, ERR_CONFIG, "cannot look at %s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        err = errmsg_set(
            e, ERR_CONFIG,
            "%s is not a regular file: bloxd reads and replaces it whenever keys change", path);
    else if ((st.st_mode & 007) != 0)
        err = errmsg_set(e, ERR_CONFIG, "%s may be read by others: chmod 600 %s", path, path);
    else
        err = read_lines(ret, f, path, e);
    fclose(f);
    if (err != 0)
        keys_wipe(ret);
    return err;
}

static int write_all(const struct keys *k, int fd)
{
    static const char note[] = "# Kept by bloxd (blox keys). The first key seals, all open.\n";
    static const char digits[] = "0123456789abcdef";
    char line[2 * KEY_BYTES + 1];
    errno = ENOSPC; /* what it means when less is written than was given, which sets none */
    ssize_t n = write(fd, note, sizeof note - 1);
    bool ok = n == (ssize_t)(sizeof note - 1);
    for (size_t i = 0; ok && i < k->count; i++) {
        for (size_t b = 0; b < KEY_BYTES; b++) {
            line[2 * b] = digits[k->key[i][b] >> 4];
            line[2 * b + 1] = digits[k->key[i][b] & 15];
        }
        line[2 * KEY_BYTES] = '\n';
        ok = write(fd, line, sizeof line) == (ssize_t)sizeof line;
    }
    explicit_bzero(line, sizeof line);
    return ok && fsync(fd) == 0 ? 0 : ERR_IO;
}

int keys_sync_name(const char *path)
{
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash == NULL)
        snprintf(dir, sizeof dir, ".");
    else
        slash[slash == dir] = '\0';
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return ERR_IO;
    int rc = fsync(fd);
    close(fd);
    return rc == 0 ? 0 : ERR_IO;
}

int keys_write(const struct keys *k, const char *path, struct errmsg *e)
{
    char fresh[PATH_MAX], target[PATH_MAX];
    /* A link stays, and what it names is replaced: it says where the keys are kept. */
    if (realpath(path, target) != NULL)
        path = target;
    /* The process id: agents of a test may share one file. */
    int n = snprintf(fresh, sizeof fresh, "%s.%ld", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof fresh)
        return errmsg_set(e, ERR_CONFIG, "the path of the key file is too long");
    unlink(fresh); /* of an earlier life that was killed here */
    int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errmsg_set(e, ERR_IO, "cannot write %s: no new file beside it: %s", path,
                          strerror(errno));
    int err = write_all(k, fd);
    int why = errno;
    close(fd);
    if (err == 0 && rename(fresh, path) != 0) {
        why = errno;
        err = ERR_IO;
    }
    if (err == 0) {
        err = keys_sync_name(path);
        why = errno;
    }
    if (err == 0)
        return 0;
    unlink(fresh);
    return errmsg_set(e, err, "cannot write %s: %s", path, strerror(why));
}

void keys_wipe(struct keys *k)
{
    explicit_bzero(k, sizeof *k);
}

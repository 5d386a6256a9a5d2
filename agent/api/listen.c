/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 512

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

static int parse_address(const char *text, union address *ret, socklen_t *ret_len, struct errmsg *e)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    bool v6 = text[0] == '[';
    size_t len = colon == NULL ? 0 : (size_t)(colon - text);
    if (len == 0 || len >= sizeof host || (v6 && text[len - 1] != ']'))
        return errmsg_set(e, ERR_CONFIG,
                          "\"%s\" is not an address to listen on; write 127.0.0.1:7380 or "
                          "[::1]:7380",
                          text);
    snprintf(host, sizeof host, "%.*s", (int)(v6 ? len - 2 : len), text + (v6 ? 1 : 0));
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || port > 65535)
        return errmsg_set(e, ERR_CONFIG, "\"%s\": the port must be a number from 0 to 65535", text);
    memset(ret, 0, sizeof *ret);
    if (v6) {
        ret->in6.sin6_family = AF_INET6;
        ret->in6.sin6_port = htons((uint16_t)port);
        *ret_len = sizeof ret->in6;
        if (inet_pton(AF_INET6, host, &ret->in6.sin6_addr) == 1)
            return 0;
    } else {
        ret->in.sin_family = AF_INET;
        ret->in.sin_port = htons((uint16_t)port);
        *ret_len = sizeof ret->in;
        if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host,
                      &ret->in.sin_addr) == 1)
            return 0;
    }
    return errmsg_set(e, ERR_CONFIG, "\"%s\": the address must be given in numbers", text);
}

int listen_tcp(const char *text, uint16_t *ret_port, struct errmsg *e)
{
    union address address;
    socklen_t len;
    int err = parse_address(text, &address, &len, e);
    if (err != 0)
        return err;
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errmsg_set(e, ERR_IO, "%s: %s", text, strerror(errno));
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address.any.sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, &address.any, len) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, &address.any, &len) != 0) {
        err = errmsg_set(e, ERR_IO, "the API cannot listen on %s: %s", text, strerror(errno));
        close(fd);
        return err;
    }
    *ret_port =
        ntohs(address.any.sa_family == AF_INET6 ? address.in6.sin6_port : address.in.sin_port);
    return fd;
}

/* Somebody answers on that path? */
static bool is_served(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool served = connect(fd, (const struct sockaddr *)(const void *)address, sizeof *address) == 0;
    close(fd);
    return served;
}

/* /run is empty after each start of the machine: the socket's own directory is made, if only that
 * is missing. If it cannot be, bind says so. */
static void make_directory(const char *path)
{
    char dir[sizeof((struct sockaddr_un *)0)->sun_path];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash == NULL || slash == dir)
        return;
    *slash = '\0';
    if (mkdir(dir, 0755) == 0)
        (void)chmod(dir, 0755); /* whatever the umask: groups may use the socket */
}

int listen_unix(const char *path, bool has_group, gid_t group, struct errmsg *e)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return errmsg_set(e, ERR_CONFIG, "the socket path %s is longer than %zu bytes", path,
                          sizeof address.sun_path - 1);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    struct stat st;
    make_directory(path);
    if (lstat(path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode))
            return errmsg_set(e, ERR_CONFIG, "%s exists and is not a socket; it is left alone",
                              path);
        if (is_served(&address))
            return errmsg_set(e, ERR_EXISTS, "another process listens on %s", path);
        (void)unlink(path);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errmsg_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    /* Nobody may connect between bind and chmod: the socket is born closed to others. */
    mode_t before = umask(0177);
    int rc = bind(fd, (const struct sockaddr *)(const void *)&address, sizeof address);
    (void)umask(before);
    bool grouped = rc == 0 && has_group && chown(path, (uid_t)-1, group) == 0;
    if (rc != 0 || (grouped && chmod(path, 0660) != 0) || listen(fd, BACKLOG) != 0) {
        int err = errmsg_set(e, ERR_IO, "the API cannot listen on %s: %s", path, strerror(errno));
        close(fd);
        return err;
    }
    return fd;
}

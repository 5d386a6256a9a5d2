/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cli/ports.h"

#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORTS_MAX 256
#define TRIES 100 /* a port that is free for TCP may be taken for UDP */

static struct sockaddr_in loopback(long port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((in_port_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
}

/* A socket on the port as an agent would open it, -1: it is taken. port 0: any. */
static int open_port(int type, long port)
{
    struct sockaddr_in at = loopback(port);
    int on = 1;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (type == SOCK_STREAM)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&at, sizeof at) == 0 &&
        (type != SOCK_STREAM || listen(fd, 1) == 0))
        return fd;
    close(fd);
    return -1;
}

static long port_of(int fd)
{
    struct sockaddr_in at = {0};
    socklen_t len = sizeof at;
    return getsockname(fd, (struct sockaddr *)&at, &len) == 0 ? ntohs(at.sin_port) : 0;
}

static bool is_free(int type, long port)
{
    int fd = open_port(type, port);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

long ports_row(long first, long count, bool udp, long *ports)
{
    for (long i = 0; i < count; i++) {
        ports[i] = first + i;
        if (ports[i] > 65535 || !is_free(SOCK_STREAM, ports[i]) ||
            (udp && !is_free(SOCK_DGRAM, ports[i])))
            return ports[i];
    }
    return 0;
}

bool ports_any(long count, bool udp, long *ports)
{
    int held[PORTS_MAX + TRIES]; /* until all are chosen, so that they differ */
    size_t n = 0;
    long found = 0;
    while (found < count && count <= PORTS_MAX && n < (size_t)count + TRIES) {
        held[n] = open_port(SOCK_STREAM, 0);
        if (held[n] < 0)
            break;
        long port = port_of(held[n++]);
        if (port != 0 && (!udp || is_free(SOCK_DGRAM, port)))
            ports[found++] = port;
    }
    while (n > 0)
        close(held[--n]);
    return found == count;
}

/* SPDX-License-Identifier: Apache-2.0
 * The kernel says when an address of the host comes or goes (rtnetlink(7)): nothing is looked at
 * meanwhile. Where it refuses to, an agent that moved learns it once it is doubted. */
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gossip/node_uv.h"

static void on_change(uv_poll_t *poll, int status, int events)
{
    static char text[16384]; /* what it says does not matter, nor whether some of it was lost */
    struct gossip_node *g = poll->data;
    (void)events;
    if (g->closing)
        return;
    while (recv(g->netlink_fd, text, sizeof text, MSG_DONTWAIT) > 0)
        ;
    if (status == 0)
        addrs_look(g);
    else
        uv_poll_stop(poll);
}

void netlink_open(struct gossip_node *g)
{
    struct sockaddr_nl at = {.nl_family = AF_NETLINK,
                             .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};
    int on = 1, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    g->netlink_fd = -1;
    if (fd < 0)
        return;
    /* What it had no room for is no error: it would end the watch. */
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&at, sizeof at) != 0 ||
        uv_poll_init(g->loop, &g->netlink, fd) != 0) {
        close(fd);
        return;
    }
    g->netlink_fd = fd;
    g->netlink.data = g;
    g->open_handles++;
    (void)uv_poll_start(&g->netlink, UV_READABLE, on_change);
}

static void on_closed(uv_handle_t *handle)
{
    struct gossip_node *g = handle->data;
    close(g->netlink_fd);
    node_handle_closed(g);
}

void netlink_close(struct gossip_node *g)
{
    if (g->netlink_fd >= 0)
        uv_close((uv_handle_t *)&g->netlink, on_closed);
}

/* SPDX-License-Identifier: Apache-2.0
 * Addresses at the node's edge: as text, as the kernel's, those that are advertised; and the two
 * sockets under them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/ensure.h"
#include "gossip/node_uv.h"

#define PORT_TRIES 20 /* port 0: the kernel's UDP choice may be taken in TCP */

/* ---- the kernel's ---- */

struct gossip_addr addr_plain(const struct sockaddr *addr)
{
    struct gossip_addr ret = {0};
    if (addr->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)addr;
        ret = (struct gossip_addr){.family = 4, .port = ntohs(in->sin_port)};
        memcpy(ret.host, &in->sin_addr, 4);
    } else if (addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)addr;
        bool mapped = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
        ret = (struct gossip_addr){.family = mapped ? 4 : 6, .port = ntohs(in6->sin6_port)};
        if (mapped)
            memcpy(ret.host, (const uint8_t *)&in6->sin6_addr + 12, 4);
        else
            memcpy(ret.host, &in6->sin6_addr, 16);
    }
    return ret;
}

struct sockaddr_storage addr_kernel(const struct gossip_addr *addr, int family)
{
    struct sockaddr_storage ret = {0};
    if (family != AF_INET6 && addr->family == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)&ret;
        in->sin_family = AF_INET;
        in->sin_port = htons(addr->port);
        memcpy(&in->sin_addr, addr->host, 4);
    } else if (addr->family != 0) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&ret;
        uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff};
        memcpy(mapped + 12, addr->host, 4);
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(addr->port);
        memcpy(&in6->sin6_addr, addr->family == 4 ? mapped : addr->host, 16);
    }
    return ret;
}

/* ---- as text ---- */

bool addr_split(const char *text, char *host, size_t host_max, char *port, size_t port_max)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text || colon[1] == '\0')
        return false;
    const char *from = text;
    size_t len = (size_t)(colon - text);
    if (text[0] == '[' && colon[-1] == ']') {
        from++;
        len -= 2;
    }
    if (len >= host_max || strlen(colon + 1) >= port_max ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return false;
    memcpy(host, from, len);
    host[len] = '\0';
    snprintf(port, port_max, "%s", colon + 1);
    return true;
}

int addr_numeric(const char *host, const char *port, struct gossip_addr *ret)
{
    long number = strtol(port, NULL, 10);
    struct sockaddr_storage in = {0};
    if (number < 0 || number > 65535)
        return ERR_BADPARAM;
    if (uv_ip4_addr(host, (int)number, (struct sockaddr_in *)(void *)&in) != 0 &&
        uv_ip6_addr(host, (int)number, (struct sockaddr_in6 *)(void *)&in) != 0)
        return ERR_NOTFOUND;
    *ret = addr_plain((const struct sockaddr *)&in);
    return 0;
}

/* By name: blocks, at the start only. */
static int parse(struct gossip_node *g, const char *text, struct gossip_addr *ret, struct errmsg *e)
{
    char host[256], port[8];
    if (!addr_split(text, host, sizeof host, port, sizeof port))
        return errmsg_set(e, ERR_CONFIG, "'%s' is not an address: write host:port or [v6]:port",
                          text);
    int err = addr_numeric(host, port, ret);
    if (err == 0)
        return 0;
    if (err == ERR_BADPARAM)
        return errmsg_set(e, ERR_CONFIG, "'%s': a port is 0 to 65535", text);
    uv_getaddrinfo_t req;
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM};
    int rc = uv_getaddrinfo(g->loop, &req, NULL, host, port, &hints);
    if (rc != 0)
        return errmsg_set(e, ERR_CONFIG, "'%s' does not resolve: %s", text, uv_strerror(rc));
    *ret = addr_plain(req.addrinfo->ai_addr);
    uv_freeaddrinfo(req.addrinfo);
    return 0;
}

/* ---- the sockets ---- */

static void on_retried(uv_handle_t *handle)
{
    free(handle);
}

/* With port 0 both sockets must get one number: try until the kernel's choice for one is free for
 * the other. Handles cannot be bound twice, so a failed pair is replaced. */
static int open_sockets(struct gossip_node *g, const struct gossip_addr *bind, struct errmsg *e)
{
    struct gossip_addr addr = *bind;
    struct sockaddr_storage any = addr_kernel(bind, 0);
    for (int i = 0; bind->port == 0 && i < PORT_TRIES; i++) {
        /* A throw-away TCP socket picks the number. */
        struct sockaddr_storage name = {0};
        int len = sizeof name;
        uv_tcp_t *probe = calloc(1, sizeof *probe);
        if (probe == NULL || uv_tcp_init(g->loop, probe) != 0) {
            free(probe);
            return errmsg_set(e, ERR_NOMEM, "no memory for a socket");
        }
        int rc = uv_tcp_bind(probe, (const struct sockaddr *)&any, 0);
        if (rc == 0)
            rc = uv_tcp_getsockname(probe, (struct sockaddr *)&name, &len);
        uv_close((uv_handle_t *)probe, on_retried);
        if (rc != 0)
            return errmsg_set(e, ERR_IO, "no port: %s", uv_strerror(rc));
        addr.port = addr_plain((const struct sockaddr *)&name).port;
        int err = udp_open(g, &addr, e);
        if (err == 0)
            return tcp_open(g, &addr, e);
        if (err != ERR_EXISTS)
            return err;
    }
    int err = udp_open(g, &addr, e);
    return err != 0 ? err : tcp_open(g, &addr, e);
}

/* ---- what is advertised ---- */

static bool is_wildcard(const struct gossip_addr *a)
{
    static const uint8_t none[16];
    return memcmp(a->host, none, sizeof none) == 0;
}

/* Of this very link only: no address for others. */
static bool is_of_link(const struct gossip_addr *a)
{
    return a->family == 6 && a->host[0] == 0xfe && (a->host[1] & 0xc0) == 0x80;
}

static bool is_on_host(const struct gossip_addr *addr)
{
    uv_interface_address_t *list;
    int count;
    bool found = false;
    if (uv_interface_addresses(&list, &count) != 0)
        return true; /* who cannot look does not know better */
    for (int i = 0; i < count; i++) {
        struct gossip_addr a = addr_plain((const struct sockaddr *)&list[i].address.address4);
        found = found || (a.family == addr->family && memcmp(a.host, addr->host, 16) == 0);
    }
    uv_free_interface_addresses(list, count);
    return found;
}

void addrs_learned(struct gossip_node *g, const struct gossip_addr *addr)
{
    bool native = is_on_host(addr);
    if (g->moved && !native)
        return; /* it saw us where we were */
    g->wildcard = g->moved = false;
    g->native = native;
    if (addr_find(swim_self(g->swim)->m.addrs, addr) < 0)
        swim_set_addr(g->swim, addr, node_now(g));
}

/* Of those that hear us whichever was heard last: what another saw is too long ago. */
static const struct swim_member *heard_last(const struct gossip_node *g)
{
    const struct swim_member *last = NULL;
    for (uint32_t i = 0; i < g->swim->count; i++) {
        const struct swim_member *m = swim_nth(g->swim, i);
        if (!m->m.self && m->m.state <= MEMBER_SUSPECT &&
            (last == NULL || m->m.heard_mono_ms > last->m.heard_mono_ms))
            last = m;
    }
    return last;
}

void addrs_look(struct gossip_node *g)
{
    const struct swim_member *me = swim_self(g->swim);
    if (!g->native || me->m.state == MEMBER_LEFT)
        return;
    g->moved = !is_on_host(&me->m.addrs->at[0]);
    if (!g->moved) /* or back again */
        return;
    g->wildcard = true;
    g->moved_ms = node_now(g);
    tcp_moved(g, &me->m.addrs->at[0]);
    const struct swim_member *m = g->closing ? NULL : heard_last(g);
    if (m != NULL)
        join_ask_member(g, m);
}

/* Bound to every address and told none: the first interface that leads outside, by IPv4 if there is
 * one, until a member that lets us in says how it sees us. */
static void guess_address(struct gossip_node *g, struct gossip_addr *addr)
{
    uv_interface_address_t *list;
    int count;
    bool found = false;
    g->wildcard = true;
    (void)addr_numeric("127.0.0.1", "0", addr);
    if (uv_interface_addresses(&list, &count) != 0)
        return;
    for (int i = 0; i < count; i++) {
        struct gossip_addr a = addr_plain((const struct sockaddr *)&list[i].address.address4);
        bool better = !found || (addr->family == 6 && a.family == 4);
        if (list[i].is_internal || is_of_link(&a) || !better ||
            (a.family == 6 && g->family != AF_INET6))
            continue;
        *addr = a;
        found = g->native = true;
    }
    uv_free_interface_addresses(list, count);
}

static int add_advertised(struct gossip_node *g, const char *text, struct gossip_addrs *list,
                          struct errmsg *e)
{
    struct gossip_addr a = {0};
    int err = parse(g, text, &a, e);
    if (err != 0)
        return err;
    if (is_wildcard(&a))
        return errmsg_set(e, ERR_CONFIG, "'%s' is not an address that peers can reach", text);
    if (a.port == 0)
        a.port = g->port;
    if (addr_find(list, &a) >= 0)
        return errmsg_set(e, ERR_CONFIG, "'%s' is named twice", text);
    if (list->count == GOSSIP_ADDRS_MAX)
        return errmsg_set(e, ERR_CONFIG, "at most %u addresses", GOSSIP_ADDRS_MAX);
    list->at[list->count++] = a;
    return 0;
}

static int parse_advertised(struct gossip_node *g, const char *text, struct gossip_addrs *list,
                            struct errmsg *e)
{
    char copy[1024];
    char *save = NULL;
    int err = 0;
    if (strlen(text) >= sizeof copy)
        return errmsg_set(e, ERR_CONFIG, "too long");
    snprintf(copy, sizeof copy, "%s", text);
    for (char *p = strtok_r(copy, ", \t", &save); p != NULL && err == 0;
         p = strtok_r(NULL, ", \t", &save))
        err = add_advertised(g, p, list, e);
    return err;
}

/* Hosts without IPv6 are usual. */
static bool has_ipv6(void)
{
    struct sockaddr_in6 any = {.sin6_family = AF_INET6};
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool has = fd >= 0 && bind(fd, (const struct sockaddr *)&any, sizeof any) == 0;
    if (fd >= 0)
        close(fd);
    return has;
}

int addrs_bind(struct gossip_node *g, const char *text, struct errmsg *e)
{
    int err = parse(g, text, &g->bound, e);
    if (err != 0) {
        errmsg_wrap(e, "gossip cannot listen on %s", text);
        return err;
    }
    if (g->bound.family == 6 && is_wildcard(&g->bound) && !has_ipv6())
        g->bound.family = 4;
    g->family = g->bound.family == 6 ? AF_INET6 : AF_INET;
    return 0;
}

int addrs_open(struct gossip_node *g, const struct gossip_options *o, struct gossip_addrs *ret,
               struct errmsg *e)
{
    struct gossip_addr own = g->bound;
    int err = open_sockets(g, &own, e);
    if (err != 0) {
        errmsg_wrap(e, "gossip cannot listen on %s", o->bind);
        return err;
    }
    if (o->advertise != NULL)
        err = parse_advertised(g, o->advertise, ret, e);
    if (err != 0)
        errmsg_wrap(e, "advertised gossip address");
    if (err != 0 || ret->count > 0)
        return err;
    if (is_wildcard(&own))
        guess_address(g, &own);
    own.port = g->port;
    *ret = (struct gossip_addrs){.at = {own}, .count = 1};
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "gossip/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

bool addr_equal(const struct gossip_addr *a, const struct gossip_addr *b)
{
    return a->family == b->family && a->port == b->port &&
           memcmp(a->host, b->host, a->family == 4 ? 4 : sizeof a->host) == 0;
}

int addr_find(const struct gossip_addrs *list, const struct gossip_addr *a)
{
    for (uint8_t i = 0; i < list->count; i++)
        if (addr_equal(&list->at[i], a))
            return i;
    return -1;
}

bool addr_equal_all(const struct gossip_addrs *a, const struct gossip_addrs *b)
{
    bool same = a->count == b->count;
    for (uint8_t i = 0; same && i < a->count; i++)
        same = addr_equal(&a->at[i], &b->at[i]);
    return same;
}

bool addr_meet(const struct gossip_addrs *a, const struct gossip_addrs *b)
{
    for (uint8_t i = 0; i < a->count; i++)
        if (addr_find(b, &a->at[i]) >= 0)
            return true;
    return false;
}

const char *addr_text(const struct gossip_addr *a, char out[ADDR_TEXT])
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (a->family != 4 && a->family != 6) {
        snprintf(out, ADDR_TEXT, "?");
        return out;
    }
    inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->host, host, sizeof host);
    snprintf(out, ADDR_TEXT, a->family == 4 ? "%s:%u" : "[%s]:%u", host, a->port);
    return out;
}

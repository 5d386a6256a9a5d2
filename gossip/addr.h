/* SPDX-License-Identifier: Apache-2.0
 * Where a member is reached: by one port for UDP and TCP, at one address or several, of either
 * family. Pure. */
#ifndef BLOX_GOSSIP_ADDR_H
#define BLOX_GOSSIP_ADDR_H

#include <stdbool.h>
#include <stdint.h>

#define GOSSIP_ADDRS_MAX 3u /* an IPv4 and an IPv6, or two interfaces and one beside them */

struct gossip_addr {
    uint16_t port;
    uint8_t family; /* 4 or 6; 0: none */
    uint8_t host[16];
};
struct gossip_addrs {
    struct gossip_addr at[GOSSIP_ADDRS_MAX]; /* the one that is to be tried first comes first */
    uint8_t count;
};

bool addr_equal(const struct gossip_addr *a, const struct gossip_addr *b);
/* The place of an address in the list; -1: it is none of them. */
int addr_find(const struct gossip_addrs *list, const struct gossip_addr *a);
bool addr_equal_all(const struct gossip_addrs *a,
                    const struct gossip_addrs *b);                          /* and in one order */
bool addr_meet(const struct gossip_addrs *a, const struct gossip_addrs *b); /* one is in both */

#define ADDR_TEXT 64
/* "10.0.0.1:7381", "[fe80::1]:7381", "?" */
const char *addr_text(const struct gossip_addr *a, char out[ADDR_TEXT]);

#endif

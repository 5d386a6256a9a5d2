/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/advertise.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of "host:port"; 0: it has none. */
static unsigned port_of(const char *text)
{
    const char *colon = strrchr(text, ':');
    return colon == NULL ? 0 : (unsigned)strtoul(colon + 1, NULL, 10);
}

static void add(char *out, size_t size, bool ipv6, const char *host, unsigned port)
{
    size_t len = strlen(out);
    snprintf(out + len, size - len, "%s%s%s%s:%u", len == 0 ? "" : ", ", ipv6 ? "[" : "", host,
             ipv6 ? "]" : "", port);
}

bool advertise_wants_ipv6(const struct config *c)
{
    return c->gossip_advertise[0] == '\0' && strncmp(c->gossip_bind, "[::]:", 5) == 0;
}

void advertise_choose(const struct config *c, const struct identity *i,
                      bool (*on_host)(const char *address), char *out, size_t size)
{
    const char *bind = c->gossip_bind;
    bool any4 = strncmp(bind, "0.0.0.0:", 8) == 0, any = strncmp(bind, "[::]:", 5) == 0;
    out[0] = '\0';
    if (c->gossip_advertise[0] != '\0') {
        snprintf(out, size, "%s", c->gossip_advertise);
        return;
    }
    if (!any4 && !any) {
        snprintf(out, size, "%s", bind);
        return;
    }
    if (i->address[0] != '\0')
        add(out, size, false, i->address, port_of(bind));
    /* The interface may have an address that the host's system never took up. */
    if (advertise_wants_ipv6(c) && i->address6[0] != '\0' && on_host(i->address6))
        add(out, size, true, i->address6, port_of(bind));
}

void advertise_value(const char *addresses, char out[ADVERTISE_VALUE_MAX + 1])
{
    size_t len = 0, whole = 0;
    for (const char *p = addresses;; p++) {
        bool ends = *p == '\0' || *p == ',' || *p == ' ' || *p == '\t';
        if (ends)
            whole = len;
        if (*p == '\0' || len >= ADVERTISE_VALUE_MAX)
            break;
        if (!ends && *p != '[' && *p != ']')
            out[len++] = *p;
        else if (ends && len > 0 && out[len - 1] != ' ')
            out[len++] = ' ';
    }
    while (whole > 0 && out[whole - 1] == ' ')
        whole--;
    out[whole] = '\0';
}

bool advertise_next(const char **at, char *out, size_t size)
{
    for (;;) {
        const char *from = *at + strspn(*at, " ");
        size_t len = strcspn(from, " ");
        *at = from + len;
        if (len == 0)
            return false;
        const char *colon = memrchr(from, ':', len);
        if (colon == NULL || len + 3 > size)
            continue;
        bool ipv6 = memchr(from, ':', (size_t)(colon - from)) != NULL;
        snprintf(out, size, ipv6 ? "[%.*s]%.*s" : "%.*s%.*s", (int)(colon - from), from,
                 (int)(from + len - colon), colon);
        return true;
    }
}

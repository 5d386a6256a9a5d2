/* SPDX-License-Identifier: Apache-2.0
 * What is wrong with settings whatever else is there: said before anything starts. Whether a name
 * resolves and an address can be had may change, and is for gossip to find out. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/limits.h"
#include "agent/config.h"

#define SEPARATORS ", \t"
#define ADDRESS_MAX 264u /* a name of 255, a colon and a port; gossip keeps no longer one */
#define ADVERTISED_MAX 3u

/* What others could not decode, so that they would let this agent in nowhere. */
static int check_text(const char *name, const char *value, size_t max, struct errmsg *e)
{
    if (strlen(value) >= max)
        return errmsg_set(e, ERR_CONFIG, "%s must be shorter than %zu characters", name, max);
    for (const char *p = value; *p != '\0'; p++)
        if (*p <= 0x20 || *p >= 0x7f)
            return errmsg_set(e, ERR_CONFIG, "%s may hold printable ASCII without blanks only",
                              name);
    return 0;
}

/* Why no agent can be reached at that host; NULL: nothing against it, perhaps it is a name. */
static const char *unusable(const char *host)
{
    struct in6_addr in6;
    uint8_t a[4];
    bool is4 = inet_pton(AF_INET, host, a) == 1;
    if (!is4 && inet_pton(AF_INET6, host, &in6) == 1) {
        is4 = IN6_IS_ADDR_V4MAPPED(&in6);
        memcpy(a, in6.s6_addr + 12, sizeof a);
        if (IN6_IS_ADDR_MULTICAST(&in6))
            return "a multicast address";
    }
    if (is4 && a[0] >= 224 && a[0] < 240)
        return "a multicast address";
    return is4 && memcmp(a, "\xff\xff\xff\xff", 4) == 0 ? "the broadcast address" : NULL;
}

static bool is_any(const char *host)
{
    static const uint8_t none[16];
    uint8_t a[16] = {0};
    return (inet_pton(AF_INET, host, a) == 1 || inet_pton(AF_INET6, host, a) == 1) &&
           memcmp(a, none, sizeof none) == 0;
}

/* host:port or [v6]:port, as gossip reads it. Port 0: any, where that makes sense. */
static int check_address(const char *name, const char *text, size_t len, unsigned least_port,
                         char host[ADDRESS_MAX], struct errmsg *e)
{
    const char *colon = memrchr(text, ':', len);
    int shown = len > 100 ? 100 : (int)len;
    size_t from = text[0] == '[' && colon != NULL && colon[-1] == ']';
    size_t host_len = colon == NULL ? 0 : (size_t)(colon - text) - 2 * from;
    size_t digits = colon == NULL ? 0 : len - (size_t)(colon - text) - 1;
    host[0] = '\0';
    if (host_len == 0 || digits == 0 || len >= ADDRESS_MAX || strcspn(text, SEPARATORS) < len ||
        strspn(colon + 1, "0123456789") < digits)
        return errmsg_set(e, ERR_CONFIG,
                          "%s: '%.*s' is not an address: write host:port or [v6]:port", name, shown,
                          text);
    memcpy(host, text + from, host_len);
    host[host_len] = '\0';
    unsigned long port = strtoul(colon + 1, NULL, 10);
    if (port < least_port || port > 65535)
        return errmsg_set(e, ERR_CONFIG, "%s: '%.*s': a port is %u to 65535", name, shown, text,
                          least_port);
    const char *why = unusable(host);
    if (why != NULL)
        return errmsg_set(e, ERR_CONFIG, "%s: '%.*s' is %s: name that of one host", name, shown,
                          text, why);
    return 0;
}

struct listed {
    const char *at[ADVERTISED_MAX];
    size_t len[ADVERTISED_MAX], count;
};

static int check_advertised(const char *name, const char *text, size_t len, struct listed *l,
                            struct errmsg *e)
{
    char host[ADDRESS_MAX];
    int shown = len > 100 ? 100 : (int)len, err = check_address(name, text, len, 0, host, e);
    if (err != 0)
        return err;
    if (is_any(host))
        return errmsg_set(e, ERR_CONFIG,
                          "%s: '%.*s' is not an address that peers can reach: name one of this "
                          "host's, or none",
                          name, shown, text);
    for (size_t i = 0; i < l->count; i++)
        if (l->len[i] == len && memcmp(l->at[i], text, len) == 0)
            return errmsg_set(e, ERR_CONFIG, "%s: '%.*s' is named twice", name, shown, text);
    if (l->count == ADVERTISED_MAX)
        return errmsg_set(e, ERR_CONFIG, "%s: at most %u addresses", name, ADVERTISED_MAX);
    l->at[l->count] = text;
    l->len[l->count++] = len;
    return 0;
}

static int check_lists(const struct config *c, struct errmsg *e)
{
    struct listed l = {.count = 0};
    char host[ADDRESS_MAX];
    int err = 0;
    size_t len;
    for (const char *p = c->gossip_advertise; err == 0 && *(p += strspn(p, SEPARATORS)) != '\0';
         p += len) {
        len = strcspn(p, SEPARATORS);
        err = check_advertised("gossip.advertise", p, len, &l, e);
    }
    for (const char *p = c->gossip_join; err == 0 && *(p += strspn(p, SEPARATORS)) != '\0';
         p += len) {
        len = strcspn(p, SEPARATORS);
        err = check_address("gossip.join", p, len, 1, host, e);
    }
    return err;
}

int config_check(const struct config *c, struct errmsg *e)
{
    char host[ADDRESS_MAX];
    if (c->raft_election_ms < 3 * c->raft_heartbeat_ms)
        return errmsg_set(e, ERR_CONFIG,
                          "raft.election_timeout must be at least three times raft.heartbeat");
    int err = check_text("agent.id", c->id, AGENT_ID_MAX, e);
    if (err == 0)
        err = check_text("agent.zone", c->zone, ZONE_MAX, e);
    if (err == 0)
        err = check_address("gossip.bind", c->gossip_bind, strlen(c->gossip_bind), 0, host, e);
    if (err == 0)
        err = check_lists(c, e);
    if (err == 0 && c->api_bind[0] == '\0' && c->api_socket[0] == '\0')
        err = errmsg_set(e, ERR_CONFIG, "api.bind and api.socket are both empty: set one");
    return err;
}

/* SPDX-License-Identifier: Apache-2.0
 * The members' datagrams: one socket, each packet from and to its member's own address. */
#include <string.h>

#include "agent/base/ensure.h"
#include "tests/bench/many.h"

static void put_source(struct msghdr *msg, const struct sockaddr_in *from)
{
    struct in_pktinfo info = {.ipi_spec_dst = from->sin_addr};
    struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    c->cmsg_level = IPPROTO_IP;
    c->cmsg_type = IP_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(c), &info, sizeof info);
}

void many_udp_send(struct many *m, enum seal_type type, uint32_t member, uint32_t agent,
                   uint64_t epoch, const void *plain, size_t len)
{
    uint8_t packet[GOSSIP_DATAGRAM_MAX];
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(struct in_pktinfo))];
    } control = {0};
    const struct world_node *n = &m->w.node[member];
    struct many_agent *a = &m->agent[agent];
    struct seal_pair *pair = NULL;
    if (type == SEAL_BOUND || type == SEAL_BRIEF)
        pair = many_secret(m, member, agent);
    if (pair == NULL && (type == SEAL_BOUND || type == SEAL_BRIEF))
        return;
    size_t size =
        seal_datagram(&m->seal, type, (struct seal_peer){n->num, n->epoch}, ++m->counter[member],
                      (struct seal_peer){a->num, epoch}, pair, plain, len, packet);
    struct sockaddr_in from = many_address(m, member, m->port), to = a->addr;
    struct iovec part = {packet, size};
    struct msghdr msg = {.msg_name = &to,
                         .msg_namelen = sizeof to,
                         .msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof control};
    put_source(&msg, &from);
    a->sent += sendmsg(m->fd, &msg, MSG_DONTWAIT) == (ssize_t)size;
}

void many_udp_send_channel(struct many *m, uint32_t member, uint32_t agent, uint64_t epoch,
                           bool intro, uint8_t channel, const void *data, size_t len)
{
    uint8_t plain[GOSSIP_DATAGRAM_MAX - SEAL_OVERHEAD];
    const struct swim_member *about = swim_find(m->w.node[member].s, m->agent[agent].num);
    ENSURE(len < sizeof plain);
    plain[0] = channel;
    memcpy(plain + 1, data, len);
    bool met =
        about != NULL && about->epoch == epoch && many_pair(m, member, agent)->heard == epoch;
    enum seal_type type = intro || about == NULL ? SEAL_INTRO : met ? SEAL_BRIEF : SEAL_BOUND;
    many_udp_send(m, type, member, agent, epoch, plain, len + 1);
}

/* ---- receiving ---- */

struct receiver {
    struct many *m;
    uint32_t member;
};

static struct seal_pair *pair_of(void *arg, uint64_t sender)
{
    const struct receiver *r = arg;
    uint32_t i = world_find(&r->m->w, sender);
    return i == UINT32_MAX || i < r->m->members ? NULL
                                                : many_secret(r->m, r->member, i - r->m->members);
}

static bool find_life(void *arg, uint32_t mark, unsigned nth, struct seal_peer *ret)
{
    const struct receiver *r = arg;
    for (uint32_t i = 0; i < r->m->agents; i++) {
        const struct swim_member *a = swim_find(r->m->w.node[r->member].s, r->m->agent[i].num);
        if (a == NULL)
            continue;
        *ret = (struct seal_peer){a->m.num, a->epoch};
        if (seal_mark(*ret) == mark && nth-- == 0)
            return true;
    }
    return false;
}

static void take_packet(struct many *m, uint32_t member, const uint8_t *packet, size_t len)
{
    uint8_t plain[GOSSIP_DATAGRAM_MAX];
    struct seal_header h;
    struct wire_join join;
    size_t size;
    struct world_node *n = &m->w.node[member];
    struct receiver r = {m, member};
    const struct seal_senders senders = {&r, pair_of, find_life};
    enum seal_result result = seal_open(&m->seal, (struct seal_peer){n->num, n->epoch}, packet, len,
                                        &senders, &h, plain, &size);
    m->refused[result]++;
    if (result != SEAL_OK || size == 0)
        return;
    uint32_t from = world_find(&m->w, h.sender);
    if (from == UINT32_MAX || from < m->members)
        return;
    uint32_t agent = from - m->members;
    m->agent[agent].got++;
    if (h.type == SEAL_HELLO && wire_get_join(plain, size, &join) == 0) {
        struct net_event ev = {.type = TYPE_HELLO,
                               .from = from,
                               .node = member,
                               .bytes = plain,
                               .len = (uint32_t)size,
                               .a = h.epoch};
        world_receive(&m->w, &ev);
    } else if (h.type == SEAL_INTRO) {
        many_message(m, member, agent, TYPE_INTRO, h.epoch, plain, size);
    } else if (h.type != SEAL_HELLO) {
        many_pair(m, member, agent)->heard = h.epoch;
        many_message(m, member, agent, TYPE_SWIM, h.epoch, plain, size);
    }
}

static bool receive_one(struct many *m)
{
    uint8_t packet[GOSSIP_DATAGRAM_MAX];
    union {
        struct cmsghdr head;
        char space[256];
    } control;
    struct in_pktinfo info = {0};
    struct iovec part = {packet, sizeof packet};
    struct msghdr msg = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof control};
    ssize_t len = recvmsg(m->fd, &msg, MSG_DONTWAIT);
    if (len < 0)
        return false;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c != NULL; c = CMSG_NXTHDR(&msg, c))
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
            memcpy(&info, CMSG_DATA(c), sizeof info);
    uint32_t member = many_member(m, &info.ipi_addr);
    if (member != UINT32_MAX)
        take_packet(m, member, packet, (size_t)len);
    return true;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct many *m = poll->data;
    (void)status;
    (void)events;
    while (receive_one(m))
        ;
    many_now(m);
}

void many_udp_open(struct many *m)
{
    int on = 1, size = 8 << 20;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(m->port)};
    m->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ENSURE(m->fd >= 0 && setsockopt(m->fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) == 0);
    (void)!setsockopt(m->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    ENSURE(bind(m->fd, (const struct sockaddr *)&any, sizeof any) == 0);
    ENSURE(uv_poll_init(m->loop, &m->readable, m->fd) == 0);
    m->readable.data = m;
    ENSURE(uv_poll_start(&m->readable, UV_READABLE, on_readable) == 0);
}

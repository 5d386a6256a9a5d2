/* SPDX-License-Identifier: Apache-2.0 */
#include "gossip/seal.h"

#include <sodium.h>
#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/ensure.h"
#include "agent/base/hash.h"

_Static_assert(SEAL_TAG == crypto_aead_xchacha20poly1305_ietf_ABYTES, "tag size");
_Static_assert(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES == 24, "nonce size");
_Static_assert(crypto_aead_chacha20poly1305_ietf_NPUBBYTES == 12, "nonce size");

#define AAD_LEN (SEAL_HEADER + 32u + 16u)

static void full_key_id(const uint8_t key[32], uint8_t out[32])
{
    crypto_generichash(out, 32, key, 32, NULL, 0);
}

void seal_key_id(const uint8_t key[32], char out[17])
{
    uint8_t id[32];
    full_key_id(key, id);
    sodium_bin2hex(out, 17, id, 8);
}

void seal_random(void *out, size_t len)
{
    randombytes_buf(out, len);
}

int seal_key_add(struct seal *s, const uint8_t key[32])
{
    static const uint8_t purpose[] = "blox gossip datagrams and handshakes, 1";
    uint8_t id[32];
    if (s->count == SEAL_KEYS_MAX)
        return ERR_FULL;
    full_key_id(key, id);
    memcpy(s->key_id[s->count], id, 4);
    /* The raw key is used for nothing but deriving, so that ids and packets share no key. */
    crypto_generichash(s->key[s->count], 32, purpose, sizeof purpose - 1, key, 32);
    s->count++;
    return 0;
}

void seal_key_use(struct seal *s, size_t i)
{
    uint8_t key[32], id[4];
    ENSURE(i < s->count);
    memcpy(key, s->key[i], sizeof key);
    memcpy(id, s->key_id[i], sizeof id);
    memmove(s->key[1], s->key[0], i * sizeof s->key[0]);
    memmove(s->key_id[1], s->key_id[0], i * sizeof s->key_id[0]);
    memcpy(s->key[0], key, sizeof key);
    memcpy(s->key_id[0], id, sizeof id);
    sodium_memzero(key, sizeof key);
}

void seal_key_remove(struct seal *s, size_t i)
{
    ENSURE(i < s->count && s->count > 1);
    s->count--;
    memmove(s->key[i], s->key[i + 1], (s->count - i) * sizeof s->key[0]);
    memmove(s->key_id[i], s->key_id[i + 1], (s->count - i) * sizeof s->key_id[0]);
    sodium_memzero(s->key[s->count], sizeof s->key[0]);
}

int seal_init(struct seal *s, const char *cluster, const uint8_t (*keys)[32], size_t count)
{
    if (sodium_init() < 0)
        return ERR_INTERNAL;
    if (count == 0 || count > SEAL_KEYS_MAX)
        return ERR_BADPARAM;
    *s = (struct seal){0};
    for (size_t i = 0; i < count; i++)
        if (seal_key_add(s, keys[i]) != 0)
            return ERR_BADPARAM;
    crypto_generichash(s->cluster, 32, (const uint8_t *)cluster, strlen(cluster), NULL, 0);
    return 0;
}

void seal_fini(struct seal *s)
{
    sodium_memzero(s, sizeof *s);
}

/* One byte lets a receiver tell a packet for its earlier life (usual for a second after a restart)
 * from a forged one, without work. */
static uint8_t peer_hint(struct seal_peer p)
{
    return (uint8_t)(hash_mix(p.num ^ hash_mix(p.epoch)) >> 32);
}

static void put48(struct wbuf *w, uint64_t v)
{
    wbuf_u32(w, (uint32_t)v);
    wbuf_u16(w, (uint16_t)(v >> 32));
}

static void make_nonce(uint64_t sender, uint64_t epoch, uint64_t counter, uint8_t out[24])
{
    struct wbuf w;
    wbuf_init(&w, out, 24);
    wbuf_u64(&w, sender);
    wbuf_u64(&w, epoch);
    wbuf_u64(&w, counter);
}

/* Of as many bytes of header as there are; returns its length. */
static size_t make_aad(const struct seal *s, const uint8_t *header, size_t header_len,
                       struct seal_peer to, uint8_t out[AAD_LEN])
{
    struct wbuf w;
    wbuf_init(&w, out, AAD_LEN);
    wbuf_bytes(&w, header, header_len);
    wbuf_bytes(&w, s->cluster, 32);
    wbuf_u64(&w, to.num);
    wbuf_u64(&w, to.epoch);
    ENSURE(!w.bad);
    return w.len;
}

uint32_t seal_mark(struct seal_peer life)
{
    return (uint32_t)hash_mix(life.epoch ^ hash_mix(life.num));
}

/* The key of whatever `from` seals for the other, under that cluster key. */
static const uint8_t *way_key(const uint8_t secret[32], struct seal_way *way,
                              const uint8_t cluster_key[32], struct seal_peer from)
{
    uint8_t pair_key[32], nonce[24];
    if (way->made && way->from.num == from.num && way->from.epoch == from.epoch &&
        memcmp(way->under, cluster_key, sizeof way->under) == 0)
        return way->key;
    crypto_generichash(pair_key, 32, secret, 32, cluster_key, 32);
    make_nonce(from.num, from.epoch, 0, nonce);
    crypto_core_hchacha20(way->key, nonce, pair_key, NULL);
    sodium_memzero(pair_key, sizeof pair_key);
    memcpy(way->under, cluster_key, sizeof way->under);
    way->from = from;
    way->made = true;
    return way->key;
}

/* What is left of the nonce under such a key. */
static void make_rest(uint64_t counter, uint8_t out[12])
{
    struct wbuf w;
    wbuf_init(&w, out, 12);
    wbuf_u32(&w, 0);
    wbuf_u64(&w, counter);
}

static size_t put_header(const struct seal *s, enum seal_type type, struct seal_peer from,
                         uint64_t counter, struct seal_peer to, uint8_t *out)
{
    struct wbuf w;
    wbuf_init(&w, out, SEAL_HEADER);
    wbuf_u8(&w, (uint8_t)(SEAL_VERSION << 4 | (int)type));
    wbuf_u8(&w, type == SEAL_HELLO ? 0 : peer_hint(to));
    if (type == SEAL_BRIEF) {
        wbuf_u8(&w, s->key_id[0][0]);
        wbuf_u32(&w, seal_mark(from));
    } else {
        wbuf_bytes(&w, s->key_id[0], 4);
        wbuf_u64(&w, from.num);
        wbuf_u64(&w, from.epoch);
    }
    put48(&w, counter);
    ENSURE(!w.bad && w.len == (type == SEAL_BRIEF ? SEAL_BRIEF_HEADER : SEAL_HEADER));
    return w.len;
}

size_t seal_datagram(const struct seal *s, enum seal_type type, struct seal_peer from,
                     uint64_t counter, struct seal_peer to, struct seal_pair *pair,
                     const void *plain, size_t len, uint8_t *out)
{
    bool paired = type == SEAL_BOUND || type == SEAL_BRIEF;
    ENSURE(counter <= SEAL_COUNTER_MAX);
    ENSURE(!paired || pair != NULL);
    if (type == SEAL_HELLO)
        to = (struct seal_peer){0, 0};
    size_t header = put_header(s, type, from, counter, to, out);
    uint8_t nonce[24], aad[AAD_LEN];
    size_t aad_len = make_aad(s, out, header, to, aad);
    if (paired) {
        make_rest(counter, nonce);
        crypto_aead_chacha20poly1305_ietf_encrypt(
            out + header, NULL, plain, len, aad, aad_len, NULL, nonce,
            way_key(pair->secret, &pair->to, s->key[0], from));
    } else {
        make_nonce(from.num, from.epoch, counter, nonce);
        crypto_aead_xchacha20poly1305_ietf_encrypt(out + header, NULL, plain, len, aad, aad_len,
                                                   NULL, nonce, s->key[0]);
    }
    return header + len + SEAL_TAG;
}

static int find_key(const struct seal *s, const uint8_t *id, size_t id_len, size_t from)
{
    for (size_t i = from; i < s->count; i++)
        if (memcmp(s->key_id[i], id, id_len) == 0)
            return (int)i;
    return -1;
}

/* A packet in the midst of being opened. */
struct opening {
    const struct seal *seal;
    const uint8_t *packet;
    size_t len, header;
    struct seal_peer to;
    uint8_t *plain;
};

static bool try_key(const struct opening *o, const struct seal_header *h, struct seal_pair *pair,
                    const uint8_t cluster_key[32], const uint8_t *aad, size_t aad_len)
{
    const uint8_t *sealed = o->packet + o->header;
    size_t len = o->len - o->header;
    uint8_t nonce[24];
    if (pair == NULL) {
        make_nonce(h->sender, h->epoch, h->counter, nonce);
        return crypto_aead_xchacha20poly1305_ietf_decrypt(o->plain, NULL, NULL, sealed, len, aad,
                                                          aad_len, nonce, cluster_key) == 0;
    }
    struct seal_peer from = {h->sender, h->epoch};
    make_rest(h->counter, nonce);
    return crypto_aead_chacha20poly1305_ietf_decrypt(
               o->plain, NULL, NULL, sealed, len, aad, aad_len, nonce,
               way_key(pair->secret, &pair->from, cluster_key, from)) == 0;
}

/* With each key of that id: under what we share with the sender, or without a pair. */
static bool try_keys(const struct opening *o, const struct seal_header *h, struct seal_pair *pair)
{
    const struct seal *s = o->seal;
    uint8_t aad[AAD_LEN];
    size_t aad_len = make_aad(s, o->packet, o->header, o->to, aad);
    for (int key = find_key(s, h->key_id, h->key_id_len, 0); key >= 0;
         key = find_key(s, h->key_id, h->key_id_len, (size_t)key + 1))
        if (try_key(o, h, pair, s->key[key], aad, aad_len))
            return true;
    return false;
}

/* Two lives with one mark are rare, but no reason not to hear either. */
static enum seal_result open_brief(const struct opening *o, const struct seal_senders *senders,
                                   uint32_t mark, struct seal_header *h)
{
    struct seal_peer life;
    bool known = false;
    for (unsigned nth = 0; senders->find(senders->arg, mark, nth, &life); nth++) {
        struct seal_pair *pair = senders->pair_of(senders->arg, life.num);
        h->sender = life.num;
        h->epoch = life.epoch;
        known = known || pair != NULL;
        if (pair != NULL && try_keys(o, h, pair))
            return SEAL_OK;
    }
    return known ? SEAL_FORGED : SEAL_STRANGER;
}

static enum seal_result open_long(const struct opening *o, const struct seal_senders *senders,
                                  const struct seal_header *h)
{
    struct seal_pair *pair = NULL;
    if (h->type == SEAL_BOUND && (pair = senders->pair_of(senders->arg, h->sender)) == NULL)
        return SEAL_STRANGER;
    return try_keys(o, h, pair) ? SEAL_OK : SEAL_FORGED;
}

/* False: no header of ours. */
static bool read_header(const uint8_t *packet, size_t len, struct seal_header *h, uint8_t *ret_hint,
                        uint32_t *ret_mark, size_t *ret_len)
{
    struct rbuf r;
    rbuf_init(&r, packet, len);
    uint8_t first = rbuf_u8(&r);
    *ret_hint = rbuf_u8(&r);
    *h = (struct seal_header){.type = (enum seal_type)(first & 15)};
    bool brief = h->type == SEAL_BRIEF;
    if (first >> 4 != SEAL_VERSION || len < (brief ? SEAL_BRIEF_OVERHEAD : SEAL_OVERHEAD) ||
        (!brief && h->type != SEAL_BOUND && h->type != SEAL_HELLO && h->type != SEAL_INTRO))
        return false;
    h->key_id_len = brief ? 1 : 4;
    memcpy(h->key_id, rbuf_bytes(&r, h->key_id_len), h->key_id_len);
    *ret_mark = brief ? rbuf_u32(&r) : 0;
    h->sender = brief ? 0 : rbuf_u64(&r);
    h->epoch = brief ? 0 : rbuf_u64(&r);
    h->counter = rbuf_u32(&r);
    h->counter |= (uint64_t)rbuf_u16(&r) << 32;
    *ret_len = r.pos;
    return true;
}

enum seal_result seal_open(const struct seal *s, struct seal_peer self, const uint8_t *packet,
                           size_t len, const struct seal_senders *senders,
                           struct seal_header *ret_header, uint8_t *plain, size_t *ret_len)
{
    struct opening o = {.seal = s, .packet = packet, .len = len, .plain = plain};
    struct seal_header *h = ret_header;
    uint8_t hint;
    uint32_t mark;
    if (!read_header(packet, len, h, &hint, &mark, &o.header))
        return SEAL_SHORT;
    if (find_key(s, h->key_id, h->key_id_len, 0) < 0)
        return SEAL_KEY;
    if (h->type != SEAL_HELLO && hint != peer_hint(self)) {
        struct seal_peer life = {h->sender, h->epoch};
        if (h->type == SEAL_BRIEF && senders->find(senders->arg, mark, 0, &life))
            h->sender = life.num;
        return SEAL_ELSEWHERE;
    }
    o.to = h->type != SEAL_HELLO ? self : (struct seal_peer){0, 0};
    enum seal_result result =
        h->type == SEAL_BRIEF ? open_brief(&o, senders, mark, h) : open_long(&o, senders, h);
    *ret_len = result == SEAL_OK ? len - o.header - SEAL_TAG : 0;
    return result;
}

/* ---- replay window ---- */

#define WINDOW_BITS (SEAL_WINDOW_WORDS * 64u)

static void window_slide(struct seal_window *w, uint64_t top)
{
    uint64_t by = top - w->top;
    if (by >= WINDOW_BITS) {
        memset(w->bits, 0, sizeof w->bits);
    } else {
        for (uint64_t i = w->top + 1; i <= top; i++)
            w->bits[(i / 64) % SEAL_WINDOW_WORDS] &= ~(UINT64_C(1) << (i % 64));
    }
    w->top = top;
}

enum seal_fresh seal_window_accept(struct seal_window *w, uint64_t epoch, uint64_t counter)
{
    if (epoch < w->epoch)
        return SEAL_EARLIER_LIFE;
    if (epoch > w->epoch) {
        *w = (struct seal_window){.epoch = epoch, .top = counter};
    } else if (counter > w->top) {
        window_slide(w, counter);
    } else if (w->top - counter >= WINDOW_BITS) {
        return SEAL_REPLAYED; /* too old to tell: refused */
    }
    uint64_t *word = &w->bits[(counter / 64) % SEAL_WINDOW_WORDS];
    uint64_t bit = UINT64_C(1) << (counter % 64);
    if ((*word & bit) != 0)
        return SEAL_REPLAYED;
    *word |= bit;
    return SEAL_FRESH;
}

/* ---- streams ---- */

#define HELLO_PREFIX 5u
#define HELLO_PLAIN 112u
#define HELLO_TYPE 3
_Static_assert(SEAL_HELLO_LEN == HELLO_PREFIX + 24 + HELLO_PLAIN + SEAL_TAG, "hello size");

struct hello {
    struct seal_peer from;
    uint8_t public_key[32];
    uint8_t echo[32];    /* the answer repeats the client's public key; zeros in the client's */
    uint8_t own_key[32]; /* the client's, Ed25519; zeros in the answer: the client knows it */
};

void seal_stream_init(struct seal_stream *t)
{
    *t = (struct seal_stream){0};
    randombytes_buf(t->secret, 32);
    crypto_scalarmult_base(t->public_key, t->secret);
}

void seal_stream_fini(struct seal_stream *t)
{
    sodium_memzero(t, sizeof *t);
}

static void hello_aad(const struct seal *s, const uint8_t *prefix, struct seal_peer to,
                      uint8_t out[AAD_LEN])
{
    uint8_t padded[SEAL_HEADER] = {0};
    memcpy(padded, prefix, HELLO_PREFIX);
    (void)make_aad(s, padded, sizeof padded, to, out);
}

static void hello_seal(const struct seal *s, size_t key, struct seal_peer to, const struct hello *h,
                       uint8_t *out)
{
    uint8_t plain[HELLO_PLAIN], aad[AAD_LEN];
    struct wbuf w;
    wbuf_init(&w, plain, sizeof plain);
    wbuf_u64(&w, h->from.num);
    wbuf_u64(&w, h->from.epoch);
    wbuf_bytes(&w, h->public_key, 32);
    wbuf_bytes(&w, h->echo, 32);
    wbuf_bytes(&w, h->own_key, 32);
    ENSURE(!w.bad && w.len == HELLO_PLAIN);
    out[0] = (uint8_t)(SEAL_VERSION << 4 | HELLO_TYPE);
    memcpy(out + 1, s->key_id[key], 4);
    randombytes_buf(out + HELLO_PREFIX, 24);
    hello_aad(s, out, to, aad);
    crypto_aead_xchacha20poly1305_ietf_encrypt(out + HELLO_PREFIX + 24, NULL, plain, HELLO_PLAIN,
                                               aad, AAD_LEN, NULL, out + HELLO_PREFIX, s->key[key]);
}

static int hello_open(const struct seal *s, struct seal_peer self, const uint8_t *in,
                      struct hello *ret, size_t *ret_key)
{
    uint8_t plain[HELLO_PLAIN], aad[AAD_LEN];
    if (in[0] != (SEAL_VERSION << 4 | HELLO_TYPE))
        return ERR_AUTH;
    hello_aad(s, in, self, aad);
    for (int key = find_key(s, in + 1, 4, 0); key >= 0;
         key = find_key(s, in + 1, 4, (size_t)key + 1)) {
        if (crypto_aead_xchacha20poly1305_ietf_decrypt(plain, NULL, NULL, in + HELLO_PREFIX + 24,
                                                       HELLO_PLAIN + SEAL_TAG, aad, AAD_LEN,
                                                       in + HELLO_PREFIX, s->key[key]) != 0)
            continue;
        struct rbuf r;
        rbuf_init(&r, plain, sizeof plain);
        ret->from.num = rbuf_u64(&r);
        ret->from.epoch = rbuf_u64(&r);
        memcpy(ret->public_key, rbuf_bytes(&r, 32), 32);
        memcpy(ret->echo, rbuf_bytes(&r, 32), 32);
        memcpy(ret->own_key, rbuf_bytes(&r, 32), 32);
        *ret_key = (size_t)key;
        return 0;
    }
    return ERR_AUTH;
}

/* One key per direction from the agreed secret, both public keys and the cluster key. */
static int derive(const struct seal *s, struct seal_stream *t, size_t key, bool client,
                  const uint8_t other[32])
{
    uint8_t input[96], output[64];
    if (crypto_scalarmult(input, t->secret, other) != 0)
        return ERR_AUTH; /* a point of low order */
    memcpy(input + 32, client ? t->public_key : other, 32);
    memcpy(input + 64, client ? other : t->public_key, 32);
    crypto_generichash(output, 64, input, sizeof input, s->key[key], 32);
    memcpy(client ? t->send_key : t->recv_key, output, 32);
    memcpy(client ? t->recv_key : t->send_key, output + 32, 32);
    sodium_memzero(input, sizeof input);
    sodium_memzero(output, sizeof output);
    sodium_memzero(t->secret, sizeof t->secret);
    memcpy(t->key_id, s->key_id[key], sizeof t->key_id);
    return 0;
}

void seal_stream_ask(const struct seal *s, struct seal_stream *t, struct seal_peer self,
                     const uint8_t own_key[32], struct seal_peer to, uint8_t *out)
{
    struct hello h = {.from = self};
    memcpy(h.own_key, own_key, 32);
    memcpy(h.public_key, t->public_key, 32);
    t->peer = to;
    hello_seal(s, 0, to, &h, out);
}

int seal_stream_answer(const struct seal *s, struct seal_stream *t, struct seal_peer self,
                       const uint8_t *in, uint8_t *out)
{
    struct hello asked;
    size_t key;
    int err = hello_open(s, self, in, &asked, &key);
    if (err != 0)
        return err;
    struct hello h = {.from = self};
    memcpy(h.public_key, t->public_key, 32);
    memcpy(h.echo, asked.public_key, 32);
    t->peer = asked.from;
    memcpy(t->peer_key, asked.own_key, 32);
    hello_seal(s, key, asked.from, &h, out);
    return derive(s, t, key, false, asked.public_key);
}

int seal_stream_finish(const struct seal *s, struct seal_stream *t, struct seal_peer self,
                       const uint8_t *answer)
{
    struct hello h;
    size_t key;
    int err = hello_open(s, self, answer, &h, &key);
    if (err != 0)
        return err;
    if (h.from.num != t->peer.num || h.from.epoch != t->peer.epoch ||
        memcmp(h.echo, t->public_key, 32) != 0)
        return ERR_AUTH;
    return derive(s, t, key, true, h.public_key);
}

void seal_stream_prove(struct seal_stream *t, const uint8_t secret[32])
{
    uint8_t key[32];
    uint8_t *const keys[] = {t->send_key, t->recv_key};
    for (size_t i = 0; i < 2; i++) {
        crypto_generichash(key, 32, keys[i], 32, secret, 32);
        memcpy(keys[i], key, 32);
    }
    sodium_memzero(key, sizeof key);
}

void seal_stream_seal(struct seal_stream *t, const void *plain, size_t len, uint8_t *out)
{
    ENSURE(len <= SEAL_FRAME_MAX);
    uint8_t nonce[24];
    struct wbuf w;
    wbuf_init(&w, out, 4);
    wbuf_u32(&w, (uint32_t)(len + SEAL_TAG));
    make_nonce(t->send_counter++, 0, 0, nonce);
    crypto_aead_xchacha20poly1305_ietf_encrypt(out + 4, NULL, plain, len, out, 4, NULL, nonce,
                                               t->send_key);
}

int seal_stream_open(struct seal_stream *t, const uint8_t *body, size_t len, uint8_t *plain)
{
    uint8_t nonce[24], length[4];
    if (len < SEAL_TAG || len > SEAL_FRAME_MAX + SEAL_TAG)
        return ERR_AUTH;
    struct wbuf w;
    wbuf_init(&w, length, 4);
    wbuf_u32(&w, (uint32_t)len);
    make_nonce(t->recv_counter, 0, 0, nonce);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(plain, NULL, NULL, body, len, length, 4, nonce,
                                                   t->recv_key) != 0)
        return ERR_AUTH;
    t->recv_counter++;
    return 0;
}

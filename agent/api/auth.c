/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/auth.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"

/* -- groups ------------------------------------------------------------------ */

/* A group that was named must exist; the default need not. Kept as a number, so that later
 * changes of names mean nothing. */
static int find_group(const char *name, const char *fallback, gid_t *ret, bool *ret_has,
                      struct errmsg *e)
{
    bool named = name != NULL && name[0] != '\0';
    char space[4096];
    struct group grp, *found = NULL;
    *ret_has = false;
    if (getgrnam_r(named ? name : fallback, &grp, space, sizeof space, &found) == 0 &&
        found != NULL) {
        *ret = found->gr_gid;
        *ret_has = true;
        return 0;
    }
    if (named)
        return errmsg_set(e, ERR_CONFIG, "the group \"%s\" does not exist", name);
    return 0;
}

static bool peer_in_group(int fd, const struct ucred *peer, gid_t group)
{
    if (peer->gid == group)
        return true;
    gid_t groups[256];
    socklen_t len = sizeof groups;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) != 0)
        return false;
    for (size_t i = 0; i < len / sizeof groups[0]; i++)
        if (groups[i] == group)
            return true;
    return false;
}

enum auth_scope auth_of_peer(struct auth *a, int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return SCOPE_NONE;
    if (peer.uid == 0 || peer.uid == geteuid())
        return SCOPE_ADMIN;
    if (a->has_write_group && peer_in_group(fd, &peer, a->write_group))
        return SCOPE_WRITE;
    if (a->has_read_group && peer_in_group(fd, &peer, a->read_group))
        return SCOPE_READ;
    return SCOPE_NONE;
}

/* -- tokens -------------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool parse_digest(const char *hex, uint8_t out[SHA256_SIZE])
{
    for (size_t i = 0; i < SHA256_SIZE; i++) {
        int high = hex_digit(hex[2 * i]);
        int low = high < 0 ? -1 : hex_digit(hex[2 * i + 1]);
        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return hex[2 * SHA256_SIZE] == '\0';
}

/* Cuts the next word out of *at; NULL at the end of the line. */
static char *next_word(char **at)
{
    char *word = *at + strspn(*at, " \t\r\n");
    size_t len = strcspn(word, " \t\r\n");
    *at = word + len;
    if (**at != '\0')
        *(*at)++ = '\0';
    return len == 0 ? NULL : word;
}

/* "scope sha256hex [expiry as RFC 3339]"; 1: nothing on this line. */
static int parse_token(char *line, struct auth_token *t, const char **ret_why)
{
    char *at = line;
    const char *scope = next_word(&at);
    if (scope == NULL || scope[0] == '#')
        return 1;
    const char *digest = next_word(&at);
    const char *expiry = next_word(&at);
    memset(t, 0, sizeof *t);
    t->scope = strcmp(scope, "read") == 0    ? SCOPE_READ
               : strcmp(scope, "write") == 0 ? SCOPE_WRITE
               : strcmp(scope, "admin") == 0 ? SCOPE_ADMIN
                                             : SCOPE_NONE;
    if (t->scope == SCOPE_NONE)
        *ret_why = "the scope must be read, write or admin";
    else if (digest == NULL || !parse_digest(digest, t->digest))
        *ret_why = "the second word must be the SHA-256 of the token, 64 hexadecimal digits";
    else if (expiry != NULL && clock_parse_rfc3339(expiry, &t->expires_unix_ms) != 0)
        *ret_why = "the expiry must be a time like 2027-01-31T00:00:00Z";
    else
        return 0;
    return ERR_CONFIG;
}

static int load_tokens(struct auth *a, struct errmsg *e)
{
    FILE *f = fopen(a->token_file, "re");
    if (f == NULL)
        return errmsg_set(e, ERR_CONFIG, "token file %s: %s", a->token_file, strerror(errno));
    struct auth_token tokens[AUTH_TOKENS_MAX];
    size_t count = 0;
    int err = 0;
    char line[512];
    const char *why = "";
    struct stat st = {0};
    (void)fstat(fileno(f), &st);
    for (unsigned number = 1; err == 0 && fgets(line, sizeof line, f) != NULL; number++) {
        struct auth_token t;
        int rc = parse_token(line, &t, &why);
        if (rc == 0 && count == AUTH_TOKENS_MAX)
            err = errmsg_set(e, ERR_CONFIG, "token file %s: more than %d tokens", a->token_file,
                             AUTH_TOKENS_MAX);
        else if (rc == 0)
            tokens[count++] = t;
        else if (rc < 0)
            err = errmsg_set(e, rc, "token file %s line %u: %s", a->token_file, number, why);
    }
    fclose(f);
    pthread_mutex_lock(&a->lock);
    a->token_mtime = st.st_mtim;
    a->token_size = st.st_size;
    if (err == 0) {
        memcpy(a->tokens, tokens, count * sizeof tokens[0]);
        a->token_count = count;
    }
    pthread_mutex_unlock(&a->lock);
    return err;
}

void auth_reload(struct auth *a)
{
    struct stat st;
    if (a->token_file[0] == '\0' || stat(a->token_file, &st) != 0)
        return;
    if (st.st_mtim.tv_sec == a->token_mtime.tv_sec &&
        st.st_mtim.tv_nsec == a->token_mtime.tv_nsec && st.st_size == a->token_size)
        return;
    struct errmsg e;
    if (load_tokens(a, &e) != 0)
        LOG(LOG_WARN, "api_tokens_kept", "the changed token file is not usable", LS("why", e.text));
    else
        LOG(LOG_INFO, "api_tokens_loaded", "the token file changed", LU("tokens", a->token_count));
}

static bool is_loopback(const struct sockaddr *peer)
{
    if (peer == NULL)
        return false;
    if (peer->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)peer;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    if (peer->sa_family != AF_INET6)
        return false;
    const struct in6_addr *in6 = &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(in6) || (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == 127);
}

static enum auth_scope scope_of_token(struct auth *a, const char *token)
{
    uint8_t digest[SHA256_SIZE];
    sha256(token, strlen(token), digest);
    int64_t now_ms = clock_unix_ms();
    enum auth_scope scope = SCOPE_NONE;
    pthread_mutex_lock(&a->lock);
    /* Every token is compared in full, so that time tells nothing about which came close. */
    for (size_t i = 0; i < a->token_count; i++) {
        uint8_t diff = 0;
        for (size_t j = 0; j < SHA256_SIZE; j++)
            diff |= (uint8_t)(digest[j] ^ a->tokens[i].digest[j]);
        bool live = a->tokens[i].expires_unix_ms == 0 || now_ms < a->tokens[i].expires_unix_ms;
        if (diff == 0 && live && a->tokens[i].scope > scope)
            scope = a->tokens[i].scope;
    }
    pthread_mutex_unlock(&a->lock);
    return scope;
}

enum auth_scope auth_of_request(struct auth *a, const char *header, const struct sockaddr *peer,
                                bool *ret_bad)
{
    *ret_bad = false;
    if (header != NULL) {
        enum auth_scope scope =
            strncasecmp(header, "Bearer ", 7) == 0 ? scope_of_token(a, header + 7) : SCOPE_NONE;
        *ret_bad = scope == SCOPE_NONE;
        return scope;
    }
    if (a->anonymous == API_ANONYMOUS_NONE || !is_loopback(peer))
        return SCOPE_NONE;
    return a->anonymous == API_ANONYMOUS_WRITE ? SCOPE_WRITE : SCOPE_READ;
}

/* -- browsers ------------------------------------------------------------------ */

/* Length of the host in "host[:port]", brackets of IPv6 kept; 0 if it is not one. */
static size_t host_length(const char *host)
{
    size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (n > strlen(host))
        return 0;
    const char *port = host + n;
    if (*port == '\0')
        return n;
    if (*port != ':' || port[1] == '\0' || strspn(port + 1, "0123456789") != strlen(port + 1))
        return 0;
    return n;
}

int auth_add_hosts(struct auth *a, const char *names, struct errmsg *e)
{
    for (const char *p = names; p != NULL && *p != '\0';) {
        p += strspn(p, ", \t");
        size_t len = strcspn(p, ", \t");
        if (len == 0)
            break;
        if (len >= AUTH_HOST_MAX || a->host_count == AUTH_HOSTS_MAX)
            return errmsg_set(e, ERR_CONFIG, "allowed_hosts: at most %d names of at most %d bytes",
                              AUTH_HOSTS_MAX, AUTH_HOST_MAX - 1);
        char *name = a->hosts[a->host_count];
        memcpy(name, p, len);
        name[len] = '\0';
        name[host_length(name)] = '\0'; /* a port makes no difference */
        if (name[0] == '\0')
            return errmsg_set(e, ERR_CONFIG, "allowed_hosts: \"%.*s\" is not a host name", (int)len,
                              p);
        a->host_count++;
        p += len;
    }
    return 0;
}

bool auth_host_ok(const struct auth *a, const char *host)
{
    size_t len = host == NULL ? 0 : host_length(host);
    for (size_t i = 0; len > 0 && i < a->host_count; i++)
        if (strlen(a->hosts[i]) == len && strncasecmp(a->hosts[i], host, len) == 0)
            return true;
    return false;
}

bool auth_cross_site(const char *host, const char *origin, const char *fetch_site)
{
    if (fetch_site != NULL && strcmp(fetch_site, "same-origin") != 0 &&
        strcmp(fetch_site, "none") != 0)
        return true;
    if (origin == NULL)
        return false;
    /* Host was checked before, so an origin that equals it is this server's own page. */
    const char *own = strncmp(origin, "http://", 7) == 0    ? origin + 7
                      : strncmp(origin, "https://", 8) == 0 ? origin + 8
                                                            : NULL;
    return own == NULL || host == NULL || strcasecmp(own, host) != 0;
}

/* -- life ---------------------------------------------------------------------- */

int auth_init(struct auth *a, const struct api_options *options, struct errmsg *e)
{
    memset(a, 0, sizeof *a);
    if (pthread_mutex_init(&a->lock, NULL) != 0)
        return errmsg_set(e, ERR_NOMEM, "no memory for the API's lock");
    a->anonymous = options->anonymous;
    int err = auth_add_hosts(a, "localhost,127.0.0.1,[::1]", e);
    if (err == 0)
        err = auth_add_hosts(a, options->allowed_hosts, e);
    if (err == 0)
        err = find_group(options->socket_group, "blox", &a->read_group, &a->has_read_group, e);
    if (err == 0)
        err =
            find_group(options->admin_group, "blox-admin", &a->write_group, &a->has_write_group, e);
    if (err == 0 && options->token_file != NULL && options->token_file[0] != '\0') {
        snprintf(a->token_file, sizeof a->token_file, "%s", options->token_file);
        err = strlen(options->token_file) < sizeof a->token_file
                  ? load_tokens(a, e)
                  : errmsg_set(e, ERR_CONFIG, "token file: the path is too long");
    }
    if (err != 0)
        auth_fini(a);
    return err;
}

void auth_fini(struct auth *a)
{
    pthread_mutex_destroy(&a->lock);
}

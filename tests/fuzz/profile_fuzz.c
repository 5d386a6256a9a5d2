/* SPDX-License-Identifier: Apache-2.0
 * AWS's shared config and credentials files, and the choice of a source from them. The two files
 * stand in one input, parted by a NUL. */
#include <stdlib.h>
#include <string.h>

#include "agent/aws/chain.h"
#include "agent/aws/endpoint.h"
#include "agent/aws/profile.h"
#include "agent/base/ensure.h"
#include "tests/fuzz/fuzz.h"

static void clean_environment(void)
{
    static const char *const names[] = {"AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY",
                                        "AWS_PROFILE",
                                        "AWS_WEB_IDENTITY_TOKEN_FILE",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool clean;
    struct errmsg e;
    struct profiles p = {0};
    struct chain c;
    char url[ENDPOINT_URL_MAX];
    if (!clean)
        clean_environment();
    clean = true;
    const char *text = (const char *)data;
    const uint8_t *cut = size > 0 ? memchr(data, 0, size) : NULL;
    size_t first = cut == NULL ? size : (size_t)(cut - data);
    int err = profiles_parse(&p, text, first, PROFILE_CONFIG, "config", &e);
    if (err == 0 && cut != NULL)
        err = profiles_parse(&p, text + first + 1, size - first - 1, PROFILE_CREDENTIALS,
                             "credentials", &e);
    ENSURE(p.count <= PROFILE_SECTIONS_MAX && p.entries <= PROFILE_ENTRIES_MAX);
    if (err == 0) {
        for (size_t i = 0; i < p.count && i < 8; i++) {
            if (chain_resolve(&c, &p, p.sections[i].name, true, &e) == 0)
                ENSURE(c.role_count <= CHAIN_ROLES_MAX);
            chain_fini(&c);
            const char *to =
                profiles_get(&p, p.sections[i].kind, p.sections[i].name, "endpoint_url");
            if (to != NULL) {
                ENSURE(endpoint_check(to, url, &e) != 0 || url[0] != '\0');
                (void)chain_container_url_is_allowed(to);
            }
        }
    }
    profiles_fini(&p);
    return 0;
}

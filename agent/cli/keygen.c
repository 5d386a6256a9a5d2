/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "agent/cli/cli.h"

int cli_keygen(struct cli *cli, int argc, char **argv)
{
    static const struct cli_option none[] = {{0}};
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char key[33] = {0};
    int n = cli_parse(cli, argc, argv, none, NULL, 0, "keygen > /etc/blox/gossip.key");
    if (n < 0)
        return n == -1000 ? 0 : -n;
    if (getrandom(key, 32, 0) != 32) {
        fprintf(stderr, "blox: the system gives no randomness\n");
        return 1;
    }
    for (size_t i = 0; i < 33; i += 3) {
        unsigned v = (unsigned)key[i] << 16 | (unsigned)key[i + 1] << 8 | key[i + 2];
        putchar(digits[v >> 18]);
        putchar(digits[v >> 12 & 63]);
        putchar(digits[v >> 6 & 63]);
        putchar(i + 3 > 32 ? '=' : digits[v & 63]);
    }
    putchar('\n');
    explicit_bzero(key, sizeof key);
    return 0;
}

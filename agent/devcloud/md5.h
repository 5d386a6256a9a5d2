/* SPDX-License-Identifier: Apache-2.0
 * MD5 (RFC 1321), because SQS answers MD5OfBody. Not for security. */
#ifndef BLOX_DEVCLOUD_MD5_H
#define BLOX_DEVCLOUD_MD5_H

#include <stddef.h>

#define MD5_HEX 33

void md5_hex(const void *data, size_t len, char out[MD5_HEX]);

#endif

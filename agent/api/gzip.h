/* SPDX-License-Identifier: Apache-2.0
 * Lists sent as gzip to clients that ask for it: ARNs repeat, and ten thousand tasks shrink to a
 * twentieth. Compressed piece by piece, as they are read. */
#ifndef BLOX_AGENT_API_GZIP_H
#define BLOX_AGENT_API_GZIP_H

#include <microhttpd.h>
#include <stdbool.h>

/* What the header Accept-Encoding says (NULL: absent). */
bool gzip_is_accepted(const char *accept_encoding);
/* A response from a reader as MHD_create_response_from_callback() takes it, with its
 * Content-Encoding. NULL: no memory; arg then is still the caller's. */
struct MHD_Response *gzip_response(MHD_ContentReaderCallback read, void *arg,
                                   MHD_ContentReaderFreeCallback release);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/gzip.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#define PIECE_BYTES (16u * 1024)
/* Level 1 with a window of 8 KiB costs 50 KiB a list and keeps up with a fast network. */
#define LEVEL 1
#define WINDOW_BITS (13 + 16) /* 16: with gzip's header */
#define MEMORY_LEVEL 6
#define REPLY_BLOCK 4096u

struct gzip {
    z_stream z;
    MHD_ContentReaderCallback read;
    MHD_ContentReaderFreeCallback release;
    void *arg;
    bool ended; /* the reader has no more */
    bool done;  /* nor have we */
    char piece[PIECE_BYTES];
};

/* ";q=0", ";q=0.0": not acceptable. */
static bool is_refused(const char *params, size_t len)
{
    for (size_t i = 0; i + 2 < len; i++)
        if ((params[i] == 'q' || params[i] == 'Q') && params[i + 1] == '=')
            return params[i + 2] == '0' && strspn(params + i + 2, "0. \t") >= len - i - 2;
    return false;
}

bool gzip_is_accepted(const char *accept_encoding)
{
    for (const char *p = accept_encoding; p != NULL && *p != '\0';) {
        p += strspn(p, ", \t");
        size_t len = strcspn(p, ",");
        size_t name = strcspn(p, ",; \t");
        if (name == 4 && strncasecmp(p, "gzip", 4) == 0)
            return !is_refused(p + name, len - name);
        p += len;
    }
    return false;
}

static ssize_t on_read(void *arg, uint64_t pos, char *data, size_t max)
{
    struct gzip *g = arg;
    (void)pos;
    g->z.next_out = (Bytef *)data;
    g->z.avail_out = (uInt)max;
    while (!g->done && g->z.avail_out > 0) {
        if (g->z.avail_in == 0 && !g->ended) {
            ssize_t n = g->read(g->arg, 0, g->piece, sizeof g->piece);
            if (n == MHD_CONTENT_READER_END_WITH_ERROR)
                return n;
            g->ended = n < 0;
            g->z.next_in = (Bytef *)g->piece;
            g->z.avail_in = n < 0 ? 0 : (uInt)n;
        }
        int rc = deflate(&g->z, g->ended ? Z_FINISH : Z_NO_FLUSH);
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        g->done = rc == Z_STREAM_END;
    }
    size_t made = max - g->z.avail_out;
    return made > 0 ? (ssize_t)made : MHD_CONTENT_READER_END_OF_STREAM;
}

static void gzip_free(void *arg)
{
    struct gzip *g = arg;
    deflateEnd(&g->z);
    g->release(g->arg);
    free(g);
}

struct MHD_Response *gzip_response(MHD_ContentReaderCallback read, void *arg,
                                   MHD_ContentReaderFreeCallback release)
{
    struct gzip *g = calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    g->read = read;
    g->release = release;
    g->arg = arg;
    if (deflateInit2(&g->z, LEVEL, Z_DEFLATED, WINDOW_BITS, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) !=
        Z_OK) {
        free(g);
        return NULL;
    }
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, REPLY_BLOCK, on_read, g, gzip_free);
    if (response == NULL) {
        deflateEnd(&g->z);
        free(g);
        return NULL;
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
    return response;
}

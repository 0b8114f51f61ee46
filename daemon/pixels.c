/* Counted pixels. See pixels.h. */
#include "daemon/pixels.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct Pixels {
    unsigned refs;
    zmq_msg_t message;
    size_t cell_bytes;
    uint8_t cells[];
};

Pixels *pixels_new(zmq_msg_t *message, const uint8_t *cells, size_t bytes)
{
    Pixels *pixels = calloc(1, sizeof *pixels + bytes);
    if (!pixels)
        return NULL;
    pixels->cell_bytes = bytes;
    if (bytes > 0)
        memcpy(pixels->cells, cells, bytes);
    pixels->refs = 1;
    zmq_msg_init(&pixels->message);
    zmq_msg_move(&pixels->message, message);
    return pixels;
}

const uint8_t *pixels_cells(const Pixels *pixels, size_t *bytes)
{
    *bytes = pixels->cell_bytes;
    return pixels->cells;
}

Pixels *pixels_ref(Pixels *pixels)
{
    if (pixels)
        pixels->refs++;
    return pixels;
}

void pixels_unref(Pixels *pixels)
{
    if (!pixels)
        return;
    assert(pixels->refs > 0);
    if (--pixels->refs == 0) {
        zmq_msg_close(&pixels->message);
        free(pixels);
    }
}

size_t pixels_bytes(const Pixels *pixels)
{
    return pixels ? zmq_msg_size(&pixels->message) : 0;
}

int pixels_message(Pixels *pixels, zmq_msg_t *message)
{
    zmq_msg_init(message);
    /* ZeroMQ counts the holders of a large message: nothing is copied. */
    if (zmq_msg_copy(message, &pixels->message) < 0) {
        int r = -errno;
        zmq_msg_close(message);
        return r;
    }
    return 0;
}

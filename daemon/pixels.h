/*
 * The pixels of one received frame and which of its cells changed, counted: overlapping windows and
 * jobs share them, none copies them. Belongs to one thread.
 */
#ifndef WHEN_DAEMON_PIXELS_H
#define WHEN_DAEMON_PIXELS_H

#include <stddef.h>
#include <stdint.h>
#include <zmq.h>

typedef struct Pixels Pixels;

/* Takes over what is in *message (empty afterwards) and copies the bitmap of cells [bytes] (0: none
 * came). NULL: no memory, *message is unchanged. */
Pixels *pixels_new(zmq_msg_t *message, const uint8_t *cells, size_t bytes);
/* That bitmap, borrowed; *bytes 0: none. */
const uint8_t *pixels_cells(const Pixels *pixels, size_t *bytes);
Pixels *pixels_ref(Pixels *pixels);        /* safe on NULL */
void pixels_unref(Pixels *pixels);         /* safe on NULL */
size_t pixels_bytes(const Pixels *pixels); /* 0 for NULL */

/* Initialises *message as another holder of the same bytes: 0 or -errno. */
int pixels_message(Pixels *pixels, zmq_msg_t *message);

#endif

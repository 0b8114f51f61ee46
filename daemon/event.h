/* An event: an interval of one watch on one camera, as segmenter, index and publisher hand it on.
 */
#ifndef WHEN_DAEMON_EVENT_H
#define WHEN_DAEMON_EVENT_H

#include <stdint.h>

enum { EVENT_ID_BYTES = 40, EVENT_NAME_BYTES = 64, EVENT_DESCRIPTION_BYTES = 256 };

/* Numbers as in proto/event.proto; they are also what the index stores. */
typedef enum EventState { EVENT_OPEN = 1, EVENT_FINAL = 2, EVENT_RETRACTED = 3 } EventState;

typedef struct Event {
    char id[EVENT_ID_BYTES]; /* stable; "" until the segmenter gave it one */
    uint32_t revision;       /* from 1 */
    EventState state;
    char camera[EVENT_NAME_BYTES];
    char watch[EVENT_NAME_BYTES];
    char description[EVENT_DESCRIPTION_BYTES];
    int64_t start_us, end_us; /* UTC */
    int64_t start_err_us, end_err_us;
    double confidence;    /* 0..1 */
    uint64_t sequence;    /* given by the index at commit; 0 before */
    int64_t committed_us; /* UTC; given by the index */
} Event;

#endif

/*
 * How what one more window saw is joined to what the earlier ones saw: the geometry behind
 * segmenter.c, without ids, states and revisions.
 */
#ifndef WHEN_DAEMON_SEGMENTER_JOIN_H
#define WHEN_DAEMON_SEGMENTER_JOIN_H

#include "daemon/segmenter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One boundary, as one window saw it. */
typedef struct Edge {
    int64_t us, err_us;
    int64_t depth_us; /* distance to the nearer edge of that window; 0 for a cut */
    int64_t reach_us; /* a cut may really lie as far as the window's edge; else = us */
    bool cut;
} Edge;

/* One stretch in which the thing happens. */
typedef struct Seen {
    Edge start, end;
    /* How well the window that gave confidence and description saw it: how far its nearer boundary
     * was from the window's edges, then how much of it there was. */
    int64_t best_depth_us, best_length_us;
    double confidence;
    char description[EVENT_DESCRIPTION_BYTES];
} Seen;

/* The new window, and the earlier one that reaches farthest. */
typedef struct Sight {
    int64_t start_us, end_us;
    bool has_earlier;
    int64_t earlier_start_us, earlier_end_us;
    int64_t join_gap_us;
} Sight;

/* Times are kept within this, so that no difference overflows: 36,000 years. */
#define SEEN_LIMIT_US (INT64_C(1) << 60)
int64_t seen_clamp(int64_t us);

/* The window's intervals as Seen, in order, those within join_gap_us made one. seen has room for n.
 * Returns how many there are. */
size_t seen_read(const Sight *sight, const SegmenterInterval *intervals, size_t n, Seen *seen);

bool seen_overlap(const Seen *a, const Seen *b); /* touching counts */
void seen_take_best(Seen *into, const Seen *from);

/* Seen by the earlier window alone, though the new one looked there: may it be an error of a
 * window's edge? (And the other way round.) */
bool sight_denies_event(const Sight *sight, const Seen *event);
bool sight_denies_interval(const Sight *sight, const Seen *interval);

/* Events and intervals of one group, each in order of start, n_events and n_intervals > 0, to what
 * really happened: stretches in order, apart from each other. `out` has room for n_events +
 * n_intervals. Returns how many there are, at least 1. */
size_t sight_join(const Sight *sight, const Seen *const *events, size_t n_events,
                  const Seen *intervals, size_t n_intervals, Seen *out);

#endif

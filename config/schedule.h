/*
 * Schedule: on which days and between which hours a watch is asked, on the clocks of a zone; right
 * across changes of the clocks. Pure.
 */
#ifndef WHEN_CONFIG_SCHEDULE_H
#define WHEN_CONFIG_SCHEDULE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct Schedule Schedule; /* immutable; NULL is a schedule, too: always */

/* days "mon-fri", "sat,sun", "" (all); hours "08:00-18:00", "22-6" (from the evening of such a day
 * into the next morning), "" (all day); zone as in time_zone.h. *schedule is NULL when it is
 * always. EX_DATAERR. */
int schedule_new(const char *days, const char *hours, const char *zone, Schedule **schedule,
                 Error *err);
void schedule_free(Schedule *schedule); /* safe on NULL */

/* The first stretch [*start_us, *end_us) that ends after at_us; the next one may touch it. */
void schedule_next(const Schedule *schedule, int64_t at_us, int64_t *start_us, int64_t *end_us);
/* Does any of [start_us, end_us) belong to it? */
bool schedule_touches(const Schedule *schedule, int64_t start_us, int64_t end_us);

#endif

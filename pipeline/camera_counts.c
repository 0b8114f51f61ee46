/* A stream's counters. See camera_counts.h. */
#include "pipeline/camera_counts.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

static const int64_t LOG_EVERY_US = 60 * US_PER_S;

SourceStats camera_counts_sum(const CameraCounts *counts, Source *source)
{
    SourceStats sum = counts->before;
    if (!source)
        return sum;
    SourceStats stats = source_stats(source), *now = &stats;
    sum.decoded += now->decoded;
    sum.passed += now->passed;
    sum.dropped += now->dropped;
    sum.refused_references += now->refused_references;
    sum.damaged += now->damaged;
    sum.format_changes += now->format_changes;
    if (*now->decoder)
        memcpy(sum.decoder, now->decoder, sizeof sum.decoder);
    if (!now->playing)
        return sum;
    /* What came in the last connection may not be what comes in this one. */
    sum.format_changes += (sum.width && (sum.width != now->width || sum.height != now->height)) ||
                          (*sum.codec && strcmp(sum.codec, now->codec) != 0);
    sum.playing = true;
    sum.width = now->width;
    sum.height = now->height;
    memcpy(sum.codec, now->codec, sizeof sum.codec);
    memcpy(sum.orientation, now->orientation, sizeof sum.orientation);
    return sum;
}

void camera_counts_add(CameraCounts *counts, Source *source)
{
    counts->before = camera_counts_sum(counts, source);
    counts->lost_packets += source_lost_packets(source);
}

static void log_grown(CameraCounts *counts, const char *camera, const SourceStats *sum,
                      uint64_t lost_packets)
{
    const struct {
        uint64_t value;
        const char *name, *meaning;
    } all[CAMERA_COUNTS_LOGGED] = {
        {sum->damaged, "damaged", "pictures came with errors in them"},
        {lost_packets, "lost_packets", "the network loses packets"},
        {sum->format_changes, "format_changes", "its pictures have another form now"},
    };
    int64_t now_us = clock_monotonic_us();
    for (size_t i = 0; i < CAMERA_COUNTS_LOGGED; i++) {
        if (all[i].value == counts->logged[i] || now_us < counts->log_due_us[i])
            continue;
        counts->logged[i] = all[i].value;
        counts->log_due_us[i] = now_us + LOG_EVERY_US;
        log_warn("camera", "camera=%s %s=%llu codec=%s size=%dx%d %s", camera, all[i].name,
                 (unsigned long long)all[i].value, sum->codec, sum->width, sum->height,
                 all[i].meaning);
    }
}

void camera_counts_tell(CameraCounts *counts, const char *camera, const SourceStats *sum,
                        Source *now, When__CameraHealth *health)
{
    health->decoded = sum->decoded;
    health->stalls = counts->stalls;
    health->logins_refused = counts->logins_refused;
    health->damaged = sum->damaged;
    health->lost_packets = counts->lost_packets + (now ? source_lost_packets(now) : 0);
    health->format_changes = sum->format_changes;
    health->codec = (char *)sum->codec;
    health->decoder = (char *)sum->decoder;
    health->width = (uint32_t)sum->width;
    health->height = (uint32_t)sum->height;
    log_grown(counts, camera, sum, health->lost_packets);
}

/* /proc/meminfo, cgroup v2 memory.max - memory.current up to the root, RLIMIT_AS - what is mapped.
 */
#include "model/memory.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void fclosep(FILE **file)
{
    if (*file)
        fclose(*file);
}

static uint64_t machine_bytes(void)
{
    _cleanup_(fclosep) FILE *file = fopen("/proc/meminfo", "re");
    char line[128];
    uint64_t kib;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1)
            return kib * 1024;
    return UINT64_MAX;
}

/* A file with one number; UINT64_MAX for "max" or when it is not there. */
static uint64_t read_number(const char *group, const char *name)
{
    char path[512];
    if (snprintf(path, sizeof path, "/sys/fs/cgroup%s/%s", group, name) >= (int)sizeof path)
        return UINT64_MAX;
    _cleanup_(fclosep) FILE *file = fopen(path, "re");
    uint64_t value;
    return file && fscanf(file, "%" SCNu64, &value) == 1 ? value : UINT64_MAX;
}

static uint64_t group_bytes(void)
{
    _cleanup_(fclosep) FILE *file = fopen("/proc/self/cgroup", "re");
    char line[400], *group = NULL;
    while (file && !group && fgets(line, sizeof line, file))
        if (strncmp(line, "0::", 3) == 0)
            group = line + 3;
    if (!group)
        return UINT64_MAX;
    group[strcspn(group, "\n")] = 0;
    uint64_t available = UINT64_MAX;
    for (;;) {
        uint64_t limit = read_number(group, "memory.max");
        uint64_t used = read_number(group, "memory.current");
        /* What the group uses includes file pages that would be given back: taken as half. */
        if (limit != UINT64_MAX && used != UINT64_MAX)
            available = least(available, limit > used / 2 ? limit - used / 2 : 0);
        char *parent = strrchr(group, '/');
        if (!parent || group[0] == 0)
            return available;
        *parent = 0;
    }
}

/* What the address space limit leaves. */
static uint64_t address_space_bytes(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    _cleanup_(fclosep) FILE *file = fopen("/proc/self/statm", "re");
    uint64_t pages = 0;
    if (file && fscanf(file, "%" SCNu64, &pages) != 1)
        pages = 0;
    uint64_t used = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

uint64_t memory_available_bytes(void)
{
    return least(least(machine_bytes(), group_bytes()), address_space_bytes());
}

/* Whether AMX can be used. A file of its own: tests that emulate it bring their own answer. */
#include "model/amx.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    ARCH_REQ_XCOMP_PERM = 0x1023, /* asm/prctl.h of Linux 5.16 and later */
    XTILE_CONFIG = 17,            /* bits of XCR0, and features of that call */
    XTILE_DATA = 18,
    OSXSAVE = 1 << 27, /* of cpuid 1, ecx */
    BF16 = 1 << 22,    /* of cpuid 7, edx */
    TILE = 1 << 24,
    INT8 = 1 << 25
};

static bool cpu_has_it(void)
{
    unsigned a, b, c, d, low, high;
    const unsigned all = BF16 | TILE | INT8, states = 1u << XTILE_CONFIG | 1u << XTILE_DATA;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE) ||
        !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & all) != all)
        return false;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & states) == states;
}

bool amx_usable(void)
{
    return cpu_has_it() && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILE_DATA) == 0;
}

/*
 * How much memory this process may still take: the least of what the machine has available, what
 * its control groups leave, and its own address space limit.
 */
#ifndef WHEN_MODEL_MEMORY_H
#define WHEN_MODEL_MEMORY_H

#include <stdint.h>

/* UINT64_MAX when nothing is known. */
uint64_t memory_available_bytes(void);

#endif

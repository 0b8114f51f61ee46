/*
 * AMX for CPUs without it: the tile instructions raise SIGILL there, and a handler does what they
 * would have done, by the manual's definition, and goes on behind them. What is proved is the code
 * that machines with AMX run, byte for byte; not its speed. Link amx_emulator.c into a test: its
 * amx_usable() is then taken instead of model/amx.c's. On a CPU with AMX it says no: there the same
 * test without it runs the instructions themselves.
 *
 * What the CPU would refuse (shapes that do not fit each other, tiles that are not configured,
 * reserved fields) ends the process with a message.
 */
#ifndef WHEN_TESTS_AMX_EMULATOR_H
#define WHEN_TESTS_AMX_EMULATOR_H

#include <stdbool.h>

/* Are the tile instructions emulated? false: not asked for yet, or this CPU has them. */
bool amx_emulated(void);

#endif
